"""Metrics by hand, intervals that cover, perplexities that are those of the loss."""

import math
from dataclasses import replace

import numpy as np
import pytest

from veriloop import Key, text
from veriloop.text.metrics import language
from veriloop.xsum import Generate, LogLikelihood, Measure, Prompt, Summaries, bootstrap, rouge


def test_the_metrics_of_a_model_are_those_of_its_summaries(prompt, pairs, model):
    generate = Generate(articles=pairs, prompt=prompt)
    named = Measure(generate=generate, facts=True)(Key(0), model)
    rows = generate(Key(0).fold("generate"), model, len(pairs))
    for kind in ("rouge1", "rouge2", "rougeL"):
        assert named[kind] == rouge(kind, rows.references, rows.summaries).mean()
        assert named[f"{kind}_low"] <= named[kind] <= named[f"{kind}_high"]
    likelihood = LogLikelihood(model, prompt, cut=0.0)
    assert named["perplexity"] == pytest.approx(math.exp(-likelihood(Key(0), pairs).mean()))
    assert named["perplexity_own"] == pytest.approx(math.exp(-likelihood(Key(0), rows).mean()))
    assert (
        named["perplexity_own"] < named["perplexity"]
    )  # what it wrote is likelier to it than what others did
    assert {"event", "place", "number"} < set(named)
    assert "event" not in Measure(generate=generate)(Key(0), model)
    assert named == Measure(generate=generate, facts=True)(Key(0), model)


def test_a_perplexity_is_of_the_rows_that_have_a_token(tokenizer, pairs, model):
    """The published cut leaves none of a long article; a warning counts them."""
    prompt = Prompt(tokenizer, tokens=60, summary_tokens=6, right_truncation=True)
    short = Summaries.of(["Rain."], ["Rain."])
    mixed = Summaries.concatenate([pairs[:3], short])
    measure = Measure(generate=Generate(articles=mixed, prompt=prompt), resamples=2)
    with pytest.warns(UserWarning, match="3 of 4 rows have no token .* left out of perplexity"):
        named = measure(Key(0), model)
    none = Measure(generate=Generate(articles=pairs[:3], prompt=prompt), resamples=2)
    with pytest.warns(UserWarning, match="3 of 3 rows have no token"):
        assert math.isnan(none(Key(0), model)["perplexity"])
    alone = LogLikelihood(model, prompt, cut=0.0)(Key(0), short)
    assert named["perplexity"] == pytest.approx(math.exp(-alone[0]))


def test_language_by_hand(prompt, tokenizer):
    rows = Summaries.of(
        ["rain fell in york"] * 3, ["-"] * 3, ["rain fell", "rain rain rain rain", ""]
    )
    named = language(rows, prompt)
    assert named["words"] == 2 and named["types"] == 2 and named["distinct1"] == 2 / 6
    assert named["distinct2"] == 2 / 4 and named["empty"] == 1 / 3
    assert named["repetition"] == pytest.approx(2 / 9) and named["copying"] == 0
    long = "word " * 40
    assert language(Summaries.of(["a"], ["b"], [long]), prompt)["truncated"] == 1


def test_bootstrap_intervals_cover_the_mean():
    """Of 400 skewed samples of 50 about 93 %, less than the nominal 95 as percentile intervals do; by z."""
    draws = Key(0).numpy()
    hits = 0
    for i in range(400):
        low, high = bootstrap(Key(i), draws.exponential(size=50), 400)
        hits += low <= 1 <= high
    assert abs(hits - 0.93 * 400) / np.sqrt(400 * 0.93 * 0.07) < 4
    assert bootstrap(Key(0), np.ones(5)) == (1.0, 1.0)


def test_nothing_to_measure_on_is_refused(prompt, pairs):
    """All its means would be NaN."""
    with pytest.raises(ValueError, match=r"Measure\.generate has no input to measure on"):
        Measure(generate=Generate(articles=pairs[:0], prompt=prompt))
    with pytest.raises(ValueError, match=r"Measure\.resamples must be an integer of at least 1"):
        Measure(generate=Generate(articles=pairs, prompt=prompt), resamples=0)
    with pytest.raises(ValueError, match="bootstrap: the sample must be finite numbers"):
        bootstrap(Key(0), np.empty(0))


