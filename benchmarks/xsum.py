"""Time the language model's stages against other ways, in turn; print Markdown tables.

python benchmarks/xsum.py [--quick] [--memory] [--model FOLDER] [--device cuda]

The model of --model, else one of the shape of SmolLM2-135M where VERILOOP_DATA has it, its weights
random, and real articles; else a small one and the embedded reports. Each pair of ways does the
same work on two threads: the same rows, the same tokens. Plain is float32, with logits and loss for
every token, and a ROUGE scorer for every pair. TRL is its SFT trainer in bfloat16, with a loss on
summaries alone. The floor is the time of the machine's own products in the type that it multiplies
fastest. With `--memory` it prints what a process that fits the model holds at most, beside what is
said of it.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from _timing import forget_peak, peak, processor, seconds

from veriloop import Key
from veriloop.core.bf16 import bf16_is_fast
from veriloop.text import LogLikelihood, fit_memory, load_base
from veriloop.xsum import (
    Data,
    FineTune,
    Generate,
    Pretraining,
    Prompt,
    Summaries,
    load,
    pretrained,
    rouge,
)

TOKENS, NEW = 256, 40
BATCH = 8  # rows in one step of a fit
SAMPLES = 8  # of each article, where samples are drawn
ROUND = {"write": 1000, "fit": 125, "measure": 200}  # rows of one round of one arm


class Work(NamedTuple):
    """One comparison: the same work done in another way and by veriloop."""

    name: str
    way: str
    rows: int
    gigaflops: float  # a row; 0: not counted
    other: Callable[[], object]
    ours: Callable[[], object]


def setting(folder: str | None, device: str) -> tuple[Any, Any, Data]:
    """Return the model, its tokenizer, and articles."""
    model: Any = None
    shape = Path(os.environ.get("VERILOOP_DATA", ""), "smollm2-135m")
    if folder is not None:
        model, tokenizer = load_base(folder)
    elif shape.is_dir():
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(shape)).float().eval()
        tokenizer = AutoTokenizer.from_pretrained(shape)
    else:
        model, tokenizer = pretrained(Pretraining(steps=20))
    data = load("reports", train=200, test=1)
    if shape.is_dir():
        data = load("xsum", train=200, test=1)
    return model.to(device), tokenizer, data


def fastest(device: str) -> torch.dtype:
    """Return in which type a device multiplies fastest: what veriloop takes with bf16=True."""
    if bf16_is_fast(torch.device(device)):
        return torch.bfloat16
    return torch.float32


def products(model: Any, device: str) -> float:
    """Return how many GFLOP the machine does a second in the model's own largest products."""
    hidden = model.config.hidden_size
    inner = getattr(model.config, "intermediate_size", 4 * hidden)
    dtype = fastest(device)
    tokens = torch.randn(16 * TOKENS, hidden, dtype=dtype, device=device)
    weight = torch.randn(inner, hidden, dtype=dtype, device=device)

    def work() -> None:
        for _ in range(20):
            F.linear(tokens, weight)
        if device == "cuda":
            torch.cuda.synchronize()

    return 20 * 2e-9 * tokens.numel() * inner / float(np.median(seconds(work)))


def plain_training(model: Any, prompt: Prompt, rows: Summaries) -> None:
    """Take one step over all texts in float32, with loss on all tokens."""
    new = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(new.parameters(), lr=5e-5)
    texts = [ids for ids, _ in prompt.examples(rows.articles, rows.summaries)]
    longest = max(len(ids) for ids in texts)
    filled = [ids + [prompt.end] * (longest - len(ids)) for ids in texts]
    inputs = torch.tensor(filled, device=model.device)
    new(input_ids=inputs, labels=inputs).loss.backward()
    optimizer.step()


