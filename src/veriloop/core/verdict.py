"""What a verifier answers: scores, those of its parts and of an oracle; and how it is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import combinations
from types import FunctionType, ModuleType
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from veriloop.core.arrays import AnyBatch, Array, Mask, Scores
from veriloop.core.key import Key
from veriloop.core.scores import as_scores


class Verifier(Protocol):
    """Judge a batch: one score a row, shape (n,), or a `Verdict`.

    Higher is better, NaN is no verdict.
    """

    def __call__(self, key: Key, batch: AnyBatch, /) -> npt.ArrayLike | Verdict: ...


@dataclass(frozen=True)
class Verdict:
    """Scores, with the scores of the parts they were made of, and of an oracle where there is one.

    scores: shape (n,), higher is better, NaN is "no verdict".
    parts: name -> scores, shape (n,) each.
    oracle: the scores of the truth, shape (n,), or None. It is also the oracle of every part that
        has no oracle of its own.
    oracles: name of a part -> the scores of its own oracle, shape (n,) each.

    >>> verdict = Verdict(np.array([1.0, -1.0]), oracle=np.array([1.0, 1.0]))
    >>> verdict.metrics(verdict.scores >= 0)
    {'false_accept': nan, 'false_reject': 0.5}
    """

    scores: Scores
    parts: Mapping[str, Scores] = field(default_factory=dict[str, Scores])
    oracle: Scores | None = None
    oracles: Mapping[str, Scores] = field(default_factory=dict[str, Scores])

    @staticmethod
    def of(scores: npt.ArrayLike | Verdict, what: str = "verify") -> Verdict:
        """Wrap bare scores, shape (n,), and make plain arrays of the scores of a verdict.

        what: who gave them, for the error.

        Raises:
            ValueError: if scores are neither numbers nor can be converted, see `as_scores`, or
                parts have no names.
        """
        if not isinstance(scores, Verdict):
            return Verdict(_plain(what, scores))
        _check_names(scores)
        parts = {name: _plain(f"part {name!r}", each) for name, each in scores.parts.items()}
        oracles: dict[str, Scores] = {}
        for name, each in scores.oracles.items():
            oracles[name] = _plain(f"the oracle of part {name!r}", each)
        oracle = scores.oracle
        if oracle is not None:
            oracle = _plain("the oracle", oracle)
        return Verdict(_plain(what, scores.scores), parts, oracle, oracles)

    def __getitem__(self, rows: Array) -> Verdict:
        """Pick rows, as from a batch."""
        oracle = self.oracle
        if oracle is not None:
            oracle = oracle[rows]
        return Verdict(
            self.scores[rows],
            {name: scores[rows] for name, scores in self.parts.items()},
            oracle,
            {name: scores[rows] for name, scores in self.oracles.items()},
        )

    @staticmethod
    def concatenate(verdicts: Sequence[Verdict]) -> Verdict:
        """Stack the verdicts on consecutive blocks of rows.

        Where a block lacks a part or an oracle, the scores are NaN.
        """
        sizes = [len(verdict.scores) for verdict in verdicts]
        oracle: Scores | None = None
        if any(verdict.oracle is not None for verdict in verdicts):
            oracle = _stack([verdict.oracle for verdict in verdicts], sizes)
        return Verdict(
            np.concatenate([verdict.scores for verdict in verdicts]),
            _stack_by_name([verdict.parts for verdict in verdicts], sizes),
            oracle,
            _stack_by_name([verdict.oracles for verdict in verdicts], sizes),
        )

    def metrics(self, mask: Mask) -> dict[str, float]:
        """Return the acceptance of each part, and the error rates against an oracle.

        `false_accept` is the fraction accepted of the rows that the oracle rejects, and NaN where
        it rejects none. `false_reject` is the fraction rejected of the rows that it accepts. A row
        without a verdict counts as rejected. One without the oracle's verdict counts in neither.

        mask: shape (n,), True where a row is kept.
        """
        accepted: dict[str, Mask] = {"": mask}
        rates: dict[str, float] = {}
        for name, scores in self.parts.items():
            accepted[name] = scores >= 0
            rates[f"acceptance_{name}"] = fraction(accepted[name])
        for name, rows in accepted.items():
            oracle = self.oracles.get(name, self.oracle)
            if oracle is None:
                continue
            of = f"_{name}" if name else ""
            rates[f"false_accept{of}"] = fraction(rows[oracle < 0])
            rates[f"false_reject{of}"] = fraction(~rows[oracle >= 0])
        return rates


def _plain(what: str, scores: object) -> Scores:
    """Return scores in memory of their own: a verifier may use its array again for other rows.

    Integers get 64 bits, as sums of fewer would begin again at the other end.
    """
    try:
        plain = as_scores(scores)
    except ValueError as error:
        raise ValueError(f"{what} {error}") from error.__cause__
    if plain.dtype.kind in "iu" and plain.dtype.itemsize < 8:
        return cast("Scores", plain.astype(np.int64))
    return np.array(plain)


def _check_names(verdict: Verdict) -> None:
    """Refuse scores that have no name."""
    for field_, named in (("parts", verdict.parts), ("oracles", verdict.oracles)):
        given = cast("object", named)
        if not isinstance(given, Mapping):
            raise ValueError(
                f"Verdict.{field_} must be scores by name, got {type(given).__name__}; write "
                "Verdict(scores, parts={'length': scores}, oracle=scores)"
            )


def _stack(blocks: Sequence[Scores | None], sizes: Sequence[int]) -> Scores:
    """Stack scores block by block; a missing block is NaN."""
    filled: list[Scores] = []
    for block, size in zip(blocks, sizes, strict=True):
        filled.append(np.full(size, np.nan) if block is None else block)
    return np.concatenate(filled)


def _stack_by_name(
    blocks: Sequence[Mapping[str, Scores]], sizes: Sequence[int]
) -> dict[str, Scores]:
    """Stack the scores of every name that a block has."""
    names: dict[str, None] = {}
    for block in blocks:
        names.update(dict.fromkeys(block))
    stacked: dict[str, Scores] = {}
    for name in names:
        stacked[name] = _stack([block.get(name) for block in blocks], sizes)
    return stacked


def disagreement(parts: Mapping[str, Scores]) -> dict[str, float]:
    """Return for every two verifiers the fraction of rows that only one of them accepts.

    The loop puts it in the record of every composed verifier.

    parts: name -> scores, shape (n,), as in a `Verdict`; NaN is not accepted. Parts of parts, whose
        names have a dot, are left out.

    >>> scores = {"judge": np.array([1.0, 1.0, -1.0]), "length": np.array([1.0, -1.0, np.nan])}
    >>> disagreement(scores)
    {'disagreement_judge_length': 0.333...}

    Raises:
        ValueError: if two pairs would have one name in the record.
    """
    accepted = {name: scores >= 0 for name, scores in parts.items() if "." not in name}
    rates: dict[str, float] = {}
    for a, b in combinations(accepted, 2):
        name = f"disagreement_{a}_{b}"
        if name in rates:
            raise ValueError(f"two pairs of verifiers make one {name!r}; rename a verifier")
        rates[name] = fraction(accepted[a] != accepted[b])
    return rates


def judged(verifier: Verifier, key: Key, batch: AnyBatch, what: str = "verify") -> Verdict:
    """Ask a verifier, and refuse an answer that is not one finite number, or NaN, a row.

    what: the part that is asked, for the error.

    Raises:
        ValueError: with what was got, and the name of the verifier that gave it.
    """
    answer = cast("npt.ArrayLike | Verdict | None", verifier(key, batch))
    if answer is None:
        raise ValueError(f"{what} must return one score a row, got None; check {called(verifier)}")
    try:
        verdict = Verdict.of(answer, what)
    except ValueError as error:
        raise ValueError(f"{error}; check {called(verifier)}") from error.__cause__
    for who, scores in _all_scores(verdict, what):
        wrong = _wrong(scores, len(batch))
        if wrong:
            raise ValueError(f"{who} must return {wrong}; check {called(verifier)}")
    unknown = [name for name in verdict.oracles if name not in verdict.parts]
    if unknown:
        known = ", ".join(map(str, verdict.parts)) or "none"
        raise ValueError(
            f"Verdict.oracles must name parts, got {unknown[0]!r:.60}, parts: {known:.60}; "
            f"check {called(verifier)}"
        )
    return verdict


def _all_scores(verdict: Verdict, what: str) -> Iterator[tuple[str, Scores]]:
    """Yield all scores of a verdict, and what an error calls them."""
    yield what, verdict.scores
    for name, scores in verdict.parts.items():
        yield f"part {name!r}", scores
    if verdict.oracle is not None:
        yield "the oracle", verdict.oracle
    for name, scores in verdict.oracles.items():
        yield f"the oracle of part {name!r}", scores


def _wrong(scores: Scores, rows: int) -> str:
    """Say what scores must be and are not; an empty string if they are right."""
    if scores.shape != (rows,):
        return f"one value a row, shape ({rows},), got shape {scores.shape}"
    infinite = np.isinf(scores)
    if infinite.any():
        row = int(np.flatnonzero(infinite)[0])
        return f"finite numbers, or NaN for no verdict, got {scores[row]} in row {row}"
    return ""


def called(verifier: object) -> str:
    """Return the name of a function, or that of an object's class."""
    name: str = getattr(verifier, "__name__", type(verifier).__name__)
    return name.strip("<>")


