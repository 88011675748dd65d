"""The small model of summaries, pre-trained here on the embedded reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from veriloop.text.small import Pretraining, pretrained_once
from veriloop.xsum.embedded import WORDINGS, documents

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


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
    return pretrained_once(how, documents, "reports", [WORDINGS], folder=folder, device=device)
