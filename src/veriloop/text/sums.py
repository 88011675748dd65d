"""Sums in words, a task that a very small model learns in part: "seven plus eight is" "fifteen"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

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
NUMBERS = 50  # those that are added are below it
IN_ONE = 6  # sums in a document
IN_TURN = 12  # numbers in a document that counts


def in_words(number: int) -> str:
    """Return a number in words.

    number: from 0 to 99.

    Raises:
        ValueError: if it is out of its range.

    >>> in_words(7), in_words(40), in_words(85)
    ('seven', 'forty', 'eighty five')
    """
    check_count("in_words: number", number, least=0)
    if number >= 100:
        raise ValueError(f"in_words: number must be below 100, got {number}; split it")
    if number < 20:
        return SMALL[number]
    ten = TENS[number // 10 - 2]
    if number % 10:
        return f"{ten} {SMALL[number % 10]}"
    return ten


def texts(key: Key, n: int) -> Texts:
    """Return n different sums of two numbers below 50.

    key: draws them.
    n: at most 2,500.

    Raises:
        ValueError: if more are asked for than there are.

    >>> texts(Key(0), 2).inputs[0], texts(Key(0), 2).targets[0]
    ('thirteen plus nine', 'twenty two')
    """
    check_count("sums.texts: n", n)
    if n > NUMBERS**2:
        raise ValueError(f"sums.texts: n must be at most {NUMBERS**2}, got {n}; ask for fewer")
    drawn = key.numpy().permutation(NUMBERS**2)[:n]
    inputs: list[str] = []
    targets: list[str] = []
    for first, second in (divmod(pair, NUMBERS) for pair in drawn.tolist()):
        inputs.append(f"{in_words(first)} plus {in_words(second)}")
        targets.append(in_words(first + second))
    return Texts.of(inputs, targets)


def documents(key: Key, n: int) -> list[str]:
    """Return n documents, from which the small model learns the language.

    A third of them count, and the others hold six sums each, of any two numbers below 50.

    key: draws them.
    n: how many.

    >>> documents(Key(0), 1)[0][:50]
    'seventy seven, seventy eight, seventy nine, eighty'
    """
    draw = key.numpy()
    found: list[str] = []
    for _ in range(n):
        if draw.random() < 1 / 3:
            first = int(draw.integers(2 * NUMBERS - IN_TURN))
            counted = [in_words(first + place) for place in range(IN_TURN)]
            found.append(f"{', '.join(counted)}.")
            continue
        pairs = draw.integers(NUMBERS, size=(IN_ONE, 2)).tolist()
        added = [f"{in_words(a)} plus {in_words(b)} is {in_words(a + b)}." for a, b in pairs]
        found.append(" ".join(added))
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
    recipe = [SMALL, TENS, NUMBERS, IN_ONE, IN_TURN]
    return pretrained_once(how, documents, "sums", recipe, folder=folder, device=device)
