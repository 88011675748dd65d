"""Labelled images of digits, and the doors at which pixels and labels are converted or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from veriloop.core import Columns, Key
from veriloop.core.arrays import Array
from veriloop.core.batch import concatenate
from veriloop.mnist.resident import ResidentImages

PIXELS = 784
DIGITS = 10
PACKED = PIXELS // 8  # bytes of a binary image
FAINT = 1.5 / 255  # floats below it are 0 or 1 of the 255 levels
SHAPES = ((PIXELS,), (28, 28), (1, 28, 28), (28, 28, 1))  # of one image


@dataclass(frozen=True)
class Images(Columns):
    """Labelled images: grey at one byte a pixel, or binary at one bit a pixel, 98 bytes an image.

    pixels: grey images of shape (n, 784) or (n, 28, 28): integers from 0 to 255, or floats in
        [0, 1], which are rounded to the nearest of the 256 levels. Binary images: booleans of such
        a shape, or packed bytes of shape (n, 98) with the first pixel in the highest bit. They are
        kept as uint8, shape (n, 784) or (n, 98).
    labels: the digits, whole numbers from 0 to 9, shape (n,); kept as uint8.

    Raises:
        TypeError: if a column is no array or tensor.
        ValueError: if pixels or labels are none of these, with the first row that is wrong. Bytes
            that are all 0 or 1 are refused: they can be bits or brightness. So are floats that were
            divided by 255 twice.

    >>> images = Images(np.eye(3, 784) > 0, labels=np.arange(3))
    >>> images.pixels.shape, images[[2]].grey().pixels[0, :4]
    ((3, 98), array([  0,   0, 255,   0], dtype=uint8))
    >>> len(Images.concatenate([images, images.grey()]))
    6
    """

    pixels: np.ndarray
    labels: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        pixels = _stored(as_array("Images.pixels", self.pixels))
        labels = as_digits("Images.labels", self.labels)
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "labels", labels)

    @classmethod
    def pack(cls, bits: npt.ArrayLike, labels: npt.ArrayLike) -> Self:
        """Return binary images.

        bits: booleans, or numbers that are all 0 or 1, shape (n, 784) or (n, 28, 28).
        labels: the digits, shape (n,).

        Raises:
            ValueError: if a bit is neither 0 nor 1, with its row.
        """
        rows = _flat("Images.pack: bits", as_array("Images.pack: bits", bits))
        if rows.dtype != bool:
            ones = rows == 1
            _refuse_rows(
                "Images.pack: bits",
                rows,
                ones | (rows == 0),
                "bits must be 0 or 1; write pixels >= 128, or Images(pixels, labels).threshold()",
            )
            rows = ones
        return cls(rows, as_array("Images.labels", labels))

    def __repr__(self) -> str:
        kind = "binary" if self.binary else "grey"
        return f"Images({len(self)} {kind})"

    @property
    def binary(self) -> bool:
        """Whether a pixel is one bit."""
        return self.pixels.shape[1] != PIXELS

    def grey(self) -> Self:
        """Return the same images at one byte a pixel, 0 or 255 where they were binary."""
        if not self.binary:
            return self
        bits = np.unpackbits(self.pixels, axis=1)
        return self._with(bits * np.uint8(255))

    def threshold(self) -> Self:
        """Return binary images: the pixels of at least half brightness."""
        if self.binary:
            return self
        return self._with(np.packbits(self.pixels >= 128, axis=1))

    def bernoulli(self, key: Key) -> Self:
        """Return binary images drawn pixel by pixel: brightness is the probability of a one."""
        if self.binary:
            return self
        lots = key.numpy().integers(0, 255, self.pixels.shape, dtype=np.uint8)
        return self._with(np.packbits(lots < self.pixels, axis=1))

    def tensors(self, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels as float32 in [0, 1], shape (n, 784), and labels as int64, shape (n,)."""
        return self.resident(device).tensors()

    def resident(self, device: torch.device | str) -> ResidentImages:
        """Return the same images as bytes on a device, for a fit that picks from them there."""
        return ResidentImages.of(self.pixels, self.labels, device, packed=self.binary)

    def __getitem__(self, rows: npt.ArrayLike | slice) -> Self:
        picked = {each.name: getattr(self, each.name)[rows] for each in fields(self)}
        if np.ndim(picked["labels"]) != 1:
            raise TypeError(
                f"Images are picked by a mask, integers or a slice, got {rows!r:.40}; "
                f"write images[[{rows!r:.40}]] for one"
            )
        return self._checked(picked)

    @classmethod
    def concatenate(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls, batches: Sequence[Self]
    ) -> Self:
        """Stack in order; binary and grey together become grey."""
        if len({batch.binary for batch in batches}) > 1:
            batches = [batch.grey() for batch in batches]
        stacked: dict[str, Array] = {}
        for each in fields(cls):
            columns = [getattr(batch, each.name) for batch in batches]
            stacked[each.name] = concatenate(columns)
        return cls._checked(stacked)

    def _with(self, pixels: Array) -> Self:
        """Return the same images with other pixels, as they are stored."""
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        return self._checked({**columns, "pixels": pixels})

    @classmethod
    def _checked(cls, columns: dict[str, Array]) -> Self:
        """Return images of columns that come from checked ones: a pick is not checked again."""
        images = object.__new__(cls)
        for name, column in columns.items():
            object.__setattr__(images, name, column)
        return images


