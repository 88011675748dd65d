"""The script that weights or filters: each rule's law against labels drawn one by one, and the records."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import settings

from veriloop import Key
from veriloop.linear import Problem

NAME = "reward_weighting"


@pytest.fixture(scope="module")
def made():
    """The script's module of rules; the path to it is there once the scripts' fixtures are."""
    import _reward_weighting

    return _reward_weighting


@pytest.mark.parametrize("offset", [0.0, 0.6, -1.5])
@pytest.mark.parametrize("name", ["no verifier", "threshold", "top fraction", "weights"])
def test_the_law_of_a_rule_is_what_labels_do(name, offset, made):
    """20,000 rounds of 12 labels, few enough that a law of many labels alone would fail."""
    rule = made.Rule(name, 0.5, candidates=12)
    u = offset + Key(1).numpy().standard_normal((20_000, 12))
    kept = {
        "no verifier": np.arange(12) < 6 + 0 * u,
        "threshold": np.abs(u) <= rule.width,
        "top fraction": np.argsort(np.argsort(np.abs(u), axis=1), axis=1) < 6,
        "weights": np.exp(-np.abs(u) / rule.temperature),
    }[name]
    some = kept.sum(axis=1) > 0
    means = (kept[some] * u[some]).sum(axis=1) / kept[some].sum(axis=1)
    for found, law in zip((means, means**2), rule.law(offset), strict=True):
        error = found.std(ddof=1) / np.sqrt(len(found))
        assert abs(found.mean() - law) < 4 * error


def test_the_law_of_boltzmann_lots_is_what_labels_do(made):
    """By the filter itself, on groups of 12."""
    rule = made.Rule("Boltzmann", 0.5, candidates=12)
    u = 0.8 + Key(2).numpy().standard_normal((20_000, 12))
    lots = made.Boltzmann(rule.temperature, 0.5)
    groups = np.repeat(np.arange(20_000), 12)
    kept = lots(Key(3), -np.abs(u).ravel(), groups).reshape(u.shape)
    means = (kept * u).sum(axis=1) / 6
    for found, law in zip((means, means**2), rule.law(0.8), strict=True):
        assert abs(found.mean() - law) < 4 * found.std(ddof=1) / np.sqrt(20_000)


def test_at_the_truth_all_rules_use_as_many_labels(made):
    """The window accepts the fraction, and the weights have its effective size, by 10^6 labels."""
    u = np.abs(Key(4).numpy().standard_normal(1_000_000))
    for fraction in (0.1, 0.5, 0.95):
        rule = made.Rule("weights", fraction, candidates=100)
        inside = u <= rule.width
        error = np.sqrt(fraction * (1 - fraction) / len(u))
        assert abs(inside.mean() - fraction) < 4 * error
        w = np.exp(-u / rule.temperature)
        effective = w.mean() ** 2 / np.mean(w**2)
        influence = 2 * w / w.mean() - w**2 / np.mean(w**2) - 1
        assert abs(effective - fraction) < 4 * fraction * influence.std() / 1000


def test_a_table_of_a_law_is_the_law(made):
    rule = made.Rule("top fraction", 0.8, candidates=40)
    offsets = np.array([[-1.3, 0.2], [0.0, 0.9]])
    first, second = made.tabulated(rule.law, offsets)
    known = np.array([[rule.law(float(each)) for each in row] for row in offsets])
    np.testing.assert_allclose(first, known[..., 0], atol=1e-9)
    np.testing.assert_allclose(second, known[..., 1], atol=1e-9)


def test_the_rules_differ_in_the_filter_and_the_fit_alone(made):
    """The first candidates of a round are the same labels under every rule."""
    problem = Problem.gaussian(bias=0.5, radius=0.0, dim=2, rows=10)
    start = problem.start(Key(5))
    labels = set()
    for name in made.RULES:
        loop = made.Rule(name, 0.5, candidates=20).loop(problem)
        labels.add(loop.generate(Key(6), start.model, 40).y.tobytes())
    assert len(labels) == 1


@pytest.mark.slow
def test_every_round_agrees_with_the_law_given_the_round_before(here):
    rows = here(NAME, *settings("replicates=60", "rounds=3", "fractions=[0.3, 0.9]")).rows
    z = np.array([row["error_truth_z"] for row in rows if row["round"]])
    assert len(z) == 60 and np.abs(z).max() < 4.5
    for row in rows:
        if row["rule"] in ("top fraction", "Boltzmann", "no verifier") and row["round"]:
            assert row["kept"] / row["candidates"] == pytest.approx(row["fraction"], abs=0.02)
        if row["rule"] == "no verifier":
            assert row["gain_truth"] == 0


@pytest.mark.slow
def test_one_replicate_runs_and_draws(here):
    run = here(NAME, *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["error_truth_se"] is None for row in run.rows) and "nan" not in run.stdout


def test_too_few_candidates_are_refused(here):
    run = here(NAME, *settings("fractions=[0.01]"))
    assert run.code == 2 and "candidates" in run.stderr and "2 rows or more" in run.stderr
