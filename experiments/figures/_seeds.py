"""What figures of several seeds share: means with intervals, paired differences, and the gain of
verifying.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures.style import Measured, Rows, select, values
from veriloop.records import interval

STYLE = {True: "-", False: "--"}  # verified, unverified


def mean(sample: Any) -> tuple[float, float]:
    """Return the mean over seeds and half the width of its 95 % interval (Student's t; NaN for one
    seed).
    """
    middle, _, high = interval(sample)
    return middle, high - middle


def by(rows: Rows, x: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the different x of the rows, and mean and half width of a column at each."""
    known = [row for row in rows if row.get(name) is not None]
    xs = values(known, x)
    points: list[tuple[float, float]] = []
    for value in xs:
        points.append(mean([row[name] for row in select(known, **{x: value})]))
    means, halves = np.array(points).reshape(-1, 2).T
    return np.array(xs), means, halves


def curve(
    panel: Any, rows: Rows, name: str, *, x: str = "round", color: str, **options: Any
) -> None:
    """Draw a column's mean over seeds with its 95 % interval."""
    xs, means, halves = by(rows, x, name)
    panel.fill_between(xs, means - halves, means + halves, color=color, alpha=0.15, lw=0)
    panel.plot(xs, means, color=color, marker="o", ms=2, **options)
    if x == "round":
        panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def metrics(rows: Rows, names: Sequence[str]) -> list[str]:
    """Return those of the metrics that the run could measure."""
    measured = set().union(*rows)
    return [name for name in names if name in measured]


def ends(rows: Rows, name: str, *, start: int = 0, **arm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a column at the round `start` and at the last round of an arm, seed by seed."""
    rows = select(rows, **arm)
    last = max(row["round"] for row in rows)
    first: list[float] = []
    final: list[float] = []
    for seed in values(rows, "seed"):
        first.append(select(rows, seed=seed, round=start)[0][name])
        final.append(select(rows, seed=seed, round=last)[0][name])
    return np.array(first, dtype=float), np.array(final, dtype=float)


def difference(sample: np.ndarray) -> Measured:
    """Return the mean of paired differences and its standard error over seeds."""
    error = None
    if len(sample) > 1:
        error = float(sample.std(ddof=1) / np.sqrt(len(sample)))
    return Measured(float(sample.mean()), error)


def gains(rows: Rows, prefix: str, names: Sequence[str], **arm: Any) -> dict[str, Measured]:
    """Return how far both arms of a setting moved from round 0 to the last, and how far apart they
    ended.
    """
    numbers: dict[str, Measured] = {}
    for name in names:
        first, verified = ends(rows, name, verified=True, **arm)
        _, unverified = ends(rows, name, verified=False, **arm)
        numbers[f"{prefix}{name}: round 0"] = difference(first)
        numbers[f"{prefix}{name}: verified - round 0"] = difference(verified - first)
        numbers[f"{prefix}{name}: unverified - round 0"] = difference(unverified - first)
        numbers[f"{prefix}{name}: verified - unverified"] = difference(verified - unverified)
    return numbers
