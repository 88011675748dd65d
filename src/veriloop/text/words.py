"""Words of texts, by a tokenizer of one's own or not; repetition and copying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from veriloop.core.checks import check_count
from veriloop.text.rows import flaw


class Tokenizer(Protocol):
    """What makes words of a text, as the package `rouge-score` takes it."""

    def tokenize(self, text: str, /) -> Sequence[str]: ...


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
    tokenizer: makes words of the text, as `rouge-score` takes it. None: what spaces
        separate, which is one word for a whole sentence of Chinese or Thai.

    >>> repetition("a fire and a fire", 2)
    0.25
    """
    found = grams(text, n, tokenizer)
    if not found:
        return 0.0
    return 1 - len(set(found)) / len(found)


def copying(source: str, text: str, n: int = 3, tokenizer: Tokenizer | None = None) -> float:
    """Return the share of a text's word n-grams that stand in its source; 0 if it has none.

    source, text: any texts; upper and lower case are the same.
    n: words in an n-gram.
    tokenizer: see `repetition`.

    >>> copying("the old bridge is shut", "Old bridge is open", 2)
    0.6666666666666666
    """
    found = grams(text, n, tokenizer)
    if not found:
        return 0.0
    known = set(grams(source, n, tokenizer))
    return sum(gram in known for gram in found) / len(found)
