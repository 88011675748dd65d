"""Read the rating in a model's answer, or say why it cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

_NUMBER = "[0-9]+(?:\\.[0-9]+)?"
_SCALE = re.compile(f"(-?{_NUMBER}) to (-?{_NUMBER})")
_RATING = re.compile(
    f"(?P<rating>-?{_NUMBER})"
    f"(?:\\s*(?:/|out of|of)\\s*(?P<most>{_NUMBER}))?"
    "\\s*(?P<unit>points?|stars?|%)?",
    re.IGNORECASE,
)
# "Score: 8", "**Rating:** 8", "My overall score is 8"
_LABEL = re.compile(
    "(?:\\*\\*|\\*|__)?"
    "(?:(?:the|my|your|overall|final)\\s+)*(?:score|rating|grade|answer)"
    "(?:\\*\\*|\\*|__)?(?:\\s*(?:is\\b|:|=)|\\s)(?:\\*\\*|\\*|__)?\\s*",
    re.IGNORECASE,
)
_FENCE = re.compile("```[a-z]*\\s*\\n(.*?)\\n?\\s*```", re.IGNORECASE | re.DOTALL)
_NAMES = ("score", "rating", "grade", "answer")
_AROUND = (
    ("**", "**"),
    ("__", "__"),
    ("*", "*"),
    ("`", "`"),
    ("$", "$"),
    ('"', '"'),
    ("'", "'"),
    ("\u201c", "\u201d"),
    ("[", "]"),
    ("(", ")"),
    ("\\boxed{", "}"),
)
_THOUGHTS = ("think", "thinking", "thought", "reasoning")


@dataclass(frozen=True)
class Scale:
    """The ratings that a model may give.

    text: "0 to 10", any other two numbers, or "yes/no".
    least, most: the lowest and the highest rating. For yes/no they are 0 and 1.
    words: the answers are yes and no.

    >>> Scale.of("1 to 5").middle
    3.0
    """

    text: str
    least: float
    most: float
    words: bool = False

    @staticmethod
    def of(text: object) -> Scale:
        """Return the scale that a text names.

        Raises:
            ValueError: if it names none, or its ends are not in order.
        """
        if text == "yes/no":
            return Scale("yes/no", 0.0, 1.0, words=True)
        found = _SCALE.fullmatch(text) if isinstance(text, str) else None
        if found is None or float(found[1]) >= float(found[2]):
            raise ValueError(
                "Endpoint.scale must be two numbers in order, as '0 to 10' or '1 to 5', "
                f"or 'yes/no', got {text!r}"
            )
        return Scale(found[0], float(found[1]), float(found[2]))

    @property
    def middle(self) -> float:
        """The rating half-way between the ends."""
        return (self.least + self.most) / 2

    def read(self, text: str) -> float:
        """Return the rating in an answer; see `read_rating` and `read_yes_or_no`."""
        if self.words:
            return read_yes_or_no(text)
        return read_rating(text, self.most)

    def __contains__(self, rating: float) -> bool:
        return self.least <= rating <= self.most


def read_rating(text: str, most: float = 10.0) -> float:
    """Return the rating that an answer consists of.

    The whole answer must be one number, as "8" or "8.5". It may have a name, the top of the scale,
    or marks around it: "Score: 8", "8/10", "8 out of 10", "**8**", "[[8]]". A JSON object must have
    one of the keys score, rating, grade and answer. Thoughts in `<think>` tags before the answer
    are skipped. The rating may lie outside the scale.

    text: what the model answered.
    most: the top of the scale. "8/5" is refused if this is 10.

    >>> read_rating("Score: 8/10"), read_rating('{"score": 8.5}')
    (8.0, 8.5)
    >>> read_rating("8 of the 5 facts")
    Traceback (most recent call last):
    ValueError: it is not one number

    Raises:
        ValueError: if the answer is anything else.
    """
    text = _conclusion(text)
    if text.startswith("{"):
        value = _json_value(text)
        if isinstance(value, float):
            return value
        if not isinstance(value, str):
            raise ValueError("its JSON holds no number")
        text = value
    found = _RATING.fullmatch(_without_label(text))
    if found is None:
        raise ValueError("it is not one number")
    if found["most"] is not None and float(found["most"]) != most:
        raise ValueError(f"it is on a scale up to {found['most']}, and {most:g} was asked for")
    if found["unit"] == "%" and most != 100:
        raise ValueError(f"it is a percentage, and a number up to {most:g} was asked for")
    return float(found["rating"])


def read_yes_or_no(text: str) -> float:
    """Return 1 for an answer that consists of yes, and 0 for no.

    text: what the model answered. Names, marks, JSON and thoughts are read as in `read_rating`.

    >>> read_yes_or_no("Answer: Yes."), read_yes_or_no("**no**")
    (1.0, 0.0)

    Raises:
        ValueError: if the answer is anything else.
    """
    text = _conclusion(text)
    if text.startswith("{"):
        value = _json_value(text)
        if isinstance(value, bool):
            return float(value)
        text = str(value)
    word = _without_label(text).lower()
    if word not in ("yes", "no"):
        raise ValueError("it is neither yes nor no")
    return float(word == "yes")


def _conclusion(text: str) -> str:
    """Return an answer without its thoughts and without a code fence round all of it."""
    for tag in _THOUGHTS:
        closed = f"</{tag}>"
        if closed in text:
            text = text.rpartition(closed)[2]
        elif f"<{tag}>" in text:
            raise ValueError(f"its <{tag}> is never closed")
    text = text.strip()
    fenced = _FENCE.fullmatch(text)
    if fenced is not None:
        text = fenced[1].strip()
    return text


def _without_label(text: str) -> str:
    """Return a short answer without the name of the number and the marks around it."""
    text = _bare(text)
    label = _LABEL.match(text)
    if label is not None:
        text = _bare(text[label.end() :])
    return text


def _bare(text: str) -> str:
    """Take off spaces, a full stop, and pairs of marks, until none is left."""
    before = ""
    while text != before:
        before = text
        text = text.strip()
        if text.endswith((".", "!")):
            text = text[:-1]
        for start, end in _AROUND:
            inside = text[len(start) : len(text) - len(end)]
            paired = text.startswith(start) and text.endswith(end)
            if paired and inside and start not in inside and end not in inside:
                text = inside
            elif paired and start == "[" and inside.startswith("[") and inside.endswith("]"):
                text = inside
    return text


def _json_value(text: str) -> object:
    """Return the value under the one key of a JSON object that names a rating."""
    try:
        pairs = json.loads(
            text, object_pairs_hook=_Pairs, parse_int=float, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON, though it begins like it") from None
    if not isinstance(pairs, _Pairs):
        raise ValueError("it is no JSON object")
    values = [value for name, value in pairs.pairs if name.strip().lower() in _NAMES]
    if len(values) != 1:
        raise ValueError(f"its JSON has {len(values)} of the keys {', '.join(_NAMES)}")
    return values[0]


class _Pairs:
    """A JSON object with all its pairs: a dict would drop the first of two equal keys."""

    def __init__(self, pairs: Sequence[tuple[str, object]]) -> None:
        self.pairs = pairs


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")
