"""Rows of the summaries task: articles, references, summaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from veriloop.text.rows import Rows, Strings, as_column, as_numbers, check_numbers


@dataclass(frozen=True)
class Summaries(Rows):
    """Articles, their references, and summaries to be judged or learnt; `Summaries.of` makes them.

    They are rows of `veriloop.text` too, under its names: `inputs` are the articles, `targets` the
    references, `outputs` the summaries, and `numbers` those of the articles, `prompts`.

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
    ended: np.ndarray = None  # pyright: ignore

    def __post_init__(self) -> None:
        self._complete("prompts")

    @property
    def inputs(self) -> np.ndarray:
        """The articles."""
        return self.articles

    @property
    def targets(self) -> np.ndarray:
        """The references."""
        return self.references

    @property
    def outputs(self) -> np.ndarray:
        """The summaries."""
        return self.summaries

    @property
    def numbers(self) -> np.ndarray:
        """The numbers of the articles."""
        return self.prompts

    def answered(self, outputs: np.ndarray, ended: np.ndarray | None = None) -> Self:
        return replace(self, summaries=outputs, ended=ended)

    def numbered(self, numbers: np.ndarray) -> Self:
        return replace(self, prompts=numbers)

    @classmethod
    def of(
        cls,
        articles: Strings,
        references: Strings,
        summaries: Strings | None = None,
        prompts: Sequence[int] | np.ndarray | None = None,
        ended: Sequence[bool] | np.ndarray | None = None,
    ) -> Self:
        """Return rows made of plain lists.

        summaries: None takes the references, as in real data.
        prompts: None numbers the articles in order.
        ended: None: all summaries have ended.

        Raises:
            ValueError: with the row, if a text is no str, a number is no integer of at least 0, or
                two different articles have one number.
        """
        if summaries is None:
            summaries = references
        texts = as_column("Summaries.of: articles", articles)
        if prompts is None:
            prompts = np.arange(len(texts))
        if ended is None:
            ended = np.ones(len(texts), dtype=bool)
        rows = cls(
            articles=texts,
            references=as_column("Summaries.of: references", references),
            summaries=as_column("Summaries.of: summaries", summaries),
            prompts=as_numbers("Summaries.of: prompts", prompts, "articles"),
            ended=np.atleast_1d(np.asarray(ended)),
        )
        check_numbers("Summaries.of", rows, "article")
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
