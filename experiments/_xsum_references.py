"""The points that curves of summaries are compared with, each measured once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _xsum import PUBLISHED, Texts, articles, base_model, measured_on, prompt_of, ways
from veriloop import Key
from veriloop.study import Rows, tell
from veriloop.text.metrics import bootstrap, language
from veriloop.text.problem import write_model
from veriloop.text.prompt import Prompt
from veriloop.xsum import FineTune, Summaries, rouge
from veriloop.xsum.scores import VARIANTS


def zero_shot(config: Texts, name: str, base: int, seed: int, folder: Path) -> Rows:
    """Measure the base as it is."""
    torch.set_num_threads(config.threads)
    model, tokenizer = base_model(config, base)
    return _row(config, name, base, seed, _of_model(config, seed, model, tokenizer))


def all_pairs(config: Texts, name: str, base: int, seed: int, folder: Path) -> Rows:
    """Fit the base to all real pairs as the first model is fitted, keep it, and measure it."""
    torch.set_num_threads(config.threads)
    model, tokenizer = base_model(config, base)
    tune = FineTune(
        prompt=prompt_of(config, tokenizer),
        **config.first.model_dump(),
        **ways(config, PUBLISHED[2:]),
    )
    pairs = articles(config, seed).train
    model = tune(Key(seed).fold("first"), model, pairs)
    kept = folder / "models" / f"base{base}-seed{seed}"
    write_model(model, kept)
    tokenizer.save_pretrained(kept / "model")
    numbers = _of_model(config, seed, model, tokenizer) | {"pairs": len(pairs)}
    return _row(config, name, base, seed, numbers)


def lead_sentence(config: Texts, name: str, base: int, seed: int, folder: Path) -> Rows:
    """Measure the first sentence of every article as its summary."""
    _, tokenizer = base_model(config, base)
    prompt = prompt_of(config, tokenizer)
    data = articles(config, seed)
    key = Key(seed)
    numbers = _of_texts(key, _led(data.validation), prompt)
    tested = _of_texts(key.fold("test"), _led(data.test), prompt)
    return _row(config, name, base, seed, numbers | _of_test(tested))


POINTS = {"zero-shot": zero_shot, "all pairs": all_pairs, "lead sentence": lead_sentence}


def lead(article: str) -> str:
    """Return the first sentence of an article.

    >>> lead("Rain fell in York. It is dry now.\\nThe end.")
    'Rain fell in York.'
    """
    first = article.strip().split("\n")[0]
    return re.split(r"(?<=[.!?])\s", first, maxsplit=1)[0]


def _led(rows: Summaries) -> Summaries:
    leads = np.array([lead(article) for article in rows.articles], dtype=object)
    return rows.answered(leads)


def _of_model(config: Texts, seed: int, model: Any, tokenizer: Any) -> dict[str, float]:
    """Measure a model as a round is measured, on the articles to validate and to test on."""
    prompt = prompt_of(config, tokenizer)
    data = articles(config, seed)
    key = Key(seed)
    numbers = measured_on(config, prompt, data.validation)(key, model)
    tested = measured_on(config, prompt, data.test)(key.fold("test"), model)
    return dict(numbers) | _of_test(tested)


def _of_texts(key: Key, rows: Summaries, prompt: Prompt) -> dict[str, float]:
    """Measure summaries that no model wrote."""
    named: dict[str, float] = {}
    for variant in VARIANTS:
        scores = rouge(variant, rows.references, rows.summaries)
        named[variant] = float(scores.mean())
        named[f"{variant}_low"], named[f"{variant}_high"] = bootstrap(key, scores)
    return named | language(rows, prompt)


def _of_test(numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"test_{name}": value for name, value in numbers.items()}


def _row(config: Texts, name: str, base: int, seed: int, numbers: Mapping[str, float]) -> Rows:
    about = {"arm": name, "seed": seed, "base": base, "data": config.data}
    counts = {"round": 0, "candidates": 0, "kept": 0}
    row = {**about, **counts, **numbers}
    tell(f"{name.replace(' ', '-')}-base{base}-seed{seed}", row, 0, ("rouge1", "test_rouge1"))
    return [row]
