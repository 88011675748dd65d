"""The candidates of a round: drawn in keyed blocks, held in memory or drawn again, until there are enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from veriloop.core.batch import B, check_count, concatenate


class RoundError(RuntimeError):
    """A round could not do what was asked of it; nothing was refitted."""


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
        self._rows: np.ndarray | None = None  # the rows that count, of all drawn; None: all
        self.groups: list[np.ndarray] = []  # of every block drawn, filled by whoever judges them

    def draw(self, rows: int) -> B:
        """Draw the next block, of `rows` rows, and return it."""
        batch = self._block(len(self._sizes), rows)
        self._sizes.append(rows)
        if self._limit is not None and len(self) > self._limit:
            self._held = None
        if self._held is not None:
            self._held.append(batch)
        return batch

    def restrict(self, rows: np.ndarray) -> None:
        """Let only the rows of this mask, over all rows drawn, count as candidates from now on."""
        self._rows = None if rows.all() else np.flatnonzero(rows)

    def labels(self) -> np.ndarray:
        """Return the group of every candidate, known without drawing any again."""
        labels = np.concatenate(self.groups)
        return labels if self._rows is None else labels[self._rows]

    def whole(self) -> Any:
        """Return one plain batch where all rows are held, else these lazy candidates, which index alike."""
        if self._held is None:
            return self
        drawn = concatenate(self._held)
        return drawn if self._rows is None else drawn[self._rows]

    def blocks(self) -> Iterator[B]:
        """Yield the rows block by block, in order, each block drawn once: for what is asked of all of them."""
        ends = np.cumsum(self._sizes)
        for i, (start, end) in enumerate(zip(ends - self._sizes, ends, strict=True)):
            if self._rows is None:
                yield self._at(i)
            elif len(rows := self._rows[(self._rows >= start) & (self._rows < end)]):
                yield self._at(i)[rows - start]

    def __len__(self) -> int:
        return sum(self._sizes) if self._rows is None else len(self._rows)

    def __getitem__(self, rows: Any) -> B:
        mask = np.zeros(len(self), dtype=bool)
        mask[rows] = True  # NumPy's own rules, and refusals, for masks, integers and slices
        drawn = mask
        if self._rows is not None:
            drawn = np.zeros(sum(self._sizes), dtype=bool)
            drawn[self._rows[mask]] = True
        masks = np.split(drawn, np.cumsum(self._sizes)[:-1])
        # Where no row is picked, an empty part of the first block knows what an empty batch looks like.
        parts = [self._at(i)[part] for i, part in enumerate(masks) if part.any()] or [self._at(0)[masks[0]]]
        picked = concatenate(parts)
        return picked if np.asarray(rows).dtype == bool else picked[(np.cumsum(mask) - 1)[rows]]

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

    The first `n` accepted rows of a group are kept, in the order drawn; rows of a group drawn after them, because
    other groups are not full, do not count as candidates, so kept / candidates is the acceptance. Only filters
    that judge rows one by one can serve a quota. The default budget is 1,000 candidates for each row asked for.

    Raises:
        ValueError: if `n` or `groups` is no positive integer, or the budget is below `n * groups`.
    """

    n: int
    groups: int = 1
    budget: int | None = None

    def __post_init__(self) -> None:
        check_count("Quota.n", self.n)
        check_count("Quota.groups", self.groups)
        if self.budget is not None and self.budget < self.n * self.groups:
            raise ValueError(
                f"Quota.budget must be at least the {self.n * self.groups} rows to be kept, got {self.budget}"
            )

    def fill(
        self,
        judge: Callable[[int], tuple[np.ndarray, np.ndarray]],
        select: Callable[[int, np.ndarray, np.ndarray], np.ndarray],
        block: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw blocks of at most `block` rows until every group is full.

        judge: rows -> (scores, groups) of the next `rows` candidates.
        select: (block number, scores, groups) -> mask.

        Returns two masks over all rows drawn: those kept, and those that count as candidates.

        Raises:
            RoundError: if the budget is spent first; it states the acceptance of each group.
        """
        budget = 1000 * self.n * self.groups if self.budget is None else self.budget
        seen, accepted = np.zeros((2, self.groups), dtype=int)
        kept: list[np.ndarray] = []
        counted: list[np.ndarray] = []
        best = -np.inf
        while (missing := np.maximum(self.n - accepted, 0)).any():
            drawn = seen.sum()
            # Enough for the slowest group at its acceptance so far, and a tenth more.
            wanted = np.max(1.1 * missing * (drawn + 1) / (accepted + 1)) if drawn else self.n * self.groups
            rows = int(min(np.ceil(wanted), block, budget - drawn))
            if rows < 1:
                raise RoundError(self._shortfall(accepted, seen, best))
            scores, groups = judge(rows)
            self._check_groups(groups)
            best = np.fmax.reduce(scores, dtype=float, initial=best)
            mask = select(len(kept), scores, groups)
            counted.append(until_full(mask, groups, missing))
            kept.append(mask & counted[-1])
            seen += np.bincount(groups, minlength=self.groups)
            accepted += np.bincount(groups[mask], minlength=self.groups)
        return np.concatenate(kept), np.concatenate(counted)

    def _check_groups(self, groups: np.ndarray) -> None:
        if groups.min() < 0 or groups.max() >= self.groups:
            raise ValueError(
                f"a quota over {self.groups} groups needs labels 0 to {self.groups - 1}, "
                f"got {groups.min()} to {groups.max()}"
            )

    def _shortfall(self, accepted: np.ndarray, seen: np.ndarray, best: float) -> str:
        rates = ", ".join(
            f"{group}: {count / max(rows, 1):.3g} ({count})"
            for group, (count, rows) in enumerate(zip(accepted, seen, strict=True))
        )
        return (
            f"quota of {self.n} kept rows a group not met within {seen.sum()} candidates; best score {best:.4g}; "
            f"acceptance (rows) by group: {rates}"
        )


def until_full(mask: np.ndarray, groups: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Mask of the rows of every group `g` up to and with its `limits[g]`-th accepted one."""
    order = np.argsort(groups, kind="stable")
    accepted, of = mask[order], groups[order]
    in_group = np.bincount(groups[mask], minlength=len(limits))
    in_groups_before = (np.cumsum(in_group) - in_group)[of]
    counted = np.empty_like(mask)
    counted[order] = np.cumsum(accepted) - accepted - in_groups_before < limits[of]
    return counted
