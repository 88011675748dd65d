"""ROUGE: how much a summary has in common with a reference."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from unicodedata import category

import numpy as np

from veriloop.core.parts import Scores
from veriloop.text.rows import Strings, check_texts
from veriloop.text.words import Tokenizer, has_word

VARIANTS = ("rouge1", "rouge2", "rougeL")


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
