"""Every data policy on every backend: what each training batch holds, row by row; resumed, the same bytes.

What policies do to the error has closed forms in linear regression alone (tests/linear/test_policies.py). Of digits
and summaries theory says at most an order: by round, unverified, fresh real data best, then fixed real data,
accumulation, a subsample of it, a window, and replacement worst. Tiny models show none of it, so none is asserted.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import veriloop
from veriloop import (
    Accumulate,
    AccumulateSubsample,
    Columns,
    FreshReal,
    Key,
    Loop,
    MixReal,
    Replace,
    RunDir,
    State,
    Window,
)

REAL, KEPT, ROUNDS = 12, 10, 3  # rows of the first fit, kept rows a round


@dataclass(frozen=True)
class Backend:
    """A loop without a filter, and real rows: those of the first fit in `start.past`, others to draw from."""

    loop: Callable[[Any], Loop]  # pool -> loop
    start: State
    others: Columns
    save: Callable
    load: Callable

    def draw(self, key, n):
        return self.others[np.sort(key.numpy().permutation(len(self.others))[:n])]


@cache
def linear():
    backend = veriloop.linear
    problem = backend.Problem.gaussian(bias=0.2, radius=0.5, dim=3, rows=REAL)
    return Backend(
        loop=lambda pool: replace(problem.loop(), pool=pool),
        start=problem.start(Key(0)),
        others=backend.Generate(backend.GaussianDesign(3))(Key(1), problem.truth, 60),
        save=backend.save_state,
        load=backend.load_state,
    )


@cache
def mnist():
    pytest.importorskip("torch", reason="the extra [mnist] is not installed")
    backend = veriloop.mnist
    refit = backend.Refit(
        model="mlp", settings={"latent": 2, "hidden": [8]}, training=backend.Training(steps=2, batch=20)
    )
    digits = backend.load("digits")
    problem = backend.Problem(initial=digits.train[:REAL], first=refit, refit=refit, test=digits.test)
    start = problem.start(Key(0))
    return Backend(
        loop=lambda pool: replace(problem, pool=pool).loop()(Key(0), start),
        start=start,
        others=digits.train[REAL : REAL + 60],
        save=backend.save_state,
        load=backend.load_state,
    )


@cache
def xsum():
    pytest.importorskip("transformers", reason="the extra [xsum] is not installed")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    backend = veriloop.xsum
    tokenizer = backend.train_tokenizer(backend.documents(Key(0).fold("tokenizer"), 100), 400)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **size)
    prompt = backend.Prompt(tokenizer, tokens=120, summary_tokens=8)
    pairs = backend.reports(Key(0).fold("pairs"), REAL + KEPT + 60)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = LlamaForCausalLM(config).eval()
    tune = backend.FineTune(prompt=prompt, batch=16)
    problem = backend.Problem(
        base=network,
        initial=pairs[:REAL],
        generate=backend.Generate(articles=pairs[REAL : REAL + KEPT], prompt=prompt, temperature=1.0),
        first=tune,
        refit=tune,
    )
    return Backend(
        loop=lambda pool: replace(problem, pool=pool).loop(1.0),
        start=problem.start(Key(0)),
        others=pairs[REAL + KEPT :],
        save=backend.save_state,
        load=backend.load_state,
    )


# Rows of each origin in the training batch of rounds 1, 2, 3: 0 is the first fit's data, k what round k kept.
FRESH = "fresh"
POLICIES = {
    "replace": (lambda made: Replace(), [{1: 10}, {2: 10}, {3: 10}]),
    "accumulate": (
        lambda made: Accumulate(),
        [{0: 12, 1: 10}, {0: 12, 1: 10, 2: 10}, {0: 12, 1: 10, 2: 10, 3: 10}],
    ),
    "subsample": (lambda made: AccumulateSubsample(15), None),
    "window": (lambda made: Window(2), [{0: 12, 1: 10}, {1: 10, 2: 10}, {2: 10, 3: 10}]),
    "mix": (lambda made: MixReal(made.start.past[0], 0.75), [{0: 30, k: 10} for k in (1, 2, 3)]),
    "fresh": (lambda made: FreshReal(made.draw, 6), [{FRESH: 6, k: 10} for k in (1, 2, 3)]),
    "fresh, more weight": (lambda made: FreshReal(made.draw, 6, 0.75), [{FRESH: 30, k: 10} for k in (1, 2, 3)]),
    "fresh, less weight": (lambda made: FreshReal(made.draw, 6, 0.25), [{FRESH: 6, k: 18} for k in (1, 2, 3)]),
}
every = pytest.mark.parametrize("backend", [linear, mnist, xsum], ids=lambda backend: backend.__name__)


def lines(batch):
    """Every row as one value that can be looked up."""
    columns = [getattr(batch, name) for name in batch.__dataclass_fields__ if name != "prompts"]
    return [
        tuple(item.tobytes() if isinstance(item, np.ndarray) else item for item in row)
        for row in zip(*columns, strict=True)
    ]


@every
@pytest.mark.parametrize("policy", POLICIES)
def test_the_training_batch_holds_what_the_policy_says(backend, policy):
    """Rows are told apart by what is in them; kept rows are those that the model of the round before writes."""
    made, (pool, wanted) = backend(), POLICIES[policy]
    seen, key = [], Key(5).fold(policy)
    loop = made.loop(pool(made))
    watched = replace(loop, refit=lambda key, model, batch: seen.append(batch) or loop.refit(key, model, batch))
    origin = {line: FRESH for line in lines(made.others)} | {line: 0 for line in lines(made.start.past[0])}
    state = made.start
    for k in range(1, ROUNDS + 1):
        written = loop.generate(key.fold(k, "generate", 0), state.model, KEPT)
        origin |= {line: k for line in lines(written)}
        state, record = watched.step(key, state, KEPT)
        assert record.kept == KEPT
        got = Counter(origin[line] for line in lines(seen[-1]))  # an invented row is a KeyError
        if wanted is not None:
            assert got == wanted[k - 1]
        else:
            assert sum(got.values()) == len(set(lines(seen[-1]))) == 15 and set(got) <= set(range(k + 1))
    assert len(origin) == len(made.others) + REAL + ROUNDS * KEPT, "two rows cannot be told apart"
    fresh = [{line for line in lines(batch) if origin[line] == FRESH} for batch in seen]
    assert all(len(one) == 6 for one in fresh) == policy.startswith("fresh")
    assert not policy.startswith("fresh") or fresh[0] != fresh[1] != fresh[2]


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@every
@pytest.mark.parametrize("policy", POLICIES)
def test_stopped_and_resumed_it_leaves_the_same_bytes(backend, policy, tmp_path):
    """Model, past and records on disk after round 3, whether round 2's state was in memory or read from disk."""
    made = backend()
    loop, options = made.loop(POLICIES[policy][0](made)), {"save": made.save, "load": made.load}
    one, other = RunDir(tmp_path / "one"), RunDir(tmp_path / "other")
    whole = list(one.run(loop, Key(3), made.start, [KEPT] * 3, **options))
    stopped = other.run(loop, Key(3), made.start, [KEPT] * 3, **options)
    assert [next(stopped)[1].round, next(stopped)[1].round] == [1, 2]
    stopped.close()
    resumed = list(other.run(loop, Key(3), made.start, [KEPT] * 3, **options))
    assert [record for _, record in resumed] == [record for _, record in whole]
    assert files(one.path) == files(other.path)
    again = made.load(one.folder(3, "loop"))
    assert [lines(batch) for batch in again.past] == [lines(batch) for batch in whole[-1][0].past]
