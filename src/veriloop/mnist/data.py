"""Digits: grey or bit-packed batches of 28 x 28 images, read from the original files or from scikit-learn's own."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
import torch

from veriloop.core import Columns, Key
from veriloop.store.folder import cache_folder

PIXELS, DIGITS = 784, 10
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


@dataclass(frozen=True)
class Images(Columns):
    """Labelled images, grey at one byte a pixel or binary at one bit a pixel: 98 bytes an image.

    pixels: uint8, shape (n, 784) with values 0 ... 255, or (n, 98), eight pixels a byte, the first highest.
    labels: uint8, shape (n,).

    >>> images = Images.pack(np.eye(3, 784) > 0, labels=np.arange(3))
    >>> images.pixels.shape, images[[2]].grey().pixels[0, :4], len(Images.concatenate([images, images.grey()]))
    ((3, 98), array([  0,   0, 255,   0], dtype=uint8), 6)
    """

    pixels: np.ndarray
    labels: np.ndarray

    @classmethod
    def pack(cls, bits: np.ndarray, labels: np.ndarray) -> Self:
        """Return the binary images of boolean pixels, shape (n, 784)."""
        return cls(np.packbits(bits, axis=1), labels.astype(np.uint8))

    @property
    def binary(self) -> bool:
        """Whether a pixel is one bit."""
        return self.pixels.shape[1] != PIXELS

    def grey(self) -> Self:
        """Return the same images at one byte a pixel, 0 or 255 where they were binary."""
        return type(self)(np.unpackbits(self.pixels, axis=1) * np.uint8(255), self.labels) if self.binary else self

    def threshold(self) -> Self:
        """Return binary images: the pixels of at least half brightness."""
        return self if self.binary else self.pack(self.pixels >= 128, self.labels)

    def bernoulli(self, key: Key) -> Self:
        """Return binary images drawn pixel by pixel: brightness is the probability of a one."""
        if self.binary:
            return self
        lots = key.numpy().integers(0, 255, self.pixels.shape, dtype=np.uint8)
        return self.pack(lots < self.pixels, self.labels)

    def tensors(self, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels as float32 in [0, 1], shape (n, 784), and labels as int64, shape (n,)."""
        pixels = np.unpackbits(self.pixels, axis=1) if self.binary else np.ascontiguousarray(self.pixels)
        values = torch.from_numpy(pixels).to(device).float()
        labels = torch.from_numpy(np.ascontiguousarray(self.labels)).to(device).long()
        return values if self.binary else values.div_(255), labels

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Stack in order; binary and grey together become grey."""
        if len({batch.binary for batch in batches}) > 1:
            batches = [batch.grey() for batch in batches]
        return super().concatenate(batches)


@dataclass(frozen=True)
class Data:
    """Real images to learn from and real images to judge by."""

    name: str
    train: Images
    test: Images


def load(source: str = "digits") -> Data:
    """Return real digits by name or folder.

    source: "digits", the 1,797 digits inside scikit-learn, brought to 28 x 28 and made binary (1,297 train, 500
        test); "mnist", the original files in $VERILOOP_DATA/mnist where that is set, else torchvision's copy, which
        is downloaded when there is none; or a folder that holds the four original .gz files, read in place.

    Raises:
        ValueError: naming the file, if one is missing, truncated, or does not match the others.
    """
    if source == "digits":
        return _scikit_digits()
    folder = _mnist_folder(download=True) if source == "mnist" else Path(source)
    return read_folder(str(folder), source)


def have_mnist() -> bool:
    """Whether the original files are on this machine, so that `load("mnist")` need not download."""
    return all((_mnist_folder(download=False) / file).exists() for pair in FILES.values() for file in pair)


@cache
def read_folder(folder: str, name: str) -> Data:
    """Read the four original files straight from their .gz form; see `load`."""
    found = [at for at in (Path(folder), Path(folder, "MNIST", "raw")) if (at / FILES["train"][0]).exists()]
    if not found:
        raise ValueError(f"no {FILES['train'][0]} in {folder}; name the folder of the four original .gz files")
    parts = {}
    for part, (images, labels) in FILES.items():
        pixels, digits = read_idx(found[0] / images), read_idx(found[0] / labels)
        if pixels.ndim != 3 or pixels.shape[1:] != (28, 28):
            raise ValueError(
                f"{found[0] / images} must hold 28 x 28 images, got shape {pixels.shape}; fetch it anew"
            )
        if digits.shape != pixels.shape[:1] or digits.max(initial=0) >= DIGITS:
            raise ValueError(
                f"{found[0] / labels} must hold {len(pixels)} labels from 0 to 9, as many as {images} has images, "
                f"got {digits.size} up to {digits.max(initial=0)}; fetch both anew"
            )
        parts[part] = Images(pixels.reshape(-1, PIXELS), digits)
    return Data(name, **parts)


def read_idx(path: Path) -> np.ndarray:
    """Return the bytes of an idx file compressed by gzip as an array of the shape its header states.

    Raises:
        ValueError: if it is missing, no such file, or cut short.
    """
    try:
        with gzip.open(path) as stream:
            content = bytearray(stream.read())  # writable, as torch wants arrays to be
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read {path} ({reason}); fetch the original file anew") from None
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is no idx file of unsigned bytes; fetch the original file anew")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4]) for at in range(4, start, 4))
    if len(content) - start != np.prod(shape):
        raise ValueError(
            f"{path} states shape {shape} and holds {len(content) - start} bytes; fetch the original file anew"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def balanced(key: Key, images: Images, n: int) -> Images:
    """Return `n` images, equally many of each digit, at random; all images where `n` is their number.

    For one key the sets are nested: the images of a smaller `n` are among those of a larger.

    Raises:
        ValueError: if `n` is not a multiple of 10 or a digit has too few images.
    """
    if n == len(images):
        return images
    if n < DIGITS or n % DIGITS:
        raise ValueError(f"a balanced set of {n} images cannot be had; ask for a multiple of {DIGITS}")
    each, counts = n // DIGITS, np.bincount(images.labels, minlength=DIGITS)
    if each > counts.min():
        raise ValueError(
            f"a balanced set of {n} images needs {each} of each digit, digit {counts.argmin()} has {counts.min()}; "
            f"ask for at most {DIGITS * counts.min()}, or for all {len(images)}"
        )
    rows = [
        key.fold(digit).numpy().permutation(np.flatnonzero(images.labels == digit))[:each]
        for digit in range(DIGITS)
    ]
    return images[np.sort(np.concatenate(rows))]


@cache
def _scikit_digits() -> Data:
    from sklearn.datasets import load_digits

    values, digits = load_digits(return_X_y=True)
    small = torch.from_numpy(values).float().view(-1, 1, 8, 8) / 16
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bilinear")
    # Binary, because the grey seams of enlarged pixels say nothing of digits.
    images = Images.pack(large.flatten(1).numpy() >= 0.5, np.asarray(digits))
    rows = Key(0).fold("split").numpy().permutation(len(images))
    return Data("digits", train=images[np.sort(rows[500:])], test=images[np.sort(rows[:500])])


def _mnist_folder(*, download: bool) -> Path:
    if given := os.environ.get("VERILOOP_DATA"):
        return Path(given, "mnist", "MNIST", "raw")
    folder = cache_folder() / "MNIST" / "raw"
    if download and not (folder / FILES["train"][0]).exists():
        from torchvision.datasets import MNIST

        try:
            MNIST(str(cache_folder()), download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"MNIST cannot be downloaded ({reason}); name its folder, set VERILOOP_DATA, or take 'digits'"
            ) from None
    return folder