def trl_training(model: Any, prompt: Prompt, rows: Summaries) -> None:
    """Fit a copy by TRL's SFT trainer to the same tokens, with a loss on those of the summaries."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

    columns: dict[str, list[list[int]]] = {"input_ids": [], "completion_mask": []}
    for ids, start in prompt.examples(rows.articles, rows.summaries):
        columns["input_ids"].append(ids)
        columns["completion_mask"].append([0] * start + [1] * (len(ids) - start))
    with tempfile.TemporaryDirectory() as folder:
        how = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=5e-5,
            bf16=fastest(model.device.type) == torch.bfloat16,
            use_cpu=model.device.type == "cpu",
            gradient_checkpointing=False,
            completion_only_loss=True,
            max_length=TOKENS + NEW,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SFTTrainer(
            model=copy.deepcopy(model),
            args=how,
            train_dataset=Dataset.from_dict(columns),
            processing_class=prompt.tokenizer,
        )
        trainer.train()


@torch.inference_mode()
def their_generation(
    model: Any, prompt: Prompt, rows: Summaries, kind: torch.dtype, **how: Any
) -> None:
    """Write summaries by transformers' `generate`, in one batch; by default the likeliest."""
    writer = model
    if kind != torch.float32:
        writer = copy.deepcopy(model).to(kind)
    texts = prompt.prompts(rows.articles)
    longest = max(len(ids) for ids in texts)
    filled = [[prompt.end] * (longest - len(ids)) + ids for ids in texts]
    seen = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in texts]
    writer.generate(
        input_ids=torch.tensor(filled, device=model.device),
        attention_mask=torch.tensor(seen, device=model.device),
        max_new_tokens=NEW,
        pad_token_id=prompt.end,
        **{"do_sample": False, **how},
    )


def plain_rouge(references: list[str], summaries: list[str]) -> list[float]:
    """Score each pair by a scorer of its own."""
    from rouge_score.rouge_scorer import RougeScorer

    scores: list[float] = []
    for reference, summary in zip(references, summaries, strict=True):
        scorer = RougeScorer(["rouge1"], use_stemmer=True)
        scores.append(scorer.score(reference, summary)["rouge1"].fmeasure)
    return scores


def works(model: Any, tokenizer: Any, data: Data, rows: int, scores: int) -> list[Work]:
    """Return all comparisons."""
    pairs = data.train[:rows]
    prompt = Prompt(tokenizer, tokens=TOKENS, summary_tokens=NEW)
    tune = FineTune(prompt=prompt, batch=BATCH, bf16=True)
    write = Generate(articles=pairs, prompt=prompt, batch=rows, bf16=True)
    sample = replace(write, temperature=1.0, candidates=SAMPLES, batch=SAMPLES * rows)
    drawn: dict[str, Any] = {"do_sample": True, "top_k": 0, "num_return_sequences": SAMPLES}
    twice = Summaries.concatenate([pairs, pairs])
    exact = LogLikelihood(model, prompt, cut=0.0, batch=rows)
    rough = LogLikelihood(model, prompt, cut=0.0, batch=rows, bf16=True)
    references = np.resize(data.train.references, scores).tolist()
    summaries = np.resize(data.train.references[::-1], scores).tolist()
    first = references[:99], summaries[:99]
    assert plain_rouge(*first) == rouge("rouge1", *first).tolist()
    dtype = fastest(model.device.type)
    name = "float32"
    if dtype == torch.bfloat16:
        name = "bf16"
    token = 2e-9 * sum(weight.numel() for weight in model.parameters())  # forward
    text = (TOKENS + NEW) * token

    def fit() -> object:
        return tune(Key(0), model, pairs)

    def summarise() -> object:
        return write(Key(0), model, rows)

    found = [
        Work("fit", "plain", rows, 3 * text, lambda: plain_training(model, prompt, pairs), fit),
        Work("fit", "TRL", rows, 3 * text, lambda: trl_training(model, prompt, pairs), fit),
        Work(
            "write",
            "transformers float32",
            rows,
            text,
            lambda: their_generation(model, prompt, pairs, torch.float32),
            summarise,
        ),
        Work(
            "write",
            "transformers bf16",
            rows,
            text,
            lambda: their_generation(model, prompt, pairs, torch.bfloat16),
            summarise,
        ),
        Work(
            f"sample {SAMPLES} summaries",
            f"transformers {name}",
            SAMPLES * rows,
            (TOKENS / SAMPLES + NEW) * token,
            lambda: their_generation(model, prompt, pairs, dtype, **drawn),
            lambda: sample(Key(0), model, SAMPLES * rows),
        ),
        Work(
            "score two summaries",
            "float32",
            rows,
            text + NEW * token,
            lambda: exact(Key(0), twice),
            lambda: rough(Key(0), twice),
        ),
        Work(
            "ROUGE-1",
            "plain",
            scores,
            0.0,
            lambda: plain_rouge(references, summaries),
            lambda: rouge("rouge1", references, summaries),
        ),
    ]
    if name == "float32":  # veriloop takes it too, so one comparison says all
        found = [work for work in found if work.way != "transformers bf16"]
    if find_spec("trl") is None:
        print("trl is not installed, so its row is left out\n")
        found = [work for work in found if work.way != "TRL"]
    return found


