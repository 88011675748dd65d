"""Numbers with intervals: what fits to resampled means say of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from veriloop.diagnose.arm import Scale
from veriloop.diagnose.contraction import Contraction
from veriloop.diagnose.series import TIE

AHEAD = 2  # a path is followed for so many times the rounds seen
REACHED = 0.2  # a plateau is named where at most so much of the start is left at the end
LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; value is None where the records do not identify it.

    value: the best guess, or None.
    low: the lower end of the interval.
    high: its upper end.

    >>> print(Estimate(0.5, 0.4, 0.65))
    0.5 (0.4 to 0.65)
    >>> print(Estimate(None, 0.0, 1.0))
    not identified
    """

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.value is None:
            return "not identified"
        if self.low == np.inf:
            return "none in sight"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


NOT_IDENTIFIED = Estimate(None, 0.0, np.inf)


def numbers(parameters: np.ndarray, further: Contraction) -> dict[str, np.ndarray]:
    """Return every fit's numbers by their name in `Advice`."""
    path = further.path(parameters)
    rho, start, noise, bias = parameters.T
    still = np.where(noise > 0, np.inf, start)  # at rho = 1 nothing is forgotten
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.where(rho < 1, noise / further.sizes[-1] / (1 - rho**2), still)
    bias = np.where(rho < 1, bias, 0.0)
    turns = path[:, -1] > path.min(axis=1) * (1 + TIE)
    reversal = np.where(turns, path.argmin(axis=1), np.inf)
    return {
        "rho": rho,
        "plateau": noise + bias,
        "noise": noise,
        "bias": bias,
        "reversal": reversal,
        "forecast": path[:, -1],
    }


def estimates(
    point: np.ndarray, drawn: Sequence[np.ndarray], further: Contraction, rounds: int
) -> dict[str, Estimate]:
    """Return the numbers of a fit by their name in `Advice`, with intervals that hold all samples'.

    point: the parameters of the fit, shape (1, 4).
    drawn: those of resampled fits, shape (n, 4) each.
    further: follows the path.
    rounds: how many were seen.
    """
    values = numbers(point, further)
    samples = [numbers(each, further) for each in drawn]
    found: dict[str, Estimate] = {}
    for name, value in values.items():
        ends = [np.quantile(each[name], LEVELS, method="inverted_cdf") for each in samples]
        low = float(min(end[0] for end in ends))
        high = float(max(end[1] for end in ends))
        known = high < np.inf
        if name == "rho":
            known = low > 0.01 or high < 0.99
        elif name == "reversal":
            known = low == high or high < np.inf
        elif name != "forecast":
            known = known and found["rho"].high ** (AHEAD * rounds) < REACHED
        middle = None
        if known:
            middle = float(np.clip(value[0], low, high))
        found[name] = Estimate(middle, low, high)
    return found


def in_metric(estimate: Estimate, scale: Scale) -> Estimate:
    """Return an error's estimate as one of the metric."""
    low, high = scale.interval(estimate.low, estimate.high)
    if estimate.value is None:
        return Estimate(None, low, high)
    return Estimate(scale.value(estimate.value), low, high)


def shifted(reversal: Estimate, first: int) -> Estimate:
    """Return the round of an estimate that counts from the first round of the records."""
    value = reversal.value
    if value is not None:
        value += first
    return Estimate(value, reversal.low + first, reversal.high + first)
