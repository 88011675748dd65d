"""What to do next: conclusions from the path of errors that a fit expects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORTH = 0.05  # a difference below this fraction of an error does not count
SURE = 0.9  # the fraction of resamples that must agree on a conclusion
CHANGE = "change the verifier or the filter"
VERIFICATION = (CHANGE, "tighten the filter", "loosen the filter", "get a better verifier")


@dataclass(frozen=True)
class Basis:
    """What conclusions rest on beside the fit.

    rounds: how many were seen after the start.
    verified: whether a verifier chose the kept rows.
    known: whether the best value of the metric is known.
    apart: whether noise and bias can be told apart, because the distance to the verifier's centre
        is known and the formula holds.
    """

    rounds: int
    verified: bool
    known: bool
    apart: bool

    def conclude(self, parameters: np.ndarray, path: np.ndarray) -> list[str]:
        """Return every fit's conclusion: go on while it pays, stop where it has, else mend.

        parameters: shape (n, 4).
        path: the errors by round, shape (n, rounds).
        """
        rho, start, _, _ = parameters.T
        now = path[:, self.rounds]
        best, error = best_contraction(parameters)
        helps = error < (1 - WORTH) * start
        so_far = path[:, : self.rounds + 1].min(axis=1)
        ahead = path[:, self.rounds + 1 :].min(axis=1)
        cases = {
            "keep going": ahead < now - self._worth(path, now),
            "stop now": so_far < start - self._worth(path, start),
            "add real data": np.full(len(rho), not self.verified),
            CHANGE: np.full(len(rho), not self.apart),
            "tighten the filter": helps & (best < rho),
            "loosen the filter": helps,
        }
        return np.select(list(cases.values()), list(cases), "get a better verifier").tolist()

    def _worth(self, path: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Return which difference counts: a part of the error, or of all that the path changes."""
        if self.known:
            return WORTH * error
        return WORTH * (path.max(axis=1) - path.min(axis=1))


def settle(samples: Sequence[list[str]], conclusion: str) -> tuple[str, float]:
    """Return the conclusion and the smallest fraction of a sample that comes to it.

    Where samples agree that verification is wrong, but not on what is, the conclusion is `CHANGE`.
    """
    support = _support(samples, [conclusion])
    if conclusion not in VERIFICATION or support >= SURE:
        return conclusion, support
    return CHANGE, _support(samples, VERIFICATION)


def _support(samples: Sequence[list[str]], names: Sequence[str]) -> float:
    shares: list[float] = []
    for sample in samples:
        agreeing = sum(map(sample.count, names))
        shares.append(agreeing / len(sample))
    return min(shares)


def counted(samples: Sequence[list[str]]) -> str:
    """Say how often each conclusion is come to, the most frequent first."""
    counts: Counter[str] = Counter()
    for sample in samples:
        counts.update(sample)
    total = counts.total()
    return ", ".join(f"{name} {count / total:.0%}" for name, count in counts.most_common())


def best_contraction(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rho at which one round from the start ends lowest, and where it ends."""
    rho, start, noise, bias = parameters.T
    slope = noise / np.maximum(rho, 0.01)
    best = np.clip((bias - slope / 2) / np.maximum(start + bias, 1e-300), 0, 1)
    error = best**2 * start + slope * best + bias * (1 - best) ** 2
    return best, error
