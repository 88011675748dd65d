"""Filters: scores in, boolean mask out. NaN, which is no verdict, is never kept.

A filter is any callable `(key, scores, groups) -> mask`. It ranks within groups. A filter that
judges each row by itself says so with `rowwise = True`; only such filters can serve a `Quota`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from veriloop.core.arrays import Array, Groups, Mask, Scores
from veriloop.core.candidates import RoundError
from veriloop.core.checks import check_count, check_finite, check_fraction, is_count
from veriloop.core.key import Key
from veriloop.core.verdict import check_scale, from_0_to_1

_RANKED_AT_ONCE = 1 << 20  # rows, where groups are small


@dataclass(frozen=True, slots=True)
class KeepAll:
    """Keep every row that has a verdict.

    >>> KeepAll()(Key(0), np.array([0.1, np.nan, -3.0]))
    array([ True, False,  True])
    """

    rowwise: ClassVar[bool] = True

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        return ~np.isnan(scores)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Keep the rows that score at least `cut`.

    cut: in the units of the scores. The default, 0, is where verifiers begin to accept.

    >>> Threshold(0.0)(Key(0), np.array([0.1, 0.0, -3.0]))
    array([ True,  True, False])

    If `cut` is 0, and the scores look like probabilities, a warning says that it keeps all of them.

    Raises:
        ValueError: if `cut` is NaN; in a round, if `cut` is 0 and the scores are 0 and 1 alone, as
            all of them would be kept.
    """

    cut: float = 0.0
    rowwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.cut not in (np.inf, -np.inf):
            check_finite("Threshold.cut", self.cut)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        scores = np.asarray(scores)
        if self.cut == 0:
            check_scale("Threshold(0)", scores, "or give filter=Threshold(0.5)")
            if from_0_to_1(scores):
                warnings.warn(
                    "Threshold(0) keeps every row of this round: all scores lie from 0 to 1; if "
                    "they are probabilities or fractions, give Threshold(0.5) or TopFraction; if "
                    "the verifier gives scores below 0 too, all rows of this round passed it",
                    stacklevel=2,
                )
        return scores >= self.cut


@dataclass(frozen=True, slots=True)
class Bernoulli:
    """Keep each row with the probability that its score states.

    >>> Bernoulli()(Key(0), np.array([1.0, 0.0, np.nan]))
    array([ True, False, False])

    Raises:
        ValueError: in a round, if a score lies outside [0, 1].
    """

    rowwise: ClassVar[bool] = True

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        scores = np.asarray(scores)
        wrong = (scores < 0) | (scores > 1)
        if wrong.any():
            raise ValueError(
                f"Bernoulli needs scores in [0, 1], got {scores[wrong][0]:.4g}; "
                "use a verifier that scores by a probability, such as linear.Soft"
            )
        return key.numpy().random(len(scores)) < scores


@dataclass(frozen=True, slots=True)
class TopFraction:
    """Keep the best `fraction` of each group, to the nearest row; ties are broken by the key.

    A group keeps no row if the fraction of it rounds to 0, as a tenth of 4 rows does, or if no row
    of it has a verdict. The record counts such groups as `groups_left_out`.

    fraction: in (0, 1], of all rows of the group, those without a verdict too.

    >>> TopFraction(0.5)(Key(0), np.array([3.0, 1.0, 2.0, 0.0]))
    array([ True, False,  True, False])
    >>> TopFraction(0.5)(Key(0), np.array([3.0, 1.0, 2.0, 0.0]), np.array([0, 1, 0, 1]))
    array([ True,  True, False, False])

    Raises:
        ValueError: if the fraction lies outside (0, 1].
        RoundError: in a round, if fewer rows of a group have a verdict than are to be kept, or the
            fraction of every group rounds to 0.
    """

    fraction: float

    def __post_init__(self) -> None:
        check_fraction("TopFraction.fraction", self.fraction, one=True)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        return _top(key, scores, groups, self._wanted)

    def why_none(self, key: Key, scores: Scores, groups: Groups) -> str:
        """Say why no row of a round is kept; empty if the scores say enough."""
        _, _, sizes = by_group(groups, len(scores))
        if not len(sizes) or self._wanted(sizes, sizes).any():
            return ""
        return (
            f"{self.fraction:g} of {sizes.max()} rows, the largest group, rounds to 0; give a "
            "larger fraction, TopCount(1), or more candidates in each group"
        )

    def _wanted(self, labels: Array, sizes: Array) -> Array:
        return np.floor(self.fraction * sizes + 0.5).astype(int)


@dataclass(frozen=True, slots=True)
class RandomFraction:
    """Keep a random `fraction` of each group: the unverified arm of the same size as `TopFraction`.

    fraction: in (0, 1].

    >>> int(RandomFraction(0.25)(Key(0), np.zeros(100)).sum())
    25

    Raises:
        ValueError: if the fraction lies outside (0, 1].
    """

    fraction: float

    def __post_init__(self) -> None:
        check_fraction("RandomFraction.fraction", self.fraction, one=True)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        lots = key.fold("lots").numpy().random(len(scores))
        lots[np.isnan(scores)] = np.nan
        best = TopFraction(self.fraction)
        return best(key, lots, groups)

    def why_none(self, key: Key, scores: Scores, groups: Groups) -> str:
        """Say why no row of a round is kept; empty if the scores say enough."""
        return TopFraction(self.fraction).why_none(key, scores, groups)


