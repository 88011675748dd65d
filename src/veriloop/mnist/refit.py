"""The loop's parts for digits: refit, what is observed of the candidates, and models on disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from veriloop.core import Key
from veriloop.core.candidates import Candidates
from veriloop.core.checks import check_device
from veriloop.core.parts import Mask, Scores
from veriloop.core.verdict import fraction
from veriloop.mnist.cvae import CVAE, MLPCVAE, ConvCVAE
from veriloop.mnist.images import DIGITS, Images, check_images
from veriloop.mnist.resident import ResidentImages
from veriloop.mnist.training import Fitted, Training, fit, new_network

MODELS: Mapping[str, type[CVAE]] = {"conv": ConvCVAE, "mlp": MLPCVAE}


@dataclass(frozen=True, kw_only=True)
class Refit:
    """Fit a CVAE to images: `(key, model, images) -> new model`.

    model: "conv", a `ConvCVAE`, or "mlp", an `MLPCVAE`.
    settings: the arguments of the model, by name.
    training: how it is fitted.
    warm: whether a fit goes on from the weights of the model given, and not from new ones.
    device: where it is fitted, and stays.

    Raises:
        ValueError: if there is no such model, its settings do not fit it, or the machine lacks the
            device.

    >>> from veriloop.mnist import load
    >>> short = Refit(model="mlp", settings={"hidden": [8]}, training=Training(steps=2))
    >>> model = short(Key(0), None, load("digits").train)
    >>> model.settings
    {'latent': 20, 'hidden': [8]}
    """

    model: str = "conv"
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    training: Training = field(default_factory=Training)
    warm: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_device("Refit.device", self.device)
        if self.model not in MODELS:
            raise ValueError(f"Refit.model must be one of {', '.join(MODELS)}, got {self.model!r}")
        try:
            with torch.device("meta"):  # no memory and no random numbers
                _maker(self.model)(**self.settings)
        except (TypeError, ValueError) as error:
            kind = MODELS[self.model].__name__
            raise ValueError(f"Refit.settings do not fit {kind}: {error}") from None

    def __call__(self, key: Key, model: CVAE | None, images: Images) -> CVAE:
        new, _ = self.fit(key, model, images)
        return new

    def fit(self, key: Key, model: CVAE | None, images: Images) -> tuple[CVAE, Fitted]:
        """Return the new model and how its fit went.

        Raises:
            TypeError: if `images` is no batch of images.
        """
        check_images("Refit: images", images)
        new = self._first_weights(key, model)

        def loss(rows: ResidentImages, generator: torch.Generator) -> Tensor:
            pixels, labels = rows.tensors()
            reconstruction, kl = new.negative_elbo(pixels, labels, generator)
            return reconstruction + kl

        fitted = fit(key.fold("fit"), new, loss, images.resident(self.device), self.training)
        return new.eval(), fitted

    def _first_weights(self, key: Key, model: CVAE | None) -> CVAE:
        """Return the model that a fit starts from: a copy of the last one, or a new one."""
        if self.warm and model is not None:
            kind = MODELS[self.model]
            if not isinstance(model, kind):
                raise ValueError(
                    f"Refit.warm goes on from the weights of a {kind.__name__}, got a "
                    f"{type(model).__name__}; give both fits the same Refit.model"
                )
            return copy.deepcopy(model).to(self.device)
        make = _maker(self.model)
        return new_network(key.fold("weights"), lambda: make(**self.settings), self.device)


def _maker(name: str) -> Callable[..., CVAE]:
    """Return what makes a model of its settings, which decide the arguments."""
    return cast("Callable[..., CVAE]", MODELS[name])


def observe(
    key: Key, batch: Images | Candidates[Images], scores: Scores, mask: Mask
) -> Mapping[str, float]:
    """Return what a verifier accepts of the candidates, whatever the filter keeps.

    `passed` is the share of candidates that score 0 or more, `passed_0` to `passed_9` that of each
    digit, and `lowest_kept` the lowest score among the rows kept.

    key: not used.
    batch: the candidates.
    scores: shape (n,).
    mask: which rows are kept, booleans, shape (n,).

    >>> import numpy as np
    >>> images = Images(np.zeros((2, 98), np.uint8), np.array([0, 1], np.uint8))
    >>> named = observe(Key(0), images, np.array([1.0, -1.0]), np.array([True, False]))
    >>> named["passed"], named["passed_0"], named["passed_1"], named["lowest_kept"]
    (0.5, 1.0, 0.0, 1.0)
    """
    labels = batch.labels
    if isinstance(batch, Candidates):
        labels = batch.labels()
    named = {"passed": fraction(scores >= 0)}
    for digit in range(DIGITS):
        named[f"passed_{digit}"] = fraction(scores[labels == digit] >= 0)
    named["lowest_kept"] = float(scores[mask].min())
    return named


def write_model(model: CVAE, folder: Path) -> None:
    """Write a model: its weights as safetensors, its class and settings as JSON.

    Raises:
        ValueError: if the model is of a class that `read_model` cannot make.
    """
    names = {kind: name for name, kind in MODELS.items()}
    if type(model) not in names:
        known = ", ".join(kind.__name__ for kind in names)
        raise ValueError(
            f"only models of {known} can be written, got {type(model).__name__}; write it by a "
            "function of your own"
        )
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    about = {"model": names[type(model)], "settings": model.settings}
    (folder / "model.json").write_text(json.dumps(about))


def read_model(folder: Path, device: str = "cpu") -> CVAE:
    """Read back what `write_model` wrote."""
    about = json.loads((folder / "model.json").read_text())
    make = _maker(about["model"])
    model = make(**about["settings"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.to(device).eval()
