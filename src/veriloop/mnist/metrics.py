"""How good a model of digits is: its ELBO, and how its images compare with real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from veriloop.core import Key
from veriloop.core.checks import is_count
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.distances import Gaussian, precision_recall
from veriloop.mnist.features import FeatureNet
from veriloop.mnist.generate import probabilities
from veriloop.mnist.images import DIGITS, Images, as_brightness, as_digits, check_images
from veriloop.mnist.inception import Inception
from veriloop.mnist.training import ROWS

NEIGHBOUR = 5  # of precision and recall


def nelbo(
    model: CVAE, images: npt.ArrayLike | Tensor, labels: npt.ArrayLike | Tensor, key: Key
) -> tuple[float, float, float]:
    """Return the negative ELBO of images, its reconstruction and KL parts, in nats an image.

    model: is left as it is.
    images: n images in any form that `Images` takes; floats, in [0, 1], are not rounded.
    labels: the digits, whole numbers from 0 to 9, shape (n,).
    key: draws one latent value for each image.

    Raises:
        TypeError: if `images` is a batch of images.
        ValueError: if images or labels are in no such form, with the first row that is wrong.
        FloatingPointError: if the ELBO is NaN.

    >>> from veriloop.mnist import MLPCVAE, load
    >>> test = load("digits").test
    >>> pixels, labels = test.tensors()
    >>> total, reconstruction, kl = nelbo(MLPCVAE(latent=2, hidden=(8,)), pixels, labels, Key(0))
    >>> total == reconstruction + kl, 500 < total < 600  # an untrained model: about 784 ln 2
    (True, True)
    """
    pixels = as_brightness("nelbo: images", images)
    digits = torch.from_numpy(as_digits("nelbo: labels", labels)).long()
    if not len(pixels) or len(digits) != len(pixels):
        raise ValueError(
            f"nelbo needs images and one label for each, got {len(pixels)} images and "
            f"{len(digits)} labels"
        )
    device = next(model.parameters()).device
    generator = key.torch(str(device))
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    with torch.inference_mode():
        decode = model.decoding()
        for start in range(0, len(pixels), ROWS):
            some = pixels[start : start + ROWS].to(device)
            theirs = digits[start : start + ROWS].to(device)
            parts = model.negative_elbo(some, theirs, generator, decode)
            sums += torch.stack([part.double().sum() for part in parts])
    means = sums.cpu().numpy() / len(pixels)  # a GPU is waited for once, here
    if np.isnan(means).any():
        raise FloatingPointError(
            "nelbo: the ELBO is NaN, so the model has diverged; lower the rate of its training"
        )
    reconstruction = float(means[0])
    kl = float(means[1])
    return reconstruction + kl, reconstruction, kl


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
    - `mnist_fid_v2`: the Frechet distance of the published network's features, only where
      `published` is given. The published values are of 6,000 images.
    - `fid`: the Frechet distance of Inception's features, only where `inception` is given.

    real: the real images.
    features: the network that reads images, or any object with its `read`.
    images: how many are generated, a multiple of 10, at least 100.
    inception: measures `fid`.
    published: the published network, `feature_net(data, network="published")`; it measures
        `mnist_fid_v2`.

    Raises:
        TypeError: if `real` is no batch of images.
        ValueError: if `images` is out of its range, or `real` has too few images of a digit.

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
    published: FeatureNet | None = None

    def __post_init__(self) -> None:
        check_images("Measure.real", self.real)
        counts = np.bincount(self.real.labels, minlength=DIGITS)
        if counts.min() <= NEIGHBOUR:
            raise ValueError(
                f"Measure.real must hold at least {NEIGHBOUR + 1} images of each digit, got "
                f"{counts.min()} of digit {counts.argmin()}; give more real images"
            )
        if not is_count(self.images, 10 * DIGITS) or self.images % DIGITS:
            raise ValueError(
                f"Measure.images must be a multiple of {DIGITS}, at least 100, got {self.images}"
            )

    @cached_property
    def _reference(self) -> tuple[np.ndarray, Gaussian]:
        """The features of the real images, and their moments."""
        values, _ = self.features.read(self.real)
        return values, Gaussian.of(values, "Measure: features of the real images")

    @cached_property
    def _published_moments(self) -> Gaussian:
        """The moments of the published network's features of the real images."""
        return _moments(cast(FeatureNet, self.published), self.real)

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
        if self.published is not None:
            moments = _moments(self.published, generated)
            named["mnist_fid_v2"] = moments.distance(self._published_moments)
        if self.inception is not None:
            named["fid"] = self.inception(generated)
        return named

    def _compare(self, generated: Images) -> dict[str, float]:
        """Compare generated images with the real ones, by their features."""
        real, moments = self._reference
        values, read = self.features.read(generated)
        generated_moments = Gaussian.of(values, "Measure: features of the generated images")
        shares = np.bincount(read, minlength=DIGITS) / len(read)
        shares = shares[shares > 0]
        rows: list[tuple[float, float, float]] = []
        for digit in range(DIGITS):
            of_digit = values[generated.labels == digit]
            rows.append(precision_recall(real[self.real.labels == digit], of_digit, NEIGHBOUR))
        by_digit = np.array(rows)
        precision, recall, coverage = by_digit.mean(axis=0)
        own = _variance_within(values, generated.labels)
        theirs = _variance_within(real, self.real.labels)
        if theirs == 0:
            raise ValueError(
                "Measure: the features of real images do not vary within digits, so there is no "
                "diversity; train the feature network longer"
            )
        named = {
            "mnist_fid": generated_moments.distance(moments),
            "agreement": float((read == generated.labels).mean()),
            "diversity": own / theirs,
            "entropy": float(-(shares * np.log(shares)).sum()),
            "precision": float(precision),
            "recall": float(recall),
            "coverage": float(coverage),
        }
        for digit in range(DIGITS):
            named[f"coverage_{digit}"] = float(by_digit[digit, 2])
        return named


def _moments(network: FeatureNet, images: Images) -> Gaussian:
    """Return the moments of the features that a network has of images."""
    values, _ = network.read(images)
    return Gaussian.of(values, "Measure: features of the published network")


def _variance_within(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the variance of features within digits, summed over features, averaged over digits."""
    variances = [values[labels == digit].var(axis=0).sum() for digit in range(DIGITS)]
    return float(np.mean(variances))
