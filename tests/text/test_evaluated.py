"""Metrics of the package `evaluate` score row by row, whatever they return."""

from dataclasses import replace

import numpy as np
import pytest

from veriloop import Key
from veriloop.testing import check_verifier
from veriloop.text import Texts
from veriloop.xsum import Evaluated


@pytest.fixture
def written(pairs):
    """Summaries of other articles in place of half of the right ones."""
    mixed = pairs.summaries.copy()
    mixed[::2] = pairs.summaries[::2][::-1]
    return replace(pairs, summaries=mixed)


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

    with pytest.raises(
        ValueError, match=r"must be among what the metric computes, got 'bleu' and overlap"
    ):
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


def test_a_row_without_a_target_has_no_verdict():
    """By the empty text it would be wrong, or an empty output right."""
    rows = Texts.of(["a", "b", "c"], ["old bridge", "", ""], ["old bridge", "old", "bridge"])
    for each in (False, True):
        scores = Evaluated(Overlap(), "overlap", options={"each": each})(Key(0), rows)
        np.testing.assert_array_equal(scores, [1, np.nan, np.nan])