def inner_verifiers(verifier: object) -> list[Any]:
    """Return a verifier and all verifiers inside it, at any depth, each once.

    They are found in the fields of a dataclass, in the attributes of any other object, and in
    mappings, lists and tuples of them. Whatever can be called counts.

    >>> from veriloop.verifiers import Constant, Shifted
    >>> [called(each) for each in inner_verifiers(Shifted(Constant(), 1.0))]
    ['Shifted', 'Constant']
    """
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [verifier]
    while waiting:
        value = waiting.pop(0)
        held: Any = value
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting.extend(held.values())
        elif isinstance(value, list | tuple):
            waiting.extend(held)
        elif callable(value):
            found.append(value)
            waiting.extend(_held_by(value))
    return found


def _held_by(value: object) -> list[Any]:
    """Return the values that an object holds."""
    if isinstance(value, type | FunctionType | ModuleType):
        return []
    if is_dataclass(value):
        return [getattr(value, each.name, None) for each in fields(value) if each.init]
    return list(getattr(value, "__dict__", {}).values())


def rowwise(verifier: object) -> bool:
    """Tell whether each score depends on its own row alone.

    It does unless the verifier, or one inside it, has the attribute `rowwise = False`.
    """
    return all(getattr(each, "rowwise", True) for each in inner_verifiers(verifier))


