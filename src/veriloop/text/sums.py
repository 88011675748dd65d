"""Sums in words, a task that a very small model learns in part: "seven plus eight is" "fifteen"."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.text.rows import Texts
from veriloop.text.small import Pretraining, pretrained_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBERS = 100  # those that are added are below it
APART = 2000  # pairs of numbers that no document adds
IN_ONE = 6  # sums in a document


def in_words(number: int) -> str:
    """Return a number in words.

    number: from 0 to 199.

    Raises:
        ValueError: if it is out of its range.

    >>> in_words(7), in_words(40), in_words(115)
    ('seven', 'forty', 'one hundred fifteen')
    """
    check_count("in_words: number", number, least=0)
    if number >= 200:
        raise ValueError(f"in_words: number must be below 200, got {number}")
    if number < 20:
        return SMALL[number]
    if number >= 100:
        rest = number - 100
        return f"one hundred {in_words(rest)}" if rest else "one hundred"
    ten = TENS[number // 10 - 2]
    return f"{ten} {SMALL[number % 10]}" if number % 10 else ten


def texts(key: Key, n: int) -> Texts:
    """Return n different sums, none of which stands in a document.

    key: draws them.
    n: at most 2,000.

    Raises:
        ValueError: if more are asked for than there are.

    >>> texts(Key(0), 2).inputs[0], texts(Key(0), 2).targets[0]
    ('thirty two plus nineteen', 'fifty one')
    """
    check_count("sums.texts: n", n)
    if n > APART:
        raise ValueError(f"sums.texts: n must be at most {APART}, got {n}; ask for fewer")
    apart, _ = _pairs()
    drawn = apart[key.numpy().permutation(APART)[:n]]
    inputs = [f"{in_words(a)} plus {in_words(b)}" for a, b in drawn.tolist()]
    targets = [in_words(a + b) for a, b in drawn.tolist()]
    return Texts.of(inputs, targets)


def documents(key: Key, n: int) -> list[str]:
    """Return n documents of six sums each, from which the small model learns the language.

    They hold none of the sums of `texts`.

    key: draws them.
    n: how many.

    >>> documents(Key(0), 1)[0][:50]
    'fifty four plus twenty seven is eighty one. fifty '
    """
    _, read = _pairs()
    picks = key.numpy().integers(len(read), size=(n, IN_ONE))
    found: list[str] = []
    for row in picks:
        pairs = read[row].tolist()
        sums = [f"{in_words(a)} plus {in_words(b)} is {in_words(a + b)}." for a, b in pairs]
        found.append(" ".join(sums))
    return found


def pretrained(
    how: Pretraining, *, folder: Path | None = None, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a model of the documents and its tokenizer, trained once and then read from `folder`.

    how: the model and its training.
    folder: where models are kept; None: the user's cache.
    device: where it is trained, and put.

    >>> import tempfile
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrained(tiny, folder=Path(tempfile.mkdtemp()))
    >>> model.config.hidden_size
    8
    """
    recipe = [SMALL, TENS, NUMBERS, APART, IN_ONE]
    return pretrained_once(how, documents, "sums", recipe, folder=folder, device=device)


@cache
def _pairs() -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of the task, and those of the documents, shape (n, 2) each."""
    order = Key(0).fold("sums").numpy().permutation(NUMBERS**2)
    pairs = np.stack([order // NUMBERS, order % NUMBERS], axis=1)
    return pairs[:APART], pairs[APART:]
