"""Selection of rows together: a verifier whose scores depend on the other rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from veriloop.core.candidates import RoundError
from veriloop.core.checks import check_count
from veriloop.core.key import Key


@dataclass(frozen=True)
class CovarianceMatch:
    r"""Score the `count` rows whose features together have nearly the covariance `target`, 0 or more; others -1.

    Rows are taken one after the other, each time the one with which the covariance of those taken comes nearest,

    .. math:: \min_i \|\Sigma(S \cup \{i\}) - \Sigma_t\|_F,

    from the row nearest to the mean of all on; the first taken scores count - 1, the last 0. So `Threshold(0)` and
    `TopCount(count)` keep them all, and `TopCount` of fewer the first ones. With :math:`\Sigma` in a space of d
    features this is the selection of "High-dimensional Analysis of Synthetic Data Selection" (2026).

    features: batch -> shape (n, d); a row with a NaN has no verdict.
    target: shape (d, d), a covariance divided by the number of rows; or label -> such a matrix, for each group.
    group: batch -> labels, shape (n,); each group is matched by itself, with `count` rows. Default: one group.

    Time grows as count * n * d. Scores depend on all rows of a call: `rowwise = False` says so, and the loop
    refuses a round of more than one `Loop.block`.

    >>> match = CovarianceMatch(features=lambda batch: batch[:, None], target=np.array([[4.0]]), count=3)
    >>> match(Key(0), np.array([0.0, 0.1, 2.4, 9.0, -2.5]))
    array([ 0., -1.,  2., -1.,  1.])

    Raises:
        ValueError: if `count` is no positive integer, a target no covariance, the features not of its size, or a
            group has no target.
        RoundError: if fewer than `count` rows of a group have features.
    """

    features: Callable[[Any], np.ndarray]
    target: np.ndarray | Mapping[int, np.ndarray]
    count: int
    group: Callable[[Any], np.ndarray] | None = None
    rowwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("CovarianceMatch.count", self.count)
        for target in self.target.values() if isinstance(self.target, Mapping) else [self.target]:
            target = np.asarray(target)
            if (
                target.ndim != 2
                or not np.isfinite(target).all()
                or not np.array_equal(target, target.T)
            ):
                raise ValueError(
                    f"CovarianceMatch.target must be a symmetric matrix of finite numbers, got shape {target.shape}"
                )

    def __call__(self, key: Key, batch: Any) -> np.ndarray:
        x = np.asarray(self.features(batch), dtype=float)
        groups = (
            np.zeros(len(batch), dtype=int) if self.group is None else np.asarray(self.group(batch))
        )
        scores = np.full(len(batch), -1.0)
        for label in np.unique(groups).tolist():
            target = self._target(label)
            if x.shape != (len(batch), len(target)):
                raise ValueError(
                    f"CovarianceMatch.features must be of shape ({len(batch)}, {len(target)}), got {x.shape}"
                )
            rows = np.flatnonzero(groups == label)
            known = rows[~np.isnan(x[rows]).any(axis=1)]
            if len(known) < self.count:
                raise RoundError(
                    f"group {label} has {len(known)} rows with features, {self.count} are to match a covariance"
                )
            scores[known[greedy(x[known], target, self.count)]] = np.arange(self.count)[::-1]
        return np.where(np.isnan(x).any(axis=1), np.nan, scores)

    def _target(self, label: Any) -> np.ndarray:
        if not isinstance(self.target, Mapping):
            return np.asarray(self.target, dtype=float)
        if label not in self.target:
            raise ValueError(
                f"CovarianceMatch.target must name every group, it lacks group {label}"
            )
        return np.asarray(self.target[label], dtype=float)


def greedy(x: np.ndarray, target: np.ndarray, count: int) -> np.ndarray:
    r"""Return `count` rows of x, shape (n, d), in the order in which they bring the covariance nearest to `target`.

    With m rows taken, s their sum and P the sum of :math:`x x^\top`, one more row x makes it

    .. math:: (P + x x^\top)/(m + 1) - (s + x)(s + x)^\top/(m + 1)^2.

    The square of its distance to the target is worked out for all rows at once, from :math:`x^\top P x`,
    :math:`x^\top s` and the like, which a few products of x and a vector renew at every step.
    """
    x = x - x.mean(axis=0)  # no covariance changes, and the sums stay small
    norm, through_target = (x**2).sum(axis=1), ((x @ target) * x).sum(axis=1)
    taken = [int(np.argmin(norm))]
    free = np.ones(len(x), dtype=bool)
    s, p, through_p = np.zeros(x.shape[1]), np.zeros_like(target), np.zeros(len(x))
    for m in range(1, count):
        new = x[taken[-1]]
        free[taken[-1]] = False
        s, p, through_p = s + new, p + np.outer(new, new), through_p + (x @ new) ** 2
        along = x @ s
        # With D = P / (m + 1) - s s' / (m + 1)^2 - target, the difference is D + a x x' - b (s x' + x s').
        a, b = m / (m + 1) ** 2, 1 / (m + 1) ** 2
        through_d = through_p / (m + 1) - b * along**2 - through_target
        to_s = x @ (p @ s / (m + 1) - b * s * (s @ s) - target @ s)
        distance = (a * norm) ** 2 + 2 * b**2 * ((s @ s) * norm + along**2)
        distance += 2 * a * through_d - 4 * b * to_s - 4 * a * b * norm * along
        taken.append(int(np.argmin(np.where(free, distance, np.inf))))
    return np.array(taken)
