"""Measure a language model on real articles, and what four bits cost it; print a Markdown table.

python benchmarks/four_bits.py [SOURCE ...] [--articles 200] [--pairs 125] [--draws 1]

The weights of `smollm2` may be a 4-bit copy. Where the full weights are on the machine, name both
sources: the rows are of the same articles. Where they are not, the error of four bits is added once
more, at random. To second order in the error, the mean loss grows by as much as it did the first
time. That is an estimate, and no measurement of the full weights.

Articles are of XSum, validation, where VERILOOP_DATA has them; else the embedded reports.
"""

from __future__ import annotations

import argparse
import copy
import os
from typing import Any

import numpy as np
import torch

from veriloop import Key
from veriloop.xsum import FineTune, Generate, Measure, Prompt, about_weights, load, load_base

BLOCK, LEVELS = 32, 16
COLUMNS = ("rouge1", "rouge2", "rougeL", "perplexity", "words")


def with_error(key: Key, model: Any) -> Any:
    """Return a copy whose layers have an error of the size that rounding to Q4_1 makes.

    That format has 16 levels, evenly from the least to the greatest of every 32 weights in a row.
    The error is uniform within half a step.
    """
    other = copy.deepcopy(model)
    rng = key.numpy()
    with torch.no_grad():
        for weight in other.model.layers.parameters():
            if weight.ndim == 2:
                blocks = weight.data.numpy().reshape(-1, BLOCK)
                step = np.ptp(blocks, axis=1, keepdims=True) / (LEVELS - 1)
                blocks += step * rng.uniform(-0.5, 0.5, blocks.shape)
    return other


def main() -> None:
    """Print one row a model: as it is, with the error once more, and fitted to real pairs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sources", nargs="*", default=["smollm2"])
    parser.add_argument("--articles", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=125)
    parser.add_argument("--draws", type=int, default=1, help="of the error")
    parser.add_argument("--bf16", action="store_true", help="write in bfloat16")
    chosen = parser.parse_args()
    name = "reports"
    if os.environ.get("VERILOOP_DATA"):
        name = "xsum"
    data = load(name, train=max(chosen.pairs, 1), test=chosen.articles)
    print(f"{chosen.articles} articles of {name}, validation; 95 % bootstrap intervals\n")
    print(f"| model | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}", flush=True)
    for source in chosen.sources:
        model, tokenizer = load_base(source)
        prompt = Prompt(tokenizer, tokens=256, summary_tokens=40)
        write = Generate(articles=data.validation, prompt=prompt, bf16=chosen.bf16)
        measure = Measure(generate=write)
        told = f"{source}: {about_weights(source)['form']}"
        show(told, measure, model)
        for draw in range(chosen.draws):
            other = with_error(Key(0).fold("error", draw), model)
            show(f"{source}, the error of 4 bits once more, draw {draw + 1}", measure, other)
        if chosen.pairs:
            tune = FineTune(prompt=prompt, rate=1e-4, batch=8, epochs=2)
            fitted = tune(Key(0).fold("fit"), model, data.train)
            show(f"{source}, fitted to {chosen.pairs} real pairs", measure, fitted)


def show(what: str, measure: Measure, model: Any) -> None:
    """Measure a model and print its row."""
    found = measure(Key(0).fold("measure"), model)
    cells = [_cell(found, name) for name in COLUMNS]
    print(f"| {what} | {' | '.join(cells)} |", flush=True)


def _cell(found: Any, name: str) -> str:
    value = f"{found[name]:.4g}"
    if f"{name}_low" in found:
        return f"{value} [{found[f'{name}_low']:.3g}, {found[f'{name}_high']:.3g}]"
    return value


if __name__ == "__main__":
    main()
