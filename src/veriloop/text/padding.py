"""Texts of many lengths as tensors: sorted by length, so that little is padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from veriloop.text.models import check_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from veriloop.text.prompt import Prompt
    from veriloop.text.rows import Rows

CPU_TOKENS = 2048  # of one pass on a CPU: more do not fit its caches, fewer waste time
Example = tuple[list[int], int]  # all tokens of a row, and the place where its output begins


class Padded(NamedTuple):
    """Texts padded on the right, as tensors of shape (n, longest).

    tokens: int64.
    seen: 1 for a token, 0 for padding, int64.
    scored: True for a token that has a loss.
    """

    tokens: Tensor
    seen: Tensor
    scored: Tensor

    def to(self, device: torch.device | str) -> Padded:
        """Return the same on a device."""
        return Padded(*(part.to(device) for part in self))


def padded(
    examples: Sequence[Example], end: int, *, on_prompt: bool = False, on_padding: bool = False
) -> Padded:
    """Return examples as tensors; the tokens of their outputs have a loss.

    examples: at least one.
    end: the token that fills up a text.
    on_prompt: the tokens of the prompt have a loss too.
    on_padding: the tokens that fill up a text have a loss too.

    >>> padded([([5, 6, 7], 2), ([5, 8], 1)], end=0)
    Padded(tokens=tensor([[5, 6, 7],
            [5, 8, 0]]), seen=tensor([[1, 1, 1],
            [1, 1, 0]]), scored=tensor([[False, False,  True],
            [False,  True, False]]))
    """
    longest = max(len(ids) for ids, _ in examples)
    shape = (len(examples), longest)
    tokens = torch.full(shape, end)
    seen = torch.zeros(shape, dtype=torch.long)
    scored = torch.zeros(shape, dtype=torch.bool)
    for row, (ids, start) in enumerate(examples):
        first = start
        stop = len(ids)
        if on_prompt:
            first = 1
        if on_padding:
            stop = longest
        tokens[row, : len(ids)] = torch.tensor(ids)
        seen[row, : len(ids)] = 1
        scored[row, first:stop] = True
    return Padded(tokens, seen, scored)


def padded_left(prompts: Sequence[Sequence[int]], end: int) -> Padded:
    """Return prompts as tensors padded on the left, so that all go on at the same place.

    No token has a loss.

    prompts: at least one.
    end: the token that fills up a text.

    >>> padded_left([[5, 6], [5]], end=0).tokens
    tensor([[5, 6],
            [0, 5]])
    """
    longest = max(len(prompt) for prompt in prompts)
    shape = (len(prompts), longest)
    tokens = torch.full(shape, end)
    seen = torch.zeros(shape, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        start = longest - len(prompt)
        tokens[row, start:] = torch.tensor(prompt, dtype=torch.long)
        seen[row, start:] = 1
    return Padded(tokens, seen, torch.zeros(shape, dtype=torch.bool))


def shortest_first(texts: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the numbers of the texts, the shortest first, shape (n,).

    Texts of one length stay in order.

    >>> shortest_first([[7, 7, 7], [7], [8]])
    array([1, 2, 0])
    """
    return np.argsort([len(text) for text in texts], kind="stable")


def in_blocks(rows: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut rows into blocks of `size`; the last may be smaller.

    >>> in_blocks(np.arange(5), 2)
    [array([0, 1]), array([2, 3]), array([4])]
    """
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def rows_at_once(rows: int, longest: int, device: torch.device) -> int:
    """Return how many of some texts one pass reads: on a CPU few enough for its caches.

    rows: how many texts there are.
    longest: the most tokens that one has.

    >>> rows_at_once(128, 256, torch.device("cpu"))
    8
    """
    if device.type != "cpu":
        return rows
    return min(rows, max(CPU_TOKENS // max(longest, 1), 1))


def padded_blocks(
    model: PreTrainedModel, prompt: Prompt, rows: Rows, size: int
) -> Iterator[tuple[np.ndarray, Padded]]:
    """Yield blocks of rows of about one length: their numbers, and their prompts with outputs.

    model: what is to read them; the tensors are put on its device.
    prompt: makes tokens of inputs and outputs.
    size: rows in one block.
    """
    examples = prompt.examples(rows.inputs, rows.outputs, rows.ended)
    check_fit(model, prompt, [ids for ids, _ in examples])
    order = shortest_first([ids for ids, _ in examples])
    for block in in_blocks(order, size):
        yield block, padded([examples[i] for i in block], prompt.end).to(model.device)
