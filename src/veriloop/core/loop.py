"""One abstraction: a round generates, verifies, filters and refits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from veriloop.core.batch import B, check_count
from veriloop.core.candidates import Candidates, Quota, RoundError
from veriloop.core.key import Key
from veriloop.core.verdict import Verdict, called, disagreement, judged, rowwise
from veriloop.filters.ranking import KeepAll
from veriloop.pools import Replace
from veriloop.verifiers.algebra import Constant

M = TypeVar("M")  # a model: opaque to the loop


@dataclass(frozen=True, slots=True)
class State(Generic[M]):
    """All a round needs from the past. Saving this is a checkpoint."""

    model: M
    round: int = 0
    past: Any = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a round reports. Plain numbers, no wall-clock: one JSON line."""

    round: int
    candidates: int
    kept: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def acceptance(self) -> float:
        """Kept rows over candidates."""
        return self.kept / self.candidates


def nothing(*_: Any) -> Mapping[str, float]:
    """Measure nothing."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop(Generic[M, B]):
    """The round, made of plain callables.

    generate: (key, model, n) -> batch of n candidates.
    verify: (key, batch) -> scores, shape (n,), or a `Verdict`; higher is better, NaN is no verdict. Default: none.
        One that judges rows together says `rowwise = False`, and needs the round in one block.
    filter: (key, scores, groups) -> boolean mask, shape (n,).
    refit: (key, model, batch) -> new model; must not modify its argument.
    measure: (key, model) -> named numbers for the record.
    pool: (key, past, kept) -> (training batch, past); what the next model is fitted to.
    group: batch -> integers, shape (n,); filters rank, and quotas count, within groups. Default: one group.
    observe: (key, batch, scores, mask) -> named numbers about the candidates.
    block: candidates drawn, and verified, under one key; it is part of the random stream, as the seed is.
    chunk: the most candidates held in memory; a round with more draws them twice, to score and to keep, with the
        same result. None holds all of them.
    """

    generate: Callable[[Key, M, int], B]
    refit: Callable[[Key, M, B], M]
    verify: Callable[[Key, B], Any] = Constant()
    filter: Callable[[Key, np.ndarray, np.ndarray], np.ndarray] = KeepAll()
    measure: Callable[[Key, M], Mapping[str, float]] = nothing
    pool: Callable[[Key, Any, B], tuple[B, Any]] = Replace()
    group: Callable[[B], np.ndarray] | None = None
    observe: Callable[[Key, Any, np.ndarray, np.ndarray], Mapping[str, float]] | None = None
    block: int = 65_536
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name in ("block", "chunk"):
            size = getattr(self, name)
            if size is not None:
                check_count(f"Loop.{name}", size)

    def step(
        self, key: Key, state: State[M], n: int | Quota, store: Callable[[Drawn], None] | None = None
    ) -> tuple[State[M], Record]:
        """Do round `state.round + 1` on `n` candidates, or until a `Quota` of kept rows is met.

        store: sees all that was drawn, before the refit; the round is the same with or without.

        Raises:
            RoundError: if nothing was kept, or less than was asked for; `state` is untouched.
        """
        index = state.round + 1
        if not isinstance(n, Quota):
            check_count(f"round {index}: the number of candidates", n)
        key = key.fold(index)
        try:
            drawn = self._select(key, state.model, n)
            _check_kept(drawn.verdict.scores, drawn.mask)
        except RoundError as error:
            raise RoundError(f"round {index}: {error}") from None
        if store is not None:
            store(drawn)
        candidates, verdict, mask = drawn.counting()
        kept = candidates[mask]
        batch, past = self.pool(key.fold("pool"), state.past, kept)
        model = self.refit(key.fold("refit"), state.model, batch)
        seen: Mapping[str, float] = {}
        if self.observe is not None:
            seen = self.observe(key.fold("observe"), candidates.whole(), verdict.scores, mask)
        metrics = merge(
            {"no_verdict": int(np.isnan(verdict.scores).sum())},
            verdict.metrics(mask),
            disagreement(verdict.parts),
            seen,
            self.measure(key.fold("measure"), model),
        )
        return State(model, index, past), Record(index, len(candidates), len(kept), metrics)

    def _select(self, key: Key, model: M, n: int | Quota) -> Drawn:
        """Draw, judge and filter."""
        candidates = Candidates(lambda i, rows: self.generate(key.fold("generate", i), model, rows), self.chunk)
        verdicts: list[Verdict] = []

        def judge(rows: int) -> tuple[np.ndarray, np.ndarray]:
            batch = candidates.draw(rows)
            verdicts.append(judged(self.verify, key.fold("verify", len(verdicts)), batch))
            groups = np.zeros(rows, dtype=int) if self.group is None else np.asarray(self.group(batch))
            _check_shape("group", groups, rows)
            candidates.groups.append(groups)
            return verdicts[-1].scores, groups

        if not rowwise(self.verify) and (isinstance(n, Quota) or n > self.block):
            raise ValueError(
                f"a verifier that depends on other rows needs all candidates in one block, got {n} in blocks of "
                f"{self.block}; raise Loop.block, or check {called(self.verify)}"
            )
        if isinstance(n, Quota):
            if not getattr(self.filter, "rowwise", False):
                raise ValueError(f"a quota needs a filter that judges rows one by one, got {self.filter!r}")
            mask, counted = n.fill(
                judge, lambda i, *scored: select(self.filter, key.fold("filter", i), *scored), self.block
            )
            return Drawn(self, key, n, candidates, Verdict.concatenate(verdicts), mask, counted)
        for start in range(0, n, self.block):
            judge(min(self.block, n - start))
        verdict = Verdict.concatenate(verdicts)
        mask = select(self.filter, key.fold("filter"), verdict.scores, candidates.labels())
        return Drawn(self, key, n, candidates, verdict, mask)


@dataclass(frozen=True, slots=True)
class Drawn:
    """All rows that a round drew, judged and filtered: what `store` is given.

    key: the round's; block i was verified under `key.fold("verify", i)`, and of a quota filtered under
        `key.fold("filter", i)`; all rows of a round without a quota were filtered under `key.fold("filter")`.
    n: the number of candidates asked for, or the quota.
    verdict, mask: of every row drawn, shape (n,).
    counted: which rows count as candidates, shape (n,); None: all.
    """

    loop: Loop
    key: Key
    n: int | Quota
    candidates: Candidates
    verdict: Verdict
    mask: np.ndarray
    counted: np.ndarray | None = None

    def counting(self) -> tuple[Candidates, Verdict, np.ndarray]:
        """Let only the rows that count be candidates from now on; return them, their verdict and their mask."""
        if self.counted is None:
            return self.candidates, self.verdict, self.mask
        self.candidates.restrict(self.counted)
        return self.candidates, self.verdict[self.counted], self.mask[self.counted]


def select(filter: Callable[..., Any], key: Key, scores: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the filter's mask, or refuse one that is none or keeps a row without a verdict."""
    mask = np.asarray(filter(key, scores, groups))
    _check_shape("filter", mask, len(scores))
    if mask.dtype != bool:
        raise ValueError(f"filter must return a boolean mask, got dtype {mask.dtype}; check {filter!r}")
    if wrong := (mask & np.isnan(scores)).sum():
        raise ValueError(f"filter must keep no row without a verdict (NaN), got {wrong}; check {filter!r}")
    return mask


