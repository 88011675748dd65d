"""What a language model must be to be used here, and its hidden states."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from veriloop.core.bf16 import bf16_is_fast
from veriloop.core.checks import kind
from veriloop.text.weights import quietly

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

    from veriloop.text.prompt import Prompt

MERGE = "merge it first: model = model.merge_and_unload().requires_grad_(True)"


class Cache(Protocol):
    """What a model has computed of the tokens that it has read, for those that follow."""

    def batch_select_indices(self, indices: Tensor) -> None:
        """Take these rows, of which one may come several times."""


def hidden_states(model: PreTrainedModel, tokens: Tensor, seen: Tensor) -> Tensor:
    """Return the last hidden state at every token, shape (n, longest, hidden size).

    model: a causal language model, or one that an adapter such as LoRA wraps.
    tokens, seen: see `Padded`, shape (n, longest) each.

    Raises:
        ValueError: if the model has no such states.
    """
    hidden, _ = _read(model, input_ids=tokens, attention_mask=seen, use_cache=False)
    return hidden


def read_on(
    model: PreTrainedModel, tokens: Tensor, seen: Tensor, cache: Cache | None = None
) -> tuple[Tensor, Cache]:
    """Return the last hidden state at every token, and the cache with these tokens.

    tokens: int64, shape (n, longest); padding may stand on both sides.
    seen: 1 for a token, 0 for padding: of the tokens in the cache and then of these, int64.
    cache: that of the tokens before these.
    """
    places = (seen.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    return _read(
        model,
        input_ids=tokens,
        attention_mask=seen,
        position_ids=places,
        past_key_values=cache,
        use_cache=True,
    )


def _read(model: PreTrainedModel, **inputs: object) -> tuple[Tensor, Any]:
    """Return the last hidden states of the network below the head, and its cache."""
    network: Any = _unwrapped(model).base_model
    output = network(**inputs)
    hidden = getattr(output, "last_hidden_state", None)
    if hidden is None:
        raise ValueError(
            f"the model, a {type(model).__name__}, gives no last hidden state; if it is wrapped by "
            f"an adapter, {MERGE}"
        )
    cache: Any = getattr(output, "past_key_values", None)
    return hidden, cache


def _unwrapped(model: PreTrainedModel) -> PreTrainedModel:
    """Return the causal language model that peft has put its adapters into, or the model itself."""
    inside = getattr(model, "get_base_model", None)
    if inside is None:
        return model
    settings = getattr(model, "peft_config", {})
    for each in settings.values():
        if getattr(each, "is_prompt_learning", False):
            raise ValueError(
                f"the adapter of {type(model).__name__} puts tokens before the text, which is not "
                "supported; take one that changes weights, such as LoRA"
            )
    return inside()


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Switch dropout off for a while: what a model writes or scores must depend on keys alone.

    A model that was just trained elsewhere is often still in training mode.
    """
    modules = getattr(model, "modules", tuple)
    in_training = [each for each in modules() if each.training]
    for each in in_training:
        each.training = False
    try:
        yield
    finally:
        for each in in_training:
            each.training = True


def set_checkpointing(model: PreTrainedModel, how: Literal["enable", "disable"]) -> None:
    """Let a model compute its layers again for the gradient, or keep what they computed."""
    switch = getattr(model, f"activation_checkpointing_{how}", None)
    if switch is None:  # an older transformers
        switch = getattr(model, f"gradient_checkpointing_{how}")
    switch()


