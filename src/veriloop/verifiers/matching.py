"""Selection of rows together: a verifier whose scores depend on the other rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from veriloop.core.arrays import AnyBatch, Array, Scores
from veriloop.core.candidates import RoundError, as_groups
from veriloop.core.checks import check_count
from veriloop.core.key import Key


@dataclass(frozen=True)
class CovarianceMatch:
    r"""Select rows whose features together have nearly the covariance of a target.

    Rows are taken one after the other, each time the one that brings the covariance nearest:

    .. math:: \min_i \|\Sigma(S \cup \{i\}) - \Sigma_t\|_F

    The first is the row nearest to the mean of all. It scores count - 1, the last one taken scores
    0, and all others score -1. So `Threshold(0)` and `TopCount(count)` keep all that were taken,
    and `TopCount` of fewer keeps the first ones. With :math:`\Sigma` in a space of d features this
    is the selection of "High-dimensional Analysis of Synthetic Data Selection" (2026).

    The scores depend on all rows of a call, which `rowwise = False` says. So the loop refuses a
    round of more than one `Loop.block`. Time grows as count * n * d.

    features: batch -> shape (n, d). A row with an entry that is masked or not
        finite has no verdict.
    target: shape (d, d), a covariance that divides by the number of rows; or label -> such a
        matrix,
        for each group.
    count: rows to take of each group.
    group: batch -> labels, shape (n,); each group is matched by itself. None: one group.

    >>> match = CovarianceMatch(lambda batch: batch[:, None], target=np.array([[4.0]]), count=3)
    >>> match(Key(0), np.array([0.0, 0.1, 2.4, 9.0, -2.5]))
    array([ 0., -1.,  2., -1.,  1.])

    Raises:
        ValueError: if `count` is no positive integer, or a target no symmetric matrix; in a round,
        if
            the features are not of its size, or a group has no target.
        RoundError: in a round, if fewer than `count` rows of a group have features.
    """

    features: Callable[[Any], npt.ArrayLike]
    target: Array | Mapping[int, Array]
    count: int
    group: Callable[[Any], npt.ArrayLike] | None = None
    rowwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("CovarianceMatch.count", self.count)
        targets: list[Any] = [self.target]
        if isinstance(self.target, Mapping):
            targets = list(self.target.values())
        for target in targets:
            matrix = np.asarray(target)
            finite = matrix.ndim == 2 and np.isfinite(matrix).all()
            if not finite or not np.array_equal(matrix, matrix.T):
                raise ValueError(
                    "CovarianceMatch.target must be a symmetric matrix of finite numbers, "
                    f"got shape {matrix.shape}"
                )

    def __call__(self, key: Key, batch: AnyBatch) -> Scores:
        x = _filled(self.features(batch))
        groups = np.zeros(len(batch), dtype=int)
        if self.group is not None:
            groups = as_groups(self.group(batch), len(batch), "CovarianceMatch.group")
        scores = np.full(len(batch), -1.0)
        for label in np.unique(groups).tolist():
            target = self._target(label)
            if x.shape != (len(batch), len(target)):
                raise ValueError(
                    "CovarianceMatch.features must be of shape "
                    f"({len(batch)}, {len(target)}), got {x.shape}"
                )
            rows = np.flatnonzero(groups == label)
            known = rows[np.isfinite(x[rows]).all(axis=1)]
            if len(known) < self.count:
                raise RoundError(
                    f"group {label} has {len(known)} rows with features, "
                    f"{self.count} are to match a covariance"
                )
            taken = known[greedy(x[known], target, self.count)]
            scores[taken] = np.arange(self.count)[::-1]
        return np.where(np.isfinite(x).all(axis=1), scores, np.nan)

    def _target(self, label: int) -> Array:
        if not isinstance(self.target, Mapping):
            return np.asarray(self.target, dtype=float)
        if label not in self.target:
            raise ValueError(
                f"CovarianceMatch.target must name every group, it lacks group {label}"
            )
        return np.asarray(self.target[label], dtype=float)


def _filled(features: npt.ArrayLike) -> Array:
    """Return features as numbers, NaN where they are masked."""
    if isinstance(features, np.ma.MaskedArray):
        masked = cast("np.ma.MaskedArray[tuple[int, ...], np.dtype[np.generic]]", features)
        values = np.array(masked.data, dtype=float)
        values[np.ma.getmaskarray(masked)] = np.nan
        return values
    return np.asarray(features, dtype=float)


def greedy(x: Array, target: Array, count: int) -> Array:
    r"""Return `count` rows of x, in the order in which they bring the covariance nearest.

    With m rows taken, s their sum and P the sum of :math:`x x^\top`, one more row x makes it

    .. math:: (P + x x^\top)/(m + 1) - (s + x)(s + x)^\top/(m + 1)^2.

    The squared distance to the target is computed for all rows at once. It needs
    :math:`x^\top P x`, :math:`x^\top s` and the like. Each step updates them by products of x and
    one vector.

    x: shape (n, d).
    target: shape (d, d).
    """
    x = x - x.mean(axis=0)  # no covariance changes, and the sums stay small
    norm = (x**2).sum(axis=1)
    through_target = ((x @ target) * x).sum(axis=1)
    taken = [int(np.argmin(norm))]
    free = np.ones(len(x), dtype=bool)
    s = np.zeros(x.shape[1])
    p = np.zeros_like(target)
    through_p = np.zeros(len(x))
    for m in range(1, count):
        new = x[taken[-1]]
        free[taken[-1]] = False
        s = s + new
        p = p + np.outer(new, new)
        through_p = through_p + (x @ new) ** 2
        along = x @ s
        # D is the distance of the rows taken: D = P / (m + 1) - s s' / (m + 1)^2 - target.
        # With one more row it is D + a x x' - b (s x' + x s').
        a = m / (m + 1) ** 2
        b = 1 / (m + 1) ** 2
        through_d = through_p / (m + 1) - b * along**2 - through_target
        to_s = x @ (p @ s / (m + 1) - b * s * (s @ s) - target @ s)
        distance = (a * norm) ** 2 + 2 * b**2 * ((s @ s) * norm + along**2)
        distance += 2 * a * through_d - 4 * b * to_s - 4 * a * b * norm * along
        taken.append(int(np.argmin(np.where(free, distance, np.inf))))
    return np.array(taken)
