"""The loop on summaries: arms share their candidates, the best are kept, states come back from disk."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from veriloop import Accumulate, Key, RunDir, State, TopCount, run, text
from veriloop.testing import check_backend
from veriloop.text.problem import read_model, write_model
from veriloop.xsum import (
    FineTune,
    Generate,
    Problem,
    Prompt,
    RougeVerifier,
    by_article,
    kinds,
    load,
    rouge,
)


@pytest.fixture(scope="module")
def problem(prompt, pairs, model):
    tune = FineTune(prompt=prompt, rate=1e-3, batch=4)
    generate = Generate(articles=pairs, prompt=prompt)
    return Problem(
        base=model,
        initial=pairs[:6],
        generate=generate,
        first=tune,
        refit=tune,
        keep=0.25,
        pool=Accumulate(),
    )


@pytest.fixture(scope="module")
def start(problem):
    return problem.start(Key(0))


def weights(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_the_first_model_is_fitted_to_the_initial_pairs(problem, start, model, pairs):
    assert start.round == 0
    np.testing.assert_equal(
        weights(start.model), weights(problem.first(Key(0).fold("first"), model, pairs[:6]))
    )


def test_filtered_rounds_keep_the_best_and_unfiltered_as_many_of_the_same(problem, start):
    """Both arms see the same candidates; `Accumulate` hands out, last, what each has kept."""
    *_, (best, record) = run(problem.loop(verify=RougeVerifier()), Key(1), start, [24])
    *_, (random, other) = run(problem.loop(), Key(1), start, [24])
    rows = problem.generate(Key(1).fold(1, "generate", 0), start.model, 24)
    scores = rouge("rouge1", rows.references, rows.summaries)
    kept = best.past[-1]
    assert record.kept == other.kept == len(kept) == len(random.past[-1]) == 6
    np.testing.assert_array_equal(
        np.sort(rouge("rouge1", kept.references, kept.summaries)), np.sort(scores)[-6:]
    )
    assert set(random.past[-1].summaries) <= set(rows.summaries)
    assert (
        record.metrics["candidates_rouge1"] == other.metrics["candidates_rouge1"] == scores.mean()
    )
    assert record.metrics["kept_rouge1"] >= other.metrics["kept_rouge1"]
    assert record.metrics["kept_words"] == np.mean([len(text.split()) for text in kept.summaries])


def test_the_best_of_each_kind(problem, start, pairs):
    """A quarter of every kind of event is kept, to the nearest row, filtered and not; of all together it is not."""
    every, counts = np.unique(kinds(pairs), return_counts=True)
    for verifier in (RougeVerifier(), None):
        *_, (state, _) = run(problem.loop(verify=verifier, group=kinds), Key(1), start, [24])
        got = kinds(state.past[-1])
        assert [int((got == kind).sum()) for kind in every] == np.floor(0.25 * counts + 0.5).astype(
            int
        ).tolist()
    *_, (alone, _) = run(problem.loop(verify=RougeVerifier()), Key(1), start, [24])
    assert sorted(kinds(alone.past[-1])) != sorted(got)


def test_the_best_of_each_article(problem, start, pairs, prompt):
    """Several sampled candidates, one kept of each article: none scores below another of its own article."""
    several = replace(
        problem, generate=Generate(articles=pairs[:8], prompt=prompt, temperature=1.0, candidates=3)
    )
    loop = several.loop(verify=RougeVerifier(), filter=TopCount(1), group=by_article)
    *_, (state, record) = run(loop, Key(2), start, [24])
    kept = state.past[-1]
    assert record.kept == 8 and sorted(kept.prompts) == list(range(8))
    rows = several.generate(Key(2).fold(1, "generate", 0), start.model, 24)
    scores = rouge("rouge1", rows.references, rows.summaries).reshape(8, 3).max(axis=1)
    got = rouge("rouge1", kept.references, kept.summaries)[np.argsort(kept.prompts)]
    np.testing.assert_array_equal(got, scores)


def test_a_loop_is_a_backend(problem):
    check_backend(problem.loop(verify=RougeVerifier()), State(problem.base), 24, rounds=2)


def test_states_come_back_and_a_stopped_run_goes_on_as_it_would_have(problem, start, tmp_path):
    """Model and past; records after resuming are those of a run that was never stopped."""
    loop = problem.loop(verify=RougeVerifier())
    whole = [record for _, record in run(loop, Key(3), start, [24] * 3)]
    store = RunDir(tmp_path)
    steps = store.run(loop, Key(3), start, [24] * 3, save=problem.save, load=problem.load)
    for _, record in steps:
        if record.round == 2:
            break
    rounds = list(store.run(loop, Key(3), start, [24] * 3, save=problem.save, load=problem.load))
    assert [record for _, record in rounds] == whole
    state = rounds[-1][0]
    problem.save(state, tmp_path)
    back = problem.load(tmp_path)
    np.testing.assert_equal(weights(back.model), weights(state.model))
    assert back.round == 3 and len(back.past) == 4
    for one, other in zip(back.past, state.past, strict=True):
        assert (
            one.summaries.tolist() == other.summaries.tolist()
            and one.prompts.tolist() == other.prompts.tolist()
        )
    assert not [path for path in Path(tmp_path).rglob("*.bin")]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(
    "VERILOOP_DATA" not in os.environ, reason="VERILOOP_DATA is not set: real XSum is not there"
)
def test_real_articles_go_through_a_model_of_the_true_shape():
    """SmolLM2's tokenizer and its 135 million parameters, at random: eight articles, one round."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = str(Path(os.environ["VERILOOP_DATA"], "smollm2-135m"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).float().eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    data = load("xsum", train=8, test=1)
    prompt = Prompt(tokenizer, tokens=96, summary_tokens=8)
    tune = FineTune(prompt=prompt, micro=4)
    problem = Problem(
        base=model,
        initial=data.train[:2],
        generate=Generate(articles=data.train, prompt=prompt, batch=8),
        first=tune,
        refit=tune,
        keep=0.25,
    )
    cue = tokenizer("\n\nSummary:")["input_ids"]
    for ids in prompt.prompts(data.train.articles):
        assert (
            len(ids) == 96 and ids[-len(cue) :] == cue
        )  # every article is longer, and none has lost its cue
    *_, (_, record) = run(problem.loop(verify=RougeVerifier()), Key(0), problem.start(Key(0)), [8])
    assert (record.candidates, record.kept) == (8, 2) and record.metrics["no_verdict"] == 0


