"""The rows of one round: drawn and judged block by block under keys of their own, then filtered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from veriloop.core.arrays import AnyBatch, AnyModel, Groups, Mask, Scores
from veriloop.core.candidates import Candidates, Quota, one_group
from veriloop.core.key import Key
from veriloop.core.parts import Generate
from veriloop.core.positions import (
    REMEDY,
    First,
    InTurn,
    first_rows,
    in_turn,
    same_start,
    starting_at,
)
from veriloop.core.verdict import Verdict, Verifier, judged

if TYPE_CHECKING:
    from veriloop.core.loop import Loop


@dataclass(frozen=True, slots=True)
class Drawn:
    """All rows that a round drew, judged and filtered: what `store` is given.

    loop: the round's loop, in which every `EachRound` is replaced by the part it made.
    key: the round's. Block i was verified under `key.fold("verify", i)`. Under a quota block i was
        filtered under `key.fold("filter", i)`; without, all rows under `key.fold("filter")`.
    n: the number of candidates asked for, or the quota.
    candidates: all rows drawn.
    verdict: on every row drawn.
    mask: which of them are kept, shape (n,). If the filter failed, none of those it did not see.
    counted: which rows count as candidates, shape (n,); None: all.
    """

    loop: Loop[Any, Any]
    key: Key
    n: int | Quota
    candidates: Candidates[Any]
    verdict: Verdict
    mask: Mask
    counted: Mask | None = None

    def counting(self) -> tuple[Candidates[Any], Verdict, Mask]:
        """Return the rows that count as candidates, their verdict and their mask."""
        if self.counted is None:
            return self.candidates, self.verdict, self.mask
        return (
            self.candidates.only(self.counted),
            self.verdict[self.counted],
            self.mask[self.counted],
        )


class Blocks:
    """The blocks of one round, drawn and judged one after the other.

    Block i is generated under `key.fold("generate", i)`. If the generator has a method
    `starting_at`, its first row is the block's first row of the round, also when it is drawn again.

    loop: the round's loop.
    key: the round's.
    model: what generates.
    """

    def __init__(self, loop: Loop[Any, Any], key: Key, model: AnyModel) -> None:
        self._source = _Source(loop, key, model)
        self._verify = cast("Verifier | None", loop.verify)
        self._key = key
        self._verdicts: list[Verdict] = []
        self._unmoved = _Unmoved(self._source.again)
        self.candidates: Candidates[Any] = Candidates(
            self._source.block, loop.chunk, self._source.group
        )

    def draw(self, rows: int) -> tuple[Scores, Groups]:
        """Draw and judge the next block; return its scores and its groups."""
        self._source.add(rows)
        batch = self.candidates.draw(rows)
        groups = self.candidates.labels(block=-1)
        if not isinstance(self._source.generate, InTurn):
            self._unmoved.check(first_rows(batch, groups))
        verdict = Verdict(np.zeros(rows))
        if self._verify is not None:
            key = self._key.fold("verify", len(self._verdicts))
            verdict = judged(self._verify, key, batch)
        self._verdicts.append(verdict)
        return verdict.scores, groups

    def verdict(self) -> Verdict:
        """Return the verdict on all rows judged."""
        return Verdict.concatenate(self._verdicts)

    @property
    def rows(self) -> int:
        """How many rows are judged."""
        return sum(len(verdict.scores) for verdict in self._verdicts)

    def judged_candidates(self) -> Candidates[Any]:
        """Return the candidates without a last block that the verifier did not judge."""
        drawn = np.arange(len(self.candidates))
        return self.candidates.only(drawn < self.rows)


class _Source:
    """Generates the rows of any block, as often as asked.

    It knows nothing of who asks. So there is no circle of references, and the model is let go as
    soon as the round ends.
    """

    def __init__(self, loop: Loop[Any, Any], key: Key, model: AnyModel) -> None:
        self.generate = cast("Generate[Any, Any]", loop.generate)
        self.group = cast("Callable[[AnyBatch], Groups]", loop.group or one_group)
        self._key = key
        self._model = model
        self._starts: list[int] = [0]  # the first row of each block, and the one after the last

    def add(self, rows: int) -> None:
        """Note how many rows the next block has."""
        self._starts.append(self._starts[-1] + rows)

    def block(self, block: int, rows: int) -> AnyBatch:
        """Generate a block."""
        generate = starting_at(self.generate, self._starts[block])
        return generate(self._key.fold("generate", block), self._model, rows)

    def again(self, rows: int, i: int) -> First:
        """Return the first rows under a key that no block has."""
        batch = self.generate(self._key.fold("in turn", i), self._model, rows)
        return first_rows(batch, self.group(batch))


class _Unmoved:
    """Refuses a generator whose rows come in turn, and begin again in every block.

    A column that is alike in the first rows of two blocks may be so by chance. So it is drawn
    again, under other keys.

    again: (rows, number of a try) -> the first rows of a block of so many.
    """

    def __init__(self, again: Callable[[int, int], First]) -> None:
        self._again = again
        self._first: First = {}
        self._open: list[str] | None = None  # the columns of which it is not known yet

    def check(self, first: First) -> None:
        """Look at the first rows of one more block.

        Raises:
            ValueError: if a column is the same in every block, whatever the key.
        """
        if self._open is None:
            self._first = first
            self._open = list(first)
            return
        still_open: list[str] = []
        for name in self._open:
            same = same_start(self._first[name], first.get(name, []))
            if same is None:
                still_open.append(name)
            elif same:
                self._refuse_in_turn(name, len(first[name]))
        self._open = still_open

    def _refuse_in_turn(self, name: str, rows: int) -> None:
        again = partial(self._again, min(rows, len(self._first[name])))
        if in_turn(self._first, name, again):
            raise ValueError(
                f"generate begins again in every block: {name!r} is the same under every key; "
                f"{REMEDY}, or raise Loop.block so that one block holds the round"
            )
