"""ROUGE, repetition and copying: what words of texts say, by a tokenizer of one's own or not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol
from unicodedata import category

import numpy as np

from veriloop.core.checks import check_count
from veriloop.core.parts import Scores
from veriloop.xsum.rows import Strings, check_texts, flaw

VARIANTS = ("rouge1", "rouge2", "rougeL")


class Tokenizer(Protocol):
    """What makes words of a text, as the package `rouge-score` takes it."""

    def tokenize(self, text: str, /) -> Sequence[str]: ...


def rouge(
    variant: str,
    references: Strings,
    summaries: Strings,
    tokenizer: Tokenizer | None = None,
) -> Scores:
    """Return the ROUGE F1 of each summary against its reference, with stemming, shape (n,).

    The values are those of the package `rouge-score`, bit for bit. Where `rouge-score-rs`, of the
    extra [fast], is installed, it computes them. Its words are English: runs of the letters a to z
    and of digits. A warning counts the references of which it reads less than half.

    variant: "rouge1", "rouge2" or "rougeL".
    references, summaries: n texts each.
    tokenizer: makes words of texts, without stemming, for other languages: any object with
        `tokenize(text)`. None: the package's own.

    Raises:
        ValueError: if there is no such variant, the numbers of texts differ, or with the row if a
            text is no str.

    >>> rouge("rouge1", ["Two dogs barked."], ["A dog barked."]).round(3)
    array([0.667])
    """
    if variant not in VARIANTS:
        raise ValueError(f"rouge knows {', '.join(VARIANTS)}, got {variant!r}")
    check_texts("rouge: references", references)
    check_texts("rouge: summaries", summaries)
    if len(references) != len(summaries):
        raise ValueError(
            f"rouge needs one reference for each summary, got {len(references)} and "
            f"{len(summaries)}; give as many of both"
        )
    _warn_of_unread(references, tokenizer)
    score = _scorer(variant)
    if tokenizer is not None:
        score = _own_scorer(variant, tokenizer)
    pairs = zip(references, summaries, strict=True)
    return np.array([score(reference, summary) for reference, summary in pairs], dtype=float)


Score = Callable[[str, str], float]


@cache
def _scorer(variant: str) -> Score:
    """Return the fast engine where it is installed, and the plain one where it is not."""
    try:
        from rouge_score_rs.rouge_scorer import RougeScorer  # pyright: ignore[reportMissingImports]
    except ImportError:
        from rouge_score.rouge_scorer import RougeScorer
    scorer = RougeScorer([variant], use_stemmer=True)
    return lambda reference, summary: scorer.score(reference, summary)[variant].fmeasure


def _own_scorer(variant: str, tokenizer: Tokenizer) -> Score:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([variant], tokenizer=tokenizer)
    return lambda reference, summary: scorer.score(reference, summary)[variant].fmeasure


def _warn_of_unread(references: Strings, tokenizer: Tokenizer | None) -> None:
    """Warn once, with their number, of references of which ROUGE reads nothing or little."""
    unread = sum(_unread(text, tokenizer) for text in references)
    if unread:
        warnings.warn(
            f"ROUGE reads next to nothing of {unread} of {len(references)} references: its words "
            "are of the letters a to z and of digits; give a tokenizer for this language",
            stacklevel=3,
        )


def _unread(text: str, tokenizer: Tokenizer | None) -> bool:
    """Tell whether ROUGE reads less than half of a reference that has letters, digits or emoji."""
    if tokenizer is not None:
        return has_word(text) and not tokenizer.tokenize(text)
    if text.isascii():
        return False
    letters = sum(letter.isalnum() or category(letter) == "So" for letter in text)
    return 2 * len(re.findall("[a-z0-9]", text.lower())) < letters


def has_word(text: str) -> bool:
    """Tell whether a text has a letter or a digit, of any script.

    >>> has_word("Rain."), has_word(" - ")
    (True, False)
    """
    return any(letter.isalnum() for letter in text)


def words(text: str, tokenizer: Tokenizer | None = None) -> list[str]:
    """Return the words of a text in lower case, by default what spaces separate."""
    wrong = flaw(text)
    if wrong is not None:
        raise ValueError(f"the text {wrong}; fill it in")
    if tokenizer is None:
        return text.lower().split()
    return list(tokenizer.tokenize(text.lower()))


def grams(text: str, n: int, tokenizer: Tokenizer | None = None) -> list[tuple[str, ...]]:
    """Return the word n-grams of a text, in lower case."""
    check_count("n, the words in an n-gram,", n)
    found = words(text, tokenizer)
    return [tuple(found[start : start + n]) for start in range(len(found) - n + 1)]


def repetition(text: str, n: int = 2, tokenizer: Tokenizer | None = None) -> float:
    """Return the share of word n-grams that occurred earlier in the text; 0 if it has none.

    text: any text; upper and lower case are the same.
    n: words in an n-gram.
    tokenizer: makes words of the text, as in `rouge`. None: what spaces separate, which is one word
        for a whole sentence of Chinese or Thai.

    >>> repetition("a fire and a fire", 2)
    0.25
    """
    found = grams(text, n, tokenizer)
    if not found:
        return 0.0
    return 1 - len(set(found)) / len(found)


def copying(article: str, summary: str, n: int = 3, tokenizer: Tokenizer | None = None) -> float:
    """Return the share of the summary's word n-grams that stand in the article; 0 if it has none.

    article, summary: any texts; upper and lower case are the same.
    n: words in an n-gram.
    tokenizer: see `repetition`.

    >>> copying("the old bridge is shut", "Old bridge is open", 2)
    0.6666666666666666
    """
    found = grams(summary, n, tokenizer)
    if not found:
        return 0.0
    known = set(grams(article, n, tokenizer))
    return sum(gram in known for gram in found) / len(found)
