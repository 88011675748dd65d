"""Verifiers of digits: discriminators that know real images, and the published filter."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal, Self, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriloop.core import Columns, Key
from veriloop.core.checks import check_count, check_device, check_fraction
from veriloop.core.parts import Groups, Mask, Scores
from veriloop.core.verdict import Verifier, fraction, judged
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.generate import Generate
from veriloop.mnist.images import DIGITS, PIXELS, Images, check_images
from veriloop.mnist.resident import Resident, ResidentImages, to_device
from veriloop.mnist.training import Training, evaluating, fit, new_network

View = Literal["bernoulli", "threshold", "grey"]


class Discriminator(nn.Module):
    """A network that tells real from synthetic images, with layers 784 - 512 - 256 - 128 - 64 - 1.

    conditional: whether the digit asked for is an input as well, which makes 794 of the 784.
    dropout: the share of units dropped after each of the first two hidden layers.
    spectral: whether the last layer has spectral normalisation.

    >>> sum(parameter.numel() for parameter in Discriminator().parameters())
    574465
    """

    def __init__(
        self, *, conditional: bool = False, dropout: float = 0.0, spectral: bool = False
    ) -> None:
        super().__init__()
        self.conditional = conditional
        inputs = PIXELS
        if conditional:
            inputs += DIGITS
        layers: list[nn.Module] = []
        for place, (before, after) in enumerate(pairwise((inputs, 512, 256, 128, 64))):
            layers.append(nn.Linear(before, after))
            layers.append(nn.LeakyReLU(0.2))
            if dropout and place < 2:
                layers.append(nn.Dropout(dropout))
        last = nn.Linear(64, 1)
        if spectral:
            last = nn.utils.parametrizations.spectral_norm(last)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, pixels: Tensor, labels: Tensor) -> Tensor:
        """Return the log-odds of being real, shape (n,).

        pixels: in [0, 1], shape (n, 784).
        labels: the digits, int64, shape (n,).
        """
        if self.conditional:
            pixels = torch.cat([pixels, F.one_hot(labels, DIGITS).to(pixels.dtype)], dim=1)
        return self.layers(pixels).squeeze(1)


@dataclass(frozen=True)
class Judge:
    """Score images by a network's log-odds of being real: 0 or more accepts.

    network: a trained discriminator; it scores without dropout, in training mode too.
    chunk: images in one pass.

    Raises:
        ValueError: if `chunk` is no positive integer.
        TypeError: when it scores, if the batch is no batch of images.
        FloatingPointError: when it scores, if a score is NaN.

    >>> judge = Judge(new_network(Key(0), Discriminator).eval())
    >>> judge(Key(0), Images(np.zeros((2, 98), np.uint8), np.arange(2))).shape
    (2,)
    """

    network: Discriminator
    chunk: int = 2000
    stateful: ClassVar[bool] = True  # its scores depend on its network, not on its settings alone

    def __post_init__(self) -> None:
        check_count("Judge.chunk", self.chunk)

    @torch.inference_mode()
    def __call__(self, key: Key, batch: Images) -> Scores:
        check_images("Judge: batch", batch)
        device = next(self.network.parameters()).device
        parts = [torch.empty(0, device=device)]
        with evaluating(self.network):
            for start in range(0, len(batch), self.chunk):
                pixels, labels = batch[start : start + self.chunk].tensors(device)
                parts.append(self.network(pixels, labels).float())
        scores = torch.cat(parts).cpu().numpy()  # a GPU is waited for once, here
        if np.isnan(scores).any():
            raise FloatingPointError(
                f"Judge scores image {np.isnan(scores).argmax()} as NaN, so its network has "
                "diverged; lower the rate of its training"
            )
        return scores


@dataclass(frozen=True)
class Examples(Columns):
    """What a discriminator is trained on.

    images: n images.
    real: 1 for a real image, 0 for a synthetic one, float32, shape (n,).
    """

    images: Images
    real: np.ndarray

    @classmethod
    def of(cls, real: Images, synthetic: Images) -> Examples:
        """Put real and synthetic images together."""
        flags = np.repeat(np.array([1, 0], dtype=np.float32), [len(real), len(synthetic)])
        return cls(Images.concatenate([real, synthetic]), flags)

    def resident(self, device: torch.device | str) -> ResidentExamples:
        """Return the same examples on a device, for a fit that picks from them there."""
        return ResidentExamples(self.images.resident(device), to_device(self.real, device))


@dataclass(frozen=True)
class ResidentExamples(Resident):
    """Examples on a device.

    images: n images.
    real: 1 for a real image, 0 for a synthetic one, float32, shape (n,).
    """

    images: ResidentImages
    real: Tensor

    def __len__(self) -> int:
        return len(self.real)

    def __getitem__(self, rows: Tensor) -> Self:
        return type(self)(self.images[rows], self.real[rows])


@dataclass(frozen=True, kw_only=True)
class Discriminate:
    """Train a discriminator: `(key, *models) -> Judge`.

    It learns to tell real images from as many images of one model, or of several together. It
    starts from new weights. With `warm=judge` it starts from those of another judge, which stays as
    it is.

    real: the images it learns what is real from.
    view: how grey real images are shown beside binary synthetic ones. "bernoulli" draws them pixel
        by pixel, as the synthetic ones are drawn. "threshold" cuts at half brightness, as in the
        published code. "grey" leaves them grey, so that the texture alone gives the answer away.
    conditional, dropout, spectral: see `Discriminator`.
    smoothing: in [0, 1); the targets are 1 - smoothing / 2 and smoothing / 2.
    training: how it is trained.
    device: where it is trained, and stays.

    Raises:
        TypeError: if `real` is no batch of images.
        ValueError: if `real` is empty, there is no such view, `smoothing` or `dropout` is out of
            its range, or the machine lacks the device.

    >>> from veriloop.mnist import MLPCVAE, load
    >>> train = Discriminate(real=load("digits").train[:50], training=Training(steps=2))
    >>> train(Key(0), MLPCVAE(latent=2, hidden=(8,)))(Key(0), load("digits").test).shape
    (500,)
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
        check_images("Discriminate.real", self.real, least=1)
        check_device("Discriminate.device", self.device)
        if self.view not in get_args(View):
            raise ValueError(
                f"Discriminate.view must be bernoulli, threshold or grey, got {self.view!r}"
            )
        for name in ("smoothing", "dropout"):
            check_fraction(f"Discriminate.{name}", getattr(self, name), zero=True)

    def show(self, key: Key, real: Images) -> Images:
        """Return real images as the discriminator sees them."""
        if self.view == "bernoulli":
            return real.bernoulli(key)
        if self.view == "threshold":
            return real.threshold()
        return real

    def __call__(self, key: Key, *models: CVAE, warm: Judge | None = None) -> Judge:
        return self.fit(key, self.examples(key, *models), warm)

    def examples(self, key: Key, *models: CVAE) -> Examples:
        """Return all real images, and as many of the models together.

        Raises:
            ValueError: if no model is given.
        """
        if not models:
            raise ValueError(
                "Discriminate needs at least one model that draws synthetic images, got none; "
                "give a model"
            )
        parts = np.array_split(np.arange(len(self.real)), len(models))
        synthetic: list[Images] = []
        for i, (model, part) in enumerate(zip(models, parts, strict=True)):
            synthetic.append(Generate()(key.fold("synthetic", i), model, len(part)))
        shown = self.show(key.fold("view"), self.real)
        return Examples.of(shown, Images.concatenate(synthetic))

    def fit(self, key: Key, examples: Examples, warm: Judge | None = None) -> Judge:
        """Train a new discriminator on examples, from the weights of `warm` where it is given.

        Raises:
            ValueError: if `warm` has other layers.
        """
        network = new_network(key.fold("weights"), self._untrained, self.device)
        if warm is not None:
            self._copy_weights(warm.network, network)

        def loss(rows: ResidentExamples, generator: torch.Generator) -> Tensor:
            target = rows.real * (1 - self.smoothing) + self.smoothing / 2
            odds = network(*rows.images.tensors()).float()
            return F.binary_cross_entropy_with_logits(odds, target, reduction="none")

        fit(key.fold("fit"), network, loss, examples.resident(self.device), self.training)
        return Judge(network.eval())

    def _untrained(self) -> Discriminator:
        return Discriminator(
            conditional=self.conditional, dropout=self.dropout, spectral=self.spectral
        )

    def _copy_weights(self, source: Discriminator, target: Discriminator) -> None:
        try:
            target.load_state_dict(source.state_dict())
        except RuntimeError:
            raise ValueError(
                f"Discriminate: warm must have the layers of conditional={self.conditional}, "
                f"spectral={self.spectral}, got others; train both with the same settings"
            ) from None


