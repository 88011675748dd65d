"""One abstraction: a round generates, verifies, filters and refits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, cast

import numpy as np

from veriloop.core.arrays import Groups, Mask, Scores
from veriloop.core.batch import B
from veriloop.core.blocks import Blocks, Drawn
from veriloop.core.candidates import Quota, RoundError, Tally
from veriloop.core.checks import check_count, kind
from veriloop.core.divergence import check_model
from veriloop.core.key import Key, check_key
from veriloop.core.masks import as_mask
from veriloop.core.numbers import merge
from veriloop.core.parts import (
    Assess,
    EachRound,
    Filter,
    Generate,
    M,
    Measure,
    Observer,
    Pool,
    Refit,
    check_part,
)
from veriloop.core.reprs import one_line
from veriloop.core.state import Record as Record  # imported from here elsewhere
from veriloop.core.state import State as State  # imported from here elsewhere
from veriloop.core.verdict import Verifier, called, disagreement, rowwise
from veriloop.core.watch import CALLED_WITH, watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Generic[M, B]):
    """The round, made of plain functions.

    Change a part with `dataclasses.replace(loop, verify=mine)`.

    A part that changes from round to round, such as a verifier that is retrained, is an
    `EachRound`.

    generate: (key, model, n) -> batch of n candidates. If its rows come in turn, as prompts do, it
        also has a method `starting_at(row)`, see below.
    refit: (key, model, batch) -> new model. It must not change the model it is given.
    verify: (key, batch) -> scores, shape (n,), or a `Verdict`. Higher is better, NaN is no verdict.
        A verifier that judges rows together says `rowwise = False`, and needs the round in one
        block. None: no verifier, and all scores are 0.
    filter: (key, scores, groups) -> boolean mask, shape (n,). `Threshold()` keeps scores of 0 or
        more. None keeps all rows, and is refused beside a verifier.
    measure: (key, model) -> named numbers for the record. None: no numbers.
    pool: (key, past, kept) -> (training batch, past): what the next model is fitted to. None: the
        kept rows alone, as `Replace` does.
    group: batch -> integers, shape (n,). Filters rank, and quotas count, within groups. The record
        counts groups of which a filter that ranks keeps no row, as `groups_left_out`. None: one
        group.
    observe: (key, batch, scores, mask) -> named numbers about the candidates.
    assess: (key, model, verify) -> named numbers about the round's verifier, before it judges.
    block: how many candidates are drawn, and verified, under one key. Another block gives other
        random numbers.
    chunk: the most candidates held in memory. A round with more draws them twice, to score and to
        keep, with the same result. None holds all of them.

    >>> loop = Loop(
    ...     generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    ...     verify=lambda key, batch: 1.0 - abs(batch),  # accept what is close to 0
    ...     filter=lambda key, scores, groups: scores >= 0,
    ...     refit=lambda key, model, batch: float(batch.mean()),
    ... )
    >>> state, record = loop.step(Key(0), State(model=0.5), 1000)
    >>> abs(state.model) < 0.5
    True

    A round of more than `block` candidates, and every quota, is drawn in several blocks. A
    generator whose rows come in turn needs to know where its block begins. `starting_at(row)`
    returns the same generator whose first row is the round's row `row`, counted from 0. Without the
    method such a generator would begin again in every block, and the loop refuses it.

    >>> @dataclass(frozen=True)
    ... class Articles:
    ...     first: int = 0
    ...     def starting_at(self, row):
    ...         return replace(self, first=row)
    ...     def __call__(self, key, model, n):
    ...         return self.first + np.arange(n)
    >>> in_turn = Loop(generate=Articles(), refit=lambda key, model, rows: rows.tolist(), block=2)
    >>> in_turn.step(Key(0), State([]), 5)[0].model
    [0, 1, 2, 3, 4]

    Raises:
        TypeError: if a part cannot be called, or is a class.
        ValueError: if there is a verifier and no filter, or a size is no positive integer; in a
            round, if a generator without `starting_at` begins again in every block.
    """

    generate: Generate[M, B] | EachRound[Generate[M, B]]
    refit: Refit[M, B] | EachRound[Refit[M, B]]
    verify: Verifier | EachRound[Verifier] | None = None
    filter: Filter | EachRound[Filter] | None = None
    measure: Measure[M] | None = None
    pool: Pool[B] | EachRound[Pool[B]] | None = None
    group: Callable[[B], Groups] | None = None
    observe: Observer | EachRound[Observer] | None = None
    assess: Assess[M] | None = None
    block: int = 65_536
    chunk: int | None = None

    def __repr__(self) -> str:
        return one_line(self, defaults=False)

    def __post_init__(self) -> None:
        for name in ("block", "chunk"):
            size = getattr(self, name)
            if size is not None:
                check_count(f"Loop.{name}", size)
                object.__setattr__(self, name, int(size))  # sums of few bits begin again
        for name, arguments in CALLED_WITH.items():
            part = getattr(self, name)
            if part is not None or name in ("generate", "refit"):
                check_part(f"Loop.{name}", part, arguments)
        if self.verify is not None and self.filter is None:
            raise ValueError(
                "Loop has a verifier and no filter, so every row would be kept; give "
                "filter=Threshold() to keep scores of 0 or more, TopFraction(0.1) to keep the best "
                "tenth, or KeepAll() to score and keep all"
            )

    def first_record(self, key: Key, state: State[M]) -> Record:
        """Return the record of the start: no candidates, and the model as it is measured."""
        _check_key_and_state("Loop.first_record", key, state)
        measured = self._measured(key.fold(state.round), state.model)
        return Record(state.round, 0, 0, merge(measured, round=state.round))

    def step(
        self,
        key: Key,
        state: State[M],
        n: int | Quota,
        store: Callable[[Drawn], None] | None = None,
        debug: bool = False,
    ) -> tuple[State[M], Record]:
        """Do round `state.round + 1`; return the new state and the record.

        n: the number of candidates, or a `Quota` of kept rows.
        store: sees all that was drawn and judged, before the refit, and also if the filter fails.
            The round is the same with or without.
        debug: check that no part changes what it is given, by a digest before and after.

        Raises:
            TypeError: if `key` is no Key, or `state` no State.
            RoundError: if nothing was kept, or less than was asked for. `state` is untouched.
            FloatingPointError: if the model has diverged.
            AssertionError: under `debug`, if a part changed what it was given.
        """
        _check_key_and_state("Loop.step", key, state)
        index = state.round + 1
        if not isinstance(n, Quota):
            check_count(f"round {index}: the number of candidates", n)
            n = int(n)
        loop = self
        if debug:
            loop = watched(self)
        try:
            return loop._step(key.fold(index), state, n, store)
        except RoundError as error:
            error.args = (f"round {index}: {error}",)
            raise
        except Exception as error:
            error.add_note(f"in round {index}")
            raise

    def _step(
        self,
        key: Key,
        state: State[M],
        n: int | Quota,
        store: Callable[[Drawn], None] | None,
    ) -> tuple[State[M], Record]:
        index = state.round + 1
        loop = self._of_round(key, state)
        assessed = merge(loop._assessed(key.fold("loop"), state.model))
        drawn = loop._draw(key, state.model, n, store)
        candidates, _, mask = drawn.counting()
        judged = loop._judged(key.fold("observe"), drawn, assessed)
        kept: Any = candidates[mask]
        batch, past = kept, cast(Any, ())
        if loop.pool is not None:
            pool = cast("Pool[Any]", loop.pool)
            batch, past = pool(key.fold("pool"), state.past, kept)
        refit = cast("Refit[M, Any]", loop.refit)
        model = refit(key.fold("refit"), state.model, batch)
        check_model(f"round {index}", state.model, model)
        measured = loop._measured(key.fold("measure"), model)
        metrics = merge(judged, measured, round=index)
        return State(model, index, past), Record(index, len(candidates), len(kept), metrics)

    def _of_round(self, key: Key, state: State[M]) -> Loop[M, B]:
        """Return this loop with every `EachRound` replaced by the part it makes for this round."""
        made: dict[str, Any] = {}
        for each in fields(self):
            part = getattr(self, each.name)
            if isinstance(part, EachRound):
                label = "retrain" if each.name == "verify" else each.name
                made[each.name] = part.make(key.fold("loop", label), state)
                if made[each.name] is None:
                    raise TypeError(f"the EachRound of Loop.{each.name} made None; return the part")
        if not made:
            return self
        return replace(self, **made)

    def _measured(self, key: Key, model: M) -> Mapping[str, float]:
        if self.measure is None:
            return {}
        return self.measure(key, model)

    def _assessed(self, key: Key, model: M) -> Mapping[str, float]:
        if self.assess is None or self.verify is None:
            return {}
        return self.assess(key, model, cast(Verifier, self.verify))

    def _judged(self, key: Key, drawn: Drawn, assessed: Mapping[str, float]) -> dict[str, float]:
        """Return the numbers that are known before the refit, so that a wrong one costs no fit."""
        candidates, verdict, mask = drawn.counting()
        observed: Mapping[str, float] = {}
        if self.observe is not None:
            observe = cast(Observer, self.observe)
            observed = observe(key, candidates.whole(), verdict.scores, mask)
        left_out: dict[str, float] = {}
        if self.group is not None and not getattr(self.filter, "rowwise", False):
            left_out = _groups_left_out(candidates.labels(), mask)
        return merge(
            {"no_verdict": int(np.isnan(verdict.scores).sum())},
            verdict.metrics(mask),
            disagreement(verdict.parts),
            assessed,
            observed,
            left_out,
            round=int(drawn.key.path[-1]),
        )

    def _draw(
        self, key: Key, model: M, n: int | Quota, store: Callable[[Drawn], None] | None
    ) -> Drawn:
        """Draw, judge and filter; store what was judged, whether the filter fails or not."""
        self._check_one_block(n)
        blocks = Blocks(self, key, model)
        masks: list[Mask] = []
        counted: list[Mask] = []
        try:
            if isinstance(n, Quota):
                self._fill(key, blocks, n, masks, counted)
            else:
                masks.append(self._select(key, blocks, n))
        except Exception as error:
            if store is not None and blocks.rows:
                mask = np.zeros(blocks.rows, dtype=bool)
                judged = Drawn(self, key, n, blocks.judged_candidates(), blocks.verdict(), mask)
                _store_though(error, store, judged)
            raise
        mask = np.concatenate(masks)
        counts = np.concatenate(counted) if counted else None
        drawn = Drawn(self, key, n, blocks.candidates, blocks.verdict(), mask, counts)
        if store is not None:
            store(drawn)
        self._check_kept(drawn)
        return drawn

    def _check_kept(self, drawn: Drawn) -> None:
        """Refuse a round that keeps nothing, and say why."""
        if drawn.mask.any():
            return
        scores = drawn.verdict.scores
        known = scores[~np.isnan(scores)]
        reason = "no row has a verdict; check the verifier"
        if len(known):
            remedy = (
                "give more candidates, a lower cut, or a filter that ranks, such as TopFraction"
            )
            why = getattr(self.filter, "why_none", None)
            if why is not None:
                groups = drawn.candidates.labels()
                remedy = why(drawn.key.fold("filter"), scores, groups) or remedy
            reason = f"best score {float(known.max()):.4g}; {remedy}"
        raise RoundError(f"acceptance 0, none of {len(scores)} candidates kept; {reason}")

    def _check_one_block(self, n: int | Quota) -> None:
        """Refuse a verifier that judges rows together where the round may have several blocks."""
        if rowwise(self.verify) or (not isinstance(n, Quota) and n <= self.block):
            return
        raise ValueError(
            "a verifier that depends on other rows needs all candidates in one block, "
            f"got {n} in blocks of {self.block}; raise Loop.block, or check {called(self.verify)}"
        )

    def _select(self, key: Key, blocks: Blocks, n: int) -> Mask:
        """Draw and judge `n` rows; return the mask of those that are kept."""
        for start in range(0, n, self.block):
            blocks.draw(min(self.block, n - start))
        filter = cast("Filter | None", self.filter)
        groups = blocks.candidates.labels()
        return select(filter, key.fold("filter"), blocks.verdict().scores, groups)

    def _fill(
        self, key: Key, blocks: Blocks, quota: Quota, masks: list[Mask], counted: list[Mask]
    ) -> None:
        """Draw block after block until the quota is met; add the masks of each."""
        filter = cast("Filter | None", self.filter)
        if filter is not None and not getattr(filter, "rowwise", False):
            raise ValueError(f"a quota needs a filter that judges rows one by one, got {filter!r}")
        tally = Tally(quota, self.block)
        while not tally.full:
            scores, groups = blocks.draw(tally.rows_wanted())
            mask = select(filter, key.fold("filter", len(masks)), scores, groups)
            counts = tally.count(scores, groups, mask)
            masks.append(mask & counts)
            counted.append(counts)


def _store_though(error: Exception, store: Callable[[Drawn], None], drawn: Drawn) -> None:
    """Store what was judged before an error, which stays the one that is raised."""
    try:
        store(drawn)
    except Exception as second:
        error.add_note(f"the candidates could not be stored: {second}")


def _groups_left_out(groups: Groups, mask: Mask) -> dict[str, float]:
    """Count the groups of which no row is kept; nothing is reported where there are none."""
    there = len(np.unique(groups))
    kept = len(np.unique(groups[mask]))
    if kept == there:
        return {}
    return {"groups_left_out": there - kept}


def select(filter: Filter | None, key: Key, scores: Scores, groups: Groups) -> Mask:
    """Return the mask of a filter; refuse one that is no mask or keeps rows without a verdict."""
    if filter is None:
        return ~np.isnan(scores)
    answer = filter(key, scores.copy(), groups)  # one that changes its scores changes no record
    mask = as_mask(answer, len(scores), filter)
    wrong = (mask & np.isnan(scores)).sum()
    if wrong:
        raise ValueError(
            f"filter must keep no row without a verdict (NaN), got {wrong}; check {filter!r}"
        )
    return mask


def run(
    loop: Loop[M, B],
    key: Key,
    state: State[M],
    sizes: Sequence[int | Quota],
    store: Callable[[Drawn], None] | None = None,
    debug: bool = False,
) -> Iterator[tuple[State[M], Record]]:
    """Yield (state, record) for the start, round 0, and after every round.

    The body of your `for` is the callback: log, save, plot, `break`. A run that goes on from a
    later state begins with the round after it.

    loop: what a round does.
    key: the address of all random numbers. Two loops under one key share them, so their difference
        is paired.
    state: where to begin; `State(model)` is a new run.
    sizes: for each round a number of candidates, or a `Quota` of kept rows: round k uses
        `sizes[k - 1]`.
    store: called with all that each round drew.
    debug: check that no part changes what it is given. A digest before and after each call costs
        time, and changes no number. The generator, the verifier and the observers share one batch,
        so a verifier that changes it in place changes what is kept.

    >>> mean = Loop(
    ...     generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    ...     refit=lambda key, model, batch: float(batch.mean()),
    ... )
    >>> [record.kept for state, record in run(mean, Key(0), State(0.0), [10, 20])]
    [0, 10, 20]

    Raises:
        TypeError: if an argument is of another kind; the message says what to write.
        RoundError: if a round keeps nothing, or less than was asked for.
        AssertionError: under `debug`, if a part changed what it was given.
    """
    _check_run(loop, key, state, sizes)
    return _rounds(loop, key, state, sizes, store, debug)


def _check_run(loop: object, key: object, state: object, sizes: object) -> None:
    if not isinstance(loop, Loop):
        remedy = "see help(veriloop.Loop)"
        if callable(loop):
            remedy = "a part that changes by round is an EachRound"
        raise TypeError(f"run: loop must be a Loop, got {kind(loop)}; {remedy}")
    _check_key_and_state("run", key, state)
    no_axis = getattr(sizes, "shape", None) == ()
    if no_axis or not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str):
        raise TypeError(
            f"run: sizes must have one entry a round, got {kind(sizes)}; write [n] * rounds"
        )


def _check_key_and_state(where: str, key: object, state: object) -> None:
    check_key(where, key)
    if not isinstance(state, State):
        raise TypeError(
            f"{where}: state must be a State, got {kind(state)}; write veriloop.State(model)"
        )


def _rounds(
    loop: Loop[M, B],
    key: Key,
    state: State[M],
    sizes: Sequence[int | Quota],
    store: Callable[[Drawn], None] | None,
    debug: bool,
) -> Iterator[tuple[State[M], Record]]:
    if state.round == 0:
        yield state, loop.first_record(key, state)
    for n in sizes[state.round :]:
        state, record = loop.step(key, state, n, store, debug)
        yield state, record