def in_bf16(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy with its weights in bfloat16, tied ones once.

    Buffers (rotary frequencies) stay as they are. Where bfloat16 would be slower than float32, the
    model itself is returned.
    """
    if not bf16_is_fast(model.device):
        return model
    weights: dict[int, object] = {}
    for each in model.parameters():
        weights[id(each)] = torch.nn.Parameter(each.detach().bfloat16(), False)
    return copy.deepcopy(model, weights)


def check_whole(model: PreTrainedModel) -> None:
    """Refuse to write a model of which transformers would write the adapter alone.

    Raises:
        ValueError: saying what to do first.
    """
    if getattr(model, "peft_config", None):
        raise ValueError(
            f"of a {type(model).__name__} the adapter alone would be written, without its base; "
            f"{MERGE}"
        )


@quietly()
def write_weights(model: PreTrainedModel, folder: str | Path) -> None:
    """Write a model as transformers does, though it would refuse how the model is to sample.

    Many models come with settings of sampling that contradict each other. Nothing here uses them.

    Raises:
        ValueError: if the adapter alone would be written.
    """
    from transformers import GenerationConfig

    check_whole(model)
    writable: Any = model
    given = getattr(writable, "generation_config", None)
    if given is not None and not _is_consistent(given):
        writable.generation_config = GenerationConfig(
            bos_token_id=given.bos_token_id,
            eos_token_id=given.eos_token_id,
            pad_token_id=given.pad_token_id,
        )
    try:
        writable.save_pretrained(folder)
    finally:
        writable.generation_config = given


def _is_consistent(settings: GenerationConfig) -> bool:
    """Tell whether transformers would write these settings of generation."""
    try:
        settings.validate(strict=True)
    except ValueError:
        return False
    return True


def check_fit(model: PreTrainedModel, prompt: Prompt, texts: Iterable[Sequence[int]] = ()) -> None:
    """Refuse a model that cannot read what a prompt makes.

    texts: the tokens of each text.

    Raises:
        TypeError: if a name or a folder is given in place of a model.
        ValueError: if prompt and output are longer than the model's context, a token has no row in
            its embedding, or the model does not read one token after another.
    """
    given: object = model
    if isinstance(given, str | Path):
        raise TypeError(
            f"the model must be a causal language model, got {kind(given)}; write "
            f"model, tokenizer = load_base({str(given)!r:.60})"
        )
    config = getattr(model, "config", None)
    _check_order(model, config)
    context: object = getattr(config, "max_position_embeddings", None)
    longest = prompt.tokens + prompt.output_tokens
    if isinstance(context, int) and 0 < context < longest:
        raise ValueError(
            f"Prompt.tokens + Prompt.output_tokens must be at most {context}, the context of the "
            f"model, got {prompt.tokens} + {prompt.output_tokens}; lower one of them"
        )
    embedding = getattr(model, "get_input_embeddings", None)
    if embedding is None:
        return
    rows = len(embedding().weight)
    largest = max((max(ids, default=0) for ids in texts), default=0)
    largest = max(largest, prompt.end)
    if largest >= rows:
        token = prompt.tokenizer.convert_ids_to_tokens(largest)
        raise ValueError(
            f"the token {token!r} has the number {largest}, and the model's embedding {rows} rows; "
            "call model.resize_token_embeddings(len(tokenizer)) first"
        )


def _check_order(model: PreTrainedModel, config: object) -> None:
    """Refuse a model that does not predict each token from those before it."""
    name = type(model).__name__
    reads = None
    if getattr(config, "is_encoder_decoder", False):
        reads = "reads an input whole and writes apart from it"
    elif name.endswith("ForMaskedLM"):
        reads = "reads what comes after a token, too"
    if reads is not None:
        raise ValueError(
            f"the model, a {name}, {reads}; take a causal language model, as "
            "veriloop.text.load_base or AutoModelForCausalLM loads it"
        )


def check_head(model: PreTrainedModel) -> None:
    """Refuse a model that says nothing of the next token.

    Raises:
        ValueError: if it has no head over tokens.
    """
    head = getattr(model, "get_output_embeddings", None)
    if head is not None and head() is None:
        raise ValueError(
            f"the model, a {type(model).__name__}, has no head over tokens; load it as a causal "
            "language model, as veriloop.text.load_base or AutoModelForCausalLM does"
        )


def check_weights(model: PreTrainedModel, what: str) -> None:
    """Refuse a model with a weight that is infinite or NaN.

    what: what was to be done with it, for the error.

    Raises:
        FloatingPointError: naming such a weight.
    """
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise FloatingPointError(
                f"{what}: the model has weights that are not finite, among them those of {name}; "
                "fit it again at a lower rate, or take another model"
            )


def check_finite_rows(numbers: np.ndarray, rows: np.ndarray, what: str) -> None:
    """Refuse a number that is infinite or NaN.

    numbers: shape (n,) or (n, d).
    rows: the number of the row of each, shape (n,).
    what: what they are, for the error.

    Raises:
        FloatingPointError: naming the first such row.
    """
    wrong, *_ = np.nonzero(~np.isfinite(numbers))
    if len(wrong):
        raise FloatingPointError(
            f"{what} of row {rows[wrong].min()} is not finite, so the model has diverged; "
            "fit it again at a lower rate, or take another model"
        )


def end_tokens(model: PreTrainedModel, prompt: Prompt) -> frozenset[int]:
    """Return the tokens that end an output: the prompt's, and those the model is said to end with.

    They are where transformers' own `generate` stops: `generation_config.eos_token_id`.
    """
    config = getattr(model, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    return frozenset({prompt.end, *_all(named)})


def _all(named: int | Sequence[int] | None) -> Iterator[int]:
    """Yield what a setting of transformers names: nothing, one token, or several."""
    if named is None:
        return
    if isinstance(named, int):
        yield named
        return
    yield from named
