"""Pools: which data the next model is fitted to, `(key, past, kept) -> (training batch, past)`.

`past` is what the pool carries from round to round: a tuple of batches, one a round (`None` is the empty one, a
bare batch a tuple of one). To accumulate on top of real data, start from `State(model, past=(real,))`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from veriloop.core.batch import B, as_batches, concatenate
from veriloop.core.checks import check_count, check_fraction
from veriloop.core.key import Key


@dataclass(frozen=True, slots=True)
class Replace:
    """Train on the newest kept rows alone.

    >>> Replace()(Key(0), None, np.array([1, 2]))
    (array([1, 2]), ())
    """

    def __call__(self, key: Key, past: Any, kept: B) -> tuple[B, tuple[B, ...]]:
        return kept, ()


@dataclass(frozen=True, slots=True)
class Accumulate:
    """Train on everything kept so far (Gerstgrasser et al., 2024).

    >>> Accumulate()(Key(0), (np.array([0]),), np.array([1, 2]))[0]
    array([0, 1, 2])
    """

    def __call__(self, key: Key, past: Any, kept: B) -> tuple[B, tuple[B, ...]]:
        past = (*as_batches(past), kept)
        return concatenate(past), past


@dataclass(frozen=True, slots=True)
class AccumulateSubsample:
    """Keep everything, train on `n` rows of it drawn without replacement (Kazdan et al., 2024).

    While fewer than `n` rows exist, all of them are used.
    """

    n: int

    def __post_init__(self) -> None:
        check_count("AccumulateSubsample.n", self.n)

    def __call__(self, key: Key, past: Any, kept: B) -> tuple[B, tuple[B, ...]]:
        everything, past = Accumulate()(key, past, kept)
        rows = key.numpy().permutation(len(everything))[: self.n]
        return everything[np.sort(rows)], past


@dataclass(frozen=True, slots=True)
class Window:
    """Train on the kept rows of the last `n` rounds.

    >>> Window(2)(Key(0), (np.array([0]), np.array([1])), np.array([2]))[0]
    array([1, 2])
    """

    n: int

    def __post_init__(self) -> None:
        check_count("Window.n", self.n)

    def __call__(self, key: Key, past: Any, kept: B) -> tuple[B, tuple[B, ...]]:
        past = (*as_batches(past), kept)[-self.n :]
        return concatenate(past), past


@dataclass(frozen=True, slots=True)
class MixReal(Generic[B]):
    r"""Add rows of a fixed real set so that they make up `fraction` of the training batch.

    Of `n` kept rows and :math:`m = \mathrm{round}(n f/(1 - f))` real ones, no real row is used twice before all
    have been used once: a fraction beyond the real set's size weights it by whole copies.

    >>> MixReal(np.array([7, 8]), 0.5)(Key(0), None, np.array([1, 2]))[0]
    array([7, 8, 1, 2])
    """

    real: B
    fraction: float

    def __post_init__(self) -> None:
        check_fraction("MixReal.fraction", self.fraction)
        if not len(self.real):
            raise ValueError("MixReal.real must have at least one row, got none")

    def __call__(self, key: Key, past: Any, kept: B) -> tuple[B, tuple[B, ...]]:
        rows = copied(key, len(self.real), round(len(kept) * self.fraction / (1 - self.fraction)))
        return concatenate([self.real[rows], kept]), ()


@dataclass(frozen=True, slots=True)
class FreshReal(Generic[B]):
    r"""Add `n` real rows drawn anew each round by `draw(key, n)`, and give them a `weight` of the training batch.

    The weight is reached to within one row by copies, of the real rows above their natural share
    :math:`n/(n + \mathrm{kept})` and of the kept ones below it. Every row is there, and none has two copies more
    than another of its kind, so that the mean loss of any refit is, exactly where copies come out even,
    :math:`w \cdot \mathrm{mean}_{real} + (1 - w) \cdot \mathrm{mean}_{kept}`. Least squares takes any weight
    exactly, by `veriloop.linear.WeightedReal`. None: the rows as they are.

    >>> FreshReal(lambda key, n: np.array([7, 8]), 2, weight=0.8)(Key(0), None, np.array([1]))[0]
    array([7, 8, 7, 8, 1])
    """

    draw: Callable[[Key, int], B]
    n: int
    weight: float | None = None

    def __post_init__(self) -> None:
        check_count("FreshReal.n", self.n)
        if self.weight is not None:
            check_fraction("FreshReal.weight", self.weight)

    def __call__(self, key: Key, past: Any, kept: B) -> tuple[B, tuple[B, ...]]:
        real = self.draw(key, self.n)
        if len(real) != self.n:
            raise ValueError(f"FreshReal.draw was asked for {self.n} rows and returned {len(real)}")
        if self.weight is not None:
            odds = self.weight / (1 - self.weight)
            key, sizes = key.fold("copies"), (round(odds * len(kept)), round(self.n / odds))
            real, kept = (
                rows[copied(key, len(rows), max(n, len(rows)))]
                for rows, n in zip((real, kept), sizes, strict=True)
            )
        return concatenate([real, kept]), ()


# Name of a data policy in the literature -> its pool, made from the rows that a model is fitted to.
POOLS: dict[str, Callable[[int], Callable[[Key, Any, Any], tuple[Any, Any]]]] = {
    "replace": lambda n: Replace(),
    "accumulate": lambda n: Accumulate(),
    "subsample": AccumulateSubsample,
}


def copied(key: Key, size: int, n: int) -> np.ndarray:
    """Return `n` rows of `size`: whole copies of all, then some of them, picked by the key and in order."""
    copies, rest = divmod(n, size)
    return np.concatenate(
        [np.tile(np.arange(size), copies), np.sort(key.numpy().permutation(size)[:rest])]
    )
