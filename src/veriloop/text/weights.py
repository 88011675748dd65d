"""Language models that others trained, by name or folder."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


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


def hub_answers(seconds: float = 5.0) -> bool:
    """Whether the hub can be reached.

    It is asked once, because its own clients try many times before they give up.
    """
    from huggingface_hub import constants

    try:
        socket.create_connection((urlsplit(constants.ENDPOINT).hostname, 443), seconds).close()
    except OSError:
        return False
    return True
