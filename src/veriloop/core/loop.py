"""One abstraction: a round generates, verifies, filters and refits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Generic

import numpy as np

from veriloop.core.arrays import Groups, Mask, Scores
from veriloop.core.batch import B
from veriloop.core.candidates import Candidates, Quota, RoundError, Tally, check_rows, one_group
from veriloop.core.checks import check_count
from veriloop.core.key import Key
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
from veriloop.core.verdict import Verdict, Verifier, called, disagreement, judged, rowwise

# What each part is called with, for whoever writes one.
CALLED_WITH = {
    "generate": "(key, model, n)",
    "verify": "(key, batch)",
    "filter": "(key, scores, groups)",
    "refit": "(key, model, batch)",
    "measure": "(key, model)",
    "pool": "(key, past, kept)",
    "group": "(batch)",
    "observe": "(key, batch, scores, mask)",
    "assess": "(key, model, verify)",
}
COUNTS = ("round", "candidates", "kept")


@dataclass(frozen=True, slots=True)
class State(Generic[M]):
    """All that a round needs from the past. Saving it is a checkpoint.

    Real data must be given here, as `State(model, past=(real,))`, if a pool such as `Accumulate` is
    to train on them. Without them a loop that accumulates trains on synthetic rows alone, and
    forgets the real data.

    model: the current model, of any type.
    round: how many rounds it has been through; 0 is the start.
    past: what the pool carries from round to round, a tuple of batches, the oldest first. None: no
        past.

    >>> State(model=0.5, past=(np.zeros(100),))
    State(model=0.5, round=0, past=(float64[100],))
    """

    model: M
    round: int = 0
    past: Any = None

    def __repr__(self) -> str:
        return one_line(self)


@dataclass(frozen=True, slots=True)
class Record:
    """What a round reports: plain numbers, no times, so that two runs can be compared byte by byte.

    round: its number; 0 is the start, which has no candidates.
    candidates: rows generated.
    kept: rows that the filter kept.
    metrics: named numbers.

    >>> Record(round=1, candidates=200, kept=50, metrics={"error": 0.1}).acceptance
    0.25
    """

    round: int
    candidates: int
    kept: int
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def acceptance(self) -> float:
        """Kept rows over candidates; NaN for the start."""
        if self.candidates == 0:
            return float("nan")
        return self.kept / self.candidates

    def row(self) -> dict[str, Any]:
        """Return the record as one flat row: round, candidates, kept, then the metrics by name.

        >>> Record(1, 200, 50, {"error": 0.1}).row()
        {'round': 1, 'candidates': 200, 'kept': 50, 'error': 0.1}
        """
        counts = {name: getattr(self, name) for name in COUNTS}
        return {**counts, **self.metrics}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Generic[M, B]):
    """The round, made of plain functions.

    Change a part with `dataclasses.replace(loop, verify=mine)`.

    A part that changes from round to round, such as a verifier that is retrained, is an
    `EachRound`.

    generate: (key, model, n) -> batch of n candidates.
    refit: (key, model, batch) -> new model. It must not change the model it is given.
    verify: (key, batch) -> scores, shape (n,), or a `Verdict`. Higher is better, NaN is no verdict.
        A
        verifier that judges rows together says `rowwise = False`, and needs the round in one block.
        None: no verifier, and all scores are 0.
    filter: (key, scores, groups) -> boolean mask, shape (n,). `Threshold()` keeps scores of 0 or
        more.
        None keeps all rows, and is refused beside a verifier.
    measure: (key, model) -> named numbers for the record. None: no numbers.
    pool: (key, past, kept) -> (training batch, past): what the next model is fitted to. None: the
        kept
        rows alone, as `Replace` does.
    group: batch -> integers, shape (n,). Filters rank, and quotas count, within groups. None: one
        group.
    observe: (key, batch, scores, mask) -> named numbers about the candidates.
    assess: (key, model, verify) -> named numbers about the round's verifier, before it judges.
    block: how many candidates are drawn, and verified, under one key. Another block gives other
        random
        numbers.
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

    Raises:
        TypeError: if a part cannot be called, or is a class.
        ValueError: if there is a verifier and no filter, or a size is no positive integer.
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
        measured = self._measured(key.fold(state.round), state.model)
        return Record(state.round, 0, 0, merge(measured))

    def step(
        self,
        key: Key,
        state: State[M],
        n: int | Quota,
        store: Callable[[Drawn], None] | None = None,
    ) -> tuple[State[M], Record]:
        """Do round `state.round + 1`; return the new state and the record.

        n: the number of candidates, or a `Quota` of kept rows.
        store: sees all that was drawn, before the refit. The round is the same with or without.

        Raises:
            RoundError: if nothing was kept, or less than was asked for. `state` is untouched.
        """
        index = state.round + 1
        if not isinstance(n, Quota):
            check_count(f"round {index}: the number of candidates", n)
        key = key.fold(index)
        loop: Any = self._of_round(key, state)
        assessed: Mapping[str, float] = {}
        if loop.assess is not None and loop.verify is not None:
            assessed = loop.assess(key.fold("loop"), state.model, loop.verify)
        try:
            drawn = loop._draw(key, state.model, n)
            _check_kept(drawn.verdict.scores, drawn.mask)
        except RoundError as error:
            raise RoundError(f"round {index}: {error}") from None
        if store is not None:
            store(drawn)
        candidates, verdict, mask = drawn.counting()
        kept = candidates[mask]
        batch, past = kept, ()
        if loop.pool is not None:
            batch, past = loop.pool(key.fold("pool"), state.past, kept)
        model = loop.refit(key.fold("refit"), state.model, batch)
        _check_model(index, state.model, model)
        observed: Mapping[str, float] = {}
        if loop.observe is not None:
            observed = loop.observe(key.fold("observe"), candidates.whole(), verdict.scores, mask)
        metrics = merge(
            {"no_verdict": int(np.isnan(verdict.scores).sum())},
            verdict.metrics(mask),
            disagreement(verdict.parts),
            assessed,
            observed,
            loop._measured(key.fold("measure"), model),
        )
        return State(model, index, past), Record(index, len(candidates), len(kept), metrics)

    def _of_round(self, key: Key, state: State[M]) -> Any:
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

    def _draw(self: Any, key: Key, model: M, n: int | Quota) -> Drawn:
        """Draw, judge and filter."""
        verify: Any = self.verify
        if not rowwise(verify) and (isinstance(n, Quota) or n > self.block):
            raise ValueError(
                "a verifier that depends on other rows needs all candidates in one block, "
                f"got {n} in blocks of {self.block}; raise Loop.block, or check {called(verify)}"
            )
        blocks = _Blocks(self, key, model)
        if isinstance(n, Quota):
            return self._fill(key, blocks, n)
        for start in range(0, n, self.block):
            blocks.draw(min(self.block, n - start))
        verdict = blocks.verdict()
        mask = select(self.filter, key.fold("filter"), verdict.scores, blocks.candidates.labels())
        return Drawn(self, key, n, blocks.candidates, verdict, mask)

    def _fill(self: Any, key: Key, blocks: _Blocks, quota: Quota) -> Drawn:
        """Draw block after block until the quota is met."""
        if self.filter is not None and not getattr(self.filter, "rowwise", False):
            raise ValueError(
                f"a quota needs a filter that judges rows one by one, got {self.filter!r}"
            )
        tally = Tally(quota, self.block)
        masks: list[Mask] = []
        counted: list[Mask] = []
        while not tally.full:
            scores, groups = blocks.draw(tally.rows_wanted())
            mask = select(self.filter, key.fold("filter", len(masks)), scores, groups)
            counts = tally.count(scores, groups, mask)
            masks.append(mask & counts)
            counted.append(counts)
        mask = np.concatenate(masks)
        return Drawn(
            self, key, quota, blocks.candidates, blocks.verdict(), mask, np.concatenate(counted)
        )


