"""How good a model of digits is: its ELBO on real images, and how its images compare with real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch

from veriloop.core import Key
from veriloop.core.batch import check_count
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, PIXELS, Images
from veriloop.mnist.features import FeatureNet
from veriloop.mnist.generate import Generate, probabilities
from veriloop.mnist.inception import Inception


def nelbo(model: CVAE, images: Any, labels: Any, key: Key) -> tuple[float, float, float]:
    """Return the negative ELBO on real images, its reconstruction part and its KL part, in nats per image.

    images: n images in any shape, uint8 in 0 ... 255 or floats in [0, 1]. labels: n digits.
    There is one posterior draw an image, from `key`.
    """
    pixels = torch.as_tensor(images).reshape(len(images), PIXELS)
    pixels = pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels.float()
    digits = torch.as_tensor(labels).long()
    device = next(model.parameters()).device
    generator, sums = key.torch(str(device)), np.zeros(2)
    with torch.inference_mode():
        decode = model.decoding()
        for start in range(0, len(pixels), 1000):
            rows = slice(start, start + 1000)
            parts = model.negative_elbo(pixels[rows].to(device), digits[rows].to(device), generator, decode)
            sums += [float(part.double().sum()) for part in parts]
    reconstruction, kl = (float(part) for part in sums / len(pixels))
    return reconstruction + kl, reconstruction, kl


def frechet_distance(features_a: Any, features_b: Any) -> float:
    r"""Return the Frechet distance between two samples of features, shape (n, d) each, taken as Gaussian.

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    Biased upward for few rows: compare only distances taken with the same numbers of rows.

    >>> round(frechet_distance([[0.0], [2.0]], [[1.0], [5.0]]), 9)  # means 1 and 3, variances 2 and 8
    6.0

    Raises:
        ValueError: if a sample has fewer than two rows or the features differ in number.
    """
    return Gaussian.of(features_a).distance(Gaussian.of(features_b))


@dataclass(frozen=True)
class Gaussian:
    """The mean, shape (d,), and covariance, shape (d, d), of a sample of features."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: Any) -> Gaussian:
        """Return the moments of features, shape (n, d)."""
        features = np.asarray(features, dtype=float)
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features must be of shape (n, d) with n of at least 2, got {features.shape}")
        return cls(features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False)))

    def distance(self, other: Gaussian) -> float:
        """Return the Frechet distance; see `frechet_distance`."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features differ in number: {len(self.mean)} and {len(other.mean)}")
        # tr (A B)^(1/2) = the sum of the singular values of A^(1/2) B^(1/2), which are never complex or negative.
        roots = _root(self.covariance) @ _root(other.covariance)
        shared = np.linalg.svd(roots, compute_uv=False).sum()
        apart = ((self.mean - other.mean) ** 2).sum()
        return float(apart + np.trace(self.covariance) + np.trace(other.covariance) - 2 * shared)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def precision_recall(real: np.ndarray, generated: np.ndarray, k: int = 5) -> tuple[float, float, float]:
    """Return precision, recall and coverage of generated rows, shape (m, d), against real ones, shape (n, d).

    Every row has a ball that reaches to its k-th neighbour in its own set. Precision is the share of generated rows
    in the ball of a real one, recall the share of real rows in the ball of a generated one (Kynkaanniemi et al.,
    2019), coverage the share of real rows whose ball holds a generated one (Naeem et al., 2020).

    Raises:
        ValueError: if a set has no more than `k` rows.
    """
    check_count("precision_recall: k", k)
    if min(len(real), len(generated)) <= k:
        raise ValueError(f"balls that reach to neighbour {k} need more rows, got {len(real)} and {len(generated)}")
    apart = _squared_distances(real, generated)
    in_real = apart <= _reach(real, k)[:, None]
    recalled = (apart <= _reach(generated, k)).any(axis=1)
    return float(in_real.any(axis=0).mean()), float(recalled.mean()), float(in_real.any(axis=1).mean())


def _reach(rows: np.ndarray, k: int) -> np.ndarray:
    """Squared distance to the k-th nearest other row."""
    apart = _squared_distances(rows, rows)
    np.fill_diagonal(apart, -1)  # a row is its own nearest, whatever the rounding
    return np.partition(apart, k, axis=1)[:, k]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a.astype(float), b.astype(float)
    return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T


@dataclass(frozen=True)
class Measure:
    """Measure a model: `(key, model) -> named numbers`.

    `nelbo`, `reconstruction`, `kl` on all real images. Then on `images` generated ones: `nelbo_own`, how likely the
    model finds its own output; `mnist_fid`, the Frechet distance of the feature network's features to those of the
    real images; `agreement`, the share it reads as the digit asked for; `diversity`, the variance of features
    within digits over that of real images; `entropy` of the digits it reads, in nats (ten equal shares: 2.303);
    `precision`, `recall`, `coverage` within digits, averaged, and `coverage_0` ... `coverage_9`. `fid`, of
    Inception's features, is there only where `inception` is given.

    view: measure the decoder's probabilities, as the published code does, or binary samples.
    """

    real: Images
    features: FeatureNet
    images: int = 5000
    view: Literal["probabilities", "samples"] = "probabilities"
    inception: Inception | None = None

    def __post_init__(self) -> None:
        if self.view not in ("probabilities", "samples"):
            raise ValueError(f"Measure.view must be probabilities or samples, got {self.view!r}")
        if self.images < 10 * DIGITS or self.images % DIGITS:
            raise ValueError(f"Measure.images must be a multiple of {DIGITS}, at least 100, got {self.images}")

    @cached_property
    def _reference(self) -> tuple[np.ndarray, Gaussian]:
        values, _ = self.features.read(self.real)
        return values, Gaussian.of(values)

    def __call__(self, key: Key, model: CVAE) -> Mapping[str, float]:
        total, reconstruction, kl = nelbo(model, *self.real.tensors(), key.fold("nelbo"))
        draw = probabilities if self.view == "probabilities" else Generate()
        made = draw(key.fold("images"), model, self.images)
        values, read = self.features.read(made)
        real, moments = self._reference
        shares = np.bincount(read, minlength=DIGITS) / len(read)
        digits = np.array(
            [precision_recall(real[self.real.labels == d], values[made.labels == d]) for d in range(DIGITS)]
        )
        precision, recall, coverage = digits.mean(axis=0)
        named = {
            "nelbo": total,
            "reconstruction": reconstruction,
            "kl": kl,
            "nelbo_own": nelbo(model, *made.tensors(), key.fold("nelbo_own"))[0],
            "mnist_fid": Gaussian.of(values).distance(moments),
            "agreement": float((read == made.labels).mean()),
            "diversity": _spread(values, made.labels) / _spread(real, self.real.labels),
            "entropy": float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()),
            "precision": float(precision),
            "recall": float(recall),
            "coverage": float(coverage),
            **{f"coverage_{digit}": float(share) for digit, share in enumerate(digits[:, 2])},
        }
        return named if self.inception is None else {**named, "fid": self.inception(made)}


def _spread(values: np.ndarray, labels: np.ndarray) -> float:
    """Variance of the features within digits, summed over features, averaged over digits."""
    return float(np.mean([values[labels == digit].var(axis=0).sum() for digit in range(DIGITS)]))
