"""Schedules: how many rows each round gets, and which part of the loop it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from veriloop.core.key import Key
from veriloop.core.loop import State
from veriloop.core.parts import EachRound, Part, check_part


def constant(n: int, rounds: int) -> list[int]:
    """Return `n` in every round.

    >>> constant(100, 3)
    [100, 100, 100]
    """
    return _rounded(np.linspace(*_checked("constant", n, n, rounds)))


def linear(first: int, last: int, rounds: int) -> list[int]:
    r"""Return sizes on a straight line, :math:`n_k = a + (b - a)(k - 1)/(K - 1)`, rounded to whole rows.

    >>> linear(100, 500, 3)
    [100, 300, 500]
    """
    return _rounded(np.linspace(*_checked("linear", first, last, rounds)))


def geometric(first: int, last: int, rounds: int) -> list[int]:
    r"""Return sizes that grow by one factor, :math:`n_k = a (b/a)^{(k - 1)/(K - 1)}`, rounded to whole rows.

    >>> geometric(10, 1000, 3)
    [10, 100, 1000]
    """
    return _rounded(np.geomspace(*_checked("geometric", first, last, rounds)))


def by_round(values: Sequence[Part]) -> EachRound[Part]:
    """Return a part of the loop that takes `values[k - 1]` in round k.

    A filter that grows stricter is `by_round([Threshold(cut) for cut in np.linspace(0, 1, rounds)])`. One cut that
    keeps about a tenth of the first round needs no schedule: it is the 0.9 quantile of the start's scores, as in
    `Threshold(np.nanquantile(Verdict.of(loop.verify(key, loop.generate(key, model, n))).scores, 0.9))`.

    values: one part a round, `None` or an `EachRound` among them where the loop allows it.

    >>> from veriloop import State, Threshold
    >>> stricter = by_round([Threshold(0.1), Threshold(0.2)])
    >>> stricter.make(Key(0), State(model=None, round=1))  # one round is done
    Threshold(cut=0.2)

    Raises:
        TypeError: if the values are no sequence, or one of them is no part of a loop.
        ValueError: in a round that has no value.
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"by_round needs a list of parts, one a round, got {type(values).__name__}")
    for i, value in enumerate(values):
        if value is not None:
            check_part(f"by_round: values[{i}]", value, "the part's arguments, or None")
    return EachRound(_ByRound(tuple(values)))


@dataclass(frozen=True)
class _ByRound(Generic[Part]):
    """Pick the value of a round; a value, so that a run folder can compare two schedules."""

    values: tuple[Part, ...]

    def __call__(self, key: Key, state: State[Any]) -> Part:
        if state.round >= len(self.values):
            raise ValueError(
                f"by_round has values for {len(self.values)} rounds, got round {state.round + 1}; give one a round"
            )
        value = self.values[state.round]
        if isinstance(value, EachRound):
            return value.make(key, state)
        return value


def _checked(name: str, first: int, last: int, rounds: int) -> tuple[int, int, int]:
    if min(first, last, rounds) < 1:
        raise ValueError(
            f"{name} needs sizes and rounds of at least 1, got {first} to {last} in {rounds} rounds"
        )
    if rounds == 1 and first != last:
        raise ValueError(f"{name} cannot go from {first} to {last} in one round; use constant")
    return first, last, rounds


def _rounded(sizes: np.ndarray) -> list[int]:
    return [int(n) for n in np.floor(sizes + 0.5)]
