"""Choices among alternatives: the law of Luce's rule, margins by hand, consecutive rows as sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Alternatives,
    Bernoulli,
    BestOf,
    Chain,
    KeepAll,
    Key,
    Loop,
    Luce,
    NearBest,
    RandomFraction,
    RoundError,
    State,
    Threshold,
    TopCount,
    TopFraction,
)

KEYS = st.integers(0, 2**32).map(Key)
SCORES = st.lists(
    st.sampled_from([-1.0, 0.0, 0.5, 0.75, 2.0, np.nan]), min_size=1, max_size=40
).map(np.array)
GROUPS = st.integers(0, 99)


def labels(seed, n):
    return np.random.default_rng(seed).choice([-3, 0, 7], n)


# Luce.


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_luce_draws_by_the_exponential_of_the_score(temperature):
    """100,000 sets of five alternatives, one without a verdict: every frequency, against the formula."""
    scores, sets = np.array([0.0, 1.0, -0.5, np.nan, 2.0]), 100_000
    mask = Luce(temperature)(Key(0), np.tile(scores, sets), np.repeat(np.arange(sets), 5)).reshape(
        sets, 5
    )
    assert (mask.sum(axis=1) == 1).all()
    p = np.nan_to_num(np.exp(scores / temperature))
    p /= p.sum()
    z = (mask.sum(axis=0) - sets * p)[p > 0] / np.sqrt(sets * p * (1 - p))[p > 0]
    assert np.abs(z).max() < 4 and not mask[:, 3].any()


def test_luce_sets_are_independent_of_one_another():
    """Neighbouring sets make the same choice as often as chance has it."""
    sets = 40_000
    choice = Luce()(Key(1), np.tile([0.0, 1.0], sets), np.repeat(np.arange(sets), 2)).reshape(
        sets, 2
    )[:, 1]
    p = np.e / (1 + np.e)
    same, chance = (choice[::2] == choice[1::2]).mean(), p**2 + (1 - p) ** 2
    assert abs(same - chance) < 4 * np.sqrt(chance * (1 - chance) / (sets / 2))


def test_luce_of_two_is_the_choice_of_bradley_and_terry():
    """P(first) is the logistic function of the difference, whatever is added to both."""
    sets, p = 50_000, 1 / (1 + np.exp(-0.7))
    for added in (0.0, -40.0, 1e4):
        mask = Luce()(Key(2), np.tile([added + 0.7, added], sets), np.repeat(np.arange(sets), 2))
        assert abs(mask[::2].sum() - sets * p) < 4 * np.sqrt(sets * p * (1 - p))


def test_luce_curates_a_normal_sample_as_in_the_limit_of_many_alternatives():
    """Score b x of standard normal x: exponential weight gives N(b, 1) as K grows (Ferbach et al., 2024, K -> inf).

    Self-normalised weights of K rows are off by O(1/K) in mean: for K = 1,000 below (b + b^3) e^(b^2) / K.
    """
    b, k, sets = 0.5, 1000, 1000
    x = Key(3).numpy().standard_normal(k * sets)
    kept = x[Alternatives(k, Luce())(Key(4), b * x)]
    assert len(kept) == sets
    assert abs(kept.mean() - b) < 4 / np.sqrt(sets) + (b + b**3) * np.exp(b**2) / k
    assert abs(kept.var() - 1) < 4 * np.sqrt(2 / sets) + 10 / k


@given(KEYS, SCORES, GROUPS)
def test_luce_keeps_one_of_each_group_that_has_a_verdict(key, scores, seed):
    groups = labels(seed, len(scores))
    judged = np.unique(groups[~np.isnan(scores)])
    kept = Luce()(key, scores, groups)
    assert sorted(groups[kept]) == sorted(judged) and not np.isnan(scores[kept]).any()


@given(KEYS, st.lists(st.floats(-5, 5), min_size=2, max_size=20, unique=True), GROUPS)
def test_luce_without_heat_is_the_best_of(key, scores, seed):
    """At T = 0 in the limit; here gaps of scores are a million times T's noise or ties are excluded."""
    scores, groups = np.round(np.array(scores), 3), labels(seed, len(scores))
    if len(np.unique(scores)) < len(scores):
        return
    np.testing.assert_array_equal(Luce(1e-6)(key, scores, groups), BestOf()(key, scores, groups))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_temperatures_that_make_no_law_are_refused(temperature):
    with pytest.raises(
        ValueError, match=f"Luce.temperature must be positive and finite, got {temperature}"
    ):
        Luce(temperature)


def test_best_of_is_the_top_count_of_one():
    assert BestOf() == TopCount(1)


