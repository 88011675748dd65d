"""Every backend has one face and takes every data policy: what each training batch holds.

What policies do to the error has closed forms in linear regression alone (tests/linear/test_policies.py). Of digits
and summaries theory says at most an order: by round, unverified, fresh real data best, then fixed real data,
accumulation, a subsample of it, a window, and replacement worst. Tiny models show none of it, so none is asserted.
"""

from collections import Counter
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
    KeepAll,
    Key,
    Loop,
    MixReal,
    Random,
    Record,
    Replace,
    RunDir,
    State,
    Threshold,
    Window,
    run,
)

REAL, KEPT, ROUNDS = 12, 10, 3  # rows of the first fit, kept rows a round


@dataclass(frozen=True)
class Backend:
    """Any backend's problem, its start, and real rows to draw from that the start has not seen."""

    problem: Any
    start: State
    others: Columns

    def loop(self, pool):
        """Return a loop that keeps every candidate."""
        return replace(self.problem.loop(filter=KeepAll()), pool=pool)

    def draw(self, key, n):
        return self.others[np.sort(key.numpy().permutation(len(self.others))[:n])]


@cache
def made(name):
    """Return the backend of that name, with a start that is fitted to REAL rows."""
    problem, others = {"linear": linear, "mnist": mnist, "xsum": xsum}[name]()
    return Backend(problem, problem.start(Key(0)), others)


def linear():
    backend = veriloop.linear
    problem = backend.Problem.gaussian(bias=0.2, radius=0.5, dim=3, rows=REAL)
    others = backend.Generate(backend.GaussianDesign(3))(Key(1), problem.truth, 60)
    return problem, others


def mnist():
    pytest.importorskip("torch", reason="the extra [mnist] is not installed")
    backend = veriloop.mnist
    training = backend.Training(steps=2, batch=20)
    refit = backend.Refit(model="mlp", settings={"latent": 2, "hidden": [8]}, training=training)
    digits = backend.load("digits")
    problem = backend.Problem(
        initial=digits.train[:REAL], first=refit, refit=refit, test=digits.test
    )
    return problem, digits.train[REAL : REAL + 60]


def xsum():
    pytest.importorskip("transformers", reason="the extra [xsum] is not installed")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    backend = veriloop.xsum
    tokenizer = backend.train_tokenizer(backend.documents(Key(0).fold("tokenizer"), 100), 400)
    size = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
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
        generate=backend.Generate(
            articles=pairs[REAL : REAL + KEPT], prompt=prompt, temperature=1.0
        ),
        first=tune,
        refit=tune,
    )
    return problem, pairs[REAL + KEPT :]


