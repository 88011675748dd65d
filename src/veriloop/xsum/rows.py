"""Rows of the summaries task: articles, references, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from veriloop.core import Columns

Strings = Sequence[str] | np.ndarray  # str objects


@dataclass(frozen=True)
class Summaries(Columns):
    """Articles, what a person wrote of each, and the summaries to be judged or learnt: that person's, or a model's.

    articles, references, summaries: str objects, shape (n,).
    prompts: int, shape (n,): which article of its set a row is of. Several candidates of one article share it;
        articles that happen to be the same do not, and keep references of their own.

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
        """Return rows of plain lists; without summaries these are the references, as in real data."""
        return cls(
            articles=_column(articles),
            references=_column(references),
            summaries=_column(references if summaries is None else summaries),
            prompts=np.arange(len(articles)) if prompts is None else np.asarray(prompts, dtype=int),
        )


@dataclass(frozen=True)
class Data:
    """Real pairs to learn from, to look at between rounds, and to judge by once at the end."""

    name: str
    train: Summaries
    validation: Summaries
    test: Summaries


def _column(texts: Strings) -> np.ndarray:
    """Return str objects as they are: NumPy's own text type would pad every row to the longest."""
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    return column
