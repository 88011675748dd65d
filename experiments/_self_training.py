"""Self-training on sums in words: configuration, and one arm of one seed from start to end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from _memory import about_memory
from veriloop import Key, Noisy, RunDir
from veriloop.core.candidates import Candidates
from veriloop.core.parts import Mask, Scores
from veriloop.core.verdict import Verifier
from veriloop.study import Config, Positive, Rows, Whole, tell
from veriloop.text import (
    AtMost,
    DistinctAnswers,
    ExactMatch,
    FineTune,
    Generate,
    Majority,
    Measure,
    Pretraining,
    Problem,
    Prompt,
    Texts,
    by_input,
    pass_at_k,
    sums,
)
from veriloop.text.small import BYTES

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
SHOWN = ("exact", "candidates_exact", "kept_exact")
CONTINUED = "continued"
LESS = "give fewer workers (--engine processes:N), or a lower fit.batch"
Rate = Annotated[float, Field(ge=0, le=1)]


class Model(BaseModel):
    """Settings of `Pretraining` without its seed."""

    model_config = STRICT

    steps: Whole
    vocabulary: Annotated[int, Field(ge=BYTES)] = 400
    hidden: Annotated[int, Field(ge=1, multiple_of=8)] = 64  # of twice its heads
    layers: Whole = 2
    inner: Whole = 128


class Fit(BaseModel):
    """Settings of `FineTune`."""

    model_config = STRICT

    rate: Positive
    batch: Whole
    epochs: Whole
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip: Positive = 1.0


class Loops(Config):
    """Loops on sums in words."""

    pretraining: Model
    replicates: Whole  # seeds: seed, seed + 1, ...; each has a base and sums of its own
    initial: Whole  # sums that the first model is fitted to
    train: Whole  # sums that the model answers every round
    held: Whole  # sums that it is measured on
    rounds: Whole
    candidates: Annotated[int, Field(ge=2)]  # of each sum
    most: Whole  # of each sum are kept
    temperature: Positive
    false_accept: Rate  # of the arm noisy
    false_reject: Rate
    agreement: Rate  # of the answers to a sum; the arm majority keeps those that so many share
    fit: Fit
    tried: Whole  # sums of either kind on which pass@k is measured
    tries: Whole  # the largest k

    def may_grow(self) -> list[str]:
        """What is kept in a round depends on no later one."""
        return ["replicates", "rounds"]


class Arm(NamedTuple):
    """One line of the figure."""

    seed: int
    verifier: str
    refit: str

    @property
    def name(self) -> str:
        """Tell this arm from the others of its seed."""
        return f"{self.verifier}-{self.refit}"


def prepare(config: Any) -> dict[str, Any]:
    """Pre-train the bases, or find them pre-trained; say what memory the arms need."""
    torch.set_num_threads(1)
    seeds = range(config.seed, config.seed + config.replicates)
    models = [sums.pretrained(_pretraining(config, seed)) for seed in seeds]
    base, tokenizer = models[0]
    count = base.num_parameters()
    told = {"model": f"pre-trained on sums, {count:,} parameters, {config.pretraining.steps} steps"}
    arms = config.replicates * len(config.verifiers) * len(config.refits)
    return told | about_memory(config, arms, base, [_tune(config, _prompt(tokenizer))], LESS)


def follow(config: Loops, arm: Arm, folder: Path) -> Rows:
    """Run an arm, committing every round; its first and last model are asked many times too."""
    torch.set_num_threads(1)
    key = Key(arm.seed)
    base, tokenizer = sums.pretrained(_pretraining(config, arm.seed))
    prompt = _prompt(tokenizer)
    ends = np.cumsum([config.initial, config.train])
    all_sums = sums.texts(key.fold("sums"), config.initial + config.train + config.held)
    initial, train, held = (all_sums[part] for part in np.split(np.arange(len(all_sums)), ends))
    greedy = partial(Generate[Texts], prompt=prompt, batch=512)
    drawn = partial(greedy, temperature=config.temperature)
    tune = _tune(config, prompt)
    refit = tune
    if arm.refit != CONTINUED:
        refit = replace(tune, base=base)
    problem = Problem(
        base=base,
        initial=initial,
        generate=drawn(rows=train, candidates=config.candidates),
        first=tune,
        refit=refit,
        measure=Measure(generate=greedy(rows=held), metrics={"exact": ExactMatch().right}),
        observe=observe,
    )
    loop = problem.loop(
        verify=_verifiers(config)[arm.verifier], filter=AtMost(config.most), group=by_input
    )
    start = problem.start(key)
    rounds = RunDir(folder).run(
        loop, key, start, [len(problem.generate)] * config.rounds,
        save=problem.save, load=problem.load, name=f"{arm.name}-seed{arm.seed}-model",
        candidates=config.store is not None, records=False,
    )  # fmt: skip
    about = {"arm": arm.name, "seed": arm.seed, "verifier": arm.verifier, "refit": arm.refit}
    rows: Rows = []
    last = start.model
    for state, record in rounds:
        last = state.model
        rows.append(about | record.row())
        tell(f"{arm.name}-seed{arm.seed}", rows[-1], config.rounds, SHOWN)
    many = partial(drawn, candidates=config.tries)
    for row, model in ((rows[0], start.model), (rows[-1], last)):
        for name, part in (("held", held), ("train", train)):
            row |= solved(name, key.fold("tried"), many(rows=part[: config.tried]), model)
    return rows


def observe(
    key: Key, batch: Texts | Candidates[Texts], scores: Scores, mask: Mask
) -> Mapping[str, float]:
    """Return how many candidates, and kept ones, are right, and of how many sums some are kept."""
    rows = batch[np.ones(len(batch), dtype=bool)]
    right = ExactMatch().right(rows)
    return {
        "candidates_exact": float(right.mean()),
        "kept_exact": float(right[mask].mean()),
        "kept_inputs": len(np.unique(rows.numbers[mask])),
    }


def solved(name: str, key: Key, generate: Generate[Texts], model: Any) -> dict[str, float]:
    """Return pass@k for k = 1, 2, 4 and so on, and how many different answers a sum gets."""
    rows = generate(key.fold(name), model, len(generate))
    right = ExactMatch().right(rows)
    answers = DistinctAnswers()(rows)
    named = {f"{name}_answers": float(answers.mean())}
    k = 1
    while k <= generate.candidates:
        named[f"{name}_pass@{k}"] = float(pass_at_k(right, rows.numbers, k).mean())
        k *= 2
    return named


def _verifiers(config: Loops) -> dict[str, Verifier | None]:
    exact = ExactMatch()
    noisy = Noisy(exact, false_accept=config.false_accept, false_reject=config.false_reject)
    majority = Majority(cut=config.agreement)
    return {"verified": exact, "noisy": noisy, "majority": majority, "unverified": None}


def _prompt(tokenizer: Any) -> Prompt:
    return Prompt(tokenizer, after=" is", tokens=24, output_tokens=8)


def _tune(config: Loops, prompt: Prompt) -> FineTune:
    return FineTune(prompt=prompt, micro=config.fit.batch, **config.fit.model_dump())


def _pretraining(config: Loops, seed: int) -> Pretraining:
    return Pretraining(seed=seed, **config.pretraining.model_dump())
