"""Checks of arguments that are numbers or lists of numbers; each error names the argument."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def numbers(what: str, value: object, *, ndim: int | None = None) -> Array:
    """Return a value as an array of finite numbers, or refuse it by the name `what`.

    ndim: how many axes it must have. None: any.
    """
    kinds = {0: "a number", 1: "a list of numbers", 2: "a matrix"}
    kind = "numbers" if ndim is None else kinds[ndim]
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        array = np.array(None)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{what} must be {kind}, got {value!r:.60}")
    found = array.astype(float, copy=False)
    if ndim is not None and (found.ndim != ndim or not found.size):
        raise ValueError(f"{what} must be {kind}, got shape {found.shape}")
    wrong = ~np.isfinite(found)
    if wrong.any():
        raise ValueError(f"{what} must be finite, got {found[wrong][0]}")
    return found


def at_least(what: str, value: object, least: float = 0.0, *, above: bool = False) -> float:
    """Return a finite number of at least `least`, or above it, or refuse it."""
    number = float(numbers(what, value, ndim=0))
    if number < least or (above and number == least):
        kind = "more than" if above else "at least"
        raise ValueError(f"{what} must be {kind} {least:g}, got {number:g}")
    return number


def probability(what: str, value: object, *, zero: bool = True, one: bool = True) -> float:
    """Return a number from 0 to 1, or refuse it. zero, one: allow the ends."""
    number = float(numbers(what, value, ndim=0))
    if 0 < number < 1 or (zero and number == 0) or (one and number == 1):
        return number
    start = "[" if zero else "("
    end = "]" if one else ")"
    raise ValueError(f"{what} must be in {start}0, 1{end}, got {number:g}")


def same_length(where: str, **arrays: Array) -> None:
    """Refuse lists of different lengths."""
    lengths = {name: len(each) for name, each in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"{where}: lists must have one length, got {told}")
