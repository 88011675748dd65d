"""The small model of summaries, pre-trained here on the embedded reports."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from veriloop.store.caches import sound, write_sums
from veriloop.store.files import cache_folder, replaced
from veriloop.text.small import Pretraining, pretrain
from veriloop.text.weights import load_base, quietly
from veriloop.xsum.embedded import WORDINGS, documents

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

VERSION = 1  # of the recipe; another number pre-trains all models again


@quietly()
def pretrained(
    how: Pretraining, *, folder: Path | None = None, device: str = "cpu"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Return a model of the reports and its tokenizer, trained once and then read from `folder`.

    It reads pairs of a report and its later edition. After the steps of `Pretraining()` and 150
    real pairs, three models had the right place in 73, 75 and 78 % of their summaries.

    how: the model and its training.
    folder: where models are kept, by default `cache_folder()`; a model's name in it is a digest of
        its settings and of the reports' wordings.
    device: where it is trained, and put.

    >>> from veriloop.xsum import Pretraining
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
        model, tokenizer = pretrain(how, documents, device=device)
        with replaced(path) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
            write_sums(temporary)
    return load_base(str(path), device=device)
