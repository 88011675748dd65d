"""A small language model that is made on the spot: its tokenizer, its weights, its training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from veriloop.core import Key
from veriloop.core.checks import check_count, check_device, check_positive
from veriloop.store.caches import one_thread, sound, write_sums
from veriloop.store.files import cache_folder, replaced
from veriloop.text.finetune import seeded, set_rate
from veriloop.text.likelihood import token_losses
from veriloop.text.models import check_weights
from veriloop.text.padding import padded
from veriloop.text.rows import check_texts
from veriloop.text.weights import load_base, quietly

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

END = "<|end|>"
CONTEXT = 2048  # tokens that such a model reads at once
VERSION = 1  # of the recipe; another number pre-trains all models again
BYTES = 257  # tokens of the smallest tokenizer: every byte, and the end


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A small Llama, and how it learns a language; `pretrain` makes it.

    steps: of AdamW.
    batch: documents in one step.
    rate: the highest learning rate, above 0.
    vocabulary: tokens that the tokenizer knows, at least 257.
    hidden: units of a layer, a multiple of twice `heads`.
    layers: of the network.
    heads: of the attention in each layer.
    inner: units of the feed-forward part of each layer.
    seed: of weights and texts.

    Raises:
        ValueError: if a value is out of its range.

    >>> Pretraining(steps=100, seed=1).hidden
    128
    """

    steps: int = 1770
    batch: int = 8
    rate: float = 3e-3
    vocabulary: int = 1280
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    inner: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "hidden", "layers", "heads", "inner"):
            check_count(f"Pretraining.{name}", getattr(self, name))
        check_count("Pretraining.vocabulary", self.vocabulary, least=BYTES)
        check_positive("Pretraining.rate", self.rate)
        if self.hidden % (2 * self.heads):
            raise ValueError(
                f"Pretraining.hidden must be a multiple of {2 * self.heads}, twice the heads, "
                f"got {self.hidden}"
            )


Documents = Callable[[Key, int], list[str]]


def pretrain(
    how: Pretraining, documents: Documents, *, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a small model that has read some documents, and its tokenizer.

    how: the model and its training.
    documents: (key, n) -> n texts; every step draws new ones.
    device: where it is trained, and put.

    Raises:
        ValueError: if `documents` does not return n texts, or the machine lacks the device.
        FloatingPointError: if the training diverges.

    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrain(tiny, lambda key, n: ["Rain fell."] * n)
    >>> model.config.hidden_size, tokenizer.eos_token
    (8, '<|end|>')
    """
    check_device("pretrain: device", device)
    key = Key(how.seed).fold("pretraining")
    tokenizer = train_tokenizer(_read(documents, key.fold("tokenizer"), 2000), how.vocabulary)
    end: Any = tokenizer.eos_token_id
    llama: Any = _new_llama(key.fold("weights"), how, len(tokenizer), end)
    model: PreTrainedModel = llama.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=how.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    for step in range(how.steps):
        set_rate(optimizer, _rate(how, step))
        texts: Any = tokenizer(_read(documents, key.fold("step", step), how.batch))["input_ids"]
        batch = padded([([*ids, end], 1) for ids in texts], end)
        token_losses(model, *batch.to(device)).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    check_weights(model, f"Pretraining, after step {how.steps} at rate {how.rate:g}")
    return model.eval(), tokenizer


@quietly()
def pretrained_once(
    how: Pretraining,
    documents: Documents,
    name: str,
    recipe: Sequence[object],
    *,
    folder: Path | None = None,
    device: str = "cpu",
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Do as `pretrain` the first time, and later read the model and its tokenizer from a folder.

    It trains on one thread, so that what is kept does not depend on the number of threads.

    name: of the documents; the model's folder is called by it and a digest of all that decides.
    recipe: what decides the documents, as JSON.
    folder: where models are kept. None: `cache_folder()`.
    how, documents, device: see `pretrain`.
    """
    decided = json.dumps([VERSION, asdict(how), *recipe])
    digest = hashlib.sha256(decided.encode()).hexdigest()[:16]
    if folder is None:
        folder = cache_folder()
    path = folder / f"{name}-{digest}"
    if not sound(path):
        with one_thread():
            model, tokenizer = pretrain(how, documents, device=device)
        with replaced(path) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            write_sums(temporary, path.name)
    return load_base(str(path), device=device)


def _read(documents: Documents, key: Key, n: int) -> list[str]:
    """Return n documents, and refuse another number of them."""
    texts = documents(key, n)
    check_texts("pretrain: documents", texts)
    if len(texts) != n:
        raise ValueError(f"pretrain: documents must return {n} texts, got {len(texts)}")
    return texts


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with the end token `<|end|>`.

    texts: what it learns from.
    vocabulary: tokens that it knows, at most; at least 257.

    Raises:
        ValueError: with the row, if one is no text. Also if `vocabulary` is too small.

    >>> tokenizer = train_tokenizer(["Rain fell in York."] * 9, vocabulary=300)
    >>> tokenizer.decode(tokenizer("Rain in York")["input_ids"]), tokenizer.eos_token
    ('Rain in York', '<|end|>')
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    check_texts("train_tokenizer: texts", texts)
    check_count("train_tokenizer: vocabulary", vocabulary, least=BYTES)
    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(
        texts, vocab_size=vocabulary, special_tokens=[END], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, eos_token=END, pad_token=END)


def _rate(how: Pretraining, step: int) -> float:
    """Return the rate of a step: it rises over 50 steps, and falls as a parabola to a twentieth."""
    done = step / how.steps
    rising = (step + 1) / 50
    falling = max(1 - done**2, 0.05)
    return how.rate * min(rising, falling)


def _new_llama(key: Key, how: Pretraining, vocabulary: int, end: int) -> PreTrainedModel:
    """Return a network with random weights, on the CPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=how.hidden,
        num_hidden_layers=how.layers,
        num_attention_heads=how.heads,
        max_position_embeddings=CONTEXT,
        intermediate_size=how.inner,
        initializer_range=0.03,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    with seeded(key, torch.device("cpu")):
        return LlamaForCausalLM(config)
