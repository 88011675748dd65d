"""Fine-tuning a causal language model on outputs."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from veriloop.core import Key
from veriloop.core.bf16 import bf16_is_fast
from veriloop.core.checks import check_count, check_fraction, check_positive
from veriloop.text.likelihood import token_losses
from veriloop.text.memory import large_blocks_returned
from veriloop.text.models import check_fit, check_head, check_weights, set_checkpointing
from veriloop.text.padding import Example, Padded, in_blocks, padded, shortest_first
from veriloop.text.processes import gathered, own_part, process, sum_gradients
from veriloop.text.prompt import Prompt, check_prompt
from veriloop.text.rows import Rows, check_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class FineTune:
    r"""Fit a model to outputs: `(key, model, rows) -> new model`, by AdamW.

    After an output that was cut no end token is learnt; see `Texts.ended`. The rate falls as half a
    cosine. The loss of a batch is the mean over the tokens of its outputs, the end token among
    them:

    .. math:: -\frac1N \sum_{i,t} \log p(y_{it} \mid \text{prompt}_i, y_{i,<t})

    If there are several processes (see `process`), each runs its part of every batch. All do the
    same step, which differs from that of one process by rounding only.

    prompt: makes tokens of rows.
    rate: the highest learning rate, above 0; by default the published one.
    weight_decay: of AdamW, at least 0; by default the published one.
    batch: rows in one step.
    epochs: passes over the rows.
    warmup: share of the steps, in [0, 1), over which the rate rises.
    clip: the largest norm of a gradient, above 0; None does not clip.
    micro: the largest number of rows in one pass through the model. Gradients of a batch are
        summed over passes, so memory does not grow with `batch`.
    base: fit a copy of this model every round; None goes on from the last round's model.
    bf16: whether the network runs in bfloat16; weights and loss stay float32. A processor without
        instructions for bfloat16 runs it in float32, which is faster there.
    checkpointing: keep the hidden states between layers alone, and compute the rest again for the
        gradient. That needs far less memory, gives the same model, and takes somewhat longer.
    loss_on_prompt: learn the prompt too, as in the published code.
    loss_on_padding: learn the end tokens that fill up a batch too, as in the published code.

    An adapter such as LoRA is fitted alone, if it wraps the model.

    Raises:
        ValueError: if a value is out of its range. A fit raises it too: if no row has a token to
            learn, no weight can change, or the model cannot read the prompts.
        FloatingPointError: from a fit, with step and rate, if the loss or a weight is not finite.

    >>> from veriloop.text import train_tokenizer
    >>> tokenizer = train_tokenizer(["2 + 2 = 4"] * 9, vocabulary=300)
    >>> FineTune(prompt=Prompt(tokenizer), batch=16, warmup=0.1).rate
    5e-05
    """

    prompt: Prompt
    rate: float = 5e-5
    weight_decay: float = 0.01
    batch: int = 32
    epochs: int = 1
    warmup: float = 0.0
    clip: float | None = None
    micro: int = 8
    base: PreTrainedModel | None = None
    bf16: bool = False
    checkpointing: bool = False
    loss_on_prompt: bool = False
    loss_on_padding: bool = False

    def __post_init__(self) -> None:
        check_prompt("FineTune.prompt", self.prompt)
        for name in ("batch", "epochs", "micro"):
            check_count(f"FineTune.{name}", getattr(self, name))
        check_positive("FineTune.rate", self.rate)
        check_positive("FineTune.weight_decay", self.weight_decay, zero=True)
        check_fraction("FineTune.warmup", self.warmup, zero=True)
        if self.clip is not None:
            check_positive("FineTune.clip", self.clip)

    def __call__(self, key: Key, model: PreTrainedModel, rows: Rows) -> PreTrainedModel:
        check_rows("FineTune: rows", rows)
        first = model
        if self.base is not None:
            first = self.base
        examples = self.prompt.examples(rows.inputs, rows.outputs, rows.ended)
        self._check(first, examples)
        new = copy.deepcopy(first).train()
        if self.checkpointing:
            set_checkpointing(new, "enable")
        optimizer = torch.optim.AdamW(
            new.parameters(),
            lr=self.rate,
            weight_decay=self.weight_decay,
            fused=new.device.type in ("cpu", "cuda"),
        )
        total = self.epochs * math.ceil(len(examples) / self.batch)
        number, _ = process()
        with large_blocks_returned(), seeded(key.fold("dropout", number), new.device):
            for step, batch in enumerate(self._batches(key, len(examples))):
                set_rate(optimizer, self.rate * self._relative_rate(step, total))
                where = f"in step {step + 1} of {total}; lower the rate, {self.rate:g}"
                loss = self._backward(new, [examples[i] for i in batch])
                if not math.isfinite(loss):
                    raise FloatingPointError(f"FineTune: the loss is {loss} {where}")
                if self.clip is not None:
                    torch.nn.utils.clip_grad_norm_(new.parameters(), self.clip)
                _take_step(optimizer, where)
                optimizer.zero_grad(set_to_none=True)
        if self.checkpointing:
            set_checkpointing(new, "disable")
        check_weights(new, f"FineTune, after step {total} at rate {self.rate:g}")
        return new.eval()

    def _check(self, model: PreTrainedModel, examples: Sequence[Example]) -> None:
        """Refuse a fit that could not learn; warn of examples that teach nothing."""
        check_head(model)
        check_fit(model, self.prompt, [ids for ids, _ in examples])
        if not any(weight.requires_grad for weight in model.parameters()):
            raise ValueError(
                "FineTune: no weight of the model can change; call model.requires_grad_(True)"
            )
        if self.checkpointing and not model.supports_gradient_checkpointing:
            raise ValueError(
                f"FineTune.checkpointing: a {type(model).__name__} cannot do it; leave it out, and "
                "lower micro to save memory"
            )
        self._warn_of_coarse_weights(model)
        check_weights(model, f"FineTune, before step 1 at rate {self.rate:g}")
        if not examples:
            raise ValueError("FineTune: there is no row to learn from; give at least one")
        without = self._without_targets(examples)
        if without == len(examples):
            raise ValueError(
                f"FineTune: none of {len(examples)} rows has a token to learn after the cut at "
                f"Prompt.tokens, {self.prompt.tokens}; raise it, or give other rows"
            )
        if without:
            warnings.warn(
                f"FineTune: {without} of {len(examples)} rows have no token to learn after the cut "
                f"at Prompt.tokens, {self.prompt.tokens}; raise it to learn from all",
                stacklevel=3,
            )

    def _warn_of_coarse_weights(self, model: PreTrainedModel) -> None:
        """Warn of weights in which a step of the usual size is lost to rounding."""
        learnt = {weight.dtype for weight in model.parameters() if weight.requires_grad}
        for kind in learnt & {torch.bfloat16, torch.float16}:
            warnings.warn(
                f"FineTune: the weights are {kind}, so most steps at rate {self.rate:g} are lost "
                "to rounding; call model.float() first, and give bf16=True to save time",
                stacklevel=4,
            )

    def _without_targets(self, examples: Sequence[Example]) -> int:
        """Return how many examples have no token with a loss."""
        longest = max((len(ids) for ids, _ in examples), default=0)
        count = 0
        for ids, start in examples:
            targets = len(ids) - start
            if self.loss_on_prompt:
                targets = len(ids) - 1
            if self.loss_on_padding:
                targets = max(targets, longest - len(ids))
            count += targets < 1
        return count

    def _batches(self, key: Key, n: int) -> list[np.ndarray]:
        """Return the numbers of the rows of each step."""
        batches: list[np.ndarray] = []
        for epoch in range(self.epochs):
            order = key.fold("order", epoch).numpy().permutation(n)
            batches += in_blocks(order, self.batch)
        return batches

    def _relative_rate(self, step: int, total: int) -> float:
        """Rise over the warm-up, then fall from 1 to 0 as half a cosine."""
        rising = round(self.warmup * total)
        if step < rising:
            return (step + 1) / (rising + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising)))

    def _backward(self, model: PreTrainedModel, examples: Sequence[Example]) -> float:
        """Add the gradient of the batch's mean loss, pass by pass; return that loss."""
        bf16 = self.bf16 and bf16_is_fast(model.device)
        passes = self._passes(examples)
        scored = sum(gathered([int(each.scored.sum()) for each in passes]))
        own: list[float] = []
        for each in passes:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                losses = token_losses(model, *each.to(model.device))
            loss = losses.sum() / max(scored, 1)
            loss.backward()
            own.append(float(loss.detach()))
        sum_gradients(model.parameters())
        return sum(gathered(own))

    def _passes(self, examples: Sequence[Example]) -> list[Padded]:
        """Return this process's part of a batch; a pass has examples of about one length."""
        order = own_part(shortest_first([ids for ids, _ in examples]))
        passes: list[Padded] = []
        for block in in_blocks(order, self.micro):
            some = [examples[i] for i in block]
            passes.append(
                padded(
                    some,
                    self.prompt.end,
                    on_prompt=self.loss_on_prompt,
                    on_padding=self.loss_on_padding,
                )
            )
        return passes


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all weights of an optimizer one learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _take_step(optimizer: torch.optim.Optimizer, where: str) -> None:
    """Change the weights; say where a change is too large for float32."""
    try:
        optimizer.step()
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise FloatingPointError(f"FineTune: the change overflows {where}") from None


@contextmanager
def seeded(key: Key, device: torch.device) -> Iterator[None]:
    """Seed torch's global generator, and put it back as it was.

    New weights and dropout draw from it.
    """
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.manual_seed(key.integer())
        yield