@dataclass(frozen=True, slots=True)
class TopCount:
    """Keep the `count` best rows of each group; ties are broken by the key.

    A group of which no row has a verdict is skipped, unless its own number is given. The record
    counts such groups as `groups_left_out`.

    count: one number for all groups, or group -> number. The latter must name every group there is;
        0 keeps no row of it.

    >>> TopCount(1)(Key(0), np.array([3.0, 1.0, 2.0]))
    array([ True, False, False])
    >>> TopCount({7: 2, 8: 0})(Key(0), np.array([3.0, 1.0, 2.0, 4.0]), np.array([7, 7, 7, 8]))
    array([ True, False,  True, False])

    Raises:
        ValueError: if a count is no integer; in a round, if a group is not named.
        RoundError: in a round, if a group has fewer rows with a verdict than are to be kept.
    """

    count: int | Mapping[int, int]

    def __post_init__(self) -> None:
        if not isinstance(self.count, Mapping):
            check_count("TopCount.count", self.count)
        elif not self.count or not all(map(is_count, self.count.values())):
            raise ValueError(
                "TopCount.count must give each group an integer of at least 0, "
                f"got {dict(self.count)}"
            )

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        named = isinstance(self.count, Mapping)
        return _top(key, scores, groups, self._wanted, skip=not named)

    def _wanted(self, labels: Array, sizes: Array) -> Array:
        if not isinstance(self.count, Mapping):
            return np.full_like(sizes, self.count)
        there: list[int] = labels.tolist()
        unnamed = sorted(set(there) - set(self.count))
        if unnamed:
            raise ValueError(
                "TopCount.count must name every group, 0 for none of it; "
                f"it lacks group {unnamed[0]}"
            )
        wanted = {label for label, n in self.count.items() if n}
        missing = sorted(wanted - set(there))
        if missing:
            raise RoundError(
                f"group {missing[0]} has 0 rows with a verdict, "
                f"{self.count[missing[0]]} are to be kept"
            )
        return np.array([self.count[label] for label in there], dtype=int)


def no_groups(n: int) -> Groups:
    """Put `n` rows into one group."""
    return np.zeros(n, dtype=np.uint8)


def by_group(groups: Groups | None, n: int) -> tuple[Array, Array, Array]:
    """Return the rows sorted by group, and the labels and sizes of the groups."""
    if groups is None:
        groups = no_groups(n)
    labels, sizes = np.unique(groups, return_counts=True)
    return np.argsort(groups, kind="stable"), labels, sizes


def _top(
    key: Key,
    scores: Scores,
    groups: Groups | None,
    wanted_of: Callable[[Array, Array], Array],
    skip: bool = True,
) -> Mask:
    """Mask of the best rows of each group, as many as `wanted_of(labels, sizes)` says.

    skip: keep nothing of a group without any verdict, instead of refusing it.

    Groups are ranked a million rows at once, for rounds of many million rows.
    """
    scores = np.asarray(scores)
    order, labels, sizes = by_group(groups, len(scores))
    wanted = wanted_of(labels, sizes)
    lots = key.numpy().random(len(scores))
    mask = np.zeros(len(scores), dtype=bool)
    ends = np.cumsum(sizes)
    for first, last in _pieces(ends):
        part = slice(first, last)
        start = ends[first] - sizes[first]
        rows = order[start : ends[last - 1]]
        own = scores[rows]
        judged = _judged(own, sizes[part])
        asked = wanted[part]
        if skip:
            asked = np.where(judged == 0, 0, asked)
        _check_enough(judged, labels[part], asked)
        # NaN sorts last in its group, so the best rows wanted never reach it.
        place = np.repeat(np.arange(last - first), sizes[part])
        best = rows[np.lexsort((lots[rows], _falling(own), place))]
        start_of_group = np.repeat(ends[part] - sizes[part] - start, sizes[part])
        rank = np.arange(len(rows)) - start_of_group
        mask[best] = rank < np.repeat(asked, sizes[part])
    return mask


def _falling(scores: Scores) -> Array:
    """Return numbers that fall as scores rise; large integers stay apart, unlike as floats."""
    if scores.dtype.kind in "iu":
        return np.invert(cast("Array", scores))
    return -scores.astype(float)


def _pieces(ends: Array) -> list[tuple[int, int]]:
    """Return the first group, and the one after the last, of pieces of a million rows or so."""
    if not len(ends):
        return []
    cuts = np.flatnonzero(np.diff(ends // _RANKED_AT_ONCE)) + 1
    starts: list[int] = [0, *cuts.tolist()]
    return list(zip(starts, [*starts[1:], len(ends)], strict=True))


def _judged(scores: Scores, sizes: Array) -> Array:
    """Count the rows of each group that have a verdict. Scores are sorted by group."""
    starts = np.cumsum(sizes) - sizes
    return np.add.reduceat(~np.isnan(scores), starts, dtype=int)


def _check_enough(judged: Array, labels: Array, wanted: Array) -> None:
    """Refuse a group with too few rows that have a verdict."""
    short = np.flatnonzero(judged < wanted)
    if len(short):
        i = short[0]
        raise RoundError(
            f"group {labels[i]} has {judged[i]} rows with a verdict, {wanted[i]} are to be kept"
        )