def table(found: Sequence[Work], machine: float, repeats: int) -> dict[str, float]:
    """Print rows a second both ways and their ratio; return our seconds a row by name."""
    print("| rows a second | other way | other | veriloop | times faster | range | of the floor |")
    print("|---|---|--:|--:|--:|--:|--:|")
    spent: dict[str, float] = {}
    for work in found:
        times = seconds(work.other, work.ours, repeats=repeats)
        ratios = times[:, 0] / times[:, 1]
        rates = work.rows / np.median(times, axis=0)
        ends = f"{ratios.min():.2f}-{ratios.max():.2f}"
        floor = "-"
        if work.gigaflops:
            floor = f"{rates[1] * work.gigaflops / machine:.0%}"
        line = f"| {work.name} | {work.way} | {rates[0]:,.2f} | {rates[1]:,.2f} "
        print(f"{line}| {np.median(ratios):.2f} | {ends} | {floor} |", flush=True)
        spent[work.name] = 1 / rates[1]
    return spent


def round_of(spent: dict[str, float]) -> float:
    """Return the seconds of one round of one arm, of the measured parts."""
    writing = (ROUND["write"] + ROUND["measure"]) * spent["write"]
    return writing + ROUND["fit"] * spent["fit"] + ROUND["measure"] * spent["score two summaries"]


def held_by_fit(folder: str | None, rows: int, checkpointing: bool) -> tuple[int, int]:
    """Return the most bytes that this process holds in a fit, and what `fit_memory` says of it."""
    torch.set_num_threads(1)
    model, tokenizer, data = setting(folder, "cpu")
    prompt = Prompt(tokenizer, tokens=TOKENS, summary_tokens=NEW)
    tune = FineTune(prompt=prompt, batch=BATCH, bf16=True, checkpointing=checkpointing)
    forget_peak()
    tune(Key(0), model, data.train[:rows])
    return peak(), fit_memory(model, tune)


def memory_table(folder: str | None, rows: int) -> None:
    """Print the highest memory of fits, each in a process of its own."""
    print("| fit | peak, GB | fit_memory, GB |")
    print("|---|--:|--:|")
    for checkpointing in (True, False):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            held, said = pool.submit(held_by_fit, folder, rows, checkpointing).result()
        name = f"{rows} rows, {BATCH} a step, checkpointing={checkpointing}"
        print(f"| {name} | {held / 1e9:.2f} | {said / 1e9:.2f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--memory", action="store_true", help="the highest memory of a fit")
    parser.add_argument("--model", help="the folder of a model, or its name on the hub")
    parser.add_argument("--device", default="cpu", help="where the model runs: cpu or cuda")
    given = parser.parse_args()
    rows = 16
    scores = 2000
    repeats = 2
    if given.quick:
        rows = 2
        scores = 100
        repeats = 1
    torch.set_num_threads(2)
    machine_name = f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{machine_name}, torch {torch.__version__}, {given.device}")
    if given.memory:
        memory_table(given.model, rows)
        sys.exit()
    model, tokenizer, data = setting(given.model, given.device)
    count = sum(weight.numel() for weight in model.parameters())
    machine = products(model, given.device)
    kind = str(fastest(given.device)).removeprefix("torch.")
    print(f"{count:,} parameters, {data.name}; {kind} products at {machine:,.0f} GFLOP/s")
    print(f"{TOKENS} tokens of a prompt, {NEW} of a summary, {rows} rows\n")
    spent = table(works(model, tokenizer, data, rows, scores), machine, repeats)
    sizes = ", ".join(f"{name} {size}" for name, size in ROUND.items())
    print(f"\nA round of one arm ({sizes}), of these parts: {round_of(spent) / 60:.1f} min")