def accuracy(key: Key, verify: Verifier, real: Images, synthetic: Images) -> float:
    """Return the mean of two shares: real images accepted, and synthetic images rejected.

    Images without a verdict do not count; it is NaN if all real or all synthetic ones are such.

    key: what the verifier is called with.
    verify: the verifier.
    real, synthetic: the images, at least one each, in any numbers; both shares count the same.

    Raises:
        TypeError: if one of them is no batch of images.
        ValueError: if one of them is empty.

    >>> dark = Images(np.zeros((3, 98), np.uint8), np.arange(3))
    >>> bright = Images(np.full((2, 98), 255, np.uint8), np.arange(2))
    >>> def darkness(key, images):
    ...     return 0.5 - images.tensors()[0].mean(1).numpy()
    >>> accuracy(Key(0), darkness, real=dark, synthetic=bright)
    1.0
    """
    check_images("accuracy: real", real, least=1)
    check_images("accuracy: synthetic", synthetic, least=1)
    of_real = judged(verify, key, real).scores
    of_synthetic = judged(verify, key, synthetic).scores
    accepted = fraction(of_real[~np.isnan(of_real)] >= 0)
    rejected = fraction(of_synthetic[~np.isnan(of_synthetic)] < 0)
    return float(np.mean([accepted, rejected]))


