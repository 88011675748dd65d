"""Schedules: how many rows each round gets, or any other integer that changes from round to round."""

from __future__ import annotations

import numpy as np


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


def _checked(name: str, first: int, last: int, rounds: int) -> tuple[int, int, int]:
    if min(first, last, rounds) < 1:
        raise ValueError(f"{name} needs sizes and rounds of at least 1, got {first} to {last} in {rounds} rounds")
    if rounds == 1 and first != last:
        raise ValueError(f"{name} cannot go from {first} to {last} in one round; use constant")
    return first, last, rounds


def _rounded(sizes: np.ndarray) -> list[int]:
    return [int(n) for n in np.floor(sizes + 0.5)]
