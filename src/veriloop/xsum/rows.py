"""Rows of the summaries task: articles, references, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from veriloop.core import Columns
from veriloop.core.checks import is_integer

Strings = Sequence[str] | np.ndarray  # str objects, shape (n,)


@dataclass(frozen=True)
class Summaries(Columns):
    """Articles, their references, and summaries to be judged or learnt; `Summaries.of` makes them.

    articles: str objects, shape (n,).
    references: what a person wrote about each article, str objects, shape (n,).
    summaries: that person's or a model's, str objects, shape (n,).
    prompts: which article of its set a row belongs to, int, shape (n,). The candidates of one
        article share the number. Two articles with the same text have different numbers.
    ended: whether a summary came to its end, bool, shape (n,). False is one that was cut where the
        model had written the most tokens allowed. None: all have ended.

    Raises:
        ValueError: if `ended` are no booleans, or `prompts` no integers.

    >>> pairs = Summaries.of(["Rain fell.", "It is dry."], ["Rain.", "No rain."])
    >>> pairs[[1]].summaries[0], len(Summaries.concatenate([pairs, pairs]))
    ('No rain.', 4)
    """

    articles: np.ndarray
    references: np.ndarray
    summaries: np.ndarray
    prompts: np.ndarray
    ended: np.ndarray = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        ended: np.ndarray | None = self.ended
        if ended is None:
            ended = np.ones(len(self.summaries), dtype=bool)
            object.__setattr__(self, "ended", ended)
        super().__post_init__()
        if ended.dtype != bool or ended.ndim != 1:
            raise ValueError(
                f"Summaries.ended must be booleans of shape (n,), got {ended.dtype} of shape "
                f"{ended.shape}; write ended.astype(bool).reshape(-1)"
            )
        if self.prompts.dtype.kind not in "iu" or self.prompts.ndim != 1:
            raise ValueError(
                f"Summaries.prompts must be integers of shape (n,), got {self.prompts.dtype} of "
                f"shape {self.prompts.shape}; number the articles, or write Summaries.of(...)"
            )

    @classmethod
    def of(
        cls,
        articles: Strings,
        references: Strings,
        summaries: Strings | None = None,
        prompts: Sequence[int] | np.ndarray | None = None,
        ended: Sequence[bool] | np.ndarray | None = None,
    ) -> Self:
        """Return rows made from plain lists.

        summaries: None takes the references, as in real data.
        prompts: None numbers the articles in order.
        ended: None: all summaries have ended.

        Raises:
            ValueError: with the row, if a text is no str, a number is no integer of at least 0, or
                two different articles have one number.
        """
        if summaries is None:
            summaries = references
        texts = _column("articles", articles)
        if prompts is None:
            prompts = np.arange(len(texts))
        if ended is None:
            ended = np.ones(len(texts), dtype=bool)
        rows = cls(
            articles=texts,
            references=_column("references", references),
            summaries=_column("summaries", summaries),
            prompts=_numbers(prompts),
            ended=np.atleast_1d(np.asarray(ended)),
        )
        collision = two_of_one_number(rows)
        if collision is not None:
            first, other = collision
            raise ValueError(
                f"Summaries.of: rows {first} and {other} have different articles and the number "
                f"{rows.prompts[first]}; give each article a number of its own"
            )
        return rows


@dataclass(frozen=True)
class Data:
    """Real pairs in three parts; `load` returns them.

    name: what the pairs are called in a report.
    train: pairs to learn from.
    validation: pairs to look at between rounds.
    test: pairs to judge by once, at the end.

    >>> pairs = Summaries.of(["Rain fell.", "It is dry."], ["Rain.", "No rain."])
    >>> len(Data("mine", train=pairs, validation=pairs[:1], test=pairs[1:]).test)
    1
    """

    name: str
    train: Summaries
    validation: Summaries
    test: Summaries


def check_texts(what: str, texts: Strings) -> None:
    """Refuse a text that is no str, or that UTF-8 cannot hold.

    what: the name of the texts, for the error.

    >>> check_texts("summaries", ["Rain.", None])
    Traceback (most recent call last):
    ValueError: summaries, row 1: must be a text (str), got None; fill it in or leave the row out

    Raises:
        ValueError: with the first such row.
    """
    if isinstance(texts, str):
        raise ValueError(f"{what} must be a list of texts, got one text; write [text]")
    for row, text in enumerate(texts):
        wrong = flaw(text)
        if wrong is not None:
            raise ValueError(f"{what}, row {row}: {wrong}; fill it in or leave the row out")


def check_summaries(what: str, rows: object) -> None:
    """Refuse what are no rows of summaries.

    what: the name of the argument, for the error.

    Raises:
        TypeError: with the type that was got, and what to write.
    """
    if not isinstance(rows, Summaries):
        raise TypeError(
            f"{what} must be Summaries, got {type(rows).__name__}; "
            "write Summaries.of(articles, references, summaries)"
        )


def flaw(text: object) -> str | None:
    """Return why a value is no text, or None where it is one."""
    if not isinstance(text, str):
        return f"must be a text (str), got {text!r:.40}"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"must be whole characters, got half of one (a lone surrogate) in {text!r:.40}"
    return None


def two_of_one_number(rows: Summaries) -> tuple[int, int] | None:
    """Return two rows that have different articles and one number, or None if there are none."""
    if len(np.unique(rows.prompts)) == len(rows):
        return None
    first: dict[int, int] = {}
    for row, number in enumerate(rows.prompts.tolist()):
        before = first.setdefault(number, row)
        if rows.articles[before] != rows.articles[row]:
            return before, row
    return None


def _column(what: str, texts: Strings) -> np.ndarray:
    """Return str objects as they are: NumPy's own text type would pad every row to the longest."""
    name = f"Summaries.of: {what}"
    shape = getattr(texts, "shape", (0,))  # of an array or a table
    single = isinstance(texts, str | bytes | dict)
    if single or len(shape) != 1 or not hasattr(texts, "__len__"):
        kind = type(texts).__name__
        raise ValueError(f"{name} must be a list of texts, one a row, got a {kind}; give a list")
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    check_texts(name, column)
    return column


def _numbers(prompts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the numbers of articles as integers, and refuse what would have to be rounded."""
    numbers: list[int] = []
    for row, given in enumerate(np.asarray(prompts, dtype=object).tolist()):
        whole = is_integer(given) or (isinstance(given, float) and given.is_integer())
        if not whole or not 0 <= given < 2**63:
            raise ValueError(
                f"Summaries.of: prompts, row {row}: must be an integer of at least 0 and below "
                f"2^63, got {given!r:.40}; number the articles, or leave prompts out"
            )
        numbers.append(int(given))
    return np.array(numbers, dtype=int)
