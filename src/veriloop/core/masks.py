"""Masks: what a filter may return, and what is refused."""

from __future__ import annotations

import numpy as np

from veriloop.core.arrays import Mask
from veriloop.core.candidates import check_rows
from veriloop.core.scores import check_order


def as_mask(answer: object, rows: int, filter: object) -> Mask:
    """Return what a filter returned as an array of booleans, one a row.

    answer: an array, a tensor, a list or a pandas Series of booleans.
    rows: how many there must be.
    filter: who returned it, for the error.

    >>> as_mask([True, False], 2, None)
    array([ True, False])

    Raises:
        ValueError: if it is something else, such as row numbers.
    """
    if isinstance(answer, np.ma.MaskedArray):
        raise ValueError(
            f"filter must return a plain boolean mask, got a masked array; fill it with False, and "
            f"check {filter!r}"
        )
    try:
        check_order(answer)
    except ValueError as error:
        raise ValueError(f"filter {error}; check {filter!r}") from None
    mask = np.asarray(answer)
    check_rows("filter", mask, rows)
    if mask.dtype != bool:
        raise ValueError(
            f"filter must return a boolean mask, got dtype {mask.dtype}; check {filter!r}"
        )
    return mask
