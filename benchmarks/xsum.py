"""Time the language model's stages against the plain way, in turn, on two threads; print a Markdown table.

python benchmarks/xsum.py [--quick]

A model of the shape of SmolLM2-135M, its weights random, and real articles where VERILOOP_DATA has
them; else a small one and the embedded reports. The plain way is float32, whole texts padded to one
length with logits and loss for every token, transformers' own `generate`, and a ROUGE scorer built
for every pair.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import processor, seconds

from veriloop import Key
from veriloop.xsum import Data, FineTune, Generate, Pretraining, Prompt, load, pretrained, rouge

TOKENS, NEW = 256, 128


def true_shape() -> tuple[Any, Any, Data]:
    """Return the model, its tokenizer, and articles."""
    folder = Path(os.environ.get("VERILOOP_DATA", ""), "smollm2-135m")
    if not folder.is_dir():
        model, tokenizer = pretrained(Pretraining(steps=20))
        return model, tokenizer, load("reports", train=200, test=1)
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).float().eval()
    return model, AutoTokenizer.from_pretrained(folder), load("xsum", train=200, test=1)


def plain_training(model: Any, tokenizer: Any, texts: list[str]) -> None:
    """Take one step over all texts, every one padded to 256 tokens, with loss on all of them."""
    tokenizer.pad_token = tokenizer.eos_token
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    inputs = tokenizer(
        texts, truncation=True, max_length=TOKENS, padding="max_length", return_tensors="pt"
    )
    model.train()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    model.eval()


@torch.no_grad()
def plain_generation(model: Any, tokenizer: Any, prompts: list[str]) -> None:
    """Write 128 tokens after each prompt, in one batch."""
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    inputs = tokenizer(
        prompts, truncation=True, max_length=TOKENS, padding="max_length", return_tensors="pt"
    )
    model.generate(
        **inputs,
        do_sample=False,
        min_new_tokens=NEW,
        max_new_tokens=NEW,
        pad_token_id=tokenizer.pad_token_id,
    )


def plain_rouge(references: list[str], summaries: list[str]) -> list[float]:
    """Score each pair by a scorer of its own."""
    from rouge_score.rouge_scorer import RougeScorer

    return [
        RougeScorer(["rouge1"], use_stemmer=True).score(reference, summary)["rouge1"].fmeasure
        for reference, summary in zip(references, summaries, strict=True)
    ]


def table(rows: int, scores: int, repeats: int) -> None:
    """Print works a second both ways, and their ratio."""
    model, tokenizer, data = true_shape()
    print(
        f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters, {data.name}\n"
    )
    pairs = data.train[:rows]
    prompt = Prompt(tokenizer, tokens=TOKENS, summary_tokens=NEW)
    tune = FineTune(
        prompt=Prompt(tokenizer, tokens=TOKENS - 40, summary_tokens=40), batch=rows, bf16=True
    )
    write = Generate(articles=pairs, prompt=prompt, batch=rows, bf16=True)
    texts = [
        f"Article: {a}\n\nSummary: {s}"
        for a, s in zip(pairs.articles, pairs.summaries, strict=True)
    ]
    prompts = [f"Article: {a}\n\nSummary:" for a in pairs.articles]
    references = np.resize(data.train.references, scores).tolist()
    summaries = np.resize(data.train.references[::-1], scores).tolist()
    assert (
        plain_rouge(references[:99], summaries[:99])
        == rouge("rouge1", references[:99], summaries[:99]).tolist()
    )
    work: dict[str, tuple[int, Callable[[], object], Callable[[], object]]] = {
        f"training samples of {TOKENS} tokens": (
            rows,
            lambda: plain_training(model, tokenizer, texts),
            lambda: tune(Key(0), model, pairs),
        ),
        f"prompts of {TOKENS} tokens and {NEW} new ones": (
            rows,
            lambda: plain_generation(model, tokenizer, prompts),
            lambda: write(Key(0), model, rows),
        ),
        "ROUGE-1 scores": (
            scores,
            lambda: plain_rouge(references, summaries),
            lambda: rouge("rouge1", references, summaries),
        ),
    }
    print("| a second | plain | veriloop | times faster | range |")
    print("|---|--:|--:|--:|--:|")
    for name, (count, plain, ours) in work.items():
        times = seconds(plain, ours, repeats=repeats)
        ratios = times[:, 0] / times[:, 1]
        rates = count / np.median(times, axis=0)
        ends = f"{ratios.min():.1f}-{ratios.max():.1f}"
        print(
            f"| {name} | {rates[0]:,.2f} | {rates[1]:,.2f} | {np.median(ratios):.1f} | {ends} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    quick = parser.parse_args().quick
    torch.set_num_threads(2)
    print(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    )
    table(2 if quick else 16, 100 if quick else 2000, 1 if quick else 2)