def test_metrics_of_a_task_are_means_over_inputs(model, tokenizer):
    """An input with several candidates counts once, by the mean of its candidates."""
    sums = text.Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"])
    write = text.Generate(
        rows=sums,
        prompt=text.Prompt(tokenizer, tokens=30, output_tokens=2),
        candidates=3,
        temperature=1.0,
    )
    measure = text.Measure(
        generate=write,
        metrics={
            "first": lambda rows: np.arange(len(rows)) % 3 == 0,
            "row": lambda rows: rows.numbers,
        },
        others=lambda rows: {"rows": len(rows)},
    )
    found = measure(Key(0), model)
    assert found["first"] == found["first_low"] == found["first_high"] == pytest.approx(1 / 3)
    assert found["row"] == 0.5 and (found["row_low"], found["row_high"]) == (0, 1)
    assert found["rows"] == 6 and found["perplexity"] > 1
    unknown = replace(write, rows=text.Texts.of(["2 + 2 ="]))
    assert "perplexity" not in text.Measure(generate=unknown)(Key(0), model)
    for wrong in (np.ones(2), np.full(6, np.nan)):
        with pytest.raises(
            ValueError, match="wrong must be one finite number for each of the 6 rows"
        ):
            text.Measure(generate=write, metrics={"wrong": lambda rows, w=wrong: w})(Key(0), model)


@pytest.fixture
def write(tokenizer):
    """Writes an answer to each of three sums; the right one of the last is not known."""
    sums = text.Texts.of(["2 + 2 =", "3 + 5 =", "1 + 8 ="], ["4", "8", ""])
    return text.Generate(rows=sums, prompt=text.Prompt(tokenizer, tokens=30, output_tokens=2))


@pytest.mark.parametrize("bf16", [False, True])
def test_a_perplexity_is_of_the_targets_that_are_known(write, model, bf16):
    write = replace(write, bf16=bf16)
    with pytest.warns(UserWarning, match="1 of 3 inputs have no target and are left out of perp"):
        measure = text.Measure(generate=write)
    found = measure(Key(0), model)["perplexity"]
    known = text.Measure(generate=replace(write, rows=write.rows[:2]))(Key(0), model)
    assert found == pytest.approx(known["perplexity"], rel=1e-2 if bf16 else 1e-6)


@pytest.mark.parametrize(
    "given",
    [
        {"metrics": {"words": lambda rows: np.zeros(len(rows))}},
        {"metrics": {name: lambda rows: np.zeros(len(rows)) for name in ("a", "a_low")}},
        {"others": lambda rows: {"perplexity": 1.0}},
    ],
)
def test_two_numbers_of_one_name_are_refused(write, model, given):
    measure = text.Measure(generate=replace(write, rows=write.rows[:2]), **given)
    with pytest.raises(ValueError, match="two numbers of one record are called"):
        measure(Key(0), model)


def test_targets_that_no_output_can_be_are_named(write):
    """A right model scored 0: outputs are stripped, and these targets are not."""
    rows = text.Texts.of(["2 + 2 =", "3 + 5 ="], [" 4", "8"])
    spaced = replace(write, rows=rows)
    same = {"same": lambda rows: rows.outputs == rows.targets}
    with pytest.warns(UserWarning, match="1 of 2 targets have white space around them"):
        text.Measure(generate=spaced, metrics=same)
    kept = replace(spaced, prompt=replace(write.prompt, strip=False))
    text.Measure(generate=kept, metrics=same)


def test_a_verifier_in_place_of_a_metric_is_refused_at_once(write):
    """It was an error after the first fit, about an argument that is missing."""
    with pytest.raises(TypeError, match=r"must be a function of \(rows\), got ExactMatch"):
        text.Measure(generate=write, metrics={"right": text.ExactMatch()})


@pytest.mark.parametrize("metrics", [len, [len], {"length": 3}])
def test_metrics_are_functions_by_name(write, metrics):
    with pytest.raises(TypeError, match=r"Measure\.metrics"):
        text.Measure(generate=write, metrics=metrics)


def test_a_metric_may_be_a_tensor_and_no_text(write, model):
    import torch

    write = replace(write, rows=write.rows[:2])
    tensor = torch.ones(2, requires_grad=True)
    measure = text.Measure(generate=write, metrics={"one": lambda rows: tensor})
    assert measure(Key(0), model)["one"] == 1
    wrong = text.Measure(generate=write, metrics={"said": lambda rows: rows.outputs})
    with pytest.raises(ValueError, match="said must be one finite number for each of the 2 rows"):
        wrong(Key(0), model)


def test_a_bootstrap_is_of_a_plain_list_and_of_finite_numbers():
    assert bootstrap(Key(0), [2.0, 2.0]) == (2.0, 2.0)
    for wrong in ([1.0, np.nan], np.ones((3, 2))):
        with pytest.raises(ValueError, match=r"finite numbers of shape \(n,\)"):
            bootstrap(Key(0), wrong)
