"""The loop's parts for digits: refit, what is observed of the candidates, and models on disk."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from veriloop.core import Key
from veriloop.core.candidates import Candidates
from veriloop.core.verdict import share
from veriloop.mnist.cvae import CVAE, MLPCVAE, ConvCVAE
from veriloop.mnist.data import DIGITS, Images
from veriloop.mnist.training import Fitted, Training, fit, made

MODELS: Mapping[str, type[CVAE]] = {"conv": ConvCVAE, "mlp": MLPCVAE}


@dataclass(frozen=True, kw_only=True)
class Refit:
    """Fit a CVAE to images: `(key, model, images) -> new model`, from fresh weights unless `warm`.

    model: "conv" or "mlp". settings: its arguments.
    """

    model: str = "conv"
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    warm: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"Refit.model must be one of {', '.join(MODELS)}, got {self.model!r}")
        try:
            inspect.signature(MODELS[self.model]).bind(**self.settings)
        except TypeError as error:
            raise ValueError(f"Refit.settings do not fit {MODELS[self.model].__name__}: {error}") from None

    def __call__(self, key: Key, model: CVAE | None, images: Images) -> CVAE:
        return self.fit(key, model, images)[0]

    def fit(self, key: Key, model: CVAE | None, images: Images) -> tuple[CVAE, Fitted]:
        """Return the new model and how its fit went."""
        if self.warm and model is not None:
            new = copy.deepcopy(model)
        else:
            new = made(key.fold("weights"), lambda: MODELS[self.model](**self.settings), self.device)

        def loss(rows: Images, generator: torch.Generator) -> Tensor:
            reconstruction, kl = new.negative_elbo(*rows.tensors(self.device), generator)
            return reconstruction + kl

        fitted = fit(key.fold("fit"), new, loss, images, self.training)
        return new.eval(), fitted


def observe(key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray) -> Mapping[str, float]:
    """Return the share of candidates that score 0 or more, of all and digit by digit, and the lowest score kept.

    A filter that ranks keeps its share whatever the verifier says; this is how much of it the verifier accepts.
    """
    labels = batch.labels() if isinstance(batch, Candidates) else batch.labels
    passed = {f"passed_{digit}": share(scores[labels == digit] >= 0) for digit in range(DIGITS)}
    return {"passed": share(scores >= 0), **passed, "lowest_kept": float(scores[mask].min())}


def write_model(model: CVAE, folder: Path) -> None:
    """Write a model: its weights as safetensors, its class and settings as JSON.

    Raises:
        ValueError: if the model is of a class that `read_model` cannot make.
    """
    kind = next((name for name, each in MODELS.items() if each is type(model)), None)
    if kind is None:
        known = ", ".join(each.__name__ for each in MODELS.values())
        raise ValueError(
            f"only models of {known} can be written, got {type(model).__name__}; write it by a function of your own"
        )
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps({"model": kind, "settings": model.settings}))


def read_model(folder: Path, device: str = "cpu") -> CVAE:
    """Read back what `write_model` wrote."""
    about = json.loads((folder / "model.json").read_text())
    model = MODELS[about["model"]](**about["settings"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()
