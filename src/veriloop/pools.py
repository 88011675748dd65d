"""Pools: which data the next model is fitted to, `(key, past, kept) -> (training batch, past)`.

`past` is what the pool carries from round to round: a tuple of batches, the oldest first. A pool
also takes `None`, which means no past, and a single batch.

Real data must be put into `past` by you: `State(model, past=(real,))`. Without it a pool such as
`Accumulate` trains on synthetic rows alone, and forgets the real data after the first round.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from veriloop.core.arrays import AnyPast, Array
from veriloop.core.batch import B, as_batches, check_batch, concatenate
from veriloop.core.checks import check_count, check_fraction
from veriloop.core.key import Key
from veriloop.core.parts import Pool, check_part


@dataclass(frozen=True, slots=True)
class Replace:
    """Train on the newest kept rows alone; all earlier data, real data too, are forgotten.

    This is what a `Loop` does without a pool. To keep the real data in the training batch, use
    `Accumulate`, `MixReal` or `FreshReal`.

    >>> Replace()(Key(0), None, np.array([1, 2]))
    (array([1, 2]), ())
    """

    def __call__(self, key: Key, past: AnyPast, kept: B) -> tuple[B, tuple[B, ...]]:
        return kept, ()


@dataclass(frozen=True, slots=True)
class Accumulate:
    """Train on the rows kept in all rounds, and on the data in `State.past`.

    Give the real data as `State(model, past=(real,))`. Otherwise they are in no training batch
    after the start, and the loop forgets them. Every round adds to memory, and to the cost of the
    refit. Source: Gerstgrasser et al. (2024, arXiv:2404.01413).

    >>> real = np.array([0])
    >>> Accumulate()(Key(0), (real,), np.array([1, 2]))[0]
    array([0, 1, 2])
    """

    def __call__(self, key: Key, past: AnyPast, kept: B) -> tuple[B, tuple[B, ...]]:
        batches = (*as_batches(past), kept)
        return concatenate(batches), batches


@dataclass(frozen=True, slots=True)
class AccumulateSubsample:
    """Keep all rows as `Accumulate` does, and train on `n` of them, drawn without replacement.

    Source: Kazdan et al. (2024, arXiv:2410.16713).

    n: rows of the training batch. While there are fewer, all of them are used.

    >>> batch, past = AccumulateSubsample(2)(Key(0), (np.array([0]),), np.array([1, 2]))
    >>> len(batch), past
    (2, (array([0]), array([1, 2])))

    Raises:
        ValueError: if `n` is no positive integer.
    """

    n: int

    def __post_init__(self) -> None:
        check_count("AccumulateSubsample.n", self.n)

    def __call__(self, key: Key, past: AnyPast, kept: B) -> tuple[B, tuple[B, ...]]:
        accumulate = Accumulate()
        everything, batches = accumulate(key, past, kept)
        rows = key.numpy().permutation(len(everything))[: self.n]
        return everything[np.sort(rows)], batches


@dataclass(frozen=True, slots=True)
class Window:
    """Train on the rows kept in the last `n` rounds.

    n: how many rounds, this one included. Real data in `State.past` count as one more round, so
        after `n` rounds they are forgotten.

    >>> Window(2)(Key(0), (np.array([0]), np.array([1])), np.array([2]))[0]
    array([1, 2])

    Raises:
        ValueError: if `n` is no positive integer.
    """

    n: int

    def __post_init__(self) -> None:
        check_count("Window.n", self.n)

    def __call__(self, key: Key, past: AnyPast, kept: B) -> tuple[B, tuple[B, ...]]:
        batches = (*as_batches(past), kept)[-int(self.n) :]
        return concatenate(batches), batches


@dataclass(frozen=True, slots=True)
class MixReal(Generic[B]):
    r"""Add rows of a fixed real set, which make up `fraction` of the training batch.

    To n kept rows it adds :math:`m = \mathrm{round}(n f/(1 - f))` real ones. No real row is used
    twice before all have been used once.

    real: the real rows, at least one.
    fraction: f, in (0, 1).

    >>> MixReal(np.array([7, 8]), 0.5)(Key(0), None, np.array([1, 2]))[0]
    array([7, 8, 1, 2])

    Raises:
        TypeError: if `real` is no batch.
        ValueError: if `fraction` lies outside (0, 1), or there is no real row.
    """

    real: B
    fraction: float

    def __post_init__(self) -> None:
        check_fraction("MixReal.fraction", self.fraction)
        check_batch(self.real, "MixReal.real")
        if not len(self.real):
            raise ValueError("MixReal.real must have at least one row, got none")

    def __call__(self, key: Key, past: AnyPast, kept: B) -> tuple[B, tuple[B, ...]]:
        odds = len(kept) * self.fraction / (1 - self.fraction)
        rows = copied(key, len(self.real), round(odds))
        return concatenate([self.real[rows], kept]), ()


@dataclass(frozen=True, slots=True)
class FreshReal(Generic[B]):
    r"""Add real rows that are drawn in each round, with a given weight in the training batch.

    The weight w is reached by copies, to within one row. Real rows are copied if w is above their
    natural fraction, n / (n + kept); otherwise kept rows are. No row has two copies more than
    another of its kind. The mean loss of any refit is then
    :math:`w \cdot \mathrm{mean}_{real} + (1 - w) \cdot \mathrm{mean}_{kept}`, exactly where the
    copies come out even. For least squares `veriloop.linear.WeightedReal` is always exact.

    draw: (key, n) -> n real rows.
    n: real rows a round.
    weight: w, in (0, 1). None: no copies, so the weight is the natural fraction.

    >>> FreshReal(lambda key, n: np.array([7, 8]), 2, weight=0.8)(Key(0), None, np.array([1]))[0]
    array([7, 8, 7, 8, 1])

    Raises:
        TypeError: if `draw` cannot be called so; in a round, if it returns no batch.
        ValueError: if `n` is no positive integer, `weight` lies outside (0, 1), or `draw` returns
            another number of rows.
    """

    draw: Callable[[Key, int], B]
    n: int
    weight: float | None = None

    def __post_init__(self) -> None:
        check_part("FreshReal.draw", self.draw, "(key, n)")
        check_count("FreshReal.n", self.n)
        if self.weight is not None:
            check_fraction("FreshReal.weight", self.weight)

    def __call__(self, key: Key, past: AnyPast, kept: B) -> tuple[B, tuple[B, ...]]:
        real = self.draw(key, self.n)
        check_batch(real, "what FreshReal.draw returns")
        if len(real) != self.n:
            raise ValueError(f"FreshReal.draw was asked for {self.n} rows and returned {len(real)}")
        if self.weight is not None:
            odds = self.weight / (1 - self.weight)
            copies = key.fold("copies")
            natural = len(kept)
            kept = _at_least(copies, kept, round(self.n / odds))
            real = _at_least(copies, real, round(odds * natural))
        return concatenate([real, kept]), ()


def _at_least(key: Key, batch: B, n: int) -> B:
    """Return the batch with copies of its rows, so that it has at least `n`."""
    rows = copied(key, len(batch), max(n, len(batch)))
    return batch[rows]


# Name of a data policy in the literature -> its pool, made from the rows that a model is fitted to.
POOLS: dict[str, Callable[[int], Pool[Any]]] = {
    "replace": lambda n: Replace(),
    "accumulate": lambda n: Accumulate(),
    "subsample": AccumulateSubsample,
}


def copied(key: Key, size: int, n: int) -> Array:
    """Return `n` of `size` row numbers: whole copies of all, then some that the key draws."""
    copies, rest = divmod(n, size)
    drawn = key.numpy().permutation(size)[:rest]
    return np.concatenate([np.tile(np.arange(size), copies), np.sort(drawn)])
