"""What experiments on summaries share: configuration, and one arm of one seed, round by round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from _memory import about_memory
from veriloop import (
    EachRound,
    KeepAll,
    Key,
    Loop,
    MixReal,
    RandomFraction,
    RunDir,
    TopFraction,
    build,
)
from veriloop.core.checks import check_device
from veriloop.study import BadInput, Config, Positive, Rows, Whole, tell
from veriloop.text.models import check_fit
from veriloop.text.small import BYTES, CONTEXT
from veriloop.xsum import (
    Data,
    FineTune,
    Generate,
    Measure,
    Pretraining,
    Problem,
    Prompt,
    Summaries,
    about_weights,
    by_article,
    corpus,
    kinds,
    load,
    load_base,
    pretrained,
    process,
    train_tokenizer,
)

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
SHOWN = ("rouge1", "place", "types", "kept_rouge1")
ROUGE = {"call": "veriloop.xsum:RougeVerifier"}
UNFILTERED = "unfiltered"
PUBLISHED = ("right_truncation", "string_replace", "loss_on_prompt", "loss_on_padding")


class Fit(BaseModel):
    """Settings of `FineTune`."""

    model_config = STRICT

    rate: Positive
    batch: Whole
    epochs: Whole = 1
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    clip: Positive | None = None
    micro: Whole = 8
    bf16: bool = False
    checkpointing: bool = False


class Base(BaseModel):
    """Settings of `Pretraining` without its seed."""

    model_config = STRICT

    steps: Whole
    batch: Whole = 8
    vocabulary: Annotated[int, Field(ge=BYTES)] = 1280


class Texts(Config):
    """A loop on summaries."""

    data: str  # see `veriloop.xsum.load`; of "reports" every seed has its own
    train: Whole | None
    test: Whole | None
    validation: Whole | None = None  # None: as many as test
    own_articles: bool = False  # every seed draws its own train articles among all there are
    model: str  # "pretrained": a small one, made on the spot; else as for `veriloop.text.load_base`
    pretraining: Base
    replicates: Whole  # seeds: seed, seed + 1, ...
    rounds: Whole
    initial: Annotated[
        float, Field(gt=0, le=1)
    ]  # share of the pairs that the first model is fitted to
    keep: Annotated[float, Field(gt=0, le=1)]  # share of the candidates kept
    tokens: Whole
    summary_tokens: Whole
    batch: Whole  # of generation
    first: Fit
    refit: Fit
    least_place: Annotated[float, Field(ge=0, le=1)] = (
        0.0  # refuse a first model that copies fewer places
    )
    candidates: Whole = 1  # of each article
    temperature: Positive | None = None  # None: the likeliest token, so one candidate
    filter: dict[str, Any] | None = (
        None  # within each article, in place of keep: {call: module:name, ...}
    )
    real: Annotated[float, Field(gt=0, lt=1)] | None = (
        None  # share of the rows of every refit that are real: the initial pairs
    )
    unfiltered_writes_kept: bool = (
        False  # unfiltered, write only as many summaries as are kept, of random articles
    )
    within: Literal["kind"] | None = (
        None  # keep that share of each kind of event, not of all; of reports alone
    )
    protocol: Literal["corrected", "authors"] = (
        "corrected"  # authors: all of the published code's ways at once
    )
    published: tuple[str, ...] = ()  # or some of them, by name
    end_after_cut: bool = (
        False  # learn an end after summaries that were cut, as the committed runs did
    )
    verifier: dict[str, Any] | None = (
        None  # of the arm "filtered", in place of ROUGE-1: {call: module:name, ...}
    )
    others: dict[str, dict[str, Any]] | None = (
        None  # of further arms, by name, under the first rule
    )
    bf16: bool = False
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    device: str = "cpu"

    def may_grow(self) -> list[str]:
        """What is kept in a round depends on no later one."""
        return ["replicates", "rounds"]


class Arm(NamedTuple):
    """One line of the figure."""

    base: int  # the seed of its pre-training
    seed: int
    growth: float  # round k keeps the share keep (1 + growth k)
    filtering: str  # "filtered", "unfiltered", or the name of another verifier

    @property
    def name(self) -> str:
        """Tell this arm from all others."""
        return f"{self.rule.replace(' ', '-')}-{self.filtering}-base{self.base}-seed{self.seed}"

    @property
    def rule(self) -> str:
        """What the figure calls how many are kept."""
        return f"growing by {self.growth:g}" if self.growth else "constant"


def check(config: Texts) -> None:
    """Refuse what cannot be done, before any work."""
    if unknown := set(config.published) - set(PUBLISHED):
        raise BadInput(f"published: got {min(unknown)!r}, must be among {', '.join(PUBLISHED)}")
    if config.published and config.protocol == "authors":
        raise BadInput("published: protocol authors takes all of them; leave published out")
    if config.within is not None and config.filter is not None:
        raise BadInput("within: got kind, and filter keeps within articles; leave one out")
    if config.within is not None and config.data != "reports":
        raise BadInput(
            f"within: got kind, and data {config.data} has no kinds; "
            "leave it out, or give data=reports"
        )
    try:
        check_device("device", config.device)
        data = articles(config, config.seed)
        _check_prompt(config)
        for spec in _verifiers(config).values():
            build(spec)
        if config.filter is not None:
            build(config.filter)
        any_prompt = Prompt(train_tokenizer(["a"], vocabulary=300))
        Generate(articles=data.train, prompt=any_prompt, **_decoding(config))
    except ValueError as error:
        raise BadInput(str(error)) from None
    if taken := set(config.others or ()) & {"filtered", UNFILTERED}:
        raise BadInput(f"others: got {min(taken)!r}, which is an arm already; give it another name")
    written = len(data.train) * config.candidates
    if (
        config.filter is None and np.floor(config.keep * written + 0.5) < 1
    ):  # as `TopFraction` rounds
        raise BadInput(
            f"keep: got {config.keep:g}, which is no summary of the {written} of a round"
        )
    if round(config.initial * len(data.train)) < 1:
        raise BadInput(
            f"initial: got {config.initial:g}, which is no pair of the {len(data.train)}"
        )


def _check_prompt(config: Texts) -> None:
    """Refuse prompts that leave no room for an article, or that the model cannot read."""
    if config.model == "pretrained":
        prompt_of(config, train_tokenizer(["a"], vocabulary=300))
        if config.tokens + config.summary_tokens > CONTEXT:
            raise ValueError(
                f"tokens: got {config.tokens} and {config.summary_tokens} summary_tokens, "
                f"must be at most {CONTEXT} together, which the model reads at once"
            )
        return
    model, tokenizer = load_base(config.model)
    check_fit(model, prompt_of(config, tokenizer))


def prepare(config: Any) -> dict[str, Any]:
    """Pre-train the bases, or find them pre-trained; say which, and the memory of the arms."""
    if config.model != "pretrained":
        base, tokenizer = load_base(config.model)
        named = weights_of(config.model)
    else:
        models = [pretrained(_pretraining(config, base)) for base in config.bases]
        base, tokenizer = models[0]
        count = sum(parameter.numel() for parameter in base.parameters())
        steps = config.pretraining.steps
        named = {"model": f"pre-trained on reports, {count:,} parameters, {steps} steps"}
    prompt = prompt_of(config, tokenizer)
    fits = [FineTune(prompt=prompt, **fit.model_dump()) for fit in (config.first, config.refit)]
    if config.device == "cpu":
        ways_to_keep = 2 * len(config.growth) + len(config.others or ())
        arms = len(config.bases) * config.replicates * ways_to_keep
        named |= about_memory(config, arms, base, fits)
    return named


def weights_of(source: str) -> dict[str, Any]:
    """Return which weights a model has that was not trained here."""
    about: dict[str, Any] = dict(about_weights(source))
    return {"model": about.pop("source")} | about


def follow_arm(config: Texts, arm: Arm, folder: Path) -> Rows:
    """Run one arm from its start, committing every round.

    The last row is measured on the test articles too.
    """
    process()  # connected, where a launcher started several, before a model is put on a device
    torch.set_num_threads(config.threads)
    key, data = Key(arm.seed), articles(config, arm.seed)
    base, tokenizer = base_model(config, arm.base)
    prompt = prompt_of(config, tokenizer)
    write = partial(Generate, prompt=prompt, batch=config.batch, bf16=config.bf16)
    measure, final = (measured_on(config, prompt, part) for part in (data.validation, data.test))
    tune = partial(FineTune, prompt=prompt, **ways(config, PUBLISHED[2:]))
    picked = (
        key.fold("initial")
        .numpy()
        .permutation(len(data.train))[: round(config.initial * len(data.train))]
    )
    initial = data.train[np.sort(picked)]
    pool: Any = None
    if config.real is not None:
        pool = MixReal(initial, config.real)
    problem = Problem(
        base=base,
        initial=initial,
        pool=pool,
        generate=write(articles=data.train, **_decoding(config)),
        first=tune(**config.first.model_dump()),
        refit=tune(**config.refit.model_dump()),
        keep=config.keep,
        measure=measure,
        device=config.device,
    )
    state = problem.start(key)
    problem = replace(problem, base=None)  # so that the rounds hold two models, not three
    del base
    rounds = RunDir(folder).run(
        _loop(config, arm, problem),
        key,
        state,
        _sizes(config, arm, problem),
        save=problem.save,
        load=problem.load,
        name=f"{arm.name}-model",
        candidates=config.store is not None,
        records=False,
    )
    rows: Rows = []
    for state, record in rounds:
        rows.append(record.row())
        tell(arm.name, rows[-1], config.rounds, SHOWN)
        if state.round == 0:
            _check_first(config, arm, rows[0])
    rows[-1] |= {
        f"test_{name}": value for name, value in final(key.fold("test"), state.model).items()
    }
    about = {
        "arm": arm.name,
        "seed": arm.seed,
        "base": arm.base,
        "rule": arm.rule,
        "filtering": arm.filtering,
    }
    return [{**about, "data": data.name, **each} for each in rows]


def base_model(config: Texts, seed: int) -> tuple[Any, Any]:
    """Return the model that has seen no summary, and its tokenizer.

    seed: of the pre-training, where it is pre-trained here.
    """
    if config.model == "pretrained":
        return pretrained(_pretraining(config, seed), device=config.device)
    return load_base(config.model, device=config.device)


def measured_on(config: Texts, prompt: Prompt, part: Summaries) -> Measure:
    """Return what measures a model on a part of the data."""
    write = Generate(articles=part, prompt=prompt, batch=config.batch, bf16=config.bf16)
    return Measure(generate=write, facts=config.data == "reports")


def _loop(config: Texts, arm: Arm, problem: Problem) -> Loop[Any, Summaries]:
    """Return the arm's loop: what it keeps, of which groups, and by which verifier."""
    verify = None
    kind: Any = RandomFraction
    if arm.filtering != UNFILTERED:
        verify = build(_verifiers(config)[arm.filtering])
        kind = TopFraction
    group: Any = None
    chosen: Any = _share_by_round(kind, config.keep, arm.growth)
    if config.filter is not None:
        chosen = build(config.filter)
        group = by_article
    if config.within is not None:
        group = kinds
    if _writes_kept(config, arm):
        loop = problem.loop(filter=KeepAll())
        return replace(loop, generate=OfRandomArticles(cast(Any, problem.generate)))
    return problem.loop(verify=verify, filter=chosen, group=group)


