"""The named numbers of a record: plain, and each under a name of its own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import cast

import numpy as np

from veriloop.core.batch import is_tensor
from veriloop.core.checks import kind
from veriloop.core.scores import to_numpy
from veriloop.core.state import COUNTS

COLUMNS = ("arm", "seed")  # what a study and a run folder write into each row beside the counts


def merge(*parts: object, round: int | None = None) -> dict[str, float]:
    """Return the named numbers of all parts, as plain numbers.

    An array or a tensor without axes counts as its number. None, pandas' NA and NumPy's masked
    entry count as NaN. A warning names an infinite number.

    parts: name -> number, each.
    round: for the warning.

    >>> merge({"error": np.float32(0.5)}, {"rows": np.array(3)})
    {'error': 0.5, 'rows': 3}

    Raises:
        TypeError: if one is no number.
        ValueError: if two have one name, or one has the name of another column of the records.
    """
    merged: dict[str, float] = {}
    for numbers in parts:
        if not isinstance(numbers, Mapping):
            raise TypeError(
                f"numbers of a record need names, as in {{'error': 0.5}}, got {kind(numbers)}"
            )
        for name, value in cast("Mapping[object, object]", numbers).items():
            _check_name(name, merged)
            number = _number(name, value)
            merged[str(name)] = number
            if math.isinf(number):
                _warn(name, number, round)
    return merged


def _check_name(name: object, merged: Mapping[str, float]) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a metric must be text, got {kind(name)}")
    if name in merged or name in COUNTS:
        raise ValueError(f"two numbers of one record are called {name!r}; rename the metric")
    if name in COLUMNS:
        raise ValueError(
            f"a metric is called {name!r}, as a column of the records is; rename the metric"
        )


def _number(name: object, value: object) -> float:
    """Return a plain number; an array or a tensor without axes is one."""
    if value is None or _is_masked(value) or type(value).__name__ == "NAType":
        return float("nan")
    plain = value
    if is_tensor(value) and getattr(value, "shape", None) == ():
        plain = _of_tensor(name, value)
    if getattr(plain, "shape", None) == ():
        plain = cast("np.generic", plain).item()
    if isinstance(plain, float | bool):
        return plain
    if isinstance(plain, Real | Decimal):
        return _finite(name, plain)
    raise TypeError(
        f"the metric {name!r} must be one number, got {kind(value)}; give its mean, or drop it"
    )


def _is_masked(value: object) -> bool:
    if not isinstance(value, np.ma.MaskedArray):
        return False
    given = cast("np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]]", value)
    return given.ndim == 0 and bool(np.ma.getmaskarray(given).all())


def _of_tensor(name: object, value: object) -> object:
    try:
        return to_numpy(value)
    except ValueError as error:
        raise TypeError(f"the metric {name!r} {error}") from None


def _finite(name: object, value: Real | Decimal) -> float:
    """Return a whole number as it is, and another as a float; refuse one that is too large."""
    try:
        number = float(value)
    except OverflowError:
        raise TypeError(
            f"the metric {name!r} is too large for a number of 64 bits; give its logarithm"
        ) from None
    if isinstance(value, int):
        return value
    return number


def _warn(name: object, value: float, round: int | None) -> None:
    where = "" if round is None else f"round {round}: "
    warnings.warn(
        f"{where}the metric {name!r} is {value}; means over it have no interval", stacklevel=4
    )
