"""Filters that choose among alternatives: the candidates of a group, or K consecutive ones of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriloop.core.checks import check_count, check_positive
from veriloop.core.key import Key
from veriloop.filters.ranking import Filter, TopCount, by_group


def BestOf() -> TopCount:
    """Keep the best row of each group, as in best-of-n sampling: the name in the field of `TopCount(1)`.

    >>> Alternatives(2, BestOf())(Key(0), np.array([3.0, 1.0, 2.0, 4.0]))
    array([ True, False, False,  True])
    """
    return TopCount(1)


@dataclass(frozen=True, slots=True)
class Luce:
    r"""Keep one row of each group, drawn with a probability that grows with its score s (Luce, 1959):

    .. math:: P(i) = e^{s_i/T} / \sum_j e^{s_j/T}

    over the rows j of the group that have a verdict; T is the `temperature`. Of two rows this is the choice of
    Bradley and Terry; of K, the curation of Ferbach et al. (2024), `Alternatives(K, Luce())`. As T falls to 0 it
    becomes `BestOf`. Drawn as the row of the highest :math:`s_i/T + G_i` with standard Gumbel noise G.

    >>> Luce()(Key(0), np.array([0.0, 50.0, np.nan]))
    array([False,  True, False])

    Raises:
        RoundError: if no row of a group has a verdict.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Luce.temperature", self.temperature)

    def __call__(
        self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        noise = key.fold("gumbel").numpy().gumbel(size=len(scores))
        return TopCount(1)(key, np.asarray(scores) / self.temperature + noise, groups)


@dataclass(frozen=True, slots=True)
class Margin:
    """Keep the rows that score at most `gamma` less than the best of their group (Fu et al., 2025).

    Their choice of one row among these, by its score, is `Then(Margin(gamma), Luce())`.

    >>> Margin(1.0)(Key(0), np.array([3.0, 1.5, 2.0, -4.0]), np.array([0, 0, 0, 1]))
    array([ True, False,  True,  True])
    """

    gamma: float

    def __post_init__(self) -> None:
        check_positive("Margin.gamma", self.gamma, zero=True)

    def __call__(
        self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        scores = np.asarray(scores, dtype=float)
        order, _, sizes = by_group(groups, len(scores))
        if not len(sizes):
            return np.zeros(0, dtype=bool)
        best = np.fmax.reduceat(scores[order], np.cumsum(sizes) - sizes)
        mask = np.empty(len(scores), dtype=bool)
        mask[order] = scores[order] >= np.repeat(best - self.gamma, sizes)
        return mask


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Let `filter` choose among every `k` consecutive rows of a group, as if they were a group of their own.

    For K candidates that are drawn alike, where nothing in the batch says which belong together. Rows left over
    when a group is not a multiple of `k` are not kept.

    >>> Alternatives(2, TopCount(1))(Key(0), np.array([3.0, 1.0, 2.0, 4.0, 9.0]))
    array([ True, False, False,  True, False])
    """

    k: int
    filter: Filter

    def __post_init__(self) -> None:
        check_count("Alternatives.k", self.k)

    def __call__(
        self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        scores = np.asarray(scores)
        order, _, sizes = by_group(groups, len(scores))
        place = np.arange(len(scores)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        whole = place < np.repeat(sizes // self.k * self.k, sizes)
        sets = np.empty(len(scores), dtype=int)
        sets[order] = np.cumsum(whole & (place % self.k == 0))
        used = np.zeros(len(scores), dtype=bool)
        used[order] = whole
        mask = np.zeros(len(scores), dtype=bool)
        if used.any():
            mask[used] = self.filter(key, scores[used], sets[used])
        return mask


@dataclass(frozen=True, slots=True)
class Then:
    """Filter by `first`, then by `second`, for which the rows dropped by `first` have no verdict.

    >>> Then(Margin(2.5), TopCount(2))(Key(0), np.array([3.0, 1.0, -2.0]))
    array([ True,  True, False])
    """

    first: Filter
    second: Filter

    @property
    def rowwise(self) -> bool:
        """Tell whether both judge each row by itself."""
        return all(getattr(filter, "rowwise", False) for filter in (self.first, self.second))

    def __call__(
        self, key: Key, scores: np.ndarray, groups: np.ndarray | None = None
    ) -> np.ndarray:
        left = np.where(self.first(key.fold("first"), scores, groups), scores, np.nan)
        return self.second(key.fold("second"), left, groups)
