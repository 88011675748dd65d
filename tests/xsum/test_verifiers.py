"""Each verifier scores what it says; ROUGE is the package's to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from veriloop import Key, all_of
from veriloop.testing import check_verifier
from veriloop.xsum import (
    Brevity,
    Evaluated,
    LittleCopying,
    LittleRepetition,
    LogLikelihood,
    PartialReference,
    RougeVerifier,
    ScoreNoise,
    Summaries,
    copying,
    repetition,
    rouge,
    verifiers,
)

VARIANTS = ("rouge1", "rouge2", "rougeL")
words = st.lists(
    st.sampled_from(
        ["fire", "Fires", "running", "ran", "the", "Leeds,", "a-b", "10", "", "é", "\n"]
    ),
    max_size=9,
)
ORACLE = RougeScorer(list(VARIANTS), use_stemmer=True)


@pytest.fixture
def written(pairs):
    """Summaries of other articles in place of half of the right ones."""
    mixed = pairs.summaries.copy()
    mixed[::2] = pairs.summaries[::2][::-1]
    return replace(pairs, summaries=mixed)


@settings(max_examples=200, deadline=None)
@given(reference=words.map(" ".join), summary=words.map(" ".join))
def test_rouge_is_the_packages_to_the_bit(reference, summary):
    wanted = ORACLE.score(reference, summary)
    for variant in VARIANTS:
        assert rouge(variant, [reference], [summary])[0] == wanted[variant].fmeasure


def test_both_engines_agree_on_reports(written, monkeypatch):
    """The fast one where it is installed, the plain one where it is not: the same bits."""
    pytest.importorskip("rouge_score_rs")
    import sys

    for variant in VARIANTS:
        fast = rouge(variant, written.references, written.summaries)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "rouge_score_rs", None)
            patch.setitem(sys.modules, "rouge_score_rs.rouge_scorer", None)
            verifiers._scorer.cache_clear()
            np.testing.assert_array_equal(
                rouge(variant, written.references, written.summaries), fast
            )
        verifiers._scorer.cache_clear()


def test_the_rouge_verifier_scores_row_by_row(written):
    for variant in VARIANTS:
        scores = RougeVerifier(variant)(Key(0), written)
        assert (scores[1::2] == 1).all() and (scores[::2] < 1).any()
        check_verifier(RougeVerifier(variant), written)
    with pytest.raises(ValueError, match="rouge1, rouge2, rougeL, got 'rouge3'"):
        RougeVerifier("rouge3")
    with pytest.raises(ValueError, match="rouge knows rouge1"):
        rouge("bleu", [], [])


class Overlap:
    """What `evaluate` calls a metric: the share of a summary's words that its reference has, over all or each."""

    def __init__(self):
        self.calls = 0

    def compute(self, *, predictions, references, each=False, wrong=False):
        self.calls += 1
        pairs = [(p.split(), r.split()) for p, r in zip(predictions, references, strict=True)]
        shares = [sum(word in known for word in words) / len(words) for words, known in pairs]
        return {"overlap": (shares * 2 if wrong else shares) if each else sum(shares) / len(shares)}


def test_any_metric_scores_row_by_row_or_by_its_own_list(written):
    single, listed = Overlap(), Overlap()
    scores = Evaluated(single, "overlap", cut=0.25)(Key(0), written)
    for summary, reference, score in zip(
        written.summaries, written.references, scores, strict=True
    ):
        words = summary.split()
        assert score == sum(word in reference.split() for word in words) / len(words) - 0.25
    other = Evaluated(listed, "overlap", cut=0.25, options={"each": True})
    np.testing.assert_array_equal(other(Key(0), written), scores)
    assert listed.calls == 1 and (scores[1::2] == 0.75).all() and (scores[::2] < 0.75).any()
    for verifier in (other, Evaluated(Overlap(), "overlap")):
        check_verifier(verifier, written)
        assert verifier(Key(0), written[:0]).shape == (0,)


def test_a_row_that_a_metric_divides_by_zero_on_has_no_verdict(written):
    rows = replace(written, summaries=np.array(["", *written.summaries[1:]], dtype=object))
    for options in ({}, {"each": True}):
        scores = Evaluated(Overlap(), "overlap", options=options)(Key(0), rows)
        assert np.isnan(scores[0]) and not np.isnan(scores[1:]).any()


def test_a_metric_that_cannot_be_loaded_or_has_no_such_value_is_one_sentence(written, monkeypatch):
    import sys

    with pytest.raises(ValueError, match=r"Evaluated\.value must be among overlap, got 'bleu'"):
        Evaluated(Overlap(), "bleu")(Key(0), written)
    with pytest.raises(
        ValueError, match=r"must be one number, or one a row, got 48 numbers of 'overlap' for 24"
    ):
        Evaluated(Overlap(), "overlap", options={"each": True, "wrong": True})(Key(0), written)
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(
        ValueError, match=r"^the metric bleu needs the package evaluate, .* the extra \[metrics\]$"
    ):
        Evaluated("bleu", "bleu")


