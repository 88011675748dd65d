"""Verifier algebra. A verifier is any callable `(key, batch) -> scores`; a score of 0 or more means "accept".

Composed verifiers return a `Verdict`, which carries every part's scores into the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

import numpy as np

from veriloop.core.checks import check_fraction
from veriloop.core.key import Key
from veriloop.core.verdict import Verdict, Verifier, called, judged


@dataclass(frozen=True)
class Constant:
    """Give every row the same score: no verification."""

    score: float = 0.0

    def __call__(self, key: Key, batch: Any) -> np.ndarray:
        return np.full(len(batch), float(self.score))


@dataclass(frozen=True)
class Random:
    """Give standard normal scores that ignore the rows: a control that selects nothing."""

    def __call__(self, key: Key, batch: Any) -> np.ndarray:
        return key.numpy().standard_normal(len(batch))


@dataclass(frozen=True)
class Oracle:
    """Score +1 where `truth(batch)` holds and -1 where it does not: a control that never errs."""

    truth: Callable[[Any], Any]

    def __call__(self, key: Key, batch: Any) -> np.ndarray:
        return np.where(np.asarray(self.truth(batch), dtype=bool), 1.0, -1.0)


@dataclass(frozen=True)
class Audited:
    """Score by `verifier` alone, and report its error rates against `oracle` in the record."""

    verifier: Verifier
    oracle: Verifier

    def __call__(self, key: Key, batch: Any) -> Verdict:
        verdict = judged(self.verifier, key, batch)
        return Verdict(
            verdict.scores, verdict.parts, judged(self.oracle, key.fold("oracle"), batch).scores
        )


@dataclass(frozen=True)
class Shifted:
    """Add `by` to every score: a verifier that is too lenient (`by > 0`) or too strict."""

    verifier: Verifier
    by: float

    def __call__(self, key: Key, batch: Any) -> Verdict:
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=verdict.scores + self.by)


@dataclass(frozen=True)
class Noisy:
    """Flip verdicts at random: accept with probability `false_accept` what `verifier` rejects, and the reverse.

    A flipped score changes sign and keeps its size, so a strong verdict flips into a strong one. The record has the
    clean verifier as the oracle, hence the measured rates, unless the verifier brings an oracle of its own.
    """

    verifier: Verifier
    false_accept: float = 0.0
    false_reject: float = 0.0

    def __post_init__(self) -> None:
        check_fraction("Noisy.false_accept", self.false_accept, zero=True, one=True)
        check_fraction("Noisy.false_reject", self.false_reject, zero=True, one=True)

    def __call__(self, key: Key, batch: Any) -> Verdict:
        clean = judged(self.verifier, key, batch)
        accepted = clean.scores >= 0
        flip = key.fold("flip").numpy().random(len(batch)) < np.where(
            accepted, self.false_reject, self.false_accept
        )
        # A score of exactly 0 is an acceptance, and -0.0 would still be one.
        size = np.maximum(np.abs(clean.scores), np.finfo(float).tiny)
        scores = np.where(flip, np.where(accepted, -size, size), clean.scores)
        return replace(
            clean, scores=scores, oracle=clean.scores if clean.oracle is None else clean.oracle
        )


@dataclass(frozen=True)
class Composed:
    """Score by `combine(scores of all parts)`, shape (parts, n) to (n,); built by `all_of`, `vote`, ...

    A part that brings an oracle is measured against it; `Audited` round the whole measures the whole and all parts.
    """

    combine: Callable[[np.ndarray], np.ndarray]
    parts: Mapping[str, Verifier]

    def __call__(self, key: Key, batch: Any) -> Verdict:
        verdicts = {
            name: judged(verifier, key.fold(name), batch) for name, verifier in self.parts.items()
        }
        parts: dict[str, np.ndarray] = {}
        oracles: dict[str, np.ndarray] = {}
        for name, verdict in verdicts.items():
            for inner, scores in {"": verdict.scores, **verdict.parts}.items():
                path = f"{name}.{inner}" if inner else name
                parts[path] = scores
                oracle = verdict.oracles.get(inner, verdict.oracle)
                if oracle is not None:
                    oracles[path] = oracle
        scores = self.combine(np.stack([verdict.scores for verdict in verdicts.values()]))
        return Verdict(scores, parts, oracles=oracles)


def all_of(*parts: Verifier, **named: Verifier) -> Composed:
    """Accept what every part accepts: the lowest score.

    >>> check = all_of(low=lambda key, x: x - 1, high=lambda key, x: 3 - x)
    >>> check(Key(0), np.array([0.0, 2.0, 5.0])).scores
    array([-1.,  1., -2.])
    """
    return Composed(_Rank(0), _named("all_of", parts, named))


def any_of(*parts: Verifier, **named: Verifier) -> Composed:
    """Accept what any part accepts: the highest score."""
    return Composed(_Rank(-1), _named("any_of", parts, named))


def vote(needed: int, *parts: Verifier, **named: Verifier) -> Composed:
    """Accept what at least `needed` parts accept: the `needed`-th highest score."""
    together = _named("vote", parts, named)
    if not 1 <= needed <= len(together):
        raise ValueError(
            f"vote.needed must be between 1 and the {len(together)} parts, got {needed}"
        )
    return Composed(_Rank(-needed), together)


def weighted(weights: Sequence[float], *parts: Verifier, **named: Verifier) -> Composed:
    """Score by the weighted sum of the parts' scores; one weight a part, in their order."""
    together = _named("weighted", parts, named)
    if len(weights) != len(together):
        raise ValueError(
            f"weighted needs one weight for each of the {len(together)} parts, got {len(weights)}"
        )
    return Composed(_Sum(tuple(float(weight) for weight in weights)), together)


def _named(
    what: str, parts: tuple[Verifier, ...], named: Mapping[str, Verifier]
) -> Mapping[str, Verifier]:
    """Name bare parts by their function or class, numbered where a name recurs."""
    if not parts and not named:
        raise ValueError(f"{what} needs at least one verifier, got none")
    together: dict[str, Verifier] = {}
    for part in parts:
        name = called(part)
        numbered = chain([name], (f"{name}_{i}" for i in count(2)))
        together[next(free for free in numbered if free not in together and free not in named)] = (
            part
        )
    return {**together, **named}


@dataclass(frozen=True)
class _Rank:
    place: int

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        # A part without a verdict leaves the row without one, instead of voting last.
        return np.where(np.isnan(scores).any(axis=0), np.nan, np.sort(scores, axis=0)[self.place])


@dataclass(frozen=True)
class _Sum:
    weights: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.asarray(self.weights) @ scores
