"""Generators whose rows come in turn: each block goes on where the one before it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Protocol, TypeVar, cast, runtime_checkable

import numpy as np

from veriloop.core.arrays import AnyBatch, Array
from veriloop.core.batch import Columns, is_tensor
from veriloop.core.scores import to_numpy

ROWS = 64  # rows of a block that are compared with those of another
TRIES = 12  # keys under which rows must be the same before they count as rows in turn

G = TypeVar("G")
First = dict[str, list[bytes | str]]  # the first rows of a block, by column


@runtime_checkable
class InTurn(Protocol):
    """A generator that can begin at any row of a round."""

    def starting_at(self, row: int) -> object: ...


def starting_at(generate: G, row: int) -> G:
    """Return the generator whose first row is the round's row `row`.

    A generator without a method `starting_at` is returned as it is.

    Raises:
        TypeError: if the method returns nothing that can be called.
    """
    if row == 0 or not isinstance(generate, InTurn):
        return generate
    moved = generate.starting_at(row)
    if not callable(moved):
        raise TypeError(
            f"generate.starting_at({row}) must return a generator, got {type(moved).__name__}; "
            "return a copy of the generator that begins at this row"
        )
    return cast(G, moved)


def first_rows(batch: AnyBatch, groups: Array | None = None) -> First:
    """Return the first rows of a batch, column by column, as values that can be compared.

    batch: an array, a tensor, or a `Columns`. Of other types nothing is known.
    groups: shape (n,), the group of each row, which counts as one more column.
    """
    columns: dict[str, object] = {}
    if isinstance(batch, np.ndarray) or is_tensor(batch):
        columns["rows"] = cast(object, batch)
    elif isinstance(batch, Columns):
        for each in fields(batch):
            columns[each.name] = getattr(batch, each.name)
    if groups is not None:
        columns["group"] = groups
    first: First = {}
    for name, column in columns.items():
        first[name] = _comparable(column)
    return first


def _comparable(column: object) -> list[bytes | str]:
    some = cast("Array", column)[:ROWS]
    array = to_numpy(some) if is_tensor(some) else np.asarray(some)
    if array.dtype == object:
        return [repr(entry) for entry in cast("list[object]", array.tolist())]
    return [entry.tobytes() for entry in np.ascontiguousarray(array)]


def same_start(one: Sequence[bytes | str], other: Sequence[bytes | str]) -> bool | None:
    """Tell whether two blocks begin with the same rows; None where it cannot be told.

    It cannot be told where the rows compared are all of one value.
    """
    rows = min(len(one), len(other))
    head = one[:rows]
    if head != other[:rows]:
        return False
    if len(set(head)) > 1:
        return True
    return None


def in_turn(first: First, name: str, again: Callable[[int], First]) -> bool:
    """Tell whether a column is the same under every key.

    first: the first rows under one key.
    name: the column.
    again: number of a try -> the first rows under another key.
    """
    for i in range(TRIES):
        other = again(i).get(name, [])
        if not same_start(first[name], other):
            return False
    return True


REMEDY = (
    "give the generator a method starting_at(row) that returns it beginning at this row of the "
    "round, see help(veriloop.Loop)"
)