def fraction(flags: Mask) -> float:
    """Return the fraction of flags that are set, NaN of none."""
    if not len(flags):
        return float("nan")
    return float(np.mean(flags))


ENOUGH = 20  # rows from which scores of 0 and 1 alone are no chance, as ratings of a few rows are


def only_flags(scores: Scores) -> bool:
    """Tell scores that are 0 for wrong and 1 for right from scores on a scale; NaN is neither.

    scores: shape (n,). Of fewer than 20 rows nothing is said.

    >>> only_flags(np.arange(20) % 2), only_flags(np.zeros(20)), only_flags(np.arange(20) % 3)
    (True, False, False)
    """
    known = scores[~np.isnan(scores)]
    if len(known) < ENOUGH:
        return False
    zero = known == 0
    one = known == 1
    if not zero.any() or not (zero | one).all():
        return False
    return bool(one.any()) or scores.dtype.kind in "iu"


def from_0_to_1(scores: Scores) -> bool:
    """Tell scores that look like probabilities or fractions, which begin at 0 and end at 1.

    They do if all lie from 0 to 1, many lie near 0, and some lie above 0.5. If 0 were a cut inside
    a wider scale, about as many would lie below it.

    scores: shape (n,). Of fewer than 20 rows, and of fewer than 5 values, nothing is said.

    >>> from_0_to_1(np.linspace(0, 1, 200)), from_0_to_1(np.linspace(-0.1, 1, 200))
    (True, False)
    """
    known = scores[~np.isnan(scores)]
    if len(known) < ENOUGH or known.min() < 0 or not 0.5 < known.max() <= 1:
        return False
    near = int((known < 0.1).sum())
    return near >= ENOUGH // 2 and len(np.unique(known)) >= 5


def check_scale(where: str, scores: Scores, remedy: str = "or compare with 0.5") -> None:
    """Refuse scores that are 0 for wrong and 1 for right where a score of 0 accepts.

    where: what is asked, for the message.
    remedy: what else can be done.

    Raises:
        ValueError: if the scores are 0 and 1 alone.
    """
    if only_flags(scores):
        raise ValueError(
            f"{where} got scores of 0 and 1 alone, and a score of 0 accepts; return 1 to "
            "accept and "
            f"-1 to reject, {remedy}"
        )