def check_images(what: str, images: object, least: int = 0) -> None:
    """Refuse what is no batch of images, or one of too few.

    what: the name of the argument, for the error.
    images: the argument.
    least: the smallest number of images allowed.

    Raises:
        TypeError: with the type that was got, and what to write.
        ValueError: with the number of images that were got.
    """
    if not isinstance(images, Images):
        raise TypeError(
            f"{what} must be Images, got {type(images).__name__}; write Images(pixels, labels)"
        )
    if len(images) < least:
        raise ValueError(f"{what} must hold at least {least} images, got {len(images)}; give more")


def as_array(what: str, values: object) -> Array:
    """Return values as a NumPy array: those of a tensor on any device, or of a masked array.

    Raises:
        ValueError: if values of a masked array are masked.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.dtype == torch.bfloat16:  # NumPy has none
            values = values.float()
        return values.numpy()
    if isinstance(values, np.ma.MaskedArray):
        known = ~np.ma.getmaskarray(values)
        _refuse_rows(what, values, known, "no value may be masked; fill or leave out its row")
        return values.data
    return np.asarray(values)


def as_digits(what: str, labels: object) -> Array:
    """Return the digits as uint8, shape (n,).

    Raises:
        ValueError: if they are no whole numbers from 0 to 9, with the first row that is wrong.
    """
    digits = as_array(what, labels)
    if digits.ndim == 2 and digits.shape[1] == DIGITS:
        raise ValueError(
            f"{what} must be one digit an image, got {DIGITS} columns; "
            "write labels.argmax(axis=1) if they are one-hot"
        )
    if digits.ndim != 1:
        raise ValueError(
            f"{what} must be of shape (n,), one digit an image, got shape {digits.shape}; "
            "write labels.reshape(-1) if there is one an image"
        )
    if digits.dtype.kind not in "iuf":
        raise ValueError(
            f"{what} must be whole numbers from 0 to 9, got dtype {digits.dtype}; "
            "write labels.astype(int)"
        )
    fits = (digits >= 0) & (digits < DIGITS) & (digits == np.floor(digits))
    _refuse_rows(what, digits, fits, "a label must be a whole number from 0 to 9; relabel the rows")
    return digits.astype(np.uint8, copy=False)


def as_brightness(what: str, pixels: object) -> torch.Tensor:
    """Return pixels as float32 in [0, 1], shape (n, 784), from any form that `Images` takes.

    Floats are not rounded.

    Raises:
        TypeError: if they are a batch of images.
        ValueError: if they are in none of these forms, with the first row that is wrong.
    """
    if isinstance(pixels, Images):
        raise TypeError(
            f"{what} must be pixels, got Images; write *images.tensors() for pixels and labels"
        )
    given = as_array(what, pixels)
    if _is_packed(given):
        return torch.from_numpy(np.unpackbits(given, axis=1)).float()
    rows = _flat(what, given)
    _check_range(what, rows)
    levels = rows.dtype.kind in "iu"
    if levels:
        rows = rows.astype(np.uint8)
    brightness = torch.from_numpy(np.ascontiguousarray(rows)).float()
    if levels:
        brightness = brightness.div(255)
    return brightness


def _stored(given: Array) -> Array:
    """Return pixels as `Images` keeps them: uint8, shape (n, 784), or packed bits, (n, 98)."""
    if _is_packed(given):
        return given
    rows = _flat("Images.pixels", given)
    _check_range("Images.pixels", rows)
    if rows.dtype == bool:
        return np.packbits(rows, axis=1)
    if rows.dtype.kind == "f":
        rows = np.rint(rows * np.float64(255))
    return rows.astype(np.uint8, copy=False)


def _is_packed(pixels: Array) -> bool:
    return pixels.dtype == np.uint8 and pixels.shape[1:] == (PACKED,)


def _flat(what: str, pixels: Array) -> Array:
    """Return pixels of shape (n, 784)."""
    if pixels.shape[1:] not in SHAPES:
        raise ValueError(
            f"{what} must be of shape (n, 784) or (n, 28, 28), or packed bytes of shape (n, 98), "
            f"got {pixels.dtype} of shape {pixels.shape}; "
            "scale images to 28 x 28, and write image[None] for one"
        )
    return pixels.reshape(len(pixels), PIXELS)


def _check_range(what: str, rows: Array) -> None:
    """Refuse pixels, shape (n, 784), whose brightness cannot be told."""
    kind = rows.dtype.kind
    if kind not in "biuf":
        raise ValueError(
            f"{what} must be booleans, integers from 0 to 255 or floats in [0, 1], "
            f"got dtype {rows.dtype}; convert them"
        )
    if kind == "b" or not rows.size:
        return
    if kind == "f":
        fits = (rows >= 0) & (rows <= 1)
        _refuse_rows(
            what,
            rows,
            fits,
            "floats must be in [0, 1]; divide by 255, or undo the normalisation",
        )
        if 0 < rows.max() < FAINT:
            raise ValueError(
                f"{what}: the brightest of all pixels is {rows.max():.2g}, which is black; "
                "divide by 255 once, not twice"
            )
        return
    if rows.dtype != np.uint8:
        fits = (rows >= 0) & (rows <= 255)
        rule = "integers must be from 0 to 255; scale them to these levels"
        _refuse_rows(what, rows, fits, rule)
    if rows.max() == 1 and rows.min() == 0:
        raise ValueError(
            f"{what} are all 0 or 1, which can be bits or brightness of 255; "
            "write pixels == 1 for bits, or pixels / 255 for brightness"
        )


def _refuse_rows(what: str, values: Array, fits: Array, rule: str) -> None:
    """Raise an error that names the first row with a value that does not fit."""
    if fits.all():
        return
    place = tuple(np.argwhere(~fits)[0])
    raise ValueError(f"{what}: row {place[0]} holds {values[place]}, and {rule}")