# NearBest.


@given(KEYS, SCORES, GROUPS, st.sampled_from([0.0, 0.25, 1.5]))
def test_margin_keeps_what_is_near_the_best_of_its_group(key, scores, seed, gamma):
    """Redone group by group; a group without any verdict keeps nothing."""
    groups, wanted = labels(seed, len(scores)), np.zeros(len(scores), dtype=bool)
    for row, (score, group) in enumerate(zip(scores, groups, strict=True)):
        own = [other for other in scores[groups == group] if not np.isnan(other)]
        wanted[row] = bool(own) and score >= max(own) - gamma
    np.testing.assert_array_equal(NearBest(gamma)(key, scores, groups), wanted)


@pytest.mark.parametrize("gamma", [-0.1, np.nan, np.inf])
def test_margins_that_are_no_distance_are_refused(gamma):
    with pytest.raises(
        ValueError, match=f"NearBest.gamma must be at least 0 and finite, got {gamma}"
    ):
        NearBest(gamma)


# Consecutive rows as alternatives.


@given(KEYS, SCORES.map(np.nan_to_num), GROUPS, st.integers(1, 5))
def test_alternatives_are_consecutive_rows_of_a_group(key, scores, seed, k):
    """As if whoever made the rows had labelled them so; rows left over are not kept."""
    groups, sets = labels(seed, len(scores)), np.full(len(scores), -1)
    for label in np.unique(groups):
        rows = np.flatnonzero(groups == label)
        for i in range(len(rows) // k):
            sets[rows[i * k : (i + 1) * k]] = label * 1000 + i
    used = sets != -1
    mask = Alternatives(k, TopCount(1))(key, scores, groups)
    assert not mask[~used].any()
    np.testing.assert_array_equal(
        mask[used], TopCount(1)(key, scores[used], sets[used]) if used.any() else []
    )


def test_alternatives_choose_in_sets_of_one_as_all_there_is():
    scores = np.array([1.0, 2.0, 3.0])
    assert Alternatives(1, Luce())(Key(0), scores).all()
    assert not Alternatives(4, Luce())(Key(0), scores).any()


@pytest.mark.parametrize("k", [0, -2, 1.5, True])
def test_sets_of_no_positive_size_are_refused(k):
    with pytest.raises(
        ValueError, match=f"Alternatives.k must be an integer of at least 1, got {k}"
    ):
        Alternatives(k, Luce())


# One filter after another.


@given(KEYS, SCORES, GROUPS)
def test_the_second_filter_sees_no_verdict_where_the_first_dropped_a_row(key, scores, seed):
    groups = labels(seed, len(scores))
    first = Threshold(0.0)(key, scores, groups)
    seen = []

    def second(key, scores, groups):
        seen.append(scores)
        return scores > 0.6

    mask = Chain(Threshold(0.0), second)(key, scores, groups)
    np.testing.assert_array_equal(mask, np.nan_to_num(scores, nan=-1) > 0.6)
    np.testing.assert_array_equal(seen[0], np.where(first, scores, np.nan))


def test_a_softmax_pick_near_the_best_follows_its_law():
    """Fu et al. (2025): only rows within the margin are drawn, by the exponential of their scores."""
    scores, sets = np.array([0.0, 1.0, 1.5, -1.0]), 40_000
    mask = Chain(NearBest(1.0), Luce())(
        Key(5), np.tile(scores, sets), np.repeat(np.arange(sets), 4)
    ).reshape(sets, 4)
    p = np.exp([1.0, 1.5]) / np.exp([1.0, 1.5]).sum()
    z = (mask[:, 1:3].sum(axis=0) - sets * p) / np.sqrt(sets * p * (1 - p))
    assert np.abs(z).max() < 4 and mask.sum() == sets and not mask[:, [0, 3]].any()


def test_two_random_filters_draw_from_different_streams():
    """Kept by both at the product of the rates, not at the lower one."""
    n, p = 40_000, 0.5
    kept = Chain(Bernoulli(), Bernoulli())(Key(6), np.full(n, p)).sum()
    assert abs(kept - n * p**2) < 4 * np.sqrt(n * p**2 * (1 - p**2))


def test_two_filters_serve_a_quota_where_both_judge_row_by_row():
    assert Chain(Threshold(0.0), Bernoulli()).rowwise
    assert not Chain(Threshold(0.0), TopFraction(0.5)).rowwise
    assert not Chain(Luce(), KeepAll()).rowwise
    assert not Chain(Threshold(0.0), lambda key, scores, groups: scores > 0).rowwise


PROMPTS = np.repeat([0, 1, 2], 4)
GOOD_ENOUGH = np.array([1.0, -1, 2, 0.5, -1, -2, -3, -4, -1, 3, -1, -1])


@pytest.mark.parametrize("best", [BestOf(), Luce(0.01), TopFraction(0.25)], ids=repr)
def test_the_best_of_n_skips_a_prompt_of_which_none_is_good_enough_or_none_is_judged(best):
    lost = np.where(PROMPTS == 1, np.nan, GOOD_ENOUGH)
    for filter, scores in ((Chain(Threshold(0), best), GOOD_ENOUGH), (best, lost)):
        np.testing.assert_array_equal(np.flatnonzero(filter(Key(0), scores, PROMPTS)), [2, 9])


def test_a_chain_says_which_filter_left_too_few():
    with pytest.raises(
        RoundError,
        match=r"group 2 has 1 rows with a verdict, 2 are to be kept; "
        r"Threshold\(cut=0\) kept 4 of 12 rows for TopCount\(count=2\)",
    ):
        Chain(Threshold(0), TopCount(2))(Key(0), GOOD_ENOUGH, PROMPTS)


@pytest.mark.parametrize(
    "filter, message",
    [
        (Chain(Threshold(5), BestOf()), r"best score 3; Threshold\(cut=5\) kept none$"),
        (
            Chain(Threshold(0), Threshold(5)),
            r"; Threshold\(cut=0\) kept 4 of 12 rows for Threshold\(cut=5\); "
            r"Threshold\(cut=5\) kept none$",
        ),
        (
            TopFraction(0.1),
            "; 0.1 of 4 rows, the largest group, rounds to 0; give a larger fraction, TopCount",
        ),
        (RandomFraction(0.1), "; 0.1 of 4 rows, the largest group, rounds to 0"),
        (Chain(KeepAll(), TopFraction(0.1)), "kept 12 of 12 rows .* 0.1 of 4 rows"),
    ],
)
def test_a_round_that_keeps_nothing_says_which_filter_it_was(filter, message):
    loop = Loop(
        generate=lambda key, model, n: GOOD_ENOUGH,
        verify=lambda key, batch: batch,
        filter=filter,
        refit=lambda key, model, batch: model,
        group=lambda batch: PROMPTS,
    )
    with pytest.raises(RoundError, match=f"round 1: acceptance 0, .*{message}"):
        loop.step(Key(0), State(None), 12)


# Many rows.


@pytest.mark.slow
def test_a_hundred_thousand_groups_are_chosen_from_at_once():
    """Mixed in any order: as many kept as groups, each the best of its own."""
    groups = Key(7).numpy().permutation(1_000_000) // 10
    scores = Key(8).numpy().random(1_000_000)
    best = np.full(100_000, -np.inf)
    np.maximum.at(best, groups, scores)
    np.testing.assert_array_equal(BestOf()(Key(0), scores, groups), scores == best[groups])
    np.testing.assert_array_equal(
        np.bincount(groups[Luce()(Key(0), scores, groups)]), np.ones(100_000)
    )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Chain(Threshold, BestOf()), r"Chain\.first is the class Threshold; make a value"),
        (
            lambda: Chain(Threshold(), BestOf),
            r"Chain\.second must be a function of \(key, scores, groups\), got BestOf, which takes \(\)",
        ),
        (lambda: Alternatives(2, None), r"Alternatives\.filter must be a function"),
    ],
)
def test_what_is_no_filter_is_refused_where_it_is_composed(make, message):
    with pytest.raises(TypeError, match=message):
        make()


NO_MASKS = [
    (lambda key, scores, groups: np.argsort(-scores), "got dtype int64"),
    (lambda key, scores, groups: scores.max() > 0, r"got shape \(\)"),
    (lambda key, scores, groups: (scores > 2)[:, None], r"got shape \(4, 1\)"),
    (lambda key, scores, groups: np.ma.array(scores > 0, mask=scores > 2), "got a masked array"),
]


@pytest.mark.parametrize("inner, message", NO_MASKS)
@pytest.mark.parametrize(
    "wrap", [lambda inner: Chain(inner, KeepAll()), lambda inner: Alternatives(4, inner)]
)
def test_an_inner_filter_that_returns_no_mask_is_refused(wrap, inner, message):
    with pytest.raises(ValueError, match=f"filter must return .*{message}"):
        wrap(inner)(Key(0), np.array([3.0, 1.0, 2.0, 4.0]))


def test_a_low_temperature_does_not_overflow_scores_of_16_bits():
    scores = np.array([1000, 65_000, 900], dtype=np.float16)
    assert Luce(0.01)(Key(0), scores).tolist() == [False, True, False]
