"""How much memory a process that fits a model needs, said before it starts, and kept to."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from veriloop.core.bf16 import bf16_is_fast

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from veriloop.text.finetune import FineTune

LIBRARIES = 0.55e9  # bytes of a process that has loaded torch and transformers
MEGABYTE = 1 << 20
# Of mallopt: from which size a block is a mapping of its own, and how much free memory may stay at
# the end of the heap.
MMAP_THRESHOLD = -3
TRIM_THRESHOLD = -1
LIMITS = ("MMAP_THRESHOLD", "TRIM_THRESHOLD")


def fit_memory(model: PreTrainedModel, tune: FineTune) -> int:
    """Return about how many bytes a process holds at the peak of a fit, the round's model with it.

    Weights are there twice, and gradients and two moments of AdamW once. To them come copies of
    the weights in bfloat16, the logits of a pass, and what its layers keep for the gradient. Five
    measured peaks of SmolLM2 lay between 0.96 and 1.03 times this.

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
        layer = 40 * hidden + 16 * inner
    if tune.checkpointing:
        return tokens * (layers * 4 * hidden + layer)
    return tokens * layers * layer


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """For a while, give every large block of memory back to the system when it is freed.

    glibc keeps blocks of up to 32 MB to use them again. During a fit, gradients and moments that
    stay come to lie between activations that go, so what is free is never given back. SmolLM2 then
    takes a third more memory than it uses. Afterwards the limits are those that glibc comes to by
    itself. Other systems are left as they are, and limits that the environment sets.
    """
    library = _glibc()
    if library is None or _limits_are_set():
        yield
        return
    library.malloc_trim(0)
    library.mallopt(MMAP_THRESHOLD, MEGABYTE)
    library.mallopt(TRIM_THRESHOLD, MEGABYTE)
    try:
        yield
    finally:
        library.mallopt(MMAP_THRESHOLD, 32 * MEGABYTE)
        library.mallopt(TRIM_THRESHOLD, 64 * MEGABYTE)


def _limits_are_set() -> bool:
    """Tell whether the environment sets limits of its own, which could not be put back."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    for name in LIMITS:
        if f"MALLOC_{name}_" in os.environ or f"glibc.malloc.{name.lower()}" in tunables:
            return True
    return False


def _glibc() -> ctypes.CDLL | None:
    """Return the C library of this process, if it is glibc."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    if hasattr(library, "gnu_get_libc_version"):
        return library
    return None
