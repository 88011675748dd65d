"""Fine-tuning a causal language model on summaries."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from veriloop.core import Key
from veriloop.core.batch import check_count
from veriloop.xsum.processes import gathered, process, share, sum_gradients
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Summaries


@dataclass(frozen=True, kw_only=True)
class FineTune:
    r"""Fit a model to summaries: `(key, model, rows) -> new model`, by AdamW with a rate that falls as a cosine.

    The loss of a batch is the mean over its summary tokens, the end token among them:

    .. math:: -\frac1N \sum_{i,t} \log p(s_{it} \mid \text{prompt}_i, s_{i,<t})

    prompt: how pairs become tokens. rate, weight_decay, batch, epochs: of AdamW, by default the published ones.
    warmup: share of the steps over which the rate rises. clip: the largest norm of a gradient, or None.
    micro: most rows in one pass; gradients of a batch are summed over passes, so memory does not grow with `batch`.
    base: fit a copy of this model every round instead of going on from the last one.
    bf16: run the network in bfloat16; weights and loss stay float32.
    loss_on_prompt, loss_on_padding: as published, learn the article too, and the end tokens that fill up a batch.

    Of several processes (see `process`) each runs its share of every batch, and all take the same step, which is
    that of one process but for rounding.
    """

    prompt: Prompt
    rate: float = 5e-5
    weight_decay: float = 0.01
    batch: int = 32
    epochs: int = 1
    warmup: float = 0.0
    clip: float | None = None
    micro: int = 8
    base: Any = None
    bf16: bool = False
    loss_on_prompt: bool = False
    loss_on_padding: bool = False

    def __post_init__(self) -> None:
        for name in ("batch", "epochs", "micro"):
            check_count(f"FineTune.{name}", getattr(self, name))
        for name, fits, allowed in (
            ("rate", 0 < self.rate < math.inf, "above 0 and finite"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0 and finite"),
            ("warmup", 0 <= self.warmup < 1, "in [0, 1)"),
            ("clip", self.clip is None or self.clip > 0, "above 0, or None"),
        ):
            if not fits:
                raise ValueError(f"FineTune.{name} must be {allowed}, got {getattr(self, name)}")

    def __call__(self, key: Key, model: Any, rows: Summaries) -> Any:
        new = copy.deepcopy(model if self.base is None else self.base).train()
        examples = self.prompt.examples(rows.articles, rows.summaries)
        optimizer = torch.optim.AdamW(
            new.parameters(), lr=self.rate, weight_decay=self.weight_decay, fused=new.device.type == "cuda"
        )
        total = self.epochs * math.ceil(len(examples) / self.batch)
        with torch.random.fork_rng([new.device] if new.device.type == "cuda" else []):
            torch.manual_seed(key.fold("dropout", process()[0]).integer())
            for step, batch in enumerate(self._batches(key, len(examples))):
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * self._share(step, total)
                self._backward(new, [examples[i] for i in batch])
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(new.parameters(), self.clip)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return new.eval()

    def _batches(self, key: Key, n: int) -> list[np.ndarray]:
        orders = [key.fold("order", epoch).numpy().permutation(n) for epoch in range(self.epochs)]
        return [order[start : start + self.batch] for order in orders for start in range(0, n, self.batch)]

    def _share(self, step: int, total: int) -> float:
        """Rise over the warm-up, then fall from 1 to 0 as half a cosine."""
        rising = round(self.warmup * total)
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))

    def _backward(self, model: Any, examples: Sequence[tuple[list[int], int]]) -> None:
        """Add the gradient of the batch's mean loss; its passes hold examples of about one length."""
        examples = share(sorted(examples, key=lambda example: len(example[0])))
        passes = [
            tokens_and_targets(examples[start : start + self.micro], self.prompt.tokenizer.eos_token_id, self)
            for start in range(0, len(examples), self.micro)
        ]
        scored = sum(gathered([int(mask.sum()) for _, _, mask in passes]))
        for ids, seen, mask in passes:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=self.bf16):
                losses = token_losses(model, ids.to(model.device), seen.to(model.device), mask.to(model.device))
            (losses.sum() / max(scored, 1)).backward()
        sum_gradients(model.parameters())


def tokens_and_targets(
    examples: Sequence[tuple[list[int], int]], end: int, how: FineTune | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens padded on the right, which of them are read, and which carry loss; shape (n, longest) each."""
    longest = max(len(ids) for ids, _ in examples)
    tokens = torch.full((len(examples), longest), end)
    seen = torch.zeros((len(examples), longest), dtype=torch.long)
    scored = torch.zeros((len(examples), longest), dtype=torch.bool)
    for row, (ids, start) in enumerate(examples):
        tokens[row, : len(ids)] = torch.tensor(ids)
        seen[row, : len(ids)] = 1
        first = 1 if how is not None and how.loss_on_prompt else start
        scored[row, first : None if how is not None and how.loss_on_padding else len(ids)] = True
    return tokens, seen, scored


def token_losses(model: Any, tokens: Tensor, seen: Tensor, scored: Tensor) -> Tensor:
    """Return the loss of every scored token, in nats; logits are made for those alone, not for the whole text."""
    hidden = model.base_model(input_ids=tokens, attention_mask=seen).last_hidden_state
    before = hidden[:, :-1][scored[:, 1:]]  # what stands before a token is what it is foretold from
    logits = model.get_output_embeddings()(before)
    return F.cross_entropy(logits.float(), tokens[:, 1:][scored[:, 1:]], reduction="none")
