"""Batches: what flows round the loop. Any type with a length, row indexing and concatenation will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from veriloop.core.checks import check_count as check_count  # used under this name elsewhere


class Batch(Protocol):
    """Rows that can be counted and picked by a boolean mask or by integers.

    NumPy arrays and torch tensors are batches. For several columns derive from `Columns`.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


B = TypeVar("B", bound=Batch)


def concatenate(batches: Sequence[B]) -> B:
    """Stack batches of one type, in order.

    Arrays and tensors are stacked along their first axis; other types by their class method `concatenate`.

    batches: at least one.

    >>> concatenate([np.arange(2), np.arange(3)])
    array([0, 1, 0, 1, 2])

    Raises:
        ValueError: if there is no batch.
        TypeError: if the type cannot be stacked.
    """
    if not batches:
        raise ValueError("concatenate needs at least one batch, got none")
    first: Any = batches[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(batches)  # type: ignore[arg-type, return-value]
    if is_tensor(first):
        import torch  # pyright: ignore[reportMissingImports]

        tensors: list[Any] = list(batches)
        stacked: Any = torch.cat(tensors)
        return stacked
    kind: Any = type(first)
    check_batch(first)
    return kind.concatenate(batches)


def is_tensor(value: Any) -> bool:
    """Tell a torch tensor, without importing torch."""
    return type(value).__module__ == "torch" and type(value).__name__ in ("Tensor", "Parameter")


REMEDY = (
    "return a NumPy array, a torch tensor, or a dataclass of arrays derived from veriloop.Columns"
)


def check_batch(batch: Any, what: str = "a batch") -> None:
    """Refuse what rows cannot be picked from.

    Raises:
        TypeError: with the type that was got, and what to return in its place.
    """
    if isinstance(batch, np.ndarray) or is_tensor(batch):
        return
    kind = type(batch)
    if not hasattr(kind, "__len__") or not hasattr(kind, "concatenate"):
        raise TypeError(
            f"{what} must be rows that can be picked and stacked, got a {kind.__name__}; {REMEDY}, "
            "or give the type a class method concatenate(batches)"
        )


def as_batches(past: Any) -> tuple[Any, ...]:
    """Return the past as a tuple of batches: none for `None`, one for a bare batch."""
    if past is None:
        return ()
    if isinstance(past, tuple):
        return past
    return (past,)


@dataclass(frozen=True)
class Columns:
    """Base of batches made of named columns: a frozen dataclass whose fields are arrays, one row each.

    A field is a NumPy array or a torch tensor; rows are picked and stacked field by field.

    >>> @dataclass(frozen=True)
    ... class Pairs(Columns):
    ...     x: np.ndarray
    ...     y: np.ndarray
    >>> pairs = Pairs(x=np.eye(3), y=np.arange(3))
    >>> len(pairs), pairs[pairs.y > 0].y
    (3, array([1, 2]))

    Raises:
        TypeError: if a field is a list, a tuple, a dict or a bare number.
        ValueError: if the columns differ in length.
    """

    def __post_init__(self) -> None:
        lengths: dict[str, int] = {}
        for field in fields(self):
            column = getattr(self, field.name)
            if isinstance(column, list | tuple | dict) or not hasattr(column, "__len__"):
                kind = type(column).__name__
                name = f"{type(self).__name__}.{field.name}"
                raise TypeError(
                    f"{name} must be an array, one entry a row, got a {kind}; give numpy.array(...)"
                )
            lengths[field.name] = len(column)
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{type(self).__name__} needs columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: Any) -> Self:
        picked = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return type(self)(**picked)

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Stack column by column."""
        stacked: dict[str, Any] = {}
        for field in fields(cls):
            stacked[field.name] = concatenate([getattr(batch, field.name) for batch in batches])
        return cls(**stacked)
