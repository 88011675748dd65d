"""Schedules: how many rows each round gets, and which part of the loop it uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Generic, cast

import numpy as np

from veriloop.core.arrays import Array
from veriloop.core.checks import is_count
from veriloop.core.key import Key
from veriloop.core.parts import EachRound, Part, check_part
from veriloop.core.state import State


def constant(n: int, rounds: int) -> list[int]:
    """Return the same size for every round.

    n: rows a round.
    rounds: how many rounds.

    >>> constant(100, 3)
    [100, 100, 100]

    Raises:
        ValueError: if a number is no whole number of at least 1.
    """
    _check("constant", n, n, rounds)
    return _rounded(np.linspace(n, n, int(rounds)))


def linear(first: int, last: int, rounds: int) -> list[int]:
    r"""Return sizes on a straight line, rounded to whole rows.

    .. math:: n_k = a + (b - a)\frac{k - 1}{K - 1}

    first: a, rows in round 1.
    last: b, rows in the last round.
    rounds: K, how many rounds.

    >>> linear(100, 500, 3)
    [100, 300, 500]

    Raises:
        ValueError: if a number is no whole number of at least 1, or one round is to have two sizes.
    """
    _check("linear", first, last, rounds)
    return _rounded(np.linspace(first, last, int(rounds)))


def geometric(first: int, last: int, rounds: int) -> list[int]:
    r"""Return sizes that grow by the same factor every round, rounded to whole rows.

    .. math:: n_k = a (b/a)^{(k - 1)/(K - 1)}

    first: a, rows in round 1.
    last: b, rows in the last round.
    rounds: K, how many rounds.

    >>> geometric(10, 1000, 3)
    [10, 100, 1000]

    Raises:
        ValueError: if a number is no whole number of at least 1, or one round is to have two sizes.
    """
    _check("geometric", first, last, rounds)
    return _rounded(np.geomspace(first, last, int(rounds)))


def by_round(values: Sequence[Part]) -> EachRound[Part]:
    """Return a part of the loop that takes `values[k - 1]` in round k.

    A filter that grows stricter is `by_round([Threshold(cut) for cut in np.linspace(0, 1, 5)])`.

    values: one part a round. One may be an `EachRound`. For a round without a verifier, a filter or
        a pool there are `Constant()`, `KeepAll()` and `Replace()`.

    >>> from veriloop import State, Threshold
    >>> stricter = by_round([Threshold(0.1), Threshold(0.2)])
    >>> stricter.make(Key(0), State(model=None, round=1))  # one round is done
    Threshold(cut=0.2)

    One cut that keeps about a tenth of the first round needs no schedule. It is the 0.9 quantile of
    the scores of the start: `Threshold(np.nanquantile(scores, 0.9))`.

    Raises:
        TypeError: if the values are no sequence, or one of them is no part of a loop.
        ValueError: in a round that has no value.
    """
    _check_values(values)
    return EachRound(_ByRound(tuple(values)))


def _check_values(values: object) -> None:
    if not isinstance(values, Sequence) or isinstance(values, str):
        kind = type(values).__name__
        raise TypeError(f"by_round needs a list of parts, one a round, got {kind}")
    for i, value in enumerate(cast("Sequence[object]", values)):
        check_part(f"by_round: values[{i}]", value, "the part's arguments")


@dataclass(frozen=True)
class _ByRound(Generic[Part]):
    """Pick the value of a round; a value, so that a run folder can compare two schedules."""

    values: tuple[Part, ...]

    def __call__(self, key: Key, state: State[Any]) -> Part:
        if state.round >= len(self.values):
            raise ValueError(
                f"by_round has values for {len(self.values)} rounds, got round {state.round + 1}; "
                "give one a round"
            )
        value: Any = self.values[state.round]
        part: Any = value
        if isinstance(value, EachRound):
            return part.make(key, state)
        return part


def _check(name: str, first: int, last: int, rounds: int) -> None:
    if not all(map(_is_whole, (first, last, rounds))):
        raise ValueError(
            f"{name} needs sizes and rounds that are whole numbers of at least 1, "
            f"got {first!r:.60} to {last!r:.60} in {rounds!r:.60} rounds"
        )
    if rounds == 1 and first != last:
        raise ValueError(f"{name} cannot go from {first} to {last} in one round; use constant")


def _is_whole(number: object) -> bool:
    """Tell a whole number of at least 1, also one with a point, as 1e3."""
    if is_count(number, 1):
        return True
    if isinstance(number, bool) or not isinstance(number, Real):
        return False
    value = float(number)
    return value >= 1 and value.is_integer()


def _rounded(sizes: Array) -> list[int]:
    return [int(n) for n in np.floor(sizes + 0.5)]