def _share_by_round(kind: Any, keep: float, growth: float) -> EachRound:
    """Return a filter of that kind, which keeps a growing share."""
    return EachRound(lambda key, state: kind(keep * (1 + growth * (state.round + 1))))


@dataclass(frozen=True)
class OfRandomArticles:
    """Ask a generator for summaries of n of its articles, which are drawn at random."""

    generate: Generate

    def __call__(self, key: Key, model: Any, n: int) -> Summaries:
        articles = self.generate.articles
        picked = key.fold("articles").numpy().choice(len(articles), n, replace=False)
        some = replace(self.generate, articles=articles[np.sort(picked)])
        return some(key, model, n)


def _writes_kept(config: Texts, arm: Arm) -> bool:
    return config.unfiltered_writes_kept and arm.filtering == UNFILTERED


def _sizes(config: Texts, arm: Arm, problem: Problem) -> list[int]:
    """Return how many candidates each round writes."""
    whole = len(problem.generate)
    if not _writes_kept(config, arm):
        return [whole] * config.rounds
    shares = [config.keep * (1 + arm.growth * k) for k in range(1, config.rounds + 1)]
    return [int(np.floor(share * whole + 0.5)) for share in shares]  # as `TopFraction` rounds


def _check_first(config: Texts, arm: Arm, row: dict[str, Any]) -> None:
    """Refuse a first model that has not learnt to copy."""
    place = row.get("place", 1.0)
    if place < config.least_place:
        raise RuntimeError(
            f"the first model of base {arm.base} has the right place in {place:.0%} of its "
            f"summaries, least_place is {config.least_place:.0%}: it has not learnt to copy; "
            "pre-train it for more steps"
        )


