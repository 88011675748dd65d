"""Verifiers that are made of other verifiers, and controls that know everything or nothing.

A verifier is any callable `(key, batch) -> scores`. A score of 0 or more means "accept". A composed
verifier returns a `Verdict`, which carries the scores of every part into the record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from veriloop.core.arrays import AnyBatch, Array, Scores
from veriloop.core.checks import check_finite, check_fraction, is_count, kind
from veriloop.core.key import Key
from veriloop.core.parts import check_part
from veriloop.core.scores import as_truth
from veriloop.core.verdict import Verdict, Verifier, called, check_scale, judged

CALLED_WITH = "(key, batch)"  # what every verifier is called with


@dataclass(frozen=True)
class Constant:
    """Give every row the same score: no verification.

    score: what every row gets.

    >>> Constant()(Key(0), np.array([3.0, 7.0]))
    array([0., 0.])

    Raises:
        ValueError: if the score is no finite number.
    """

    score: float = 0.0

    def __post_init__(self) -> None:
        check_finite("Constant.score", self.score)

    def __call__(self, key: Key, batch: AnyBatch) -> Scores:
        return np.full(len(batch), float(self.score))


@dataclass(frozen=True)
class Random:
    """Give standard normal scores that ignore the rows: a control that selects nothing.

    >>> rows = np.array([3.0, 7.0])
    >>> bool((Random()(Key(0), rows) == Random()(Key(0), -rows)).all())
    True
    """

    def __call__(self, key: Key, batch: AnyBatch) -> Scores:
        return key.numpy().standard_normal(len(batch))


@dataclass(frozen=True)
class Oracle:
    """Score +1 where the truth holds and -1 where it does not: a control that never errs.

    truth: batch -> booleans, shape (n,), or 0 and 1. `None`, NaN or a masked entry says that the
        truth is not known: no verdict.

    >>> Oracle(lambda batch: batch > 5)(Key(0), np.array([3.0, 7.0]))
    array([-1.,  1.])

    Raises:
        TypeError: if `truth` cannot be called.
        ValueError: in a round, if it returns something else than one boolean a row.
    """

    truth: Callable[[Any], npt.ArrayLike]

    def __post_init__(self) -> None:
        check_part("Oracle.truth", self.truth, "(batch)")

    def __call__(self, key: Key, batch: AnyBatch) -> Scores:
        try:
            right = as_truth(self.truth(batch), len(batch))
        except ValueError as error:
            raise ValueError(f"Oracle.truth {error}; check {called(self.truth)}") from None
        return 2.0 * right - 1.0


@dataclass(frozen=True)
class Audited:
    """Score by `verifier` alone, and report its error rates against `oracle` in the record.

    verifier: (key, batch) -> scores.
    oracle: (key, batch) -> scores of the truth. They decide nothing.

    >>> audited = Audited(lambda key, batch: batch - 5, Oracle(lambda batch: batch > 6))
    >>> verdict = audited(Key(0), np.array([3.0, 5.5, 7.0]))
    >>> verdict.scores, verdict.oracle
    (array([-2. ,  0.5,  2. ]), array([-1., -1.,  1.]))

    Raises:
        TypeError: if one of them cannot be called so.
    """

    verifier: Verifier
    oracle: Verifier

    def __post_init__(self) -> None:
        check_part("Audited.verifier", self.verifier, CALLED_WITH)
        check_part("Audited.oracle", self.oracle, CALLED_WITH)

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        verdict = judged(self.verifier, key, batch)
        truth = judged(self.oracle, key.fold("oracle"), batch, "the oracle")
        return Verdict(verdict.scores, verdict.parts, truth.scores)


@dataclass(frozen=True)
class Shifted:
    """Add a number to every score: a verifier that is too lenient or too strict.

    verifier: (key, batch) -> scores.
    by: what is added, in the units of the scores. Above 0 the verifier is more lenient.

    >>> Shifted(lambda key, batch: batch, by=-1.0)(Key(0), np.array([0.5, 3.0])).scores
    array([-0.5,  2. ])

    Raises:
        TypeError: if the verifier cannot be called so.
        ValueError: if `by` is no finite number.
    """

    verifier: Verifier
    by: float

    def __post_init__(self) -> None:
        check_part("Shifted.verifier", self.verifier, CALLED_WITH)
        check_finite("Shifted.by", self.by)

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        verdict = judged(self.verifier, key, batch)
        scores = verdict.scores
        if scores.dtype == np.float16:  # it ends at 65,504
            scores = scores.astype(np.float32)
        return replace(verdict, scores=scores + self.by)


@dataclass(frozen=True)
class Noisy:
    """Flip verdicts at random.

    A flipped score changes its sign and keeps its size, so a strong verdict flips into a strong
    one. In the record the clean verifier is the oracle, so its error rates are measured; if the
    clean one has an oracle, that one is used.

    verifier: (key, batch) -> scores.
    false_accept: the probability, in [0, 1], that a row is accepted that `verifier` rejects.
    false_reject: the probability, in [0, 1], that a row is rejected that `verifier` accepts.

    >>> Noisy(lambda key, batch: batch, false_reject=1.0)(Key(0), np.array([-2.0, 3.0])).scores
    array([-2., -3.])

    Raises:
        ValueError: if a probability lies outside [0, 1].
    """

    verifier: Verifier
    false_accept: float = 0.0
    false_reject: float = 0.0

    def __post_init__(self) -> None:
        check_part("Noisy.verifier", self.verifier, CALLED_WITH)
        check_fraction("Noisy.false_accept", self.false_accept, zero=True, one=True)
        check_fraction("Noisy.false_reject", self.false_reject, zero=True, one=True)

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        clean = judged(self.verifier, key, batch)
        check_scale("Noisy", clean.scores)
        accepted = clean.scores >= 0
        chance = np.where(accepted, self.false_reject, self.false_accept)
        flip = key.fold("flip").numpy().random(len(batch)) < chance
        # A score of exactly 0 is an acceptance, and -0.0 would still be one.
        size = np.maximum(np.abs(clean.scores), np.finfo(float).tiny)
        flipped = np.where(accepted, -size, size)
        oracle = clean.scores
        if clean.oracle is not None:
            oracle = clean.oracle
        return replace(clean, scores=np.where(flip, flipped, clean.scores), oracle=oracle)


@dataclass(frozen=True)
class Composed:
    """Score by a function of the scores of all parts.

    `all_of`, `any_of`, `vote` and `weighted` build it.

    A part that brings an oracle is measured against it. `Audited` round the whole measures the
    whole and all parts.

    combine: scores of the parts, shape (parts, n) -> scores, shape (n,).
    parts: name -> verifier.

    >>> mean = Composed(lambda scores: scores.mean(axis=0), {"a": Constant(1), "b": Constant(2)})
    >>> mean(Key(0), np.zeros(2)).scores
    array([1.5, 1.5])
    """

    combine: Callable[[Array], Scores]
    parts: Mapping[str, Verifier]

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        verdicts: dict[str, Verdict] = {}
        for name, verifier in self.parts.items():
            verdicts[name] = judged(verifier, key.fold(name), batch, f"part {name!r}")
            if isinstance(self.combine, _Rank):
                check_scale(f"part {name!r}", verdicts[name].scores)
        parts: dict[str, Scores] = {}
        oracles: dict[str, Scores] = {}
        for name, verdict in verdicts.items():
            for inner, scores in {"": verdict.scores, **verdict.parts}.items():
                path = f"{name}.{inner}" if inner else name
                parts[path] = scores
                oracle = verdict.oracles.get(inner, verdict.oracle)
                if oracle is not None:
                    oracles[path] = oracle
        stacked = np.stack([verdict.scores for verdict in verdicts.values()])
        return Verdict(self.combine(stacked), parts, oracles=oracles)


def all_of(*parts: Verifier, **named: Verifier) -> Composed:
    """Accept what every part accepts: the lowest score.

    A part without a verdict (NaN) is counted neither way. A row that another part rejects is
    rejected. Otherwise it has no verdict.

    parts: verifiers that are named in the record after their function or class.
    named: verifiers under names of your own.

    >>> check = all_of(low=lambda key, x: x - 1, high=lambda key, x: 3 - x)
    >>> check(Key(0), np.array([0.0, 2.0, 5.0])).scores
    array([-1.,  1., -2.])

    Raises:
        ValueError: if there is no part.
    """
    return Composed(_Rank(0), _named("all_of", parts, named))


def any_of(*parts: Verifier, **named: Verifier) -> Composed:
    """Accept what at least one part accepts: the highest score.

    A part without a verdict (NaN) is counted neither way. A row that another part accepts is
    accepted. Otherwise it has no verdict.

    parts: verifiers that are named in the record after their function or class.
    named: verifiers under names of your own.

    >>> check = any_of(low=lambda key, x: 1 - x, high=lambda key, x: x - 3)
    >>> check(Key(0), np.array([0.0, 2.0, 5.0])).scores
    array([ 1., -1.,  2.])

    Raises:
        ValueError: if there is no part.
    """
    return Composed(_Rank(-1), _named("any_of", parts, named))


def vote(needed: int, *parts: Verifier, **named: Verifier) -> Composed:
    """Accept what at least `needed` parts accept: the score that comes `needed`-th from the top.

    A part without a verdict (NaN) is counted neither way. A row is accepted or rejected where the
    other parts decide it, whatever this one would say. Otherwise it has no verdict.

    needed: how many parts must accept.
    parts: verifiers that are named in the record after their function or class.
    named: verifiers under names of your own.

    >>> check = vote(2, a=Constant(-1.0), b=Constant(1.0), c=Constant(3.0))
    >>> check(Key(0), np.zeros(1)).scores
    array([1.])

    Raises:
        ValueError: if there is no part, or `needed` is not between 1 and their number.
    """
    verifiers = _named("vote", parts, named)
    if not is_count(needed, 1) or needed > len(verifiers):
        raise ValueError(
            f"vote.needed must be an integer from 1 to the {len(verifiers)} parts, got {needed}; "
            "write vote(2, a, b, c)"
        )
    return Composed(_Rank(-needed), verifiers)


def weighted(weights: Sequence[float], *parts: Verifier, **named: Verifier) -> Composed:
    """Score by the weighted sum of the scores of the parts.

    A row has no verdict (NaN) if a part of it has none, unless the weight of this part is 0.

    weights: one finite number for each part, in their order, `parts` first.
    parts: verifiers that are named in the record after their function or class.
    named: verifiers under names of your own.

    >>> check = weighted([1.0, 0.5], a=Constant(-1.0), b=Constant(4.0))
    >>> check(Key(0), np.zeros(1)).scores
    array([1.])

    Raises:
        ValueError: if there is no part, or not one finite weight for each.
    """
    verifiers = _named("weighted", parts, named)
    given: object = weights
    unordered = isinstance(given, Mapping | Set)
    if unordered or callable(given) or not hasattr(given, "__len__"):
        raise ValueError(
            f"weighted needs a list of weights first, got {kind(given)}; "
            "write weighted([1, 0.5], a, b)"
        )
    if len(weights) != len(verifiers):
        raise ValueError(
            f"weighted needs one weight for each of the {len(verifiers)} parts, got {len(weights)}"
        )
    for weight in weights:
        check_finite("weighted: a weight", weight)
    return Composed(_Sum(tuple(map(float, weights))), verifiers)


def _named(
    what: str, parts: tuple[Verifier, ...], named: Mapping[str, Verifier]
) -> Mapping[str, Verifier]:
    """Name bare parts after their function or class, with a number where a name recurs."""
    if not parts and not named:
        raise ValueError(f"{what} needs at least one verifier, got none")
    for place, part in enumerate(parts):
        check_part(f"{what}: part {place}", part, CALLED_WITH)
    for name, part in named.items():
        check_part(f"{what}: part {name!r}", part, CALLED_WITH)
    verifiers: dict[str, Verifier] = {}
    for part in parts:
        name = called(part)
        numbers = count(2)
        while name in verifiers or name in named:
            name = f"{called(part)}_{next(numbers)}"
        verifiers[name] = part
    return {**verifiers, **named}


@dataclass(frozen=True)
class _Rank:
    """Take the score at one place of the sorted scores of the parts, where it is decided.

    If a part abstains, the score lies between two bounds: it is lowest if the part gives the lowest
    score of all, and highest if it gives the highest. If the lower bound accepts, it is the score.
    If the upper bound rejects, it is the score. Otherwise there is no verdict.
    """

    place: int

    def __call__(self, scores: Array) -> Scores:
        low = np.sort(np.where(np.isnan(scores), -np.inf, scores), axis=0)[self.place]
        high = np.sort(np.where(np.isnan(scores), np.inf, scores), axis=0)[self.place]
        decided = np.where(low >= 0, low, np.where(high < 0, high, np.nan))
        return np.where(np.isnan(scores).any(axis=0), decided, low)


@dataclass(frozen=True)
class _Sum:
    weights: tuple[float, ...]

    def __call__(self, scores: Array) -> Scores:
        weights = np.asarray(self.weights)
        counted = np.where(weights[:, None] == 0, 0.0, scores)
        return weights @ counted
