"""What the answers of a model come to: ratings, and rows without one, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real

from veriloop.core.candidates import RoundError
from veriloop.verifiers.endpoint.answers import Answer
from veriloop.verifiers.endpoint.ratings import Scale

FIRST = 20  # questions after which a model that has given no rating is asked no more
FEWEST = 4  # questions that say something about a model; fewer may all fail by chance

UNREADABLE = "unreadable"  # an answer that holds no rating
OFF_SCALE = "off_scale"  # a rating that is not on the scale
UNANSWERED = "unanswered"  # no answer
FAULTS = (UNREADABLE, OFF_SCALE, UNANSWERED)

# Why a model stopped, where that means that its text is no answer.
_NO_ANSWER = {
    "length": "it is cut off; raise Endpoint.max_tokens",
    "max_tokens": "it is cut off; raise Endpoint.max_tokens",
    "content_filter": "the server filtered it",
    "safety": "the server filtered it",
    "refusal": "the model refused",
    "tool_calls": "the model called a tool",
    "function_call": "the model called a tool",
}
# What a parser raises on an answer that it was not written for.
_NO_RATING = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Reading:
    """The rating in an answer, or why there is none.

    rating: NaN if there is none.
    fault: empty, `unreadable`, `off_scale` or `unanswered`.
    about: the answer in quotes, and what is wrong with it.

    >>> reading_of(Answer("eight"), "", Scale.of("0 to 10")).about
    "'eight' (it is not one number)"
    """

    rating: float
    fault: str = ""
    about: str = ""


def reading_of(
    answer: Answer | None,
    reason: str,
    scale: Scale,
    parse: Callable[[str], float] | None = None,
) -> Reading:
    """Read the rating in an answer.

    answer: None if there is none.
    reason: why there is none.
    scale: what the rating must be on.
    parse: answer -> rating. None: as the scale reads it.

    Raises:
        TypeError: if `parse` returns no number.
    """
    if answer is None:
        return Reading(math.nan, UNANSWERED, reason)
    quoted = _quoted(answer.text)
    finish = answer.finish.lower()  # some servers write MAX_TOKENS
    if finish in _NO_ANSWER:
        return Reading(math.nan, UNREADABLE, f"{quoted} ({_NO_ANSWER[finish]})")
    try:
        rating = _parsed(answer.text, scale, parse)
    except _NO_RATING as error:
        if not answer.text.strip():
            return Reading(math.nan, UNREADABLE, quoted)
        what = str(error)
        if parse is not None:
            what = f"{type(error).__name__}: {error}"
        return Reading(math.nan, UNREADABLE, f"{quoted} ({what})")
    if isinstance(rating, bool) or not isinstance(rating, Real):
        raise TypeError(
            f"Endpoint.parse must return a number, or NaN for no rating, got {rating!r:.80} "
            f"for {quoted}"
        )
    number = float(rating)
    if math.isnan(number):
        return Reading(math.nan, UNREADABLE, quoted)
    if number not in scale:
        return Reading(math.nan, OFF_SCALE, quoted)
    return Reading(number)


def _parsed(text: str, scale: Scale, parse: Callable[[str], float] | None) -> object:
    if parse is None:
        return scale.read(text)
    return parse(text)


def _quoted(text: str) -> str:
    """Return the beginning of an answer in quotes, in one line."""
    line = " ".join(text.split())
    if not line:
        return "an empty answer"
    if len(line) > 100:
        line = f"{line[:100]}..."
    return repr(line)


def warnings_of(readings: Sequence[Reading], scale: str) -> list[str]:
    """Return a sentence for each kind of fault among the rows of a call.

    readings: one a row.
    scale: in words.

    >>> warnings_of([Reading(8.0), Reading(math.nan, "off_scale", "'85'")], "0 to 10")
    ["1 of 2 rows has a rating off the scale, such as '85' in row 1; ask for 0 to 10 in the
    question, or set Endpoint.scale"]
    """
    told: list[str] = []
    for fault in FAULTS:
        rows = [row for row, reading in enumerate(readings) if reading.fault == fault]
        if not rows:
            continue
        have = "has" if len(rows) == 1 else "have"
        example = f"{readings[rows[0]].about} in row {rows[0]}"
        told.append(
            f"{len(rows)} of {len(readings)} rows {have} {_WHAT[fault]}, such as {example}"
            f"{_remedy(fault, scale)}"
        )
    return told


_WHAT = {
    UNREADABLE: "an answer without a rating",
    OFF_SCALE: "a rating off the scale",
    UNANSWERED: "no answer",
}

_ONE = {
    UNREADABLE: "one answer is",
    OFF_SCALE: "one answer, off the scale, is",
    UNANSWERED: "one has no answer:",
}


def _remedy(fault: str, scale: str) -> str:
    if fault == UNREADABLE:
        return "; ask for the rating alone in the question, or give Endpoint.parse"
    if fault == OFF_SCALE:
        return f"; ask for {scale} in the question, or set Endpoint.scale"
    return ""


class Watch:
    """End a round early that a model cannot serve, so that no more is paid or waited for.

    who: the model and its server, for the error.
    scale: in words.
    rated: whether the model has given a rating before.
    """

    def __init__(self, who: str, scale: str, rated: bool) -> None:
        self._who = who
        self._scale = scale
        self.rated = rated
        self._seen = 0
        self._unanswered = 0  # in a row
        self._off_scale = 0
        self._faulty: Reading | None = None  # the one to quote

    def see(self, reading: Reading) -> None:
        """Look at the next question.

        Raises:
            RoundError: if none of the first 20 has a rating, or 20 in a row have no answer.
        """
        self._seen += 1
        self._unanswered += 1
        if reading.fault != UNANSWERED:
            self._unanswered = 0
        if reading.fault == OFF_SCALE:
            self._off_scale += 1
        if not reading.fault:
            self.rated = True
        elif self._faulty is None or self._faulty.fault == UNANSWERED:
            self._faulty = reading
        if self._unanswered == FIRST:
            raise RoundError(
                f"{self._who} left {FIRST} questions in a row without an answer, the last because "
                f"of {reading.about}; run again to go on, answers on disk are not asked for again"
            )
        if self._seen == FIRST:
            self._check_any()

    def end(self) -> None:
        """Look back after the last question.

        Raises:
            RoundError: if there were at least 4 and none has a rating, or at least 20 and most
                ratings are off the scale: those that are on it mean something else.
        """
        if self._seen >= FEWEST:
            self._check_any()
        if self._seen >= FIRST and 2 * self._off_scale > self._seen:
            raise RoundError(
                f"{self._who}: {self._off_scale} of {self._seen} ratings are off the scale"
                f"{_remedy(OFF_SCALE, self._scale)}"
            )

    def _check_any(self) -> None:
        if self.rated or self._faulty is None:
            return
        fault, about = self._faulty.fault, self._faulty.about
        raise RoundError(
            f"{self._who}: none of {self._seen} questions got a rating; {_ONE[fault]} {about}"
            f"{_remedy(fault, self._scale)}"
        )
