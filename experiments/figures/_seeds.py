"""What figures of several seeds share: means with intervals, paired differences, and the gain of verifying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures.style import Measured, Rows, select, values
from veriloop.records import interval

STYLE = {True: "-", False: "--"}  # verified, unverified


def mean(sample: Any) -> tuple[float, float]:
    """Return the mean over seeds and half the width of its 95 % interval (Student's t; NaN for one seed)."""
    middle, _, high = interval(sample)
    return middle, high - middle


def by(rows: Rows, x: str, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the different x of the rows, and mean and half width of a column at each."""
    xs = [
        value
        for value in values(rows, x)
        if any(row.get(name) is not None for row in select(rows, **{x: value}))
    ]
    points = [
        mean([row[name] for row in select(rows, **{x: value}) if row.get(name) is not None])
        for value in xs
    ]
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
    return [name for name in names if any(name in row for row in rows)]


def ends(rows: Rows, name: str, *, start: int = 0, **arm: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a column at the round `start` and at the last round of an arm, seed by seed."""
    rows = select(rows, **arm)
    last = max(row["round"] for row in rows)
    pairs = [
        [select(rows, seed=seed, round=k)[0][name] for k in (start, last)]
        for seed in values(rows, "seed")
    ]
    first, final = np.array(pairs, dtype=float).T
    return first, final


def difference(sample: np.ndarray) -> Measured:
    """Return the mean of paired differences and its standard error over seeds."""
    error = float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else None
    return Measured(float(sample.mean()), error)


def gains(rows: Rows, prefix: str, names: Sequence[str], **arm: Any) -> dict[str, Measured]:
    """Return how far both arms of a setting moved from round 0 to the last, and how far apart they ended."""
    numbers: dict[str, Measured] = {}
    for name in names:
        (first, verified), (_, unverified) = (
            ends(rows, name, verified=kind, **arm) for kind in (True, False)
        )
        numbers[f"{prefix}{name}: round 0"] = difference(first)
        numbers[f"{prefix}{name}: verified - round 0"] = difference(verified - first)
        numbers[f"{prefix}{name}: unverified - round 0"] = difference(unverified - first)
        numbers[f"{prefix}{name}: verified - unverified"] = difference(verified - unverified)
    return numbers
