"""How much memory a process that fits a model needs, said before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from veriloop.core.bf16 import bf16_is_fast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from veriloop.text.finetune import FineTune

LIBRARIES = 0.55e9  # bytes of a process that has loaded torch and transformers


def fit_memory(model: PreTrainedModel, tune: FineTune) -> int:
    """Return about how many bytes a process holds at the peak of a fit, the round's model with it.

    Weights are there twice, and gradients and two moments of AdamW once. To them come copies of
    the weights in bfloat16, the logits of a pass, and what its layers keep for the gradient. Six
    measured peaks of a Llama of 135 million weights lay between 0.9 and 1.2 times this.

    model: what is fitted; not changed.
    tune: how.

    >>> from veriloop.text import FineTune, Pretraining, Prompt, pretrain
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrain(tiny, lambda key, n: ["2 + 2 = 4"] * n)
    >>> f"{fit_memory(model, FineTune(prompt=Prompt(tokenizer))) / 1e9:.1f} GB"
    '0.6 GB'
    """
    bf16 = tune.bf16 and bf16_is_fast(model.device)
    weights = 0
    learnt = 0
    casts = 0
    for each in model.parameters():
        weights += each.nbytes
        if each.requires_grad:
            learnt += each.nbytes
        if bf16:
            casts += 2 * each.numel()
    rows = min(tune.micro, tune.batch)
    logits = rows * tune.prompt.output_tokens * model.config.vocab_size
    fixed = LIBRARIES + 2 * weights + 3 * learnt + casts
    return round(fixed + 12 * logits + _activations(model, tune, rows, bf16))


def _activations(model: PreTrainedModel, tune: FineTune, rows: int, bf16: bool) -> int:
    """Return the bytes that the layers keep of one pass for the gradient."""
    tokens = rows * (tune.prompt.tokens + tune.prompt.output_tokens)
    hidden = model.config.hidden_size
    layers = model.config.num_hidden_layers
    inner = getattr(model.config, "intermediate_size", None) or 4 * hidden
    layer = 52 * hidden + 8 * inner  # bytes a token, counted of Llama under autocast
    if not bf16:
        layer = 80 * hidden + 16 * inner
    if tune.checkpointing:
        return tokens * (layers * 4 * hidden + layer)
    return tokens * layers * layer