def run(
    loop: Loop[M, B] | Callable[[Key, State[M]], Loop[M, B]],
    key: Key,
    state: State[M],
    sizes: Sequence[int | Quota],
    store: Callable[[Drawn], None] | None = None,
) -> Iterator[tuple[State[M], Record]]:
    """Yield (state, record) after every round; round k uses `sizes[k - 1]`, starting after `state.round`.

    The caller's `for` body is the callback: log, save, plot, `break`. Round 0, the start, is the caller's to
    measure: `loop.measure(key, state.model)`. `loop` may be a function of (key, state) that makes each round's
    loop: a verifier retrained every round, a filter that grows stricter. `store` sees all that each round drew.

    >>> mean = Loop(
    ...     generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    ...     refit=lambda key, model, batch: float(batch.mean()),
    ... )
    >>> [record.kept for state, record in run(mean, Key(0), State(0.0), [10, 20])]
    [10, 20]
    """
    for n in sizes[state.round :]:
        this = loop if isinstance(loop, Loop) else loop(key.fold(state.round + 1, "loop"), state)
        state, record = this.step(key, state, n, store)
        yield state, record


def _check_kept(scores: np.ndarray, mask: np.ndarray) -> None:
    if not mask.any():
        judged = scores[~np.isnan(scores)]
        best = f"best score {float(judged.max()):.4g}" if len(judged) else "no row has a verdict"
        raise RoundError(f"acceptance 0, none of {len(scores)} candidates kept; {best}")


def _check_shape(what: str, got: np.ndarray, rows: int) -> None:
    if got.shape != (rows,):
        raise ValueError(f"{what} must return one value a row, shape ({rows},), got shape {got.shape}")


def merge(*parts: Mapping[str, float]) -> dict[str, float]:
    """Return the named numbers of all parts, and refuse two of one name, or that of a count."""
    merged: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            if name in merged or name in ("round", "candidates", "kept"):
                raise ValueError(f"two numbers of one record are called {name!r}; rename the metric")
            merged[name] = value
    return merged
