"""Filters: scores in, boolean mask out. Ranks are taken within groups; NaN (no verdict) is never kept.

A filter is any callable `(key, scores, groups) -> mask`. One that judges each row by itself says so with
`rowwise = True`; only such filters can serve a `Quota`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from veriloop.core.batch import check_count
from veriloop.core.key import Key


class RoundError(RuntimeError):
    """A round could not do what was asked of it; nothing was refitted."""


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keep every row that has a verdict.

    >>> KeepAll()(Key(0), np.array([0.1, np.nan, -3.0]))
    array([ True, False,  True])
    """

    rowwise: ClassVar[bool] = True

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        return ~np.isnan(scores)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Keep the rows that score at least `cut`.

    >>> Threshold(0.0)(Key(0), np.array([0.1, 0.0, -3.0]))
    array([ True,  True, False])
    """

    cut: float = 0.0
    rowwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if np.isnan(self.cut):
            raise ValueError("Threshold.cut must be a number, got nan")

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        return np.asarray(scores) >= self.cut


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Keep each row with the probability that its score states.

    >>> Bernoulli()(Key(0), np.array([1.0, 0.0, np.nan]))
    array([ True, False, False])

    Raises:
        ValueError: if a score lies outside [0, 1].
    """

    rowwise: ClassVar[bool] = True

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        scores = np.asarray(scores)
        wrong = (scores < 0) | (scores > 1)
        if wrong.any():
            raise ValueError(f"Bernoulli needs scores in [0, 1], got {scores[wrong][0]:.4g}; use a soft verifier")
        return key.numpy().random(len(scores)) < scores


@dataclass(frozen=True, slots=True)
class TopFraction:
    """Keep the best `fraction` of each group, to the nearest row; ties are broken by the key.

    >>> TopFraction(0.5)(Key(0), np.array([3.0, 1.0, 2.0, 0.0]))
    array([ True, False,  True, False])
    >>> TopFraction(0.5)(Key(0), np.array([3.0, 1.0, 2.0, 0.0]), np.array([0, 1, 0, 1]))
    array([ True,  True, False, False])

    Raises:
        RoundError: if fewer rows of a group have a verdict than are to be kept.
    """

    fraction: float

    def __post_init__(self) -> None:
        check_fraction(self)

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        return _top(key, scores, groups, lambda size: np.floor(self.fraction * size + 0.5).astype(int))


@dataclass(frozen=True, slots=True)
class RandomFraction:
    """Keep a random `fraction` of each group: the unverified arm of the same size as `TopFraction`.

    >>> int(RandomFraction(0.25)(Key(0), np.zeros(100)).sum())
    25
    """

    fraction: float

    def __post_init__(self) -> None:
        check_fraction(self)

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        lots = np.where(np.isnan(scores), np.nan, key.fold("lots").numpy().random(len(scores)))
        return TopFraction(self.fraction)(key, lots, groups)


@dataclass(frozen=True, slots=True)
class TopCount:
    """Keep the `count` best rows of each group; ties are broken by the key.

    >>> TopCount(1)(Key(0), np.array([3.0, 1.0, 2.0]))
    array([ True, False, False])

    Raises:
        RoundError: if a group has fewer than `count` rows with a verdict.
    """

    count: int

    def __post_init__(self) -> None:
        check_count("TopCount.count", self.count)

    def __call__(self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
        return _top(key, scores, groups, lambda size: np.full_like(size, self.count))


def check_fraction(filter: Any) -> None:
    """Refuse a filter whose `fraction` is no share."""
    if not 0 < filter.fraction <= 1:
        raise ValueError(f"{type(filter).__name__}.fraction must be in (0, 1], got {filter.fraction}")


def _top(
    key: Key, scores: np.ndarray, groups: np.ndarray | None, wanted_of: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Mask of the `wanted_of(size)` best rows of each group; a group at a time, for rounds of many million rows."""
    scores = np.asarray(scores)
    groups = np.zeros(len(scores), dtype=np.uint8) if groups is None else np.asarray(groups)
    labels, sizes = np.unique(groups, return_counts=True)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    lots, mask = key.numpy().random(len(scores)), np.zeros(len(scores), dtype=bool)
    for label, rows, wanted in zip(labels, members, wanted_of(sizes), strict=True):
        own = scores[rows].astype(float)
        judged = np.count_nonzero(~np.isnan(own))
        if judged < wanted:
            raise RoundError(f"group {label} has {judged} rows with a verdict, {wanted} are to be kept")
        # NaN sorts last, so the best `wanted` never reach it.
        mask[rows[np.lexsort((lots[rows], -own))[:wanted]]] = True
    return mask
