"""Numbers that a run ends with, and what a sample over replicates comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from veriloop.study.engine import Rows


class Measured(NamedTuple):
    """A number the run ends by printing beside the expected one.

    value: the number.
    standard_error: its own, None where it is not known.
    expected: where the records hold a closed form; else the configuration may state one.
    """

    value: float
    standard_error: float | None = None
    expected: float | None = None


def known(number: Measured) -> Measured:
    """Return the number with None in place of NaN, where nothing is known."""
    error = number.standard_error
    expected = number.expected
    if error is not None and np.isnan(error):
        error = None
    if expected is not None and np.isnan(expected):
        expected = None
    return number._replace(standard_error=error, expected=expected)


def spread(name: str, sample: np.ndarray) -> dict[str, float]:
    """Return mean, standard error (NaN for one value) and range of the middle 90 % of a sample.

    >>> spread("error", np.array([1.0, 2.0, 3.0]))
    {'error': 2.0, 'error_se': 0.577..., 'error_low': 1.1, 'error_high': 2.9}
    """
    low, high = np.quantile(sample, [0.05, 0.95])
    error = float("nan")
    if len(sample) > 1:
        error = sample.std(ddof=1) / np.sqrt(len(sample))
    named = {name: sample.mean(), f"{name}_se": error, f"{name}_low": low, f"{name}_high": high}
    return {key: float(value) for key, value in named.items()}


def mean(name: str, sample: np.ndarray) -> dict[str, float]:
    """Return a sample's mean alone."""
    return {name: float(np.mean(sample))}


def same(name: str, sample: np.ndarray) -> dict[str, Any]:
    """Return the value that all replicates have in common."""
    return {name: sample[0].item()}


def over_replicates(
    runs: Sequence[Rows], told: Mapping[str, Callable[[str, np.ndarray], dict[str, Any]]]
) -> Rows:
    """Return one row a round: its number, and what is told about each number of the replicates.

    runs: the rows of every replicate, one a round.
    told: name -> `spread`, `mean`, `same`, or another function of name and sample, in the order
        that the row is to have. A round without a number of that name leaves it out.

    >>> runs = [[{"round": 0, "error": 1.0}], [{"round": 0, "error": 3.0}]]
    >>> over_replicates(runs, {"error": mean})
    [{'round': 0, 'error': 2.0}]
    """
    rows: Rows = []
    for k, replicates in enumerate(zip(*runs, strict=True)):
        row: dict[str, Any] = {"round": k}
        for name, tell_of in told.items():
            if name in replicates[0]:
                sample = np.array([replicate[name] for replicate in replicates])
                row |= tell_of(name, sample)
        rows.append(row)
    return rows
