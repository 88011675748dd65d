"""A mean over seeds by round, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Curve:
    """A mean over seeds by round, with its 95 % interval. All fields are arrays of shape (rounds,).

    round: the rounds that have a value.
    mean: the mean over the seeds used; of a difference, the mean of the paired differences.
    low, high: the ends of Student's t interval. They are NaN for one seed, and where a value is
        infinite. Where all seeds agree to the last digit, both equal the mean: the seeds show no
        spread.
    n: how many seeds, or pairs, were used.
    left_out: how many seeds were not used, because they have no value there or no partner.
    """

    round: Array
    mean: Array
    low: Array
    high: Array
    n: Array
    left_out: Array

    def __len__(self) -> int:
        return len(self.round)

    def __str__(self) -> str:
        lines: list[str] = []
        columns = (self.round, self.mean, self.low, self.high, self.n)
        for k, mean, low, high, n in zip(*columns, strict=True):
            lines.append(f"round {k}: {mean:.4g} ({low:.4g} to {high:.4g}, n = {n})")
        return "\n".join(lines)


def interval(sample: Sequence[float] | Array) -> tuple[float, float, float]:
    """Return the mean of a sample over seeds and the ends of its 95 % interval (Student's t).

    The ends are NaN for one value, and where a value is infinite. They equal the mean where all
    values are the same.

    >>> interval([1.0, 2.0, 3.0])
    (2.0, -0.484..., 4.484...)
    >>> interval([1.5])
    (1.5, nan, nan)

    Raises:
        ValueError: if the sample is empty.
    """
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs]

    values = np.asarray(sample, dtype=float)
    n = len(values)
    if n == 0:
        raise ValueError("interval: needs at least one value, got none; give one a seed")
    if np.isinf(values).any():
        ends: set[float] = set(values[np.isinf(values)].tolist())
        return sum(ends), math.nan, math.nan  # of both, there is none: NaN
    mean = float(values.mean())
    if n == 1:
        return mean, math.nan, math.nan
    if np.all(values == values[0]):
        same = float(values[0])
        return same, same, same
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def curve(where: str, samples: Mapping[int, list[float]], seeds: int) -> Curve:
    """Return the curve of the samples of each round, NaN where a seed has no value.

    where: what the samples are of, for the error.
    seeds: how many there are in all; those without a value in a round are left out there.

    Raises:
        ValueError: if no round has a value.
    """
    rounds: list[int] = []
    points: list[tuple[float, float, float]] = []
    counts: list[int] = []
    for k in sorted(samples):
        values = np.array(samples[k])
        used = values[~np.isnan(values)]
        if len(used):
            rounds.append(k)
            points.append(interval(used))
            counts.append(len(used))
    if not rounds:
        raise ValueError(
            f"{where}: no round has a number; pick another metric, or wait for more rounds"
        )
    mean, low, high = np.array(points).T
    n = np.array(counts)
    return Curve(np.array(rounds), mean, low, high, n, seeds - n)
