"""How good a model of digits is: its ELBO, and how its images compare with real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from veriloop.core import Key
from veriloop.core.batch import check_count
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, PIXELS, Images
from veriloop.mnist.features import FeatureNet
from veriloop.mnist.generate import probabilities
from veriloop.mnist.inception import Inception
from veriloop.mnist.training import ROWS


def nelbo(
    model: CVAE, images: npt.ArrayLike | Tensor, labels: npt.ArrayLike | Tensor, key: Key
) -> tuple[float, float, float]:
    """Return the negative ELBO of images, its reconstruction and KL parts, in nats an image.

    model: is left as it is.
    images: n images in any shape, uint8 from 0 to 255 or floats in [0, 1].
    labels: n digits.
    key: draws one latent value for each image.

    >>> from veriloop.mnist import MLPCVAE, load
    >>> test = load("digits").test
    >>> pixels, labels = test.tensors()
    >>> total, reconstruction, kl = nelbo(MLPCVAE(latent=2, hidden=(8,)), pixels, labels, Key(0))
    >>> total == reconstruction + kl, 500 < total < 600  # an untrained model: about 784 ln 2
    (True, True)
    """
    pixels = torch.as_tensor(images)
    pixels = pixels.reshape(len(pixels), PIXELS)
    if pixels.dtype == torch.uint8:
        pixels = pixels.float().div(255)
    pixels = pixels.float()
    digits = torch.as_tensor(labels).long()
    device = next(model.parameters()).device
    generator = key.torch(str(device))
    sums = np.zeros(2)
    with torch.inference_mode():
        decode = model.decoding()
        for start in range(0, len(pixels), ROWS):
            some = pixels[start : start + ROWS].to(device)
            theirs = digits[start : start + ROWS].to(device)
            parts = model.negative_elbo(some, theirs, generator, decode)
            sums += [float(part.double().sum()) for part in parts]
    means = sums / len(pixels)
    reconstruction = float(means[0])
    kl = float(means[1])
    return reconstruction + kl, reconstruction, kl


def frechet_distance(features_a: npt.ArrayLike, features_b: npt.ArrayLike) -> float:
    r"""Return the Frechet distance between two samples of features, taken as Gaussian.

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    It is biased upward for few rows: compare only distances taken with the same numbers of rows.

    features_a, features_b: shape (n, d) and (m, d), with n and m of at least 2.

    Raises:
        ValueError: if a sample has fewer than two rows, or the features differ in number.

    >>> round(frechet_distance([[0.0], [2.0]], [[1.0], [5.0]]), 9)  # means 1, 3; variances 2, 8
    6.0
    """
    return Gaussian.of(features_a).distance(Gaussian.of(features_b))


@dataclass(frozen=True)
class Gaussian:
    """The mean, shape (d,), and covariance, shape (d, d), of a sample of features."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, features: npt.ArrayLike) -> Gaussian:
        """Return the moments of features, shape (n, d)."""
        rows = np.asarray(features, dtype=float)
        if rows.ndim != 2 or len(rows) < 2:
            raise ValueError(
                f"features must be of shape (n, d) with n of at least 2, got {rows.shape}"
            )
        return cls(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False)))

    def distance(self, other: Gaussian) -> float:
        """Return the Frechet distance; see `frechet_distance`."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features differ in number: {len(self.mean)} and {len(other.mean)}")
        # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2), which are never
        # complex or negative.
        roots = _root(self.covariance) @ _root(other.covariance)
        shared = np.linalg.svd(roots, compute_uv=False).sum()
        apart = ((self.mean - other.mean) ** 2).sum()
        traces = apart + np.trace(self.covariance) + np.trace(other.covariance)
        return float(traces - 2 * shared)


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def precision_recall(
    real: np.ndarray, generated: np.ndarray, k: int = 5
) -> tuple[float, float, float]:
    """Return precision, recall and coverage of generated rows against real ones, each in [0, 1].

    Every row has a ball that reaches to its k-th neighbour in its own set. Precision is the share
    of generated rows in the ball of a real row. Recall is the share of real rows in the ball of a
    generated row (Kynkaanniemi et al., 2019). Coverage is the share of real rows whose ball holds a
    generated row (Naeem et al., 2020).

    real: shape (n, d). generated: shape (m, d).
    k: the neighbour that a ball reaches to; both sets need more than k rows.

    Raises:
        ValueError: if a set has no more than `k` rows.

    >>> real = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> precision_recall(real, real[:3], k=1)  # one of two clusters
    (1.0, 0.5, 0.5)
    """
    check_count("precision_recall: k", k)
    if min(len(real), len(generated)) <= k:
        raise ValueError(
            f"balls that reach to neighbour {k} need more rows, got {len(real)} and "
            f"{len(generated)}; give at least {k + 1} of both"
        )
    apart = _squared_distances(real, generated)
    in_real = apart <= _reach(real, k)[:, None]
    in_generated = apart <= _reach(generated, k)
    precision = in_real.any(axis=0).mean()
    recall = in_generated.any(axis=1).mean()
    coverage = in_real.any(axis=1).mean()
    return float(precision), float(recall), float(coverage)


def _reach(rows: np.ndarray, k: int) -> np.ndarray:
    """Return the squared distance of each row to its k-th nearest other row."""
    apart = _squared_distances(rows, rows)
    np.fill_diagonal(apart, -1)  # a row is its own nearest, whatever the rounding
    return np.partition(apart, k, axis=1)[:, k]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a = a.astype(float)
    b = b.astype(float)
    return (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T


@dataclass(frozen=True)
class Measure:
    """Measure a model: `(key, model) -> numbers by name`.

    On all real images: `nelbo`, `reconstruction` and `kl`, in nats an image. The other numbers are
    about generated images, the decoder's probabilities, as in the published code.

    - `nelbo_own`: the negative ELBO of the model's own images, in nats an image.
    - `mnist_fid`: the Frechet distance of the network's features to those of the real images.
    - `agreement`: the share that the network reads as the digit asked for.
    - `diversity`: the variance of features within digits, over that of real images.
    - `entropy`: that of the digits it reads, in nats; ten equal shares have 2.303.
    - `precision`, `recall`, `coverage`: taken within digits and averaged; see `precision_recall`.
    - `coverage_0` to `coverage_9`: the coverage of each digit.
    - `fid`: the Frechet distance of Inception's features, only where `inception` is given.

    real: the real images.
    features: the network that reads images, or any object with its `read`.
    images: how many are generated, a multiple of 10, at least 100.
    inception: measures `fid`.

    Raises:
        ValueError: if `images` is out of its range.

    >>> from veriloop.mnist import MLPCVAE, feature_net, load, new_network
    >>> from veriloop.mnist.features import Classifier
    >>> untrained = FeatureNet(new_network(Key(0), Classifier), accuracy=0.1, digest="untrained")
    >>> measure = Measure(load("digits").test, untrained, images=100)
    >>> named = measure(Key(0), MLPCVAE(latent=2, hidden=(8,)))
    >>> list(named)[:5]
    ['nelbo', 'reconstruction', 'kl', 'nelbo_own', 'mnist_fid']
    """

    real: Images
    features: FeatureNet
    images: int = 5000
    inception: Inception | None = None

    def __post_init__(self) -> None:
        if self.images < 10 * DIGITS or self.images % DIGITS:
            raise ValueError(
                f"Measure.images must be a multiple of {DIGITS}, at least 100, got {self.images}"
            )

    @cached_property
    def _reference(self) -> tuple[np.ndarray, Gaussian]:
        """The features of the real images, and their moments."""
        values, _ = self.features.read(self.real)
        return values, Gaussian.of(values)

    def __call__(self, key: Key, model: CVAE) -> Mapping[str, float]:
        total, reconstruction, kl = nelbo(model, *self.real.tensors(), key.fold("nelbo"))
        generated = probabilities(key.fold("images"), model, self.images)
        own, _, _ = nelbo(model, *generated.tensors(), key.fold("nelbo_own"))
        named = {
            "nelbo": total,
            "reconstruction": reconstruction,
            "kl": kl,
            "nelbo_own": own,
            **self._compare(generated),
        }
        if self.inception is not None:
            named["fid"] = self.inception(generated)
        return named

    def _compare(self, generated: Images) -> dict[str, float]:
        """Compare generated images with the real ones, by their features."""
        real, moments = self._reference
        values, read = self.features.read(generated)
        shares = np.bincount(read, minlength=DIGITS) / len(read)
        shares = shares[shares > 0]
        rows: list[tuple[float, float, float]] = []
        for digit in range(DIGITS):
            of_digit = values[generated.labels == digit]
            rows.append(precision_recall(real[self.real.labels == digit], of_digit))
        by_digit = np.array(rows)
        precision, recall, coverage = by_digit.mean(axis=0)
        own = _variance_within(values, generated.labels)
        named = {
            "mnist_fid": Gaussian.of(values).distance(moments),
            "agreement": float((read == generated.labels).mean()),
            "diversity": own / _variance_within(real, self.real.labels),
            "entropy": float(-(shares * np.log(shares)).sum()),
            "precision": float(precision),
            "recall": float(recall),
            "coverage": float(coverage),
        }
        for digit in range(DIGITS):
            named[f"coverage_{digit}"] = float(by_digit[digit, 2])
        return named


def _variance_within(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the variance of features within digits, summed over features, averaged over digits."""
    variances = [values[labels == digit].var(axis=0).sum() for digit in range(DIGITS)]
    return float(np.mean(variances))
