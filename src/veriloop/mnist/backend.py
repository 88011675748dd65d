"""The loop's parts for digits: refit, what is observed of the candidates, and checkpoints."""

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

from veriloop.core import Key, State
from veriloop.core.batch import as_batches
from veriloop.core.candidates import Candidates
from veriloop.core.verdict import share
from veriloop.mnist.cvae import CVAE, MLPCVAE, ConvCVAE
from veriloop.mnist.data import DIGITS, Images
from veriloop.mnist.fit import Fitted, Training, fit, made

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


def save_state(state: State[CVAE], folder: Path) -> None:
    """Write a state: weights as safetensors, what makes the model as JSON, the pool's past as arrays.

    Raises:
        ValueError: if the model is of a class that `load_state` cannot make.
    """
    model = state.model
    kind = next((name for name, each in MODELS.items() if each is type(model)), None)
    if kind is None:
        raise ValueError(
            f"save_state knows models of {', '.join(each.__name__ for each in MODELS.values())}, "
            f"got {type(model).__name__}; save it by a function of your own"
        )
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors"
    )
    past = as_batches(state.past)
    for i, images in enumerate(past):
        np.savez(folder / f"past_{i:04d}.npz", pixels=images.pixels, labels=images.labels)
    about = {"round": state.round, "past": len(past), "model": kind, "settings": model.settings}
    (folder / "state.json").write_text(json.dumps(about))


def load_state(folder: Path, device: str = "cpu") -> State[CVAE]:
    """Read back what `save_state` wrote."""
    about = json.loads((folder / "state.json").read_text())
    model = MODELS[about["model"]](**about["settings"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    past = []
    for i in range(about["past"]):
        with np.load(folder / f"past_{i:04d}.npz", allow_pickle=False) as arrays:
            past.append(Images(arrays["pixels"], arrays["labels"]))
    return State(model.to(device).eval(), about["round"], tuple(past))
