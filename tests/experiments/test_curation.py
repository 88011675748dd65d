"""The laws of curated rounds, each against enumeration, and the loop against them, round by round."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from helpers import settings

from veriloop import Alternatives, BestOf, Key, Luce

MODEL, REWARDS = np.array([0.5, 0.1, 0.15, 0.25]), np.array([0.4, 2.0, -1.0, 0.9])


@pytest.fixture(scope="module")
def exact():
    """The module of the laws; the path to it is there once the scripts' fixtures are."""
    import _levels

    return _levels


def enumerated(model, rewards, k, choose):
    """Return the law of the picked one by all len(model)^k sets of samples."""
    law = np.zeros(len(model))
    for places in map(list, product(range(len(model)), repeat=k)):
        np.add.at(law, places, np.prod(model[places]) * choose(rewards[places]))
    return law


def luce(rewards):
    weight = np.exp(rewards - rewards.max())
    return weight / weight.sum()


def best(rewards):
    first = rewards == rewards.max()
    return first / first.sum()


@pytest.mark.parametrize("scale", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_integral_is_the_sum_over_all_sets(exact, k, scale):
    """Equal rewards, ordinary ones, and rewards so far apart that all but the best weigh nothing: to rounding."""
    law = exact.picked_by_luce(MODEL, scale * REWARDS, k)
    assert law == pytest.approx(enumerated(MODEL, scale * REWARDS, k, luce), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_best_is_the_sum_over_all_sets(exact, k):
    """F(x)^k - F(x-)^k, for levels in no order."""
    assert exact.picked_as_best(MODEL, REWARDS, k) == pytest.approx(enumerated(MODEL, REWARDS, k, best), abs=1e-14)


def test_large_k_tends_to_exponential_weights(exact):
    """p e^r / E[e^r], the gap falling in proportion to 1 / K; a law always adds up to 1."""
    limit = exact.picked_by_luce(MODEL, REWARDS, np.inf)
    assert limit == pytest.approx(MODEL * np.exp(REWARDS) / (MODEL @ np.exp(REWARDS)))
    gaps = []
    for k in (10**3, 10**4, 10**5):
        law = exact.picked_by_luce(MODEL, REWARDS, k)
        assert law.sum() == pytest.approx(1)
        gaps.append(np.abs(law - limit).max())
    assert np.divide(gaps[:-1], gaps[1:]) == pytest.approx([10, 10], rel=0.01)


@pytest.mark.parametrize(("law", "k"), [("picked_by_luce", 16), ("picked_as_best", 4)])
def test_iterated_laws_stay_laws(exact, law, k):
    """A total off by rounding would be raised to the k-th power each round: 40 rounds on, all would be 0 or inf."""
    model = np.full(8, 1 / 8)
    for _ in range(40):
        model = 0.9 * getattr(exact, law)(model, np.linspace(0, 3, 8), k) + 0.1 / 8
        assert model.sum() == pytest.approx(1, abs=1e-12)


def test_a_dead_level_stays_dead(exact):
    """A level of probability 0 is never picked and leaves the law of the others as it is."""
    model = np.array([0.6, 0.0, 0.4, 0.0])
    for law in (exact.picked_by_luce, exact.picked_as_best):
        whole = law(model, REWARDS, 3)
        assert whole[1] == whole[3] == 0
        assert whole[[0, 2]] == pytest.approx(law(model[[0, 2]], REWARDS[[0, 2]], 3))


@pytest.mark.parametrize(("choice", "law"), [(Luce(), "picked_by_luce"), (BestOf(), "picked_as_best")])
def test_the_librarys_filters_pick_by_these_laws(exact, choice, law):
    """40,000 sets of three: each level's count within 4 standard errors."""
    batch = exact.sample(Key(0), MODEL, 120_000)
    mask = Alternatives(3, choice)(Key(1), exact.Reward(REWARDS)(Key(2), batch))
    assert mask.sum() == 40_000
    share, exact = exact.frequencies(Key(3), MODEL, batch[mask]), getattr(exact, law)(MODEL, REWARDS, 3)
    assert np.all(np.abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / 40_000))


def test_every_round_agrees_with_the_exact_map(here):
    """Given the round before, at any size; and iterated from the start, where the size is large."""
    own = ("replicates=40", "luce=[2, 5]", "best_of=[3]", "shares=[0, 0.3]", "size=2000", "rounds=5")
    rows = here("curation", *settings(*own)).rows
    z = np.array([row["gap_z"] for row in rows if row["round"]])
    assert len(z) == 30 and abs(np.sum(z**2) - 30) < 4 * np.sqrt(60)
    for row in rows:
        for name, exact in (("reward", "exact"), ("variance", "exact_variance")):
            # The iterated map's own bias, O(1 / size), is below a fifth of these standard errors.
            assert abs(row[name] - row[exact]) < 4 * row[f"{name}_se"] + 1 / 2000, row["arm"]


def test_at_a_small_size_the_round_is_exact_and_the_iterated_map_is_not(here):
    """20 picked a round: levels die out by chance, so the mean reward ends below the map's; gap knows no size."""
    own = ("replicates=200", "luce=[2]", "best_of=[2]", "shares=[0]", "size=20", "rounds=8")
    rows = here("curation", *settings(*own)).rows
    z = np.array([row["gap_z"] for row in rows if row["round"]])
    assert abs(np.sum(z**2) - len(z)) < 4 * np.sqrt(2 * len(z))
    last = next(row for row in rows if row["arm"] == "luce2-real0" and row["round"] == 8)
    assert last["reward"] < last["exact"] - 4 * last["reward_se"]


def test_real_data_keep_the_variance_that_curation_takes(here):
    """Without them it all but vanishes and the reward nears the top; half of them hold both well away."""
    own = ("replicates=5", "luce=[4]", "best_of=[4]", "shares=[0, 0.5]", "size=1000", "rounds=12")
    rows = here("curation", *settings(*own)).rows
    for choice in ("luce", "best"):
        alone, mixed = ([row for row in rows if row["choice"] == choice and row["share"] == s] for s in (0, 0.5))
        assert alone[-1]["variance"] < 0.02 * alone[0]["variance"] and alone[-1]["reward"] > 2.98
        assert mixed[-1]["variance"] > 0.5 * mixed[0]["variance"] and mixed[-1]["reward"] < 2.6
        assert all(row["exact"] <= row["top"] for row in alone + mixed)


@pytest.mark.parametrize(
    "own",
    [("levels=[1]",), ("size=1", "shares=[0]"), ("luce=[2]", "best_of=[]", "shares=[0.9]", "rounds=1", "size=1")],
)
def test_the_ends_of_the_ranges_run_and_draw(own, here):
    """A single level, one sample, one choice."""
    run = here("curation", *settings(*own), figure="laid out")
    assert (run.code, run.stderr) == (0, "")


def test_one_replicate_runs(here):
    """No standard error can be had from one value: it is null, and neither figure nor summary minds."""
    run = here("curation", *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["reward_se"] is None for row in run.rows)
    assert "NaN" not in (run.out / "run.json").read_text() and "nan" not in run.stdout
