"""Rows of the summaries task: articles, references, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from veriloop.core import Columns

Strings = Sequence[str] | np.ndarray  # str objects, shape (n,)


@dataclass(frozen=True)
class Summaries(Columns):
    """Articles, their references, and summaries to be judged or learnt; `Summaries.of` makes them.

    articles: str objects, shape (n,).
    references: what a person wrote about each article, str objects, shape (n,).
    summaries: that person's or a model's, str objects, shape (n,).
    prompts: which article of its set a row belongs to, int, shape (n,). The candidates of one
        article share the number. Two articles with the same text have different numbers.

    >>> pairs = Summaries.of(["Rain fell.", "It is dry."], ["Rain.", "No rain."])
    >>> pairs[[1]].summaries[0], len(Summaries.concatenate([pairs, pairs]))
    ('No rain.', 4)
    """

    articles: np.ndarray
    references: np.ndarray
    summaries: np.ndarray
    prompts: np.ndarray

    @classmethod
    def of(
        cls,
        articles: Strings,
        references: Strings,
        summaries: Strings | None = None,
        prompts: Sequence[int] | np.ndarray | None = None,
    ) -> Self:
        """Return rows made from plain lists.

        summaries: None takes the references, as in real data.
        prompts: None numbers the articles in order.
        """
        if summaries is None:
            summaries = references
        if prompts is None:
            prompts = np.arange(len(articles))
        return cls(
            articles=_column(articles),
            references=_column(references),
            summaries=_column(summaries),
            prompts=np.asarray(prompts, dtype=int),
        )


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


def _column(texts: Strings) -> np.ndarray:
    """Return str objects as they are: NumPy's own text type would pad every row to the longest."""
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column
