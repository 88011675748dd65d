"""The points that curves of summaries are compared with: what each is, and that it is measured alike."""

import sys

import numpy as np
import pytest
from helpers import EXPERIMENTS

from veriloop import Key
from veriloop.xsum import corpus, load_likelihood, rouge

NAME = "xsum_references"


def test_every_point_is_measured_as_a_round_is(smoke):
    """On the articles to validate and to test on; a fit to real pairs changes the base."""
    rows = smoke(NAME).rows
    arms = [row["arm"] for row in rows]
    assert sorted(arms) == ["all pairs"] * 2 + ["lead sentence"] * 2 + ["zero-shot"] * 2
    assert all({"rouge1", "words", "test_rougeL", "test_types"} <= set(row) for row in rows)
    zero, fitted = (
        [row["perplexity"] for row in rows if row["arm"] == arm]
        for arm in ("zero-shot", "all pairs")
    )
    assert all(after < before for before, after in zip(zero, fitted, strict=True))


def test_the_lead_is_the_first_sentence(smoke, monkeypatch):
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    from _xsum_references import lead

    assert lead("It is 3.5 km away. Rain fell.") == "It is 3.5 km away."
    assert lead("A heading without a stop\nRain fell.") == "A heading without a stop"
    row = next(row for row in smoke(NAME).rows if row["arm"] == "lead sentence")
    data = corpus(Key(row["seed"]).fold("reports"), 40, 10)
    leads = [lead(article) for article in data.test.articles]
    assert row["test_rouge1"] == pytest.approx(rouge("rouge1", data.test.references, leads).mean())
    sys.modules.pop("_xsum_references")


def test_the_model_of_all_pairs_is_kept_as_a_verifier(smoke):
    """It gives a score to every reference, and not one score to all."""
    run = smoke(NAME)
    folder = run.out / "models" / "base0-seed1" / "model"
    better = load_likelihood(str(folder), tokens=160, summary_tokens=12)
    rows = corpus(Key(1).fold("reports"), 40, 10).test
    scores = better(Key(0), rows)
    assert np.isfinite(scores).all() and len(set(scores)) == 10
