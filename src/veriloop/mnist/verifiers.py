"""Verifiers of digits: discriminators that know real images, and a classifier as the oracle."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriloop.core import Columns, Key, Verdict
from veriloop.core.batch import check_count
from veriloop.filters.ranking import check_fraction
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, PIXELS, Images
from veriloop.mnist.generate import Generate
from veriloop.mnist.training import Training, fit, made

View = Literal["bernoulli", "threshold", "grey"]


class Discriminator(nn.Module):
    """Real or synthetic, from the pixels alone or from pixels and digit: 784 or 794 - 512 - 256 - 128 - 64 - 1.

    conditional: the digit asked for is an input. dropout: after the first two hidden layers. spectral: spectral
    normalisation of the last layer.

    >>> sum(parameter.numel() for parameter in Discriminator().parameters())
    574465
    """

    def __init__(self, *, conditional: bool = False, dropout: float = 0.0, spectral: bool = False) -> None:
        super().__init__()
        self.conditional = conditional
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise((PIXELS + DIGITS * conditional, 512, 256, 128, 64))):
            layers += [
                nn.Linear(before, after),
                nn.LeakyReLU(0.2),
                *([nn.Dropout(dropout)] if dropout and i < 2 else []),
            ]
        last = nn.Linear(64, 1)
        self.layers = nn.Sequential(*layers, nn.utils.parametrizations.spectral_norm(last) if spectral else last)

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return the log-odds of being real, shape (n,)."""
        if self.conditional:
            pixels = torch.cat([pixels, F.one_hot(labels, DIGITS).to(pixels.dtype)], dim=1)
        return self.layers(pixels).squeeze(1)


@dataclass(frozen=True)
class Judge:
    """Score images by a network's log-odds of being real: 0 or more accepts."""

    network: Discriminator
    chunk: int = 2000
    stateful: ClassVar[bool] = True  # its settings alone do not give its scores: they are its network's

    @torch.inference_mode()
    def __call__(self, key: Key, batch: Images) -> np.ndarray:
        device = next(self.network.parameters()).device
        parts = [batch[start : start + self.chunk] for start in range(0, len(batch), self.chunk)]
        scores = [self.network(*part.tensors(device)).float().cpu().numpy() for part in parts]
        return np.concatenate(scores) if scores else np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Examples(Columns):
    """Images, and whether each is real."""

    images: Images
    real: np.ndarray

    @classmethod
    def of(cls, real: Images, synthetic: Images) -> Examples:
        """Put real and synthetic images together."""
        flags = np.repeat(np.array([1, 0], dtype=np.float32), [len(real), len(synthetic)])
        return cls(Images.concatenate([real, synthetic]), flags)


@dataclass(frozen=True, kw_only=True)
class Discriminate:
    """Train a discriminator on real images and as many of one or several models: `(key, *models) -> Judge`.

    It starts from fresh weights, or with `warm=judge` from those of a judge of the same layers, which stays as is.

    real: the images it learns what is real from.
    view: how grey real images are shown beside binary synthetic ones: drawn pixel by pixel as the synthetic are
        ("bernoulli"), cut at half brightness as in the published code ("threshold"), or left grey, so that the
        texture alone gives the answer away ("grey").
    smoothing: the targets are 1 - smoothing / 2 and smoothing / 2.
    conditional, dropout, spectral: see `Discriminator`.
    """

    real: Images
    view: View = "bernoulli"
    conditional: bool = True
    smoothing: float = 0.0
    dropout: float = 0.0
    spectral: bool = False
    training: Training = field(default_factory=lambda: Training(epochs=5, batch=256, patience=None))
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.view not in ("bernoulli", "threshold", "grey"):
            raise ValueError(f"Discriminate.view must be bernoulli, threshold or grey, got {self.view!r}")
        for name in ("smoothing", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Discriminate.{name} must be in [0, 1), got {getattr(self, name)}")

    def show(self, key: Key, real: Images) -> Images:
        """Return real images as the discriminator sees them."""
        if self.view == "grey":
            return real
        return real.bernoulli(key) if self.view == "bernoulli" else real.threshold()

    def __call__(self, key: Key, *models: CVAE, warm: Judge | None = None) -> Judge:
        return self.fit(key, self.examples(key, *models), warm)

    def examples(self, key: Key, *models: CVAE) -> Examples:
        """Return what the discriminator is trained on: all real images, and as many of the models together."""
        if not models:
            raise ValueError("Discriminate needs at least one model whose images to tell from real ones, got none")
        shares = [len(part) for part in np.array_split(np.arange(len(self.real)), len(models))]
        synthetic = [
            Generate()(key.fold("synthetic", i), model, n)
            for i, (model, n) in enumerate(zip(models, shares, strict=True))
        ]
        return Examples.of(self.show(key.fold("view"), self.real), Images.concatenate(synthetic))

    def fit(self, key: Key, examples: Examples, warm: Judge | None = None) -> Judge:
        """Train a new discriminator on examples, from the weights of `warm` where it is given.

        Raises:
            ValueError: if the layers of `warm` are others.
        """
        network = made(
            key.fold("weights"),
            lambda: Discriminator(conditional=self.conditional, dropout=self.dropout, spectral=self.spectral),
            self.device,
        )
        if warm is not None:
            try:
                network.load_state_dict(warm.network.state_dict())
            except RuntimeError:
                raise ValueError(
                    f"Discriminate: warm must have the layers of conditional={self.conditional}, "
                    f"spectral={self.spectral}, got others; train both with the same settings"
                ) from None

        def loss(rows: Examples, generator: torch.Generator) -> Tensor:
            target = torch.from_numpy(rows.real).to(self.device) * (1 - self.smoothing) + self.smoothing / 2
            odds = network(*rows.images.tensors(self.device)).float()
            return F.binary_cross_entropy_with_logits(odds, target, reduction="none")

        fit(key.fold("fit"), network, loss, examples, self.training)
        return Judge(network.eval())


def accuracy(key: Key, judge: Any, real: Images, synthetic: Images) -> float:
    """Return the mean of the shares of real images accepted and of synthetic images rejected."""
    known, made = (Verdict.of(judge(key, images)).scores for images in (real, synthetic))
    return float(np.mean([(known >= 0).mean(), (made < 0).mean()]))


@dataclass(frozen=True)
class TopPerDraw:
    """Keep, in each group, what reaches the top `fraction` of its own draw of `draw` rows: the published filter.

    Its cut moves with every draw and keeps ties, so what is kept depends on how the candidates were cut up; the
    first `count` rows kept of a group are taken, later ones not. `veriloop.TopFraction` ranks all at once.
    """

    fraction: float
    count: int
    draw: int = 6000

    def __post_init__(self) -> None:
        check_fraction("TopPerDraw.fraction", self.fraction, one=True)
        check_count("TopPerDraw.count", self.count)
        check_count("TopPerDraw.draw", self.draw)

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
        mask = np.zeros(len(scores), dtype=bool)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            draws = [rows[start : start + self.draw] for start in range(0, len(rows), self.draw)]
            kept = np.concatenate([self._best(draw, scores[draw]) for draw in draws])
            mask[kept[: self.count]] = True
        return mask

    def _best(self, rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
        judged = scores[~np.isnan(scores)]
        return rows[scores >= np.quantile(judged, 1 - self.fraction)] if len(judged) else rows[:0]
