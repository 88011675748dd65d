"""The candidates of a round: drawn in keyed blocks, held in memory or drawn again, and counted."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic

import numpy as np

from veriloop.core.arrays import AnyRows, Array, Groups, Mask, Scores
from veriloop.core.batch import B, Batch, check_batch, concatenate
from veriloop.core.checks import check_count, is_count
from veriloop.core.redraw import alike, first_few
from veriloop.core.scores import check_order


class RoundError(RuntimeError):
    """A round could not do what was asked of it, and nothing was refitted.

    >>> from veriloop import Key, TopCount
    >>> TopCount(3)(Key(0), np.array([0.5, np.nan]))
    Traceback (most recent call last):
    veriloop.core.candidates.RoundError: group 0 has 1 rows with a verdict, 3 are to be kept
    """


def one_group(batch: Batch) -> Groups:
    """Put all rows into group 0."""
    return np.zeros(len(batch), dtype=int)


class Candidates(Generic[B]):
    """A batch drawn block by block, with the same rows at every call.

    At most `limit` rows are held in memory. If there are more, every block is drawn again when rows
    are picked. Memory then holds one block and the rows picked. The rows do not depend on `limit`.
    A generator that gives other rows the second time, or writes into rows it gave, is refused.

    generate: (block number, rows) -> batch of so many rows.
    limit: the most rows held. None: all.
    group: batch -> labels, shape (n,). Default: one group.

    >>> lazy = Candidates(lambda block, rows: np.arange(rows) + 10 * block, limit=0)
    >>> for rows in (3, 2):
    ...     _ = lazy.draw(rows)
    >>> len(lazy), lazy[np.array([True, False, False, False, True])], lazy[[4, 0]]
    (5, array([ 0, 11]), array([11,  0]))
    """

    def __init__(
        self,
        generate: Callable[[int, int], B],
        limit: int | None = None,
        group: Callable[[B], Array] = one_group,
    ) -> None:
        self._generate = generate
        self._limit = limit
        self._group = group
        self._sizes: list[int] = []
        self._labels: list[Array] = []
        self._few: list[dict[str, Array]] = []  # the first rows of each block
        self._held: list[B] | None = []
        self._rows: Array | None = None  # the rows that count, of all drawn; None: all

    def draw(self, rows: int) -> B:
        """Draw the next block, of `rows` rows, and return it."""
        before = self._last_few()
        block = len(self._sizes)
        batch = self._block(block, rows)
        if not alike(before, self._last_few()):
            raise ValueError(
                f"generate changed the rows of block {block - 1} when it made block {block}; "
                "return a new array each time, as rows.copy()"
            )
        self._few.append(first_few(batch))
        labels = as_groups(self._group(batch), rows)
        self._labels.append(labels)
        self._sizes.append(rows)
        if self._limit is not None and len(self) > self._limit:
            self._held = None
        if self._held is not None:
            self._held.append(batch)
        return batch

    def only(self, rows: Mask) -> Candidates[B]:
        """Return these candidates without the rows that a mask over all rows drawn leaves out."""
        fewer = copy.copy(self)
        if not rows.all():
            fewer._rows = np.flatnonzero(rows)
        return fewer

    def labels(self, block: int | None = None) -> Groups:
        """Return the group of every candidate, or of one block, known without drawing any again."""
        if block is not None:
            return self._labels[block]
        labels = np.concatenate(self._labels)
        if self._rows is None:
            return labels
        return labels[self._rows]

    def whole(self) -> B | Candidates[B]:
        """Return one plain batch if all rows are held, and else these candidates."""
        if self._held is None:
            return self
        drawn = concatenate(self._held)
        if self._rows is None:
            return drawn
        return drawn[self._rows]

    def blocks(self) -> Iterator[B]:
        """Yield the rows block by block, in order; each block is drawn once."""
        for i, (start, end) in enumerate(self._bounds()):
            if self._rows is None:
                yield self._at(i)
                continue
            inside = self._rows[(self._rows >= start) & (self._rows < end)]
            if len(inside):
                yield self._at(i)[inside - start]

    def __len__(self) -> int:
        if self._rows is None:
            return sum(self._sizes)
        return len(self._rows)

    def __getitem__(self, rows: AnyRows) -> B:
        # NumPy's own rules, and refusals, for masks, integers and slices.
        wanted = np.arange(len(self))[rows]
        if self._rows is not None:
            wanted = self._rows[wanted]
        drawn, place = np.unique(wanted, return_inverse=True)
        parts: list[B] = []
        for i, (start, end) in enumerate(self._bounds()):
            first, last = np.searchsorted(drawn, [start, end])
            if first < last:
                parts.append(self._at(i)[drawn[first:last] - start])
        if not parts:
            # An empty part of a block knows what an empty batch looks like.
            parts = [self._at(0)[drawn]]
        picked = concatenate(parts)
        if len(place) == len(drawn) and (wanted == drawn).all():
            return picked  # in order, and no row twice
        return picked[place]

    def _bounds(self) -> Iterator[tuple[int, int]]:
        """Yield the first row of every block, and the one after its last."""
        start = 0
        for size in self._sizes:
            yield start, start + size
            start += size

    def _at(self, i: int) -> B:
        if self._held is not None:
            return self._held[i]
        batch = self._block(i, self._sizes[i])
        if not alike(self._few[i], first_few(batch)):
            raise ValueError(
                f"generate returned other rows when block {i} was drawn again; let it draw from "
                "its key alone, key.numpy(), or raise Loop.chunk so that all rows are held"
            )
        return batch

    def _last_few(self) -> dict[str, Array]:
        """Return the first rows of the last block, as they are now."""
        if not self._held:
            return {}
        return first_few(self._held[-1])

    def _block(self, i: int, rows: int) -> B:
        batch = self._generate(i, rows)
        check_batch(batch, "what generate returns")
        if len(batch) != rows:
            raise ValueError(f"generate was asked for {rows} candidates and returned {len(batch)}")
        return batch


def check_rows(what: str, got: Array, rows: int) -> None:
    """Refuse an answer that is not one value a row."""
    if got.shape != (rows,):
        raise ValueError(
            f"{what} must return one value a row, shape ({rows},), got shape {got.shape}"
        )


def as_groups(answer: object, rows: int, who: str = "group") -> Groups:
    """Return the labels of rows as an array, and refuse a row of which the group is not known.

    answer: labels, shape (n,), numbers or texts.
    rows: how many there must be.
    who: gave them, for the error.

    >>> as_groups(["a", "b"], 2)
    array(['a', 'b'], dtype='<U1')

    Raises:
        ValueError: with the first row without a label, or if there is not one label a row.
    """
    try:
        check_order(answer)
    except ValueError as error:
        raise ValueError(f"{who} {error}") from None
    if isinstance(answer, np.ma.MaskedArray):
        raise ValueError(f"{who} must return a plain array, got a masked one; fill it with a label")
    labels = np.asarray(answer)
    check_rows(who, labels, rows)
    unknown = np.zeros(rows, dtype=bool)
    if labels.dtype == object:
        unknown = np.array([_is_missing(label) for label in labels.tolist()], dtype=bool)
    elif labels.dtype.kind == "f":
        unknown = np.isnan(labels)
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise ValueError(
            f"{who} must return a label for every row, got {labels[row]} in row {row}; "
            "give such rows a label of their own"
        )
    return labels


def _is_missing(label: object) -> bool:
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, float) and np.isnan(label)


@dataclass(frozen=True, slots=True)
class Quota:
    """Ask for a number of kept rows, in each group if there are several.

    The first `n` accepted rows of a group are kept, in the order drawn. Rows drawn after them,
    because other groups are not full, do not count as candidates. So kept / candidates is the
    acceptance. Only filters that judge rows one by one can serve a quota.

    n: rows to keep in each group.
    groups: how many groups; `Loop.group` must label them 0 to groups - 1.
    budget: the most candidates to draw. None: 1,000 for each row asked for.

    >>> from veriloop import Key, Loop, State, Threshold
    >>> loop = Loop(
    ...     generate=lambda key, model, n: key.numpy().standard_normal(n),
    ...     verify=lambda key, batch: batch,
    ...     filter=Threshold(),
    ...     refit=lambda key, model, batch: batch.mean(),
    ... )
    >>> loop.step(Key(0), State(0.0), Quota(100))[1].kept
    100

    Raises:
        ValueError: if `n` or `groups` is no positive integer, or the budget is below `n * groups`.
    """

    n: int
    groups: int = 1
    budget: int | None = None

    def __post_init__(self) -> None:
        check_count("Quota.n", self.n)
        check_count("Quota.groups", self.groups)
        # Python's own, which have no largest one, in place of NumPy's.
        object.__setattr__(self, "n", int(self.n))
        object.__setattr__(self, "groups", int(self.groups))
        wanted = self.n * self.groups
        if self.budget is not None and not is_count(self.budget, wanted):
            raise ValueError(
                f"Quota.budget must be an integer of at least the {wanted} rows to be kept, "
                f"got {self.budget!r:.60}"
            )


class Tally:
    """Counts the accepted rows of every group until a quota is met, and says how many more to draw.

    quota: what is asked for.
    block: the most rows drawn at once.

    >>> tally = Tally(Quota(2), block=100)
    >>> tally.rows_wanted()
    2
    >>> tally.count(np.array([0.5, -1.0]), np.array([0, 0]), np.array([True, False]))
    array([ True,  True])
    >>> tally.full
    False
    """

    def __init__(self, quota: Quota, block: int) -> None:
        self._quota = quota
        self._block = block
        self._budget = 1000 * quota.n * quota.groups
        if quota.budget is not None:
            self._budget = quota.budget
        self._seen = np.zeros(quota.groups, dtype=int)
        self._accepted = np.zeros(quota.groups, dtype=int)
        self._best = -np.inf

    @property
    def _missing(self) -> Array:
        return np.maximum(self._quota.n - self._accepted, 0)

    @property
    def full(self) -> bool:
        """Whether every group has as many accepted rows as it needs."""
        return not self._missing.any()

    def rows_wanted(self) -> int:
        """Return how many rows to draw next.

        Raises:
            RoundError: if the budget is spent; it states the acceptance of each group.
        """
        drawn = self._seen.sum()
        wanted = self._quota.n * self._quota.groups
        if drawn:
            # Enough for the slowest group at its acceptance so far, and a tenth more.
            wanted = np.max(1.1 * self._missing * (drawn + 1) / (self._accepted + 1))
        rows = int(min(np.ceil(wanted), self._block, self._budget - drawn))
        if rows < 1:
            raise RoundError(self._shortfall())
        return rows

    def count(self, scores: Scores, groups: Groups, mask: Mask) -> Mask:
        """Count a block; return the mask of its rows that count as candidates.

        Rows of a group that come after its last wanted one do not count.

        scores, groups, mask: shape (n,).
        """
        self._check_groups(groups)
        groups = groups.astype(np.intp)
        counted = until_full(mask, groups, self._missing)
        self._best = np.fmax.reduce(scores, dtype=float, initial=self._best)
        self._seen += np.bincount(groups, minlength=self._quota.groups)
        self._accepted += np.bincount(groups[mask], minlength=self._quota.groups)
        return counted

    def _check_groups(self, groups: Array) -> None:
        count = self._quota.groups
        if groups.dtype.kind not in "iu":
            raise ValueError(
                f"a quota needs groups of integers, 0 to {count - 1}, got dtype {groups.dtype}; "
                "let Loop.group return integers"
            )
        if groups.min() < 0 or groups.max() >= count:
            raise ValueError(
                f"a quota over {count} groups needs labels 0 to {count - 1}, "
                f"got {groups.min()} to {groups.max()}"
            )

    def _shortfall(self) -> str:
        rates: list[str] = []
        for group, accepted in enumerate(self._accepted):
            acceptance = accepted / max(self._seen[group], 1)
            rates.append(f"{group}: {acceptance:.3g} ({accepted})")
        return (
            f"quota of {self._quota.n} kept rows a group not met within {self._seen.sum()} "
            f"candidates; best score {self._best:.4g}; "
            f"acceptance (rows) by group: {', '.join(rates)}"
        )


def until_full(mask: Mask, groups: Groups, limits: Array) -> Mask:
    """Mask the rows of every group `g` up to its `limits[g]`-th accepted one, and that one too."""
    order = np.argsort(groups, kind="stable")
    accepted = mask[order]
    of = groups[order]
    in_group = np.bincount(groups[mask], minlength=len(limits))
    in_groups_before = (np.cumsum(in_group) - in_group)[of]
    counted = np.empty_like(mask)
    counted[order] = np.cumsum(accepted) - accepted - in_groups_before < limits[of]
    return counted