@pytest.mark.parametrize("kept", [0, 2.5, "4"])
def test_a_number_of_kept_summaries_is_an_integer(problem, kept):
    with pytest.raises(ValueError, match=r"Problem\.size: kept must be an integer of at least 1"):
        problem.size(kept)


def test_prompts_that_are_cut_are_counted_once_for_each_input(problem, start, pairs):
    """Beside what the task itself observes, and whatever is kept."""
    short = replace(problem.generate.prompt, tokens=40)
    cut = short.cut(pairs.articles)
    assert cut[:5].any()
    generate = replace(problem.generate, prompt=short, temperature=1.0, candidates=2)
    cutting = replace(problem, generate=generate)
    _, record = cutting.loop(verify=RougeVerifier()).step(Key(1), start, 2 * 5)
    assert record.metrics["prompts_cut"] == cut[:5].sum()
    assert "candidates_rouge1" in record.metrics
    none = replace(problem, observe=lambda key, batch, scores, mask: {"seen": len(batch)})
    _, record = none.loop().step(Key(1), start, 24)
    whole = problem.generate.prompt.cut(pairs.articles).sum()
    assert (record.metrics["prompts_cut"], record.metrics["seen"]) == (whole, 24)


def test_rows_without_an_output_are_nothing_to_learn_first(problem, model, tokenizer):
    prompt = text.Prompt(tokenizer, tokens=30, output_tokens=2)
    tune = FineTune(prompt=prompt)
    unknown = text.Texts.of(["2 + 2 =", "3 + 5 ="])
    write = text.Generate(rows=unknown, prompt=prompt)

    def make(initial):
        return text.Problem(base=model, initial=initial, generate=write, first=tune, refit=tune)

    with pytest.raises(ValueError, match=r"Problem\.initial has no output to learn in its 2 rows"):
        make(unknown)
    assert make(unknown[:0]).start(Key(0)).model is model
    with pytest.warns(UserWarning, match=r"Problem\.initial: 1 of 2 rows have an empty output, so"):
        make(text.Texts.of(["2 + 2 =", "3 + 5 ="], ["4", ""]))


def test_parts_of_another_kind_are_refused(problem):
    with pytest.raises(TypeError, match=r"Problem\.refit\.prompt must be a Prompt, got NoneType"):
        replace(problem, refit=lambda key, model, rows: model)


def test_a_group_is_of_one_input():
    """Two sets put together have the same numbers for other inputs."""
    both = text.Texts.concatenate([text.Texts.of(["2 + 2 ="]), text.Texts.of(["3 + 5 ="])])
    with pytest.raises(ValueError, match="by_input: rows 0 and 1 have different inputs and the nu"):
        text.by_input(both)
    with pytest.raises(TypeError, match="by_input: rows must be Texts"):
        text.by_input(["2 + 2 ="])


def test_a_model_whose_settings_of_sampling_contradict_each_other_is_written(network, tmp_path):
    """transformers refuses to write it, and a run would stop at its first checkpoint."""
    model = network()
    model.generation_config.temperature = 0.6
    model.generation_config.eos_token_id = [0, 5]
    write_model(model, tmp_path)
    back = read_model(tmp_path)
    assert back.generation_config.eos_token_id == [0, 5]
    assert model.generation_config.temperature == 0.6
