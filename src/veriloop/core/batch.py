"""Batches: what flows round the loop. Any type with a length, row indexing and concatenation will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, TypeVar

import numpy as np


class Batch(Protocol):
    """Rows that can be counted and picked by a boolean mask or by integers; NumPy arrays are batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


B = TypeVar("B", bound=Batch)


def concatenate(batches: Sequence[B]) -> B:
    """Stack batches of one type, in order: arrays by `numpy.concatenate`, others by their `concatenate`.

    >>> concatenate([np.arange(2), np.arange(3)])
    array([0, 1, 0, 1, 2])

    Raises:
        ValueError: if there is no batch.
        TypeError: if the type is neither an array nor has a class method `concatenate(batches)`.
    """
    if not batches:
        raise ValueError("concatenate needs at least one batch, got none")
    kind: Any = type(batches[0])
    if issubclass(kind, np.ndarray):
        return np.concatenate(batches)  # type: ignore[arg-type, return-value]
    if not hasattr(kind, "concatenate"):
        raise TypeError(f"{kind.__name__} is no batch: give it a class method concatenate(batches), or use Columns")
    return kind.concatenate(batches)


def as_batches(past: Any) -> tuple[Any, ...]:
    """Return the past as a tuple of batches: of none for `None`, of one for a bare batch."""
    if past is None:
        return ()
    return past if isinstance(past, tuple) else (past,)


def check_count(what: str, n: Any, least: int = 1) -> None:
    """Refuse what cannot be a number of rows, rounds or tries: only integers of at least `least` can."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < least:
        raise ValueError(f"{what} must be an integer of at least {least}, got {n}")


@dataclass(frozen=True)
class Columns:
    """Base of batches made of named columns: a frozen dataclass whose fields are arrays, one row each.

    >>> @dataclass(frozen=True)
    ... class Pairs(Columns):
    ...     x: np.ndarray
    ...     y: np.ndarray
    >>> pairs = Pairs(x=np.eye(3), y=np.arange(3))
    >>> len(pairs), pairs[pairs.y > 0].y
    (3, array([1, 2]))

    Raises:
        ValueError: if the columns differ in length.
    """

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{type(self).__name__} needs columns of one length, got {lengths}")

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, rows: Any) -> Self:
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, batches: Sequence[Self]) -> Self:
        """Stack column by column."""
        return cls(**{f.name: np.concatenate([getattr(b, f.name) for b in batches]) for f in fields(cls)})
