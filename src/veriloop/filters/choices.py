"""Filters that choose among alternatives: the candidates of a group, or K consecutive ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from veriloop.core.arrays import Groups, Mask, Scores
from veriloop.core.candidates import RoundError
from veriloop.core.checks import check_count, check_positive
from veriloop.core.key import Key
from veriloop.core.masks import as_mask
from veriloop.core.parts import Filter, check_part
from veriloop.filters.ranking import TopCount, by_group, no_groups

CALLED_WITH = "(key, scores, groups)"  # what every filter is called with


def BestOf() -> TopCount:
    """Keep the best row of each group, as in best-of-n sampling; it is `TopCount(1)`.

    A group of which no row has a verdict is skipped. The record counts it in `groups_left_out`.
    `Chain(Threshold(0), BestOf())` keeps the best row where it is good enough.

    >>> Alternatives(2, BestOf())(Key(0), np.array([3.0, 1.0, 2.0, 4.0]))
    array([ True, False, False,  True])
    """
    return TopCount(1)


@dataclass(frozen=True, slots=True)
class Luce:
    r"""Keep one row of each group, drawn with a probability that grows with its score.

    .. math:: P(i) = e^{s_i/T} / \sum_j e^{s_j/T}

    The sum is over the rows j of the group that have a verdict. For two rows this is the choice
    model of Bradley and Terry. `Alternatives(K, Luce())` is the curation of Ferbach et al. (2024).
    As T falls to 0 it becomes `BestOf`. The row drawn has the highest :math:`s_i/T + G_i`, with
    standard Gumbel noise G. A group of which no row has a verdict is skipped. Source: Luce (1959).

    temperature: T, positive, in the units of the scores.

    >>> Luce()(Key(0), np.array([0.0, 50.0, np.nan]))
    array([False,  True, False])

    Raises:
        ValueError: if the temperature is not positive and finite.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Luce.temperature", self.temperature)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        noise = key.fold("gumbel").numpy().gumbel(size=len(scores))
        scores = np.asarray(scores)
        wide = np.result_type(scores.dtype, np.float32)  # 16 bits overflow at a low temperature
        noisy = scores.astype(wide) / self.temperature + noise
        best = TopCount(1)
        return best(key, noisy, groups)


@dataclass(frozen=True, slots=True)
class NearBest:
    """Keep the rows that score at most `gamma` less than the best row of their group.

    Fu et al. (2025) then choose one of these rows by its score: `Chain(NearBest(gamma), Luce())`.

    gamma: the margin, at least 0, in the units of the scores.

    >>> NearBest(1.0)(Key(0), np.array([3.0, 1.5, 2.0, -4.0]), np.array([0, 0, 0, 1]))
    array([ True, False,  True,  True])

    Raises:
        ValueError: if gamma is negative or not finite.
    """

    gamma: float

    def __post_init__(self) -> None:
        check_positive("NearBest.gamma", self.gamma, zero=True)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        scores = np.asarray(scores, dtype=float)
        order, _, sizes = by_group(groups, len(scores))
        if not len(sizes):
            return np.zeros(0, dtype=bool)
        starts = np.cumsum(sizes) - sizes
        best = np.fmax.reduceat(scores[order], starts)
        mask = np.empty(len(scores), dtype=bool)
        mask[order] = scores[order] >= np.repeat(best - self.gamma, sizes)
        return mask


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Let `filter` choose among every `k` consecutive rows of a group, as if they were a group.

    Use it if the k candidates are drawn alike, and no column says which belong together. If a group
    is not a multiple of `k`, its last rows are left over, and are not kept.

    k: rows of a choice.
    filter: (key, scores, groups) -> mask.

    >>> Alternatives(2, TopCount(1))(Key(0), np.array([3.0, 1.0, 2.0, 4.0, 9.0]))
    array([ True, False, False,  True, False])

    Raises:
        ValueError: if `k` is no positive integer.
        TypeError: if the filter cannot be called so.
    """

    k: int
    filter: Filter

    def __post_init__(self) -> None:
        check_count("Alternatives.k", self.k)
        check_part("Alternatives.filter", self.filter, CALLED_WITH)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        scores = np.asarray(scores)
        order, _, sizes = by_group(groups, len(scores))
        starts = np.cumsum(sizes) - sizes
        place = np.arange(len(scores)) - np.repeat(starts, sizes)
        complete = place < np.repeat(sizes // self.k * self.k, sizes)
        first_of_choice = complete & (place % self.k == 0)
        choice = np.empty(len(scores), dtype=int)
        choice[order] = np.cumsum(first_of_choice)
        used = np.zeros(len(scores), dtype=bool)
        used[order] = complete
        mask = np.zeros(len(scores), dtype=bool)
        if used.any():
            answer = self.filter(key, scores[used], choice[used])
            mask[used] = as_mask(answer, int(used.sum()), self.filter)
        return mask


@dataclass(frozen=True, slots=True)
class Chain:
    """Filter by `first`, then filter what it kept by `second`.

    For `second`, the rows that `first` dropped have no verdict. If it needs more rows than are
    left, or none is left, the error says which filter dropped them.

    first, second: (key, scores, groups) -> mask.

    >>> Chain(NearBest(2.5), TopCount(2))(Key(0), np.array([3.0, 1.0, -2.0]))
    array([ True,  True, False])

    Raises:
        TypeError: if one of them cannot be called so.
        RoundError: in a round, if `second` finds fewer rows than it is to keep.
    """

    first: Filter
    second: Filter

    def __post_init__(self) -> None:
        check_part("Chain.first", self.first, CALLED_WITH)
        check_part("Chain.second", self.second, CALLED_WITH)

    @property
    def rowwise(self) -> bool:
        """Tell whether both filters judge each row by itself."""
        return all(getattr(each, "rowwise", False) for each in (self.first, self.second))

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        if groups is None:
            groups = no_groups(len(scores))
        kept = self._first(key, scores, groups)
        left = np.where(kept, scores, np.nan)
        try:
            return self.second(key.fold("second"), left, groups)
        except RoundError as error:
            raise RoundError(f"{error}; {self._left(kept)}") from None

    def why_none(self, key: Key, scores: Scores, groups: Groups) -> str:
        """Say which of the two filters dropped the last rows of a round."""
        kept = self._first(key, scores, groups)
        if not kept.any():
            return _why(self.first, key.fold("first"), scores, groups)
        left = np.where(kept, scores, np.nan)
        inner = _why(self.second, key.fold("second"), left, groups)
        return f"{self._left(kept)}; {inner}"

    def _first(self, key: Key, scores: Scores, groups: Groups) -> Mask:
        answer = self.first(key.fold("first"), scores, groups)
        return as_mask(answer, len(scores), self.first)

    def _left(self, kept: Mask) -> str:
        return f"{self.first!r} kept {kept.sum()} of {len(kept)} rows for {self.second!r}"


def _why(filter: Filter, key: Key, scores: Scores, groups: Groups) -> str:
    why: Callable[[Key, Scores, Groups], str] | None = getattr(filter, "why_none", None)
    reason = "" if why is None else why(key, scores, groups)
    return reason or f"{filter!r} kept none"
