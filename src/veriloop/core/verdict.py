"""What a verifier answers: scores, those of its parts, and those of an oracle; and how it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from veriloop.core.key import Key


class Verifier(Protocol):
    """Judge a batch: one score a row, shape (n,), or a `Verdict`. Higher is better, NaN is no verdict."""

    def __call__(self, key: Key, batch: Any, /) -> npt.ArrayLike | Verdict: ...


@dataclass(frozen=True)
class Verdict:
    """Scores with the scores of the parts they were made of, and of an oracle where there is one.

    scores: shape (n,), higher is better, NaN is "no verdict".
    parts: name -> scores, shape (n,) each.
    oracle: the truth's scores, shape (n,), or None; also that of the parts without one of their own.
    oracles: name of a part -> the scores of the oracle of its own, shape (n,) each.
    """

    scores: np.ndarray
    parts: Mapping[str, np.ndarray] = field(default_factory=dict)
    oracle: np.ndarray | None = None
    oracles: Mapping[str, np.ndarray] = field(default_factory=dict)

    @staticmethod
    def of(scores: Any) -> Verdict:
        """Wrap bare scores; leave a verdict as it is."""
        if isinstance(scores, Verdict):
            return scores
        scores = np.asarray(scores)
        if scores.dtype == bool:
            raise ValueError(
                "verify returned booleans. False would count as the score 0, which means accept. Return numbers: "
                "positive to accept, negative to reject"
            )
        return Verdict(scores)

    def __getitem__(self, rows: np.ndarray) -> Verdict:
        """Pick rows, as from a batch."""
        return Verdict(
            self.scores[rows],
            {name: scores[rows] for name, scores in self.parts.items()},
            None if self.oracle is None else self.oracle[rows],
            {name: scores[rows] for name, scores in self.oracles.items()},
        )

    @staticmethod
    def concatenate(verdicts: list[Verdict]) -> Verdict:
        """Stack the verdicts on consecutive blocks of rows; a part or an oracle that a block lacks is NaN there."""
        sizes = [len(verdict.scores) for verdict in verdicts]

        def stack(blocks: Iterable[np.ndarray | None]) -> np.ndarray:
            filled = zip(blocks, sizes, strict=True)
            return np.concatenate([np.full(n, np.nan) if block is None else block for block, n in filled])

        def by_name(named: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
            return {name: stack(each.get(name) for each in named) for name in dict.fromkeys(chain(*named))}

        return Verdict(
            np.concatenate([verdict.scores for verdict in verdicts]),
            by_name([verdict.parts for verdict in verdicts]),
            stack(v.oracle for v in verdicts) if any(v.oracle is not None for v in verdicts) else None,
            by_name([verdict.oracles for verdict in verdicts]),
        )

    def metrics(self, mask: np.ndarray) -> dict[str, float]:
        """Return each part's acceptance and, where there is an oracle, the error rates of parts and kept set.

        `false_accept` is the share accepted of what the oracle rejects, `false_reject` the share rejected of
        what it accepts; NaN where the oracle rejects (accepts) nothing. A row without a verdict counts as rejected,
        and one without an oracle's verdict in neither rate.
        """
        named = {name: scores >= 0 for name, scores in self.parts.items()}
        rates = {f"acceptance_{name}": share(accepted) for name, accepted in named.items()}
        for name, accepted in {"": mask, **named}.items():
            oracle = self.oracles.get(name, self.oracle)
            if oracle is not None:
                of = f"_{name}" if name else ""
                rates[f"false_accept{of}"] = share(accepted[oracle < 0])
                rates[f"false_reject{of}"] = share(~accepted[oracle >= 0])
        return rates


def disagreement(parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return for every two verifiers the share of rows that one accepts and the other does not.

    parts: name -> scores, shape (n,), as of a `Verdict`; NaN is not accepted. Parts of parts, whose names have a
    dot, are left out. The loop puts it in the record of every composed verifier.

    >>> disagreement({"judge": np.array([1.0, 1.0, -1.0, np.nan]), "length": np.array([1.0, -1.0, -1.0, 1.0])})
    {'disagreement_judge_length': 0.5}
    """
    accepted = {name: scores >= 0 for name, scores in parts.items() if "." not in name}
    return {f"disagreement_{a}_{b}": share(accepted[a] != accepted[b]) for a, b in combinations(accepted, 2)}


def judged(verifier: Verifier, key: Key, batch: Any) -> Verdict:
    """Ask a verifier, and refuse an answer that is not one finite number, or NaN, a row.

    Raises:
        ValueError: with what was got, and the name of the verifier that gave it.
    """
    answer = verifier(key, batch)
    if answer is None:
        raise ValueError(f"verify must return one score a row, got None; check {called(verifier)}")
    verdict = Verdict.of(answer)
    answers = [("verify", verdict.scores), *((f"part {name!r}", each) for name, each in verdict.parts.items())]
    answers += [("oracle", each) for each in (verdict.oracle, *verdict.oracles.values()) if each is not None]
    for what, scores in answers:
        if scores.shape != (len(batch),):
            wrong = f"one value a row, shape ({len(batch)},), got shape {scores.shape}"
        elif scores.dtype.kind not in "fiu":
            wrong = f"numbers, got dtype {scores.dtype}"
        elif np.isinf(scores).any():
            wrong = f"finite numbers, or NaN for no verdict, got {scores[np.isinf(scores)][0]}"
        else:
            continue
        raise ValueError(f"{what} must return {wrong}; check {called(verifier)}")
    return verdict


def called(verifier: Verifier) -> str:
    """Return the name of a function, or that of an object's class."""
    return getattr(verifier, "__name__", type(verifier).__name__).strip("<>")


def rowwise(verifier: Any) -> bool:
    """Tell whether a score depends on its own row alone: so unless a verifier, or one inside it, says otherwise."""
    parts = getattr(verifier, "parts", None)
    inner = [getattr(verifier, "verifier", None), *(parts.values() if isinstance(parts, Mapping) else ())]
    return getattr(verifier, "rowwise", True) and all(rowwise(each) for each in inner if each is not None)


def share(flags: np.ndarray) -> float:
    """Return the share of flags that are set, NaN of none."""
    return float(np.mean(flags)) if len(flags) else float("nan")
