"""The bench of reward levels: laws against enumeration, and against the library's own filters."""

from __future__ import annotations

from functools import partial
from itertools import pairwise, product

import numpy as np
import pytest

from veriloop import Alternatives, BestOf, Key, Loop, Luce, State
from veriloop.exact.reward_levels import (
    CurationLaw,
    LevelReward,
    draw_levels,
    frequencies,
    picked_as_best,
    picked_by_luce,
    reward_moments,
)

MODEL = np.array([0.5, 0.1, 0.15, 0.25])
REWARDS = np.array([0.4, 2.0, -1.0, 0.9])


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
def test_the_integral_is_the_sum_over_all_sets(k, scale):
    """Equal rewards, ordinary ones, and rewards so far apart that all but the best weigh nothing: to rounding."""
    law = picked_by_luce(MODEL, scale * REWARDS, k)
    assert law == pytest.approx(enumerated(MODEL, scale * REWARDS, k, luce), abs=1e-12)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_best_is_the_sum_over_all_sets(k):
    """F(x)^k - F(x-)^k, for levels in no order."""
    assert picked_as_best(MODEL, REWARDS, k) == pytest.approx(
        enumerated(MODEL, REWARDS, k, best), abs=1e-14
    )


def test_large_k_tends_to_exponential_weights():
    """p e^r / E[e^r], the gap falling in proportion to 1 / K; a law always adds up to 1."""
    limit = picked_by_luce(MODEL, REWARDS, np.inf)
    assert limit == pytest.approx(MODEL * np.exp(REWARDS) / (MODEL @ np.exp(REWARDS)))
    gaps = []
    for k in (10**3, 10**4, 10**5):
        law = picked_by_luce(MODEL, REWARDS, k)
        assert law.sum() == pytest.approx(1)
        gaps.append(np.abs(law - limit).max())
    assert np.divide(gaps[:-1], gaps[1:]) == pytest.approx([10, 10], rel=0.01)


@pytest.mark.parametrize(("law", "k"), [(picked_by_luce, 16), (picked_as_best, 4)])
def test_iterated_laws_stay_laws(law, k):
    """A total off by rounding would be raised to the k-th power each round: 40 rounds on, all would be 0 or inf."""
    model = np.full(8, 1 / 8)
    for _ in range(40):
        model = 0.9 * law(model, np.linspace(0, 3, 8), k) + 0.1 / 8
        assert model.sum() == pytest.approx(1, abs=1e-12)


def test_a_dead_level_stays_dead():
    """A level of probability 0 is never picked and leaves the law of the others as it is."""
    model = np.array([0.6, 0.0, 0.4, 0.0])
    for law in (picked_by_luce, picked_as_best):
        whole = law(model, REWARDS, 3)
        assert whole[1] == whole[3] == 0
        assert whole[[0, 2]] == pytest.approx(law(model[[0, 2]], REWARDS[[0, 2]], 3))


@pytest.mark.parametrize(("choice", "law"), [(Luce(), picked_by_luce), (BestOf(), picked_as_best)])
def test_the_librarys_filters_pick_by_these_laws(choice, law):
    """40,000 sets of three: each level's count within 4 standard errors."""
    batch = draw_levels(Key(0), MODEL, 120_000)
    mask = Alternatives(3, choice)(Key(1), LevelReward(REWARDS)(Key(2), batch))
    assert mask.sum() == 40_000
    share = frequencies(Key(3), MODEL, batch[mask])
    exact = law(MODEL, REWARDS, 3)
    assert np.all(np.abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / 40_000))


def test_the_law_of_a_round_is_that_of_the_loop():
    """4,000 rounds of ten picked and five real samples: mean and variance of the next model's reward."""
    real = np.full(4, 0.25)
    law = CurationLaw(
        REWARDS, real, partial(picked_by_luce, rewards=REWARDS, k=3), size=10, fresh=5
    )

    def with_real(key, past, kept):
        return np.concatenate([kept, draw_levels(key, real, 5)]), past

    loop = Loop(
        generate=draw_levels,
        verify=LevelReward(REWARDS),
        filter=Alternatives(3, Luce()),
        refit=frequencies,
        pool=with_real,
        measure=law,
    )
    steps = [loop.step(Key(4).fold(i), State(MODEL), 30)[1] for i in range(4000)]
    rewards = np.array([record.metrics["reward"] for record in steps])
    told = law(Key(0), MODEL)
    assert abs(rewards.mean() - told["reward_next"]) < 4 * np.sqrt(told["variance_next"] / 4000)
    squares = (rewards - told["reward_next"]) ** 2
    error = squares.std() / np.sqrt(4000)
    assert abs(squares.mean() - told["variance_next"]) < 4 * error
    assert (told["reward"], told["variance"]) == reward_moments(MODEL, REWARDS)


def test_the_path_is_the_map_iterated():
    law = CurationLaw(
        REWARDS, np.full(4, 0.25), partial(picked_as_best, rewards=REWARDS, k=2), size=30
    )
    path = law.path(3)
    assert path.shape == (4, 4) and np.array_equal(path[0], law.real)
    for before, after in pairwise(path):
        assert after == pytest.approx(picked_as_best(before, REWARDS, 2))


def test_what_has_no_law_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        picked_by_luce(MODEL, REWARDS, 0)
    with pytest.raises(ValueError, match="no two rewards may be equal"):
        picked_as_best(MODEL, np.array([1.0, 1.0, 2.0, 3.0]), 2)


def test_rewards_of_levels_that_are_never_drawn_change_nothing():
    """However large they are: the law is that of the others."""
    model = np.array([0.0, 0.4, 0.6])
    rewards = np.array([5000.0, 0.0, 1.0])
    for k in (1, 3, np.inf):
        others = picked_by_luce(model[1:], rewards[1:], k)
        assert picked_by_luce(model, rewards, k) == pytest.approx([0.0, *others], rel=1e-12)


def test_rewards_too_far_apart_for_a_float_are_refused():
    half = np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="must lie within 700 of one another, got 800; divide"):
        picked_by_luce(half, np.array([0.0, 800.0]), 2)
    assert picked_by_luce(half, np.array([0.0, 800.0]), np.inf).tolist() == [0.0, 1.0]
    assert picked_by_luce(half, np.array([0.0, 690.0]), 2) == pytest.approx([0.25, 0.75])