class _Blocks:
    """The blocks of one round, drawn and judged one after the other under keys of their own."""

    def __init__(self, loop: Any, key: Key, model: Any) -> None:
        self._verify = loop.verify
        self._key = key
        self._verdicts: list[Verdict] = []

        def generate(block: int, rows: int) -> Any:
            return loop.generate(key.fold("generate", block), model, rows)

        group: Callable[[Any], Groups] = one_group
        if loop.group is not None:
            group = loop.group
        self.candidates: Candidates[Any] = Candidates(generate, loop.chunk, group)

    def draw(self, rows: int) -> tuple[Scores, Groups]:
        """Draw and judge the next block; return its scores and its groups."""
        batch = self.candidates.draw(rows)
        verdict = Verdict(np.zeros(rows))
        if self._verify is not None:
            key = self._key.fold("verify", len(self._verdicts))
            verdict = judged(self._verify, key, batch)
        self._verdicts.append(verdict)
        return verdict.scores, self.candidates.labels(block=-1)

    def verdict(self) -> Verdict:
        """Return the verdict on all rows drawn."""
        return Verdict.concatenate(self._verdicts)


@dataclass(frozen=True, slots=True)
class Drawn:
    """All rows that a round drew, judged and filtered: what `store` is given.

    loop: the round's loop, in which every `EachRound` is replaced by the part it made.
    key: the round's. Block i was verified under `key.fold("verify", i)`. Under a quota block i was
        filtered under `key.fold("filter", i)`; without, all rows under `key.fold("filter")`.
    n: the number of candidates asked for, or the quota.
    candidates: all rows drawn.
    verdict: on every row drawn.
    mask: which of them are kept, shape (n,).
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


def select(filter: Filter | None, key: Key, scores: Scores, groups: Groups) -> Mask:
    """Return the mask of a filter; refuse one that is no mask or keeps rows without a verdict."""
    if filter is None:
        return ~np.isnan(scores)
    mask = np.asarray(filter(key, scores, groups))
    check_rows("filter", mask, len(scores))
    if mask.dtype != bool:
        raise ValueError(
            f"filter must return a boolean mask, got dtype {mask.dtype}; check {filter!r}"
        )
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
) -> Iterator[tuple[State[M], Record]]:
    """Yield (state, record) for the start, round 0, and after every round.

    The body of your `for` is the callback: log, save, plot, `break`. A run that goes on from a
    later state begins with the round after it.

    loop: what a round does.
    key: the address of all random numbers. Two loops under one key share them, so their difference
        is
        paired.
    state: where to begin; `State(model)` is a new run.
    sizes: for each round a number of candidates, or a `Quota` of kept rows: round k uses
        `sizes[k - 1]`.
    store: called with all that each round drew.

    >>> mean = Loop(
    ...     generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    ...     refit=lambda key, model, batch: float(batch.mean()),
    ... )
    >>> [record.kept for state, record in run(mean, Key(0), State(0.0), [10, 20])]
    [0, 10, 20]

    Raises:
        TypeError: if an argument is of another kind; the message says what to write.
        RoundError: if a round keeps nothing, or less than was asked for.
    """
    _check_run(loop, key, state, sizes)
    return _rounds(loop, key, state, sizes, store)


def _check_run(loop: object, key: object, state: object, sizes: object) -> None:
    if not isinstance(loop, Loop):
        remedy = "see help(veriloop.Loop)"
        if callable(loop):
            remedy = "a part that changes by round is an EachRound"
        raise TypeError(f"run: loop must be a Loop, got {_kind(loop)}; {remedy}")
    if not isinstance(key, Key):
        raise TypeError(f"run: key must be a Key, got {_kind(key)}; write veriloop.Key(0)")
    if not isinstance(state, State):
        raise TypeError(
            f"run: state must be a State, got {_kind(state)}; write veriloop.State(model)"
        )
    if not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str):
        raise TypeError(
            f"run: sizes must have one entry a round, got {_kind(sizes)}; write [n] * rounds"
        )


def _rounds(
    loop: Loop[M, B],
    key: Key,
    state: State[M],
    sizes: Sequence[int | Quota],
    store: Callable[[Drawn], None] | None,
) -> Iterator[tuple[State[M], Record]]:
    if state.round == 0:
        yield state, loop.first_record(key, state)
    for n in sizes[state.round :]:
        state, record = loop.step(key, state, n, store)
        yield state, record


def _kind(value: Any) -> str:
    """Name a value's type, and show the value where it is short."""
    text = repr(value)
    if len(text) > 30:
        return type(value).__name__
    return f"{type(value).__name__} {text}"


