r"""Verifiers, metrics and a filter of tasks with right answers, and of verifiers of one's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import ClassVar
from unicodedata import normalize

import numpy as np

from veriloop.core import Key
from veriloop.core.checks import (
    check_count,
    check_finite,
    check_fraction,
    check_positive,
    is_integer,
)
from veriloop.core.parts import Groups, Mask, Scores
from veriloop.core.verdict import check_scale
from veriloop.text.rows import Rows, check_rows

Judge = Callable[[str, str, str], object]  # of input, target and output: its verdict
Answer = Callable[[str], object]  # of an output: what it answers, or None where it has no answer

# A number as people write it: a sign, a currency, a whole before a fraction, thousands by commas,
# by the spaces that do not break a line, or not at all, decimals, an exponent.
_SPACES = "\u00a0\u2007\u2009\u202f"
_DIGITS = rf"(?:\d{{1,3}}(?:,\d{{3}})+(?![\d,])|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{{1,3}}(?!\d))?"
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w)\].])[-+\u2212])?(?:\\?[$\u20ac\u00a3])?"
    rf"(?:(?P<whole>\d+) (?=\d+/\d))?(?P<top>{_DECIMAL})(?:/(?P<low>\d+))?"
)
_PART = r"\s*(?:\{([^{}]*)\}|(\d))"
_FRACTION = re.compile(rf"\\[dt]?frac{_PART}{_PART}")
_MIXED = re.compile(r"(?<=\d)\s*(?=\\[dt]?frac)")

# These show that a target says more than its last number: 2024-01-05, 1.234,5, cm^2, 2\pi.
_JOINED = re.compile(
    r"(?:\d[.,:'\u2019]?|(?:[^\W_]|[)}\]])[-+*/^_\u2212\u2013\u00d7]\{?|\^\{?|[^\W\d_]"
    r"|\\sqrt(?:\[\d+\])?\{)$"
)
_JOINS = re.compile(r"\s*(?:\\pi|\\sqrt|\u03c0|\^(?!\{?\\circ))")
_SPACED = re.compile(r"\D*\d{1,3}(?: \d{3})+(?:[.,]\d+)?\D*")
_BOX = r"\boxed{"


def squeezed(text: str) -> str:
    """Return a text in Unicode's composed form, with one space for any white space.

    >>> squeezed(" forty\\n two ")
    'forty two'
    """
    return " ".join(normalize("NFC", text).split())


def last_number(text: str) -> Fraction | None:
    r"""Return the last number in a text, or None if there is none.

    If the text has a `\boxed{}`, the last one alone is read. Thousands are separated by commas, by
    spaces that do not break a line, or not at all. 3/4 or `\frac{3}{4}` is one number, and so is
    2 3/4. Nothing is computed, and units, percent signs and words for numbers are not read.

    >>> last_number("6 times 7, so the answer is 42."), last_number("-$1,000.50")
    (Fraction(42, 1), Fraction(-2001, 2))
    >>> last_number(r"\boxed{4}, in 3 steps"), last_number("four")
    (Fraction(4, 1), None)
    """
    last = _last(_shown(text))
    if last is None:
        return None
    number = Fraction(re.sub(f"[,{_SPACES}]", "", last["top"]))
    if last["low"] is not None:
        below = Fraction(last["low"])
        if not below:
            return None
        number /= below
    if last["whole"] is not None:
        number += int(last["whole"])
    if last["sign"] in ("-", "\u2212"):
        return -number
    return number


def _shown(text: str) -> str:
    """Return the part of a text that numbers are read from, with fractions as 3/4."""
    shown = _boxed(text).replace("{,}", ",").replace(r"\,", "").replace(r"\!", "")
    return _FRACTION.sub(r"\1\2/\3\4", _MIXED.sub(" ", shown))


def _last(shown: str) -> re.Match[str] | None:
    """Return where the last number stands."""
    numbers = list(_NUMBER.finditer(shown))
    if not numbers:
        return None
    return numbers[-1]


def _is_part(text: str) -> bool:
    """Tell whether the last number of a text is joined to more: a date, 1.234,5 or a power."""
    shown = _shown(text)
    last = _last(shown)
    if last is None:
        return False
    before = shown[: last.start()]
    joined = _JOINED.search(before) or _JOINS.match(shown, last.end())
    return bool(joined or _SPACED.fullmatch(shown))


def _boxed(text: str) -> str:
    """Return what the last closed box of a text holds, or the text if there is none."""
    start = text.rfind(_BOX)
    while start >= 0:
        depth = 1
        first = start + len(_BOX)
        for place in range(first, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if not depth:
                return text[first:place]
        start = text.rfind(_BOX, 0, start)
    return text


@dataclass(frozen=True)
class ExactMatch:
    """Accept an output that is the target (1), and reject any other (-1).

    A row with an empty target, which nobody knows, has no verdict (NaN).

    normalise: text -> text, applied to both before they are compared; see `squeezed`.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["2 + 2 ="] * 2, ["4", "4"], ["4 ", "5"])
    >>> ExactMatch()(Key(0), rows), ExactMatch().right(rows)
    (array([ 1., -1.]), array([ True, False]))
    """

    normalise: Callable[[str], str] = squeezed

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("ExactMatch: batch", batch)
        return _verdicts(self._equal(batch), batch)

    def right(self, rows: Rows) -> Mask:
        """Tell which outputs are right, booleans, shape (n,): a metric of `Measure`.

        Raises:
            ValueError: with the row, if a target is empty.
        """
        check_rows("ExactMatch.right: rows", rows)
        _check_known("ExactMatch.right", rows)
        return self._equal(rows)

    def _equal(self, rows: Rows) -> Mask:
        equal = np.zeros(len(rows), dtype=bool)
        for row, (target, output) in enumerate(zip(rows.targets, rows.outputs, strict=True)):
            equal[row] = self.normalise(target) == self.normalise(output)
        return equal


@dataclass(frozen=True)
class NumericMatch:
    """Accept an output whose last number is the target's last number (1), reject any other (-1).

    So "3.0" is the same as "3", and "1,000" as "1000"; see `last_number`. An output without a
    number is rejected. A row with an empty target, which nobody knows, has no verdict (NaN).

    tolerance: how far the two may be apart, at least 0.

    Raises:
        ValueError: if `tolerance` is out of its range. A call raises it, with the row, if a target
            is not empty and has no number, or its last number is joined to more, as in a date.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["6 * 7"] * 3, ["42"] * 3, ["It is 42.0.", "6 * 7", "forty two"])
    >>> NumericMatch()(Key(0), rows)
    array([ 1., -1., -1.])
    """

    tolerance: float = 0.0

    def __post_init__(self) -> None:
        check_positive("NumericMatch.tolerance", self.tolerance, zero=True)

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("NumericMatch: batch", batch)
        return _verdicts(self._equal(batch), batch)

    def right(self, rows: Rows) -> Mask:
        """Tell which outputs are right, booleans, shape (n,): a metric of `Measure`.

        Raises:
            ValueError: with the row, if a target is empty or has no number.
        """
        check_rows("NumericMatch.right: rows", rows)
        _check_known("NumericMatch.right", rows)
        return self._equal(rows)

    def _equal(self, rows: Rows) -> Mask:
        equal = np.zeros(len(rows), dtype=bool)
        for row, (target, output) in enumerate(zip(rows.targets, rows.outputs, strict=True)):
            wanted = _wanted(target, row)
            found = last_number(output)
            if wanted is not None and found is not None:
                equal[row] = abs(wanted - found) <= self.tolerance
        return equal


def _wanted(target: str, row: int) -> Fraction | None:
    """Return the number of a target, or None of an empty one."""
    number = last_number(target)
    if number is None and target.strip():
        raise ValueError(
            f"NumericMatch: the target of row {row} has no number, got {target!r:.60}; "
            "write digits, leave the target empty, or take ExactMatch"
        )
    if _is_part(target):
        raise ValueError(
            f"NumericMatch: the target of row {row} says more than its last number, "
            f"got {target!r:.60}; write one number, such as 1234.5, or take ExactMatch"
        )
    return number


@dataclass(frozen=True)
class Each:
    """A verifier made of a function of one row: `(input, target, output) -> verdict`.

    The function returns True to accept (1), False to reject (-1), a number as the score itself, or
    None where it has no verdict (NaN). An error in it says in which row it was.

    function: is called with three texts.

    Raises:
        ValueError: from a call, with the row, if the function returns anything else.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["odd"] * 2, outputs=["3", "4"], targets=["", ""])
    >>> Each(lambda input, target, output: int(output) % 2 == 1)(Key(0), rows)
    array([ 1., -1.])
    """

    function: Judge

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("Each: batch", batch)
        scores: np.ndarray = np.empty(len(batch))
        flags = len(batch) > 0
        texts = zip(batch.inputs, batch.targets, batch.outputs, strict=True)
        for row, each in enumerate(texts):
            try:
                answer = self.function(*each)
            except Exception as error:
                error.add_note(f"in row {row} of the batch, whose output is {each[2]!r:.60}")
                raise
            scores[row] = _as_score(answer, row)
            flags = flags and is_integer(answer) and answer in (0, 1)
        if flags:  # as integers, by which a filter tells 0 for wrong from a score of 0
            return scores.astype(int)
        return scores


@dataclass(frozen=True)
class Majority:
    """Score an output by the fraction of its input's candidates that answer the same, less `cut`.

    It stands for a verifier where no target is known (self-consistency). It must see all candidates
    of an input together, which `rowwise = False` says: the loop refuses a round of more than one
    block. A candidate without an answer has no verdict (NaN), and still counts among the others.

    answer: output -> what it answers, such as `last_number`; None is no answer.
    cut: in [0, 1]; an output is accepted if the fraction is at least this.

    Raises:
        ValueError: if `cut` is out of its range. A call raises it if an input has one candidate.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["2 + 2 ="] * 4, outputs=["4", "4 ", "4", "5"], numbers=[0] * 4)
    >>> Majority()(Key(0), rows)
    array([ 0.25,  0.25,  0.25, -0.25])
    """

    answer: Answer = squeezed
    cut: float = 0.5
    rowwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_fraction("Majority.cut", self.cut, zero=True, one=True)

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("Majority: batch", batch)
        scores = np.full(len(batch), np.nan)
        answers = [self.answer(output) for output in batch.outputs]
        for number, rows in _by_number(batch.numbers).items():
            if len(rows) == 1:
                raise ValueError(
                    f"Majority needs several candidates of every input, got 1 of the input "
                    f"{number}; give Generate a temperature and more candidates"
                )
            counts = _counted([answers[row] for row in rows])
            for row in rows:
                if answers[row] is not None:
                    scores[row] = counts[answers[row]] / len(rows) - self.cut
        return scores


@dataclass(frozen=True)
class AtMost:
    """Keep the rows that score at least `cut`, at most `count` in each group.

    Of more the best are kept; ties are broken by the key. Beside `by_input` no input that is easy
    crowds out the others.

    count: rows of a group, at least 1.
    cut: in the units of the scores.

    Raises:
        ValueError: if `count` is no positive integer, or `cut` no finite number; in a round, if
            `cut` is 0 and the scores are 0 and 1 alone.

    >>> scores = np.array([1.0, 3.0, 2.0, -1.0, 0.5])
    >>> AtMost(2)(Key(0), scores, np.array([0, 0, 0, 1, 1]))
    array([False,  True,  True, False,  True])
    """

    count: int
    cut: float = 0.0

    def __post_init__(self) -> None:
        check_count("AtMost.count", self.count)
        check_finite("AtMost.cut", self.cut)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        if groups is None:
            groups = np.zeros(len(scores), dtype=int)
        scores = np.asarray(scores)
        if self.cut == 0:
            check_scale("AtMost", scores, f"or give filter=AtMost({self.count}, cut=0.5)")
        passed = np.flatnonzero(scores >= self.cut)
        lots = key.numpy().random(len(scores))
        best_first = passed[np.lexsort((lots[passed], -scores[passed], groups[passed]))]
        _, starts, sizes = np.unique(groups[best_first], return_index=True, return_counts=True)
        rank = np.arange(len(best_first)) - np.repeat(starts, sizes)
        mask = np.zeros(len(scores), dtype=bool)
        mask[best_first[rank < self.count]] = True
        return mask


@dataclass(frozen=True)
class PassAtK:
    """How likely it is that one of k candidates of an input is right: a metric of `Measure`.

    Every row gets the number of its input, so its mean over inputs has the interval of `Measure`.

    right: (rows) -> booleans, shape (n,), such as `ExactMatch().right`.
    k: candidates, at most as many as an input has.

    Raises:
        ValueError: if `k` is no positive integer. A call raises it if an input has fewer.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["2 + 2 ="] * 2, ["4"] * 2, ["4", "5"], numbers=[0, 0])
    >>> PassAtK(ExactMatch().right, k=1)(rows), PassAtK(ExactMatch().right, k=2)(rows)
    (array([0.5, 0.5]), array([1., 1.]))
    """

    right: Callable[[Rows], Mask]
    k: int

    def __post_init__(self) -> None:
        check_count("PassAtK.k", self.k)

    def __call__(self, rows: Rows) -> np.ndarray:
        check_rows("PassAtK: rows", rows)
        found = pass_at_k(self.right(rows), rows.numbers, self.k)
        _, first, places = np.unique(rows.numbers, return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))
        return found[order[places]]


def pass_at_k(passed: np.ndarray, numbers: np.ndarray, k: int) -> np.ndarray:
    r"""Return for each input how likely it is that one of k of its candidates passed.

    The estimator of Chen et al. (2021), arXiv:2107.03374, is unbiased. Of n candidates c passed:

    .. math:: 1 - \binom{n - c}{k} / \binom{n}{k}

    The inputs are in the order of their first rows. `bootstrap` makes an interval of the result.

    passed: booleans, shape (n,).
    numbers: the number of each row's input, shape (n,).
    k: candidates, at most as many as an input has.

    Raises:
        ValueError: if the shapes differ, `passed` are no booleans, or an input has fewer.

    >>> pass_at_k(np.array([True, False, False, False]), np.array([5, 5, 3, 3]), k=1)
    array([0.5, 0. ])
    """
    check_count("pass_at_k: k", k)
    if passed.shape != numbers.shape or passed.ndim != 1 or passed.dtype != bool:
        raise ValueError(
            "pass_at_k: passed must be booleans, one for each number, got "
            f"{passed.dtype} of shape {passed.shape} and {numbers.shape}; compare with the targets"
        )
    found: list[float] = []
    for number, rows in _by_number(numbers).items():
        if len(rows) < k:
            raise ValueError(
                f"pass_at_k: k must be at most the candidates of every input, got {k}, and the "
                f"input {number} has {len(rows)}; lower k, or write more candidates"
            )
        wrong = len(rows) - int(passed[rows].sum())
        # C(wrong, k) / C(n, k) as a product, in which no factor is large; it has a 0 if wrong < k.
        taken = np.arange(k)
        none = np.prod(np.maximum(wrong - taken, 0) / (len(rows) - taken))
        found.append(1 - float(none))
    return np.array(found)


@dataclass(frozen=True)
class DistinctAnswers:
    """How many different answers the candidates of an input have: a metric of `Measure`.

    Every row gets the number of its input. Candidates without an answer do not count.

    answer: output -> what it answers, such as `last_number`; None is no answer.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["2 + 2 ="] * 3, outputs=["4", "4 ", "5"], numbers=[0] * 3)
    >>> DistinctAnswers()(rows)
    array([2., 2., 2.])
    """

    answer: Answer = squeezed

    def __call__(self, rows: Rows) -> np.ndarray:
        check_rows("DistinctAnswers: rows", rows)
        different = np.zeros(len(rows))
        answers = [self.answer(output) for output in rows.outputs]
        for own in _by_number(rows.numbers).values():
            counts = _counted([answers[row] for row in own])
            counts.pop(None, None)
            different[own] = len(counts)
        return different


def _verdicts(right: Mask, rows: Rows) -> Scores:
    """Return 1 for right, -1 for wrong, and NaN where the target is not known."""
    known = np.array([bool(target.strip()) for target in rows.targets], dtype=bool)
    return np.where(known, np.where(right, 1.0, -1.0), np.nan)


def _check_known(what: str, rows: Rows) -> None:
    """Refuse a row without a target, of which nobody can say whether it is right."""
    for row, target in enumerate(rows.targets):
        if not target.strip():
            raise ValueError(f"{what}: row {row} has no target; fill it in or leave the row out")


def _as_score(answer: object, row: int) -> float:
    """Return what a function said of a row as a score."""
    if answer is None:
        return np.nan
    if isinstance(answer, bool | np.bool_):
        return 1.0 if answer else -1.0
    if isinstance(answer, Real):
        return float(answer)
    if isinstance(answer, re.Match):
        raise ValueError(
            f"Each: the function returned a match for row {row}, and None, which is no match, "
            "would be no verdict; write `is not None` behind it"
        )
    raise ValueError(
        f"Each: the function must return True, False, a number or None, got {answer!r:.60} "
        f"for row {row}"
    )


def _by_number(numbers: np.ndarray) -> dict[int, list[int]]:
    """Return the rows of each input, in the order of their first rows."""
    rows: dict[int, list[int]] = {}
    for row, number in enumerate(numbers.tolist()):
        rows.setdefault(number, []).append(row)
    return rows


def _counted(answers: list[object]) -> dict[object, int]:
    counts: dict[object, int] = {}
    for answer in answers:
        counts[answer] = counts.get(answer, 0) + 1
    return counts