# Rows of each origin in the training batch of rounds 1, 2, 3: 0 is the first fit's data, k what round k kept.
FRESH = "fresh"
POLICIES = {
    "replace": (lambda backend: Replace(), [{1: 10}, {2: 10}, {3: 10}]),
    "accumulate": (
        lambda backend: Accumulate(),
        [{0: 12, 1: 10}, {0: 12, 1: 10, 2: 10}, {0: 12, 1: 10, 2: 10, 3: 10}],
    ),
    "subsample": (lambda backend: AccumulateSubsample(15), None),
    "window": (lambda backend: Window(2), [{0: 12, 1: 10}, {1: 10, 2: 10}, {2: 10, 3: 10}]),
    "mix": (
        lambda backend: MixReal(backend.start.past[0], 0.75),
        [{0: 30, k: 10} for k in (1, 2, 3)],
    ),
    "fresh": (
        lambda backend: FreshReal(backend.draw, 6),
        [{FRESH: 6, k: 10} for k in (1, 2, 3)],
    ),
    "fresh, more weight": (
        lambda backend: FreshReal(backend.draw, 6, 0.75),
        [{FRESH: 30, k: 10} for k in (1, 2, 3)],
    ),
    "fresh, less weight": (
        lambda backend: FreshReal(backend.draw, 6, 0.25),
        [{FRESH: 6, k: 18} for k in (1, 2, 3)],
    ),
}
every = pytest.mark.parametrize("backend", ["linear", "mnist", "xsum"])


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
    backend = made(backend)
    make, wanted = POLICIES[policy]
    seen, key = [], Key(5).fold(policy)
    loop = backend.loop(make(backend))
    watched = replace(
        loop, refit=lambda key, model, batch: seen.append(batch) or loop.refit(key, model, batch)
    )
    origin = {line: FRESH for line in lines(backend.others)}
    origin |= {line: 0 for line in lines(backend.start.past[0])}
    state = backend.start
    for k in range(1, ROUNDS + 1):
        written = loop.generate(key.fold(k, "generate", 0), state.model, KEPT)
        origin |= {line: k for line in lines(written)}
        state, record = watched.step(key, state, KEPT)
        assert record.kept == KEPT
        got = Counter(origin[line] for line in lines(seen[-1]))  # an invented row is a KeyError
        if wanted is not None:
            assert got == wanted[k - 1]
        else:
            assert sum(got.values()) == len(set(lines(seen[-1]))) == 15 and set(got) <= set(
                range(k + 1)
            )
    assert len(origin) == len(backend.others) + REAL + ROUNDS * KEPT, (
        "two rows cannot be told apart"
    )
    fresh = [{line for line in lines(batch) if origin[line] == FRESH} for batch in seen]
    assert all(len(one) == 6 for one in fresh) == policy.startswith("fresh")
    assert not policy.startswith("fresh") or fresh[0] != fresh[1] != fresh[2]


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@every
@pytest.mark.parametrize("policy", POLICIES)
def test_stopped_and_resumed_it_leaves_the_same_bytes(backend, policy, tmp_path):
    """Model, past and records on disk after round 3, whether round 2's state was in memory or read from disk."""
    backend = made(backend)
    loop = backend.loop(POLICIES[policy][0](backend))
    one, other = RunDir(tmp_path / "one"), RunDir(tmp_path / "other")

    def rounds(folder):
        ways = {"save": backend.problem.save, "load": backend.problem.load}
        return folder.run(loop, Key(3), backend.start, [KEPT] * ROUNDS, **ways)

    whole = list(rounds(one))
    stopped = rounds(other)
    assert [next(stopped)[1].round for _ in range(3)] == [0, 1, 2]
    stopped.close()
    resumed = list(rounds(other))
    assert [record for _, record in resumed] == [record for _, record in whole]
    assert files(one.path) == files(other.path)
    *_, (again, _) = rounds(one)
    last = whole[-1][0]
    assert (again.round, len(again.past)) == (ROUNDS, len(last.past))
    assert [lines(batch) for batch in again.past] == [lines(batch) for batch in last.past]


@every
def test_a_verifier_is_put_into_the_loop_of_any_backend(backend):
    """`problem.loop()` is a value without one, and `replace` gives it one, whose scores then decide."""
    backend = made(backend)

    def later_half(key, batch):
        return np.where(np.arange(len(batch)) < len(batch) // 2, -1.0, 1.0)

    later_half.rowwise = False
    plain, seen = backend.problem.loop(filter=Threshold()), []
    assert isinstance(plain, Loop) and plain.verify is None
    watched = replace(plain, refit=lambda key, model, batch: seen.append(batch) or model)
    list(run(watched, Key(4), backend.start, [KEPT]))
    list(run(replace(watched, verify=later_half), Key(4), backend.start, [KEPT]))
    all_rows, later_rows = map(lines, seen)
    assert len(all_rows) == KEPT and later_rows == all_rows[KEPT // 2 :]


KEPT_OF = {"linear": (20, 20 * 3), "mnist": (20, 20), "xsum": (1, 1)}  # asked for, kept


@every
def test_both_arms_begin_with_one_round_0_and_keep_as_many(backend):
    """With and without a verifier, for one `size`; linear regression counts by direction."""
    asked, kept = KEPT_OF[backend]
    backend = made(backend)
    plain = replace(backend.problem.loop(), measure=lambda key, model: {"address": key.integer()})
    paths = []
    for loop in (plain, replace(plain, verify=Random())):
        paths.append(list(run(loop, Key(4), backend.start, [backend.problem.size(asked)])))
        (state, start), (_, record) = paths[-1]
        assert state is backend.start and record.kept == kept
        assert start == Record(0, 0, 0, {"address": Key(4).fold(0).integer()})


@every
def test_a_verifier_without_a_filter_is_refused_on_any_backend(backend):
    loop = made(backend).problem.loop()
    with pytest.raises(ValueError, match="Loop has a verifier and no filter, .* give filter="):
        replace(loop, verify=Random(), filter=None)
