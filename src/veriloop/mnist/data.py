"""Real digits: read from MNIST's files or taken from scikit-learn, and balanced sets of them."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from veriloop.core import Key
from veriloop.core.checks import check_path, is_integer
from veriloop.mnist.images import DIGITS, PIXELS, Images, check_images
from veriloop.store.files import cache_folder

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
AGAIN = "download the original file again"


@dataclass(frozen=True)
class Data:
    """Real images to learn from and real images to judge by; `load` returns them.

    name: what the images are called in a report.
    train: the images to learn from.
    test: the images to judge by.

    Raises:
        TypeError: if a part is no batch of images.

    >>> images = Images(np.eye(3, 784) > 0, labels=np.arange(3))
    >>> len(Data("mine", train=images, test=images[:1]).train)
    3
    """

    name: str
    train: Images
    test: Images

    def __post_init__(self) -> None:
        check_images("Data.train", self.train)
        check_images("Data.test", self.test)


def load(source: str = "digits") -> Data:
    """Return real digits by name or folder.

    source: "digits", the 1,797 digits inside scikit-learn, enlarged to 28 x 28 and made binary
        (1,297 to train, 500 to test); "mnist", the original files in $VERILOOP_DATA/mnist where
        that is set, else torchvision's copy, which is downloaded when it is missing; or a folder
        that holds the four original .gz files, read in place.

    Raises:
        ValueError: with the name of the file, if one is missing, cut short, or does not match the
            others.

    >>> digits = load("digits")
    >>> len(digits.train), len(digits.test), digits.train.binary
    (1297, 500, True)
    """
    if source == "digits":
        return _scikit_digits()
    folder = check_path("load", source)
    if source == "mnist":
        folder = _mnist_folder(download=True)
    return read_folder(str(folder), source)


def have_mnist() -> bool:
    """Whether the original files are on this machine, so that `load("mnist")` need not download.

    >>> isinstance(have_mnist(), bool)
    True
    """
    folder = _mnist_folder(download=False)
    names = [*FILES["train"], *FILES["test"]]
    return all((folder / name).exists() for name in names)


@cache
def read_folder(folder: str, name: str) -> Data:
    """Read the four original .gz files in place; see `load`."""
    first = FILES["train"][0]
    places = (Path(folder), Path(folder, "MNIST", "raw"))
    found = [place for place in places if (place / first).exists()]
    if not found:
        raise ValueError(f"no {first} in {folder}; name the folder of the four original .gz files")
    train = _read_part(found[0], *FILES["train"])
    test = _read_part(found[0], *FILES["test"])
    return Data(name, train, test)


def _read_part(folder: Path, images: str, labels: str) -> Images:
    """Read a file of images and the file of their labels."""
    pixels = read_idx(folder / images)
    digits = read_idx(folder / labels)
    if pixels.ndim != 3 or pixels.shape[1:] != (28, 28):
        raise ValueError(
            f"{folder / images} must hold 28 x 28 images, got shape {pixels.shape}; {AGAIN}"
        )
    highest = digits.max(initial=0)
    if digits.shape != pixels.shape[:1] or highest >= DIGITS:
        raise ValueError(
            f"{folder / labels} must hold {len(pixels)} labels from 0 to 9, as many as {images} "
            f"has images, got {digits.size} up to {highest}; download both original files again"
        )
    try:
        return Images(pixels.reshape(-1, PIXELS), digits)
    except ValueError as error:
        raise ValueError(f"{folder / images}: {error}") from None


def read_idx(path: Path) -> np.ndarray:
    """Return the bytes of an idx file compressed by gzip, in the shape that its header states.

    Raises:
        ValueError: if it is missing, is no such file, or is cut short.
    """
    try:
        with gzip.open(path) as stream:
            content = bytearray(stream.read())  # writable, as torch wants arrays to be
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read {path} ({reason}); {AGAIN}") from None
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is no idx file of unsigned bytes; {AGAIN}")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[at : at + 4]) for at in range(4, start, 4))
    held = len(content) - start
    if held != np.prod(shape):
        raise ValueError(f"{path} states shape {shape} and holds {held} bytes; {AGAIN}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def balanced(key: Key, images: Images, n: int) -> Images:
    """Return `n` images, equally many of each digit, at random; all images if `n` is their number.

    key: for one key the sets are nested: a smaller set is part of a larger one.
    images: what the set is taken from; their order is kept.
    n: how many images, a multiple of 10.

    Raises:
        ValueError: if `n` is not a multiple of 10, or a digit has too few images.
        TypeError: if `images` is no batch of images.

    >>> some = balanced(Key(0), load("digits").train, 50)
    >>> np.bincount(some.labels)
    array([5, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    """
    check_images("balanced: images", images)
    if n == len(images):
        return images
    if not is_integer(n) or n < DIGITS or n % DIGITS:
        raise ValueError(
            f"a balanced set has equally many of each digit, so {n} images are not possible; "
            f"ask for a multiple of {DIGITS}"
        )
    each = n // DIGITS
    counts = np.bincount(images.labels, minlength=DIGITS)
    if each > counts.min():
        raise ValueError(
            f"a balanced set of {n} images needs {each} of each digit, digit {counts.argmin()} has "
            f"{counts.min()}; ask for at most {DIGITS * counts.min()}, or for all {len(images)}"
        )
    picked: list[np.ndarray] = []
    for digit in range(DIGITS):
        rows = np.flatnonzero(images.labels == digit)
        picked.append(key.fold(digit).numpy().permutation(rows)[:each])
    return images[np.sort(np.concatenate(picked))]


@cache
def _scikit_digits() -> Data:
    from sklearn.datasets import load_digits

    values, digits = load_digits(return_X_y=True)
    small = torch.from_numpy(values).float().view(-1, 1, 8, 8) / 16
    large = torch.nn.functional.interpolate(small, size=(28, 28), mode="bilinear")
    # Binary, because the grey seams of enlarged pixels carry no information about digits.
    images = Images.pack(large.flatten(1).numpy() >= 0.5, np.asarray(digits))
    rows = Key(0).fold("split").numpy().permutation(len(images))
    return Data("digits", train=images[np.sort(rows[500:])], test=images[np.sort(rows[:500])])


def _mnist_folder(*, download: bool) -> Path:
    given = os.environ.get("VERILOOP_DATA")
    if given:
        return Path(given, "mnist", "MNIST", "raw")
    folder = cache_folder() / "MNIST" / "raw"
    if download and not (folder / FILES["train"][0]).exists():
        from torchvision.datasets import MNIST

        try:
            MNIST(str(cache_folder()), download=True)
        except (OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"MNIST cannot be downloaded ({reason}); name its folder, set VERILOOP_DATA, "
                "or take 'digits'"
            ) from None
    return folder
