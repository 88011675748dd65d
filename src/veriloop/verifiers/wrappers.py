"""Wrappers: a verifier round another one, which asks it less often, in smaller parts, or again.

Each returns the verdict of the verifier inside, with its parts and its oracle.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from veriloop.core.arrays import AnyBatch
from veriloop.core.checks import check_count, check_positive
from veriloop.core.key import Key
from veriloop.core.parts import check_part
from veriloop.core.verdict import Verdict, Verifier, called, judged, rowwise
from veriloop.verifiers.algebra import CALLED_WITH


@dataclass(frozen=True)
class Batched:
    """Ask `verifier` about at most `rows` rows at a time.

    Each part is asked about under a key of its own. So with a random verifier another `rows` gives
    other random numbers, as another `Loop.block` does.

    verifier: (key, batch) -> scores. It must judge each row by itself.
    rows: the most rows asked about at once.

    >>> size = lambda key, batch: np.full(len(batch), len(batch))
    >>> Batched(size, rows=2)(Key(0), np.zeros(5)).scores
    array([2, 2, 2, 2, 1])

    Raises:
        ValueError: if `rows` is no positive integer, or a score depends on other rows.
    """

    verifier: Verifier
    rows: int

    def __post_init__(self) -> None:
        check_part("Batched.verifier", self.verifier, CALLED_WITH)
        check_count("Batched.rows", self.rows)
        _check_rowwise(self)

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        parts = np.split(np.arange(len(batch)), range(self.rows, len(batch), self.rows))
        verdicts: list[Verdict] = []
        for i, part in enumerate(parts):
            verdicts.append(judged(self.verifier, key.fold(i), batch[part]))
        return Verdict.concatenate(verdicts)


@dataclass(frozen=True)
class Cached:
    """Ask `verifier` only about rows it has not judged before, recognised by their content.

    The scores are those of the verifier, as long as each depends on the content alone. A verifier
    that draws random numbers is refused when it does. Put the random part outside, as in
    `Noisy(Cached(...))`. Scores are kept for as long as the object lives. A row that got no verdict
    (NaN) is asked about again.

    verifier: (key, batch) -> scores.
    content: batch -> one hashable value a row, such as its text. Rows of equal content get one
        score.

    >>> cached = Cached(lambda key, batch: print(f"judging {batch}") or 1.0 * batch, content=list)
    >>> for batch in ([1, 2, 1], [2, 3]):
    ...     print(cached(Key(0), np.array(batch)).scores)
    judging [1 2]
    [1. 2. 1.]
    judging [3]
    [2. 3.]

    Raises:
        ValueError: if a score depends on other rows; in a round, if the verifier uses its key, or
            `content` does not give one hashable value a row.
    """

    verifier: Verifier
    content: Callable[[Any], Iterable[Hashable]]
    _known: _Known = field(default_factory=lambda: _Known(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_part("Cached.verifier", self.verifier, CALLED_WITH)
        _check_rowwise(self)

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        contents = list(self.content(batch))
        if len(contents) != len(batch):
            raise ValueError(
                "Cached.content must give one hashable value a row, "
                f"got {len(contents)} for {len(batch)} rows"
            )
        try:
            new = self._known.new_rows(contents)
        except TypeError as error:
            raise ValueError(
                f"Cached.content must give one hashable value a row, got an {error}"
            ) from None
        if len(new) or self._known.verdict is None:
            verdict = judged(self.verifier, _Unused(0), batch[new])
            self._known.add([contents[row] for row in new], verdict)
        answer = self._known.verdict_on(contents)
        failed = new[np.isnan(answer.scores[new])]
        self._known.forget([contents[row] for row in failed])
        return answer


class _Known:
    """The verdicts that a `Cached` has got, by content."""

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self._place: dict[Hashable, int] = {}

    def new_rows(self, contents: list[Hashable]) -> np.ndarray:
        """Return the first row of each content that has no verdict yet."""
        first: dict[Hashable, int] = {}
        for row, content in enumerate(contents):
            if content not in self._place:
                first.setdefault(content, row)
        return np.array(list(first.values()), dtype=int)

    def add(self, contents: list[Hashable], verdict: Verdict) -> None:
        """Add the verdict on new contents."""
        start = 0
        if self.verdict is not None:
            start = len(self.verdict.scores)
            verdict = Verdict.concatenate([self.verdict, verdict])
        self.verdict = verdict
        for place, content in enumerate(contents, start):
            self._place[content] = place

    def verdict_on(self, contents: list[Hashable]) -> Verdict:
        """Return the verdict on contents that all have one."""
        places = [self._place[content] for content in contents]
        verdict: Any = self.verdict
        return verdict[np.array(places, dtype=int)]

    def forget(self, contents: list[Hashable]) -> None:
        """Let contents be asked about again."""
        for content in contents:
            self._place.pop(content, None)


class _Unused(Key):
    """A key that refuses to give random numbers."""

    def fold(self, *labels: int | str) -> Key:
        return self

    def _digest(self, size: int) -> bytes:
        raise ValueError(
            "Cached needs a verifier that draws nothing at random, got one that uses its key; "
            "put the random part outside, as in Noisy(Cached(...))"
        )


@dataclass(frozen=True)
class Retry:
    """Ask `verifier` again when it fails.

    If all tries fail, no row of the call has a verdict (NaN), and none is kept. A warning states
    the last error, and the record counts the rows under `no_verdict`. `Batched(Retry(...), rows)`
    loses no more than `rows` rows.

    verifier: (key, batch) -> scores.
    times: how many more times it is asked.
    wait: seconds before the second try. The wait doubles from try to try.
    errors: the exceptions that count as failing; network errors are OSErrors. Any other is raised.

    >>> tries = iter([OSError("busy"), np.array([1.0])])
    >>> def judge(key, batch):
    ...     answer = next(tries)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> Retry(judge, wait=0.0)(Key(0), ["row"]).scores
    array([1.])

    Raises:
        ValueError: if `times` is no integer of at least 0, `wait` is negative or not finite, or
            `errors` is no tuple of exceptions.
    """

    verifier: Verifier
    times: int = 3
    wait: float = 1.0
    errors: tuple[type[Exception], ...] = (OSError,)

    def __post_init__(self) -> None:
        check_part("Retry.verifier", self.verifier, CALLED_WITH)
        check_count("Retry.times", self.times, least=0)
        check_positive("Retry.wait", self.wait, zero=True)
        if not _are_exceptions(self.errors):
            raise ValueError(f"Retry.errors must be a tuple of exceptions, got {self.errors!r}")

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        reason = ""
        for attempt in range(self.times + 1):
            if attempt:
                time.sleep(self.wait * 2 ** (attempt - 1))
            try:
                return judged(self.verifier, key, batch)
            except self.errors as error:
                reason = f"{type(error).__name__}: {error}"
        warnings.warn(
            f"{called(self.verifier)} failed {_counted(self.times + 1, 'time')}, "
            f"no verdict for {_counted(len(batch), 'row')}; {reason}",
            stacklevel=2,
        )
        return Verdict(np.full(len(batch), np.nan))


def _are_exceptions(errors: object) -> bool:
    if not isinstance(errors, tuple) or errors == ():
        return False
    return all(map(_is_exception, cast("tuple[object, ...]", errors)))


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _counted(n: int, what: str) -> str:
    if n == 1:
        return f"1 {what}"
    return f"{n} {what}s"


def _check_rowwise(wrapper: Batched | Cached) -> None:
    if not rowwise(wrapper.verifier):
        raise ValueError(
            f"{type(wrapper).__name__} needs a verifier that judges each row by itself, "
            f"got {called(wrapper.verifier)}"
        )