def articles(config: Texts, seed: int) -> Data:
    """Return the articles of a seed in three parts."""
    if config.data == "reports":
        return corpus(
            Key(seed).fold("reports"), config.train or 1200, config.test or 300, config.validation
        )
    train = config.train
    if config.own_articles:
        train = None
    data = load(config.data, train=train, test=config.test, validation=config.validation)
    if not config.own_articles or config.train is None:
        return data
    if config.train > len(data.train):
        raise ValueError(
            f"train: got {config.train} articles, and {config.data} has {len(data.train)}"
        )
    rng = Key(seed).fold("articles").numpy()
    picked = rng.choice(len(data.train), config.train, replace=False)
    return replace(data, train=data.train[np.sort(picked)])


def prompt_of(config: Texts, tokenizer: Any) -> Prompt:
    """Return the prompt of the configuration."""
    chosen = ways(config, PUBLISHED[:2])
    return Prompt(
        tokenizer,
        tokens=config.tokens,
        summary_tokens=config.summary_tokens,
        end_after_cut=config.end_after_cut,
        **chosen,
    )


def ways(config: Texts, names: tuple[str, ...]) -> dict[str, Any]:
    """Return which of these ways of the published code are taken."""
    return {name: config.protocol == "authors" or name in config.published for name in names}


def _verifiers(config: Texts) -> dict[str, dict[str, Any]]:
    return {"filtered": config.verifier or ROUGE, **(config.others or {})}


def _decoding(config: Texts) -> dict[str, Any]:
    return {"candidates": config.candidates, "temperature": config.temperature}


def _pretraining(config: Texts, seed: int) -> Pretraining:
    return Pretraining(seed=seed, **config.pretraining.model_dump())
