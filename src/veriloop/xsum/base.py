"""The model a loop starts from: from the hub, from a folder, or pre-trained here on the reports."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from veriloop.core import Key
from veriloop.store.caches import sound, write_sums
from veriloop.store.files import cache_folder, replaced
from veriloop.xsum.data import hub_answers
from veriloop.xsum.embedded import WORDINGS, documents
from veriloop.xsum.finetune import seeded, set_rate, token_losses
from veriloop.xsum.models import check_weights
from veriloop.xsum.padding import padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

END = "<|end|>"
VERSION = 1  # of the recipe; another number pre-trains all models again


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A small Llama, and how it learns the language of the reports; `pretrained` makes it.

    It reads pairs of a report and its later edition. After these steps and 150 real pairs, three
    models had the right place in 73, 75 and 78 % of their summaries.

    steps: of AdamW.
    batch: pairs in one step.
    rate: the highest learning rate.
    vocabulary: tokens that the tokenizer knows.
    hidden: units of a layer.
    layers: of the network.
    heads: of the attention in each layer.
    inner: units of the feed-forward part of each layer.
    seed: of weights and texts.

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


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' progress bars, and its request for widgets, out of notebooks and logs."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            if shown:
                logging.enable_progress_bar()


@quietly()
def load_base(
    source: str, *, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a causal language model in float32 and its tokenizer, by `transformers`.

    source: a folder, or a name on the hub.
    device: where the model is put.

    Raises:
        ValueError: in one sentence, if there is no such folder, or the hub cannot be reached.

    >>> load_base("/no/such/folder")
    Traceback (most recent call last):
    ValueError: no config.json in /no/such/folder; name the folder of a model, ...
    """
    names_folder = os.sep in source and source.count("/") > 1
    here = Path(source).exists()
    if (names_folder or here) and not Path(source, "config.json").is_file():
        raise ValueError(
            f"no config.json in {source}; name the folder of a model, or its name on the hub"
        )
    try:
        try:
            return _from_transformers(source, device, local=True)
        except OSError:  # it is not on this machine
            if here or not hub_answers():
                raise
            return _from_transformers(source, device, local=False)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the model {source} cannot be loaded ({reason}); name a folder that holds it"
        ) from None


def _from_transformers(
    source: str, device: str, *, local: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source, dtype=torch.float32, local_files_only=local
    )
    return model.to(device).eval(), tokenizer


@quietly()
def pretrained(
    how: Pretraining, *, folder: Path | None = None, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a model of the reports and its tokenizer, trained once and then read from `folder`.

    how: the model and its training.
    folder: where models are kept, by default `cache_folder()`; a model's name in it is a digest of
        its settings and of the reports' wordings.
    device: where it is trained, and put.

    >>> import tempfile
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrained(tiny, folder=Path(tempfile.mkdtemp()))
    >>> model.config.hidden_size, tokenizer.eos_token
    (8, '<|end|>')
    """
    recipe = json.dumps([VERSION, asdict(how), WORDINGS])
    name = f"reports-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    if folder is None:
        folder = cache_folder()
    path = folder / name
    if not sound(path):
        model, tokenizer = _pretrain(how, device)
        with replaced(path) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            write_sums(temporary)
    return load_base(str(path), device=device)


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with the end token `<|end|>`.

    texts: what it learns from.
    vocabulary: tokens that it knows, at most.

    >>> tokenizer = train_tokenizer(["Rain fell in York."] * 9, vocabulary=300)
    >>> tokenizer.decode(tokenizer("Rain in York")["input_ids"]), tokenizer.eos_token
    ('Rain in York', '<|end|>')
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(
        texts, vocab_size=vocabulary, special_tokens=[END], show_progress=False
    )
    return PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, eos_token=END, pad_token=END)


def _pretrain(how: Pretraining, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    key = Key(how.seed).fold("pretraining")
    tokenizer = train_tokenizer(documents(key.fold("tokenizer"), 2000), how.vocabulary)
    end: Any = tokenizer.eos_token_id
    llama: Any = _new_llama(key.fold("weights"), how, len(tokenizer), end)
    model: PreTrainedModel = llama.to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=how.rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    for step in range(how.steps):
        set_rate(optimizer, _rate(how, step))
        texts: Any = tokenizer(documents(key.fold("step", step), how.batch))["input_ids"]
        batch = padded([([*ids, end], 1) for ids in texts], end)
        token_losses(model, *batch.to(device)).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    check_weights(model, f"Pretraining, after step {how.steps} at rate {how.rate:g}")
    return model.eval(), tokenizer


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
        intermediate_size=how.inner,
        initializer_range=0.03,
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
    )
    with seeded(key, torch.device("cpu")):
        return LlamaForCausalLM(config)