def _check_model(index: int, old: Any, new: Any) -> None:
    if new is None and old is not None:
        raise ValueError(f"round {index}: refit returned None; return the new model")


def _check_kept(scores: Scores, mask: Mask) -> None:
    if mask.any():
        return
    known = scores[~np.isnan(scores)]
    best = "no row has a verdict"
    if len(known):
        best = f"best score {float(known.max()):.4g}"
    raise RoundError(f"acceptance 0, none of {len(scores)} candidates kept; {best}")


def merge(*parts: Any) -> dict[str, float]:
    """Return the named numbers of all parts.

    Raises:
        TypeError: if one is no number.
        ValueError: if two have one name, or one has the name of a count.
    """
    merged: dict[str, float] = {}
    for numbers in parts:
        part: Any = numbers
        if not isinstance(numbers, Mapping):
            raise TypeError(
                f"numbers of a record need names, as in {{'error': 0.5}}, got {_kind(part)}"
            )
        for name, value in part.items():
            if name in merged or name in COUNTS:
                raise ValueError(
                    f"two numbers of one record are called {name!r}; rename the metric"
                )
            merged[name] = _number(name, value)
    return merged


def _number(name: str, value: Any) -> Any:
    """Return a plain number; an array or a tensor of one entry is one."""
    if value is None or isinstance(value, Real):
        return value
    if getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(
        f"the metric {name!r} must be one number, got {_kind(value)}; give its mean, or drop it"
    )
