"""Scores as a plain array: what a verifier may return, and what is refused with its row."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Protocol, cast

import numpy as np

from veriloop.core.arrays import Array, Scores
from veriloop.core.batch import is_tensor

ORDER = (
    "returned a pandas Series whose index holds the numbers of all rows in another order; give it "
    "as .sort_index().to_numpy() if the index names the row, or else as .to_numpy()"
)
FLAGS = (
    "returned booleans, of which False would count as the score 0, which accepts; return numbers, "
    "positive to accept and negative to reject"
)


class _Series(Protocol):
    """What is used of a pandas Series."""

    index: object


class _Tensor(Protocol):
    """What is used of a torch tensor."""

    dtype: object
    device: object
    is_sparse: bool

    def detach(self) -> _Tensor: ...
    def to_dense(self) -> _Tensor: ...
    def cpu(self) -> _Tensor: ...
    def float(self) -> _Tensor: ...
    def numpy(self) -> Array: ...


def as_scores(answer: object) -> Scores:
    """Return scores as a NumPy array of numbers, NaN where there is no verdict.

    Tensors of any device and precision, masked arrays, pandas, lists, `Decimal` and `None` are
    converted. `None`, a masked entry and pandas' NA are no verdict.

    >>> as_scores([1.0, None, 3])
    array([ 1., nan,  3.])

    Raises:
        ValueError: saying what was got, where that has no plain meaning as scores. The caller puts
            before it who returned it.
    """
    if isinstance(answer, np.ma.MaskedArray):
        masked = cast("np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]]", answer)
        return _unmasked(masked)
    given = _as_array(answer)
    if given.dtype.kind in "fiu":
        return given
    if given.dtype == bool:
        raise ValueError(FLAGS)
    if given.dtype.kind == "O" and given.ndim == 1:
        entries: list[object] = given.tolist()
        return np.array([_number(row, entry) for row, entry in enumerate(entries)], dtype=float)
    if given.dtype.kind == "O" and given.ndim == 0:
        raise ValueError(f"must return an array of numbers, got one {_kind(answer)}")
    raise ValueError(f"must return numbers, got dtype {given.dtype} of shape {given.shape}")


def as_truth(answer: object, rows: int) -> Scores:
    """Return truth values as 0 and 1, NaN where the truth is not known.

    answer: booleans, or 0 and 1. `None`, NaN, a masked entry and pandas' NA are not known.
    rows: how many there must be.

    >>> as_truth([True, False, None], 3)
    array([ 1.,  0., nan])

    Raises:
        ValueError: saying what was got, if it is something else.
    """
    given = answer
    if not isinstance(given, np.ma.MaskedArray):
        given = _as_array(given)
    plain = cast("Array", given)
    if plain.dtype == bool:
        plain = plain.astype(float)
    elif plain.dtype == object:
        plain = np.vectorize(_flag, otypes=[object])(plain)
    known = np.asarray(as_scores(plain), dtype=float)
    if known.shape != (rows,):
        raise ValueError(f"must return one boolean a row, shape ({rows},), got shape {known.shape}")
    wrong = ~np.isnan(known) & (known != 0) & (known != 1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"must return booleans, or 0 and 1, got {known[row]:.4g} in row {row}")
    return known


def _flag(entry: object) -> object:
    """Return a boolean as 0 or 1, and anything else as it is."""
    if isinstance(entry, bool | np.bool_):
        return int(cast("bool", entry))
    return entry


def is_masked(entry: object) -> bool:
    """Tell whether an entry is NumPy's masked one, which looks like the number 0."""
    return entry is np.ma.masked


def check_order(answer: object) -> None:
    """Refuse a pandas Series of which it is not known which row an entry belongs to.

    An index that is no list of all row numbers says nothing: then the order counts.

    Raises:
        ValueError: if the index holds the numbers of all rows, and not in order.
    """
    if not hasattr(answer, "index") or not hasattr(answer, "iloc"):
        return
    index = np.asarray(cast("_Series", answer).index)
    if index.dtype.kind not in "iu" or index.ndim != 1:
        return
    rows = np.arange(len(index))
    if not np.array_equal(index, rows) and np.array_equal(np.sort(index), rows):
        raise ValueError(ORDER)


def to_numpy(tensor: object) -> Array:
    """Return the values of a torch tensor of any device and precision, without importing torch.

    Raises:
        ValueError: if the tensor has no values, as on the device "meta".
    """
    given = cast(_Tensor, tensor)
    try:
        values = given.detach()
        if values.is_sparse:
            values = values.to_dense()
        values = values.cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        return values.numpy()
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"must return values, got a tensor of {given.dtype} on the device {given.device}, "
            "which has none that can be copied to the CPU"
        ) from error


def _as_array(answer: object) -> Array:
    """Return an array of any kind; entries that are not plain numbers stay objects."""
    if is_tensor(answer):
        return to_numpy(answer)
    if isinstance(answer, list | tuple):
        return _of_entries(cast("Sequence[object]", answer))
    check_order(answer)
    try:
        return np.asarray(answer)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"must return numbers, got {_kind(answer)}: {error}") from error


def _of_entries(entries: Sequence[object]) -> Array:
    if all(type(entry) is float or type(entry) is int for entry in entries):
        return np.asarray(entries)
    array = np.empty(len(entries), dtype=object)
    for row, entry in enumerate(entries):
        if not is_masked(entry):  # as an entry of an array it would be the number 0
            array[row] = entry
    return array


def _kind(value: object) -> str:
    return type(value).__name__


def _unmasked(masked: np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]]) -> Scores:
    if masked.dtype == bool:
        raise ValueError(FLAGS)
    if masked.dtype.kind not in "fiu":
        raise ValueError(f"must return numbers, got a masked array of dtype {masked.dtype}")
    values = np.array(masked.data, dtype=float)
    values[np.ma.getmaskarray(masked)] = np.nan
    return values


def _number(row: int, entry: object) -> float:
    """Return one score; what is no number is refused with its row."""
    if entry is None or is_masked(entry) or _kind(entry) == "NAType":
        return float("nan")
    plain = entry
    if is_tensor(entry):
        plain = to_numpy(entry)
    if getattr(plain, "shape", None) == ():
        plain = cast("np.generic", plain).item()
    if isinstance(plain, bool):
        raise ValueError(FLAGS)
    if isinstance(plain, Real | Decimal):
        return _finite(row, plain)
    shown = repr(entry)
    if len(shown) > 40:
        shown = f"{shown[:40]}..."
    raise ValueError(f"must return numbers, got {_kind(entry)} {shown} in row {row}")


def _finite(row: int, number: Real | Decimal) -> float:
    try:
        return float(number)
    except OverflowError:
        raise ValueError(
            f"must return numbers of 64 bits, got a larger one in row {row}; give its logarithm"
        ) from None
