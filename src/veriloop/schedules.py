"""Schedules: how many rows each round gets, or anything else that changes from round to round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from veriloop.core.key import Key
from veriloop.core.loop import Loop, State


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


def by_round(loop: Loop, **slots: Sequence[Any]) -> Callable[[Key, State], Loop]:
    """Return what `run` takes: the loop of each round, with the named slots' values of that round.

    A cut that rises is `by_round(loop, filter=[Threshold(cut) for cut in np.linspace(0, 1, rounds)])`. One cut for
    all rounds that keeps a tenth at the start needs no schedule: it is a `Threshold` at a quantile of scores,
    `np.nanquantile(Verdict.of(loop.verify(key, loop.generate(key, model, n))).scores, 0.9)`.

    >>> mean = Loop(generate=lambda key, model, n: np.arange(n), refit=lambda key, model, batch: batch.mean())
    >>> by_round(mean, block=[10, 20])(Key(0), State(0.0, round=1)).block
    20

    Raises:
        ValueError: if a name is no slot of the loop; or when called, if a slot has no value for the round.
    """
    if unknown := sorted(set(slots) - set(Loop.__dataclass_fields__)):
        raise ValueError(f"by_round knows {', '.join(Loop.__dataclass_fields__)}, got {unknown[0]!r}")

    def this_round(key: Key, state: State) -> Loop:
        for name, values in slots.items():
            if state.round >= len(values):
                raise ValueError(
                    f"by_round: {name} has values for {len(values)} rounds, got round {state.round + 1}"
                )
        return replace(loop, **{name: values[state.round] for name, values in slots.items()})

    return this_round


def _checked(name: str, first: int, last: int, rounds: int) -> tuple[int, int, int]:
    if min(first, last, rounds) < 1:
        raise ValueError(f"{name} needs sizes and rounds of at least 1, got {first} to {last} in {rounds} rounds")
    if rounds == 1 and first != last:
        raise ValueError(f"{name} cannot go from {first} to {last} in one round; use constant")
    return first, last, rounds


def _rounded(sizes: np.ndarray) -> list[int]:
    return [int(n) for n in np.floor(sizes + 0.5)]
