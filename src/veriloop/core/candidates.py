"""The candidates of a round: drawn in keyed blocks, held in memory or drawn again, until there are enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from veriloop.core.batch import B, concatenate
from veriloop.core.filters import RoundError


class Candidates(Generic[B]):
    """A batch drawn block by block: block `i` comes from `generate(i, rows)`, the same rows every time it is asked.

    At most `limit` rows are held (None: all); beyond that every block is drawn anew when rows are picked, so memory
    is one block and what was picked. Rows picked do not depend on `limit`.

    >>> lazy = Candidates(lambda block, rows: np.arange(rows) + 10 * block, limit=0)
    >>> for rows in (3, 2):
    ...     _ = lazy.draw(rows)
    >>> len(lazy), lazy[np.array([True, False, False, False, True])], lazy[[4, 0]]
    (5, array([ 0, 11]), array([11,  0]))
    """

    def __init__(self, generate: Callable[[int, int], B], limit: int | None = None) -> None:
        self._generate = generate
        self._limit = limit
        self._sizes: list[int] = []
        self._held: list[B] | None = []

    def draw(self, rows: int) -> B:
        """Draw the next block, of `rows` rows, and return it."""
        batch = self._block(len(self._sizes), rows)
        self._sizes.append(rows)
        if self._limit is not None and len(self) > self._limit:
            self._held = None
        if self._held is not None:
            self._held.append(batch)
        return batch

    def whole(self) -> Any:
        """Return one plain batch where all rows are held, else these lazy candidates, which index alike."""
        return self if self._held is None else concatenate(self._held)

    def __len__(self) -> int:
        return sum(self._sizes)

    def __getitem__(self, rows: Any) -> B:
        rows = np.asarray(rows)
        if rows.dtype != bool:
            picked, places = np.unique(np.arange(len(self))[rows], return_inverse=True)
            return self[np.isin(np.arange(len(self)), picked)][places]
        masks = np.split(rows, np.cumsum(self._sizes)[:-1])
        return concatenate([self._at(i)[mask] for i, mask in enumerate(masks) if mask.any()])

    def _at(self, i: int) -> B:
        return self._block(i, self._sizes[i]) if self._held is None else self._held[i]

    def _block(self, i: int, rows: int) -> B:
        batch = self._generate(i, rows)
        if len(batch) != rows:
            raise ValueError(f"generate was asked for {rows} candidates and returned {len(batch)}")
        return batch


@dataclass(frozen=True, slots=True)
class Quota:
    """Ask for `n` kept rows in each of the groups 0 ... groups - 1, from at most `budget` candidates.

    The first `n` accepted rows of a group are kept, in the order drawn. Only filters that judge rows one by one can
    serve a quota. The default budget is 1,000 candidates for each row asked for.

    Raises:
        ValueError: if `n` or `groups` is not positive, or the budget is below `n * groups`.
    """

    n: int
    groups: int = 1
    budget: int | None = None

    def __post_init__(self) -> None:
        if min(self.n, self.groups) < 1:
            raise ValueError(f"Quota needs n and groups of at least 1, got n={self.n} and groups={self.groups}")
        if self.budget is not None and self.budget < self.n * self.groups:
            raise ValueError(
                f"Quota.budget must be at least the {self.n * self.groups} rows to be kept, got {self.budget}"
            )

    def fill(
        self,
        judge: Callable[[int], tuple[np.ndarray, np.ndarray]],
        select: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
        block: int,
    ) -> np.ndarray:
        """Draw blocks of at most `block` rows until every group is full; return the mask over all rows drawn.

        judge: rows -> (scores, groups) of the next `rows` candidates.
        select: (block number, scores, groups) -> mask.

        Raises:
            RoundError: if the budget is spent first; it states the acceptance of each group.
        """
        budget = 1000 * self.n * self.groups if self.budget is None else self.budget
        accepted = np.zeros(self.groups, dtype=int)
        masks: list[np.ndarray] = []
        drawn, best = 0, -np.inf
        while (missing := np.maximum(self.n - accepted, 0)).any():
            # Enough for the slowest group at its acceptance so far, and a tenth more.
            needed = np.max(1.1 * missing * (drawn + 1) / (accepted + 1)) if drawn else self.n * self.groups
            rows = int(min(np.ceil(needed), block, budget - drawn))
            if rows < 1:
                raise RoundError(self._shortfall(accepted, drawn, best))
            scores, groups = judge(rows)
            self._check_groups(groups)
            best = max(best, np.max(scores, initial=-np.inf, where=~np.isnan(scores)))
            mask = select(len(masks), scores, groups)
            masks.append(_first_of_each(mask, groups, missing))
            accepted += np.bincount(groups[mask], minlength=self.groups)
            drawn += rows
        return np.concatenate(masks)

    def _check_groups(self, groups: np.ndarray) -> None:
        if groups.min() < 0 or groups.max() >= self.groups:
            raise ValueError(
                f"a quota over {self.groups} groups needs labels 0 to {self.groups - 1}, "
                f"got {groups.min()} to {groups.max()}"
            )

    def _shortfall(self, accepted: np.ndarray, drawn: int, best: float) -> str:
        rates = ", ".join(f"{group}: {count / drawn:.3g} ({count})" for group, count in enumerate(accepted))
        return (
            f"quota of {self.n} kept rows a group not met within {drawn} candidates; best score {best:.4g}; "
            f"acceptance (rows) by group: {rates}"
        )


def _first_of_each(mask: np.ndarray, groups: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Keep of `mask` the first `limits[g]` rows of every group `g`."""
    first = np.zeros_like(mask)
    for group, limit in enumerate(limits):
        first[np.flatnonzero(mask & (groups == group))[:limit]] = True
    return first
