"""The first rows of a block, kept to tell whether a generator gives, or leaves, the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import cast

import numpy as np

from veriloop.core.arrays import AnyBatch, Array
from veriloop.core.batch import Columns, is_tensor
from veriloop.core.scores import to_numpy

ROWS = 4  # rows of a block that are compared
CLOSE = 0.01  # of the largest number: rounding on a GPU may differ from call to call


def first_few(batch: AnyBatch) -> dict[str, Array]:
    """Return copies of the first rows of a batch, column by column.

    batch: an array, a tensor, or a `Columns`. Of other types nothing is known.

    >>> first_few(np.arange(9))
    {'rows': array([0, 1, 2, 3])}
    """
    columns: dict[str, object] = {"rows": batch}
    if isinstance(batch, Columns):
        columns = {each.name: getattr(batch, each.name) for each in fields(batch)}
    few: dict[str, Array] = {}
    for name, column in columns.items():
        if is_tensor(column):
            few[name] = np.array(to_numpy(cast("Array", column)[:ROWS]))
        elif isinstance(column, np.ndarray):
            few[name] = _copied(cast("Array", column)[:ROWS])
    return few


def alike(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    """Tell whether first rows are the same. Numbers may differ by rounding.

    >>> alike(first_few(np.arange(9)), first_few(np.arange(4))), alike({}, first_few(np.ones(1)))
    (True, False)
    """
    if one.keys() != other.keys():
        return False
    return all(_same(one[name], other[name]) for name in one)


def _copied(rows: Array) -> Array:
    if rows.dtype == object:
        return np.array([repr(entry) for entry in rows.tolist()])
    return np.array(rows)


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f" or other.dtype.kind != "f":
        return np.array_equal(one, other)
    known = np.abs(one[np.isfinite(one)])
    most = float(known.max(initial=0.0))
    return np.allclose(one, other, rtol=CLOSE, atol=CLOSE * most, equal_nan=True)
