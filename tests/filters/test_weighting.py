"""Lots that favour high scores: their law, their limits, and exponential weights."""

import numpy as np
import pytest

from veriloop import Boltzmann, Key, Loop, Luce, Quota, RoundError, State, TopFraction
from veriloop.linear import GaussianDesign, Generate, least_squares


def test_rows_are_drawn_one_after_the_other_without_being_put_back():
    """50,000 groups of three, two of each kept: every pair as often as two draws by e^(s/T) take it."""
    scores, sets, temperature = np.array([0.0, 1.0, -0.4]), 50_000, 0.8
    groups = np.repeat(np.arange(sets), 3)
    mask = Boltzmann(temperature, 0.6)(Key(0), np.tile(scores, sets), groups).reshape(sets, 3)
    assert (mask.sum(axis=1) == 2).all()
    odds = np.exp(scores / temperature) / np.exp(scores / temperature).sum()
    for i, j in ((0, 1), (0, 2), (1, 2)):
        p = odds[i] * odds[j] * (1 / (1 - odds[i]) + 1 / (1 - odds[j]))
        seen = np.sum(mask[:, i] & mask[:, j])
        assert abs(seen - sets * p) < 4 * np.sqrt(sets * p * (1 - p))


def test_one_row_of_a_group_is_the_choice_of_luce():
    scores = np.array([0.3, -1.0, 2.0, 0.5])
    for seed in range(50):
        key = Key(seed)
        np.testing.assert_array_equal(Boltzmann(0.7, 0.25)(key, scores), Luce(0.7)(key, scores))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_of_many_rows_each_is_kept_with_the_stated_probability(fraction):
    """1 - exp(-lambda e^(s/T)), lambda by bisection; two scores, so that frequencies are binomial."""
    n, temperature = 200_000, 0.5
    scores = np.tile([0.0, 0.6], n // 2)
    kept = Boltzmann(temperature, fraction)(Key(1), scores)
    weight = np.exp(np.array([0.0, 0.6]) / temperature)
    low, high = 1e-9, 100.0
    for _ in range(100):
        middle = np.sqrt(low * high)
        enough = np.mean(1 - np.exp(-middle * weight)) > fraction
        low, high = (low, middle) if enough else (middle, high)
    p = 1 - np.exp(-low * weight)
    seen = kept.reshape(-1, 2).mean(axis=0)
    assert (abs(seen - p) < 4 * np.sqrt(p * (1 - p) / (n / 2))).all()


def test_it_lies_between_the_best_rows_and_any_rows():
    scores = Key(2).numpy().standard_normal(1000)
    cold = Boltzmann(1e-12, 0.3)(Key(3), scores)
    np.testing.assert_array_equal(cold, TopFraction(0.3)(Key(3), scores))
    hot = Boltzmann(1e9, 0.3)(Key(3), scores)
    assert hot.sum() == 300
    error = scores.std() * np.sqrt(0.7 / 300)
    assert abs(scores[hot].mean() - scores.mean()) < 4 * error


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_scores_of_any_size_are_ranked(scale):
    """Dividing by the temperature would overflow, and make all rows equal."""
    kept = Boltzmann(1e-3 * scale, 0.5)(Key(0), scale * np.array([0.0, 1.0, 0.5, -1.0]))
    assert kept.tolist() == [False, True, True, False]


def test_a_small_fraction_is_a_fit_with_exponential_weights():
    """One in fifty of 100,000 rows: the slope of the kept rows is that of the weighted fit of all, by z."""
    write, model, temperature = Generate(GaussianDesign(1)), np.array([1.0]), 2.0
    batch = write(Key(4), model, 100_000)
    scores = -np.abs(batch.y)
    weights = np.exp(scores / temperature)
    wanted = np.sum(weights * batch.x[:, 0] * batch.y) / np.sum(weights * batch.x[:, 0] ** 2)
    found = []
    for seed in range(40):
        kept = batch[Boltzmann(temperature, 0.02)(Key(5).fold(seed), scores)]
        found.append(least_squares(Key(0), model, kept)[0])
    assert abs(np.mean(found) - wanted) < 4 * np.std(found, ddof=1) / np.sqrt(40)
    assert wanted < 0.9  # the weights matter


def test_rows_without_a_verdict_count_and_are_never_kept():
    scores = np.array([np.nan, 1.0, np.nan, 2.0])
    assert Boltzmann(1.0, 0.5)(Key(0), scores).tolist() == [False, True, False, True]
    with pytest.raises(RoundError, match="group 0 has 2 rows with a verdict, 3 are to be kept"):
        Boltzmann(1.0, 0.75)(Key(0), scores)


def test_a_quota_refuses_it_as_it_ranks():
    loop = Loop(
        generate=Generate(GaussianDesign(1)),
        verify=lambda key, batch: batch.y,
        filter=Boltzmann(1.0, 0.5),
        refit=least_squares,
    )
    with pytest.raises(ValueError, match="Boltzmann"):
        loop.step(Key(0), State(np.zeros(1)), Quota(5))


@pytest.mark.parametrize(
    "temperature, fraction, message",
    [
        (0.0, 0.5, "Boltzmann.temperature must be positive and finite, got 0.0"),
        (np.inf, 0.5, "Boltzmann.temperature must be positive and finite, got inf"),
        (np.nan, 0.5, "Boltzmann.temperature must be positive and finite, got nan"),
        (1.0, 0.0, r"Boltzmann.fraction must be in \(0, 1\], got 0.0"),
        (1.0, 1.5, r"Boltzmann.fraction must be in \(0, 1\], got 1.5"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(temperature, fraction, message):
    with pytest.raises(ValueError, match=message):
        Boltzmann(temperature, fraction)
