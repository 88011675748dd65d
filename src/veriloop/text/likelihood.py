"""The loss of every token that counts, and the mean over a row, in nats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from veriloop.text.models import (
    check_finite_rows,
    check_fit,
    check_head,
    evaluating,
    hidden_states,
    in_bf16,
    read_on,
)
from veriloop.text.padding import (
    Example,
    in_blocks,
    padded,
    padded_left,
    rows_at_once,
    shortest_first,
)
from veriloop.text.prompt import Prompt
from veriloop.text.rows import Rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS = 2**25  # numbers computed at once, 134 MB in float32


def token_losses(model: PreTrainedModel, tokens: Tensor, seen: Tensor, scored: Tensor) -> Tensor:
    """Return the loss of every scored token, in nats, shape (number of them,).

    Logits are computed for these tokens alone, and not for the whole text.

    model: a causal language model.
    tokens, seen, scored: see `Padded`, shape (n, longest) each.
    """
    return _losses(model, hidden_states(model, tokens, seen), tokens, scored)


@torch.inference_mode()
def row_losses(
    model: PreTrainedModel, prompt: Prompt, rows: Rows, batch: int, *, bf16: bool = False
) -> np.ndarray:
    """Return the mean loss a token of each output, in nats, shape (n,); NaN where there is none.

    model: a causal language model.
    prompt: makes tokens of inputs and outputs.
    batch: rows in one pass; a CPU reads fewer if they are long.
    bf16: compute with a copy of the model that has its weights in bfloat16, where that is faster,
        and read a prompt that several rows of a pass have only once.

    Raises:
        ValueError: if the model cannot read the prompts.
        FloatingPointError: with the row, if a loss is not finite.
    """
    examples = prompt.examples(rows.inputs, rows.outputs, rows.ended)
    check_head(model)
    check_fit(model, prompt, [ids for ids, _ in examples])
    order = shortest_first([ids for ids, _ in examples])
    if bf16:
        model = in_bf16(model)
        order = _by_prompt(examples)
    means = np.full(len(rows), np.nan)
    longest = max((len(ids) for ids, _ in examples), default=0)
    for block in in_blocks(order, rows_at_once(batch, longest, model.device)):
        some = [examples[row] for row in block]
        with evaluating(model):
            if bf16:
                losses = _after_prompts(model, some, prompt.end)
            else:
                losses = token_losses(model, *padded(some, prompt.end).to(model.device))
        counts = [len(ids) - start for ids, start in some]
        losses = losses.cpu().double()
        check_finite_rows(losses.numpy(), np.repeat(block, counts), "LogLikelihood: the loss")
        means[block] = [float(part.mean()) for part in losses.split(counts)]
    return means


def _by_prompt(examples: Sequence[Example]) -> np.ndarray:
    """Return the numbers of the examples, those of one prompt together, short prompts first."""
    prompts = [ids[:start] for ids, start in examples]
    order = sorted(range(len(prompts)), key=lambda row: (len(prompts[row]), prompts[row]))
    return np.array(order, dtype=int)


def _after_prompts(model: PreTrainedModel, examples: Sequence[Example], end: int) -> Tensor:
    """Return the losses of the tokens after each prompt; a prompt is read once for all its rows.

    The last token of a prompt is read with what follows it, whose first token it predicts. A model
    that keeps a state in place of keys and values reads every row whole.
    """
    from veriloop.text.cache import can_take_rows

    places: dict[tuple[int, ...], int] = {}
    row_of_prompt: list[int] = []
    for ids, start in examples:
        before = tuple(ids[: start - 1])
        row_of_prompt.append(places.setdefault(before, len(places)))
    after = [(ids[start - 1 :], 1) for ids, start in examples]
    tokens, seen, scored = padded(after, end).to(model.device)
    prompts = padded_left(list(places), end).to(model.device)
    picked = torch.tensor(row_of_prompt, device=model.device)
    cache = None
    if prompts.tokens.shape[1]:
        _, cache = read_on(model, prompts.tokens, prompts.seen)
        if not can_take_rows(cache):
            return token_losses(model, *padded(examples, end).to(model.device))
        cache.batch_select_indices(picked)
        seen = torch.cat([prompts.seen[picked], seen], dim=1)
    hidden, _ = read_on(model, tokens, seen, cache)
    return _losses(model, hidden, tokens, scored)


def _losses(model: PreTrainedModel, hidden: Tensor, tokens: Tensor, scored: Tensor) -> Tensor:
    """Return the loss of every scored token; few logits are in memory at once."""
    before = hidden[:, :-1][scored[:, 1:]]  # the hidden state before a token predicts that token
    wanted = tokens[:, 1:][scored[:, 1:]]
    head: Any = model.get_output_embeddings()
    size = max(LOGITS // len(head.weight), 1)
    found: list[Tensor] = []
    for some, targets in zip(before.split(size), wanted.split(size), strict=True):
        logits = _as_the_model(model, head(some).float())
        found.append(F.cross_entropy(logits, targets, reduction="none"))
    return torch.cat(found)


def _as_the_model(model: PreTrainedModel, logits: Tensor) -> Tensor:
    """Return logits as some architectures change them after the head: Cohere, Granite, Gemma 2."""
    config = getattr(model, "config", None)
    factor = getattr(config, "logit_scale", None)
    divisor = getattr(config, "logits_scaling", None)
    limit = getattr(config, "final_logit_softcapping", None)
    if factor:
        logits = logits * factor
    if divisor:
        logits = logits / divisor
    if limit:
        logits = limit * torch.tanh(logits / limit)
    return logits