@dataclass(frozen=True)
class TopPerDraw:
    """The published filter: in each group, keep the top `fraction` of every draw of `draw` rows.

    Its cut moves with every draw, and rows at the cut are all kept. So the rows kept depend on how
    the candidates were divided into draws. `veriloop.TopFraction` ranks all candidates at once.

    fraction: the share of each draw, in (0, 1].
    count: the largest number of rows kept of a group; later rows are left out.
    draw: rows of a group in one draw.

    Raises:
        ValueError: if a value is out of its range.

    >>> scores = np.array([1.0, 2.0, 3.0, 4.0])
    >>> TopPerDraw(fraction=0.5, count=4, draw=2)(Key(0), scores, np.zeros(4, dtype=int))
    array([False,  True, False,  True])
    """

    fraction: float
    count: int
    draw: int = 6000

    def __post_init__(self) -> None:
        check_fraction("TopPerDraw.fraction", self.fraction, one=True)
        check_count("TopPerDraw.count", self.count)
        check_count("TopPerDraw.draw", self.draw)

    def __call__(self, key: Key, scores: Scores, groups: Groups) -> Mask:
        mask = np.zeros(len(scores), dtype=bool)
        for group in np.unique(groups):
            rows = np.flatnonzero(groups == group)
            kept: list[np.ndarray] = []
            for start in range(0, len(rows), self.draw):
                drawn = rows[start : start + self.draw]
                kept.append(self._best(drawn, scores[drawn]))
            mask[np.concatenate(kept)[: self.count]] = True
        return mask

    def _best(self, rows: np.ndarray, scores: Scores) -> np.ndarray:
        """Return the rows of a draw that reach its cut; none without a verdict."""
        judged = scores[~np.isnan(scores)]
        if not len(judged):
            return rows[:0]
        cut = np.quantile(judged, 1 - self.fraction)
        return rows[scores >= cut]
