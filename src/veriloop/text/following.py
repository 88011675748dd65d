"""Tokens of text that follows other text, for tokenizers that put a space before every text."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PARTS = ("normalizer", "pre_tokenizer", "decoder")
Part = dict[str, Any]  # a part of a tokenizer, as its JSON has it

# By tokenizer: how many tokens it had, and what was made of it; None where it serves as it is.
_made: WeakKeyDictionary[Any, tuple[int, PreTrainedTokenizerFast | None]] = WeakKeyDictionary()


def following(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Return the tokenizer to be used for text that follows other text.

    Tokenizers such as those of Llama 2 and Mistral put a space before whatever they are given.
    That is meant for the start of a prompt. Where a prompt is made of several texts, every other
    text would get a space as well. Such a tokenizer is copied without it; others are returned.

    >>> from veriloop.text import train_tokenizer
    >>> tokenizer = train_tokenizer(["2 + 2 = 4"] * 9, vocabulary=300)
    >>> following(tokenizer) is tokenizer
    True
    """
    size, made = _made.get(tokenizer, (-1, None))
    if size != len(tokenizer):
        made = _without_space(tokenizer)
        _made[tokenizer] = (len(tokenizer), made)
    if made is None:
        return tokenizer
    return made


def _without_space(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast | None:
    """Return a copy that puts no space before a text; None if the tokenizer puts none."""
    import tokenizers

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    frame = tokenizers.Tokenizer(tokenizers.models.BPE())  # without the words, which are many
    for name in PARTS:
        setattr(frame, name, getattr(backend, name))
    given = json.loads(frame.to_str())
    changed = {name: _part(given[name]) for name in PARTS}
    if all(changed[name] == given[name] for name in PARTS[:2]):  # no space, so none to take away
        return None
    frame = tokenizers.Tokenizer.from_str(json.dumps(given | changed))
    made = copy.deepcopy(tokenizer)
    for name in PARTS:
        setattr(made.backend_tokenizer, name, getattr(frame, name))
    return made


def _part(part: Part | None) -> Part | None:
    """Return a part that puts no space before a text, and takes none away; None for no part."""
    if part is None:
        return None
    kind = part["type"]
    if kind == "Prepend" or (kind == "Strip" and part.get("content") == " "):
        return None
    if kind == "Metaspace":
        return part | {"prepend_scheme": "never"}
    if kind == "ByteLevel":
        return part | {"add_prefix_space": False}
    if kind == "Sequence":
        (name,) = part.keys() - {"type"}
        parts = [_part(each) for each in part[name]]
        return part | {name: [each for each in parts if each is not None]}
    return part
