"""Batches: what flows round the loop. Rows that can be counted, picked and stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, TypeVar, cast

import numpy as np

from veriloop.core.arrays import AnyBatch, AnyPast, AnyRows, Array


class Batch(Protocol):
    """Rows that can be counted and picked by a boolean mask or by integers.

    NumPy arrays and torch tensors are batches. For several columns derive from `Columns`. Any other
    type will do that also has a class method `concatenate(batches)`.

    >>> rows = np.array([5, 6, 7])
    >>> len(rows), rows[rows > 5], rows[[2, 0]]
    (3, array([6, 7]), array([7, 5]))
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: AnyRows, /) -> AnyBatch: ...


B = TypeVar("B", bound=Batch)


def concatenate(batches: Sequence[B]) -> B:
    """Stack batches of one type, in order.

    Arrays and tensors are stacked along their first axis, other types by their class method
    `concatenate`.

    batches: at least one, all of one type.

    >>> concatenate([np.arange(2), np.arange(3)])
    array([0, 1, 0, 1, 2])

    Raises:
        ValueError: if there is no batch.
        TypeError: if the type cannot be stacked, or the batches are of several: arrays and
            tensors, or texts and numbers.
    """
    if not batches:
        raise ValueError("concatenate needs at least one batch, got none")
    first: Any = batches[0]
    rest: Any = list(batches)
    _check_one_type(rest)
    if any(isinstance(each, np.ma.MaskedArray) for each in rest):
        masked: Any = np.ma  # its types are unknown; NumPy's own forgets which entries are masked
        return masked.concatenate(rest)
    if isinstance(first, np.ndarray):
        return np.concatenate(rest)  # type: ignore[return-value]
    if is_tensor(first):
        import torch  # pyright: ignore[reportMissingImports]

        stacked: Any = torch.cat(rest)
        return stacked
    check_batch(first)
    return first.concatenate(batches)


def _check_one_type(batches: Sequence[object]) -> None:
    """Refuse arrays beside tensors, and texts beside numbers, which would all become texts."""
    types: dict[str, None] = {}
    for each in batches:
        types[_type_of(each)] = None
    types.pop("", None)
    if len(types) > 1 and not types.keys().isdisjoint(_OF_ARRAYS):
        raise TypeError(
            f"concatenate needs batches of one type, got {' and '.join(types)}; convert one"
        )


_OF_ARRAYS = ("a tensor", "an array of texts", "an array of numbers")


def _type_of(batch: object) -> str:
    """Name what batches must have in common; empty where an array goes with any other."""
    if is_tensor(batch):
        return "a tensor"
    if not isinstance(batch, np.ndarray):
        return f"a {type(batch).__name__}"
    array = cast("Array", batch)
    if not array.size or array.dtype.kind in "OV":
        return ""
    if array.dtype.kind in "US":
        return "an array of texts"
    return "an array of numbers"


def is_tensor(value: object) -> bool:
    """Tell whether a value is a torch tensor, without importing torch."""
    for kind in type(value).__mro__:
        if kind.__name__ == "Tensor" and kind.__module__ == "torch":
            return True
    return False


REMEDY = (
    "return a NumPy array, a torch tensor, or a frozen dataclass of arrays that derives from "
    "veriloop.Columns"
)


def check_batch(batch: object, what: str = "a batch") -> None:
    """Refuse a value whose rows cannot be picked and stacked.

    Raises:
        TypeError: with the type that was got, and what to return in its place.
    """
    if isinstance(batch, np.ndarray) or is_tensor(batch):
        if getattr(cast("object", batch), "shape", None) == ():
            raise TypeError(f"{what} must be rows, got an array without an axis; {REMEDY}")
        return
    name: str = type(batch).__name__
    if not hasattr(batch, "__len__") or not _can_be_stacked(batch):
        raise TypeError(
            f"{what} must be rows that can be picked and stacked, got a {name}; {REMEDY}, "
            "or give the type a class method concatenate(batches)"
        )


def _can_be_stacked(value: object) -> bool:
    return isinstance(value, np.ndarray) or is_tensor(value) or hasattr(value, "concatenate")


def as_batches(past: AnyPast) -> tuple[Any, ...]:
    """Return the past as a tuple of batches: empty for `None`, of one entry for a single batch."""
    if past is None:
        return ()
    batches: Any = past
    if isinstance(past, tuple):
        return batches
    return (batches,)


@dataclass(frozen=True)
class Columns:
    """Base of batches made of named columns: a frozen dataclass whose fields are arrays.

    Every field has one entry a row, and is a NumPy array or a torch tensor. Rows are picked and
    stacked field by field.

    >>> @dataclass(frozen=True)
    ... class Pairs(Columns):
    ...     x: np.ndarray
    ...     y: np.ndarray
    >>> pairs = Pairs(x=np.eye(3), y=np.arange(3))
    >>> len(pairs), pairs[pairs.y > 0].y
    (3, array([1, 2]))

    Raises:
        TypeError: if a field is no array: a list, a pandas Series, a text, a single number.
        ValueError: if the columns differ in length.
    """

    def __post_init__(self) -> None:
        lengths: dict[str, int] = {}
        for field in fields(self):
            column: Any = getattr(self, field.name)
            single = getattr(column, "shape", None) == ()
            if single or not hasattr(column, "__len__") or not _can_be_stacked(column):
                kind = type(getattr(self, field.name)).__name__
                name = f"{type(self).__name__}.{field.name}"
                raise TypeError(
                    f"{name} must be an array, one entry a row, got a {kind}; give numpy.array(...)"
                )
            size: Any = column
            lengths[field.name] = len(size)
        if len(set(lengths.values())) > 1:
            name = type(self).__name__
            raise ValueError(f"{name} needs columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: AnyRows) -> Self:
        picked = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return type(self)(**picked)

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Stack column by column."""
        stacked: dict[str, Any] = {}
        for field in fields(cls):
            columns: list[Any] = [getattr(batch, field.name) for batch in batches]
            stacked[field.name] = concatenate(columns)
        return cls(**stacked)