SCRIPT = """
import datasets
import evaluate


class Length(evaluate.Metric):
    def _info(self):
        features = datasets.Features({name: datasets.Value("string") for name in ("predictions", "references")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, unit=1):
        return {"words": sum(len(p.split()) - len(r.split()) for p, r in zip(predictions, references)) / unit}
"""


def test_a_script_of_the_package_evaluate(written, tmp_path):
    """The package itself, on a metric of its own kind in a folder; and one sentence for a folder without one."""
    pytest.importorskip("evaluate", reason="the extra [metrics] is not installed")
    folder = tmp_path / "length"
    folder.mkdir()
    (folder / "length.py").write_text(SCRIPT)
    verifier = Evaluated(str(folder), "words", cut=-0.5, options={"unit": 2})
    lengths = [
        [len(text.split()) for text in texts] for texts in (written.summaries, written.references)
    ]
    np.testing.assert_array_equal(verifier(Key(0), written), np.subtract(*lengths) / 2 + 0.5)
    check_verifier(verifier, written)
    with pytest.raises(
        ValueError,
        match=r"^the metric .*none cannot be loaded \(.*\); name the folder of its script",
    ):
        Evaluated(str(tmp_path / "none"), "words")


def test_rules_by_hand():
    rows = Summaries.of(
        ["the old bridge is shut for repairs"] * 3, ["-"] * 3, ["old bridge is shut", "a a a a", ""]
    )
    assert Brevity(3)(Key(0), rows).tolist() == [-1, -1, 3]
    assert LittleRepetition(0.5, 2)(Key(0), rows) == pytest.approx([0.5, 0.5 - 2 / 3, 0.5])
    assert LittleCopying(0.5, 2)(Key(0), rows) == pytest.approx([-0.5, 0.5, 0.5])
    assert repetition("one", 2) == copying("a b", "one", 2) == 0.0
    for verifier in (Brevity(3), LittleRepetition(), LittleCopying()):
        check_verifier(verifier, rows)


def test_partial_references_leave_the_same_articles_without_a_verdict(written):
    verifier = PartialReference(RougeVerifier(), 0.5)
    scores = verifier(Key(0), written).scores
    known = ~np.isnan(scores)
    assert 0 < known.sum() < len(written)
    np.testing.assert_array_equal(scores[known], RougeVerifier()(Key(0), written)[known])
    np.testing.assert_array_equal(np.isnan(verifier(Key(1), written[::-1]).scores), ~known[::-1])
    with pytest.raises(ValueError, match=r"PartialReference\.share must be in \(0, 1\], got 0"):
        PartialReference(RougeVerifier(), 0)


def test_noise_has_its_scale_and_follows_the_key(pairs):
    rows = pairs[np.zeros(4000, dtype=int)]
    noise = ScoreNoise(Brevity(0), 0.3)(Key(0), rows).scores - Brevity(0)(Key(0), rows)
    assert abs(noise.mean()) / (0.3 / np.sqrt(4000)) < 4
    assert abs(noise.std() / 0.3 - 1) / np.sqrt(1 / 8000) < 4
    assert (ScoreNoise(Brevity(0), 0.0)(Key(0), pairs).scores == Brevity(0)(Key(0), pairs)).all()
    with pytest.raises(
        ValueError, match=r"ScoreNoise\.scale must be at least 0 and finite, got -1"
    ):
        ScoreNoise(Brevity(0), -1)


def test_noise_and_partial_knowledge_take_composed_verifiers(written):
    """What `all_of` returns has parts; its scores are what counts."""
    both = all_of(RougeVerifier(), Brevity(9))
    wanted = both(Key(0), written).scores
    noiseless = ScoreNoise(both, 0.0)(Key(0), written)
    np.testing.assert_array_equal(noiseless.scores, wanted)
    assert list(noiseless.parts) == list(both(Key(0), written).parts)
    np.testing.assert_array_equal(PartialReference(both, 1.0)(Key(0), written).scores, wanted)


def test_a_likelihood_is_the_mean_of_its_tokens(written, prompt, model):
    """Whatever the batch; against logits of one row at a time."""
    scores = LogLikelihood(model, prompt, cut=-3.0, batch=7)(Key(0), written)
    np.testing.assert_allclose(
        scores, LogLikelihood(model, prompt, cut=-3.0, batch=1)(Key(0), written), rtol=1e-4
    )
    (ids, start), *_ = prompt.examples(written.articles, written.summaries)
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(1)
    wanted = np.mean([float(logs[i - 1, ids[i]]) for i in range(start, len(ids))])
    assert scores[0] == pytest.approx(wanted + 3.0, rel=1e-4)
    check_verifier(LogLikelihood(model, prompt), written)
