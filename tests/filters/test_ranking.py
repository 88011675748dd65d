"""Filters: exact counts in every group, no NaN kept, ties broken by the key, groups apart."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import veriloop
from veriloop import (
    Alternatives,
    Bernoulli,
    BestOf,
    Boltzmann,
    Chain,
    KeepAll,
    Key,
    Luce,
    NearBest,
    RandomFraction,
    RoundError,
    Threshold,
    TopCount,
    TopFraction,
)
from veriloop.testing import check_filter

FILTERS = [
    KeepAll(),
    Threshold(0.5),
    Threshold(-np.inf),
    Bernoulli(),
    TopFraction(0.3),
    TopFraction(1.0),
    RandomFraction(0.3),
    BestOf(),
    Boltzmann(0.5, fraction=0.3),
    TopCount(2),
    Luce(),
    Luce(0.1),
    NearBest(0.0),
    NearBest(0.3),
    Alternatives(3, TopCount(2)),
    Alternatives(1, KeepAll()),
    Chain(Threshold(0.5), Bernoulli()),
    Chain(NearBest(0.5), Luce()),
]
RANKING = [
    TopFraction(0.3),
    TopFraction(0.5),
    RandomFraction(0.3),
    BestOf(),
    TopCount(2),
    Luce(),
    Boltzmann(0.5, 0.3),
]
KEYS = st.integers(0, 2**32).map(Key)
# Five values only, so ties are everywhere, and any float of [0, 1] between them.
SCORE = st.one_of(st.sampled_from([0.0, -0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
every_filter = pytest.mark.parametrize("filter", FILTERS, ids=repr)
every_ranking = pytest.mark.parametrize("filter", RANKING, ids=repr)
few = settings(max_examples=15)  # of each filter, and there are many


@st.composite
def scored(draw, nan=True, min_size=1):
    """Scores in [0, 1] (with NaN or without) and groups, labelled by any integers."""
    rows = draw(
        st.lists(
            st.tuples(SCORE, st.integers(1, 8 if nan else 7), st.sampled_from([-3, 0, 7])),
            min_size=min_size,
            max_size=60,
        )
    )
    scores, lots, groups = map(np.array, zip(*rows, strict=True))
    return np.where(lots == 8, np.nan, scores), groups


def wanted(filter, size):
    """The number of rows to keep of a group of `size`."""
    if isinstance(filter, TopCount | Luce):
        return getattr(filter, "count", 1)
    return int(np.floor(filter.fraction * size + 0.5))


def apply(filter, key, scores, groups):
    """Filter, or give up the example where a group is too small for what is asked."""
    try:
        return filter(key, scores, groups)
    except RoundError:
        assume(False)


@every_filter
@few
@given(key=KEYS, data=scored())
def test_mask_has_one_boolean_a_row_and_never_keeps_nan(filter, key, data):
    scores, groups = data
    scores.flags.writeable = groups.flags.writeable = False  # and changes nothing in place
    mask = apply(filter, key, scores, groups)
    assert mask.shape == scores.shape and mask.dtype == bool
    assert not mask[np.isnan(scores)].any()


def test_every_exported_filter_has_an_example_here():
    """`BestOf` is a function that makes one of the others."""
    modules = [f"veriloop.filters.{name}" for name in ("ranking", "choices", "weighting")]
    exported = {name: getattr(veriloop, name) for name in veriloop.__all__}
    named = {name for name, each in exported.items() if getattr(each, "__module__", "") in modules}
    assert named == {type(filter).__name__ for filter in FILTERS} | {"BestOf"}


@pytest.mark.parametrize("filter", [each for each in FILTERS if each != TopFraction(1.0)], ids=repr)
def test_contract(filter):
    """All but the fraction 1.0, which must refuse rows without a verdict; with ties too."""
    check_filter(filter)
    check_filter(filter, np.repeat([0.0, 0.25, 1.0], 10))


@every_filter
@few
@given(key=KEYS, data=scored(nan=False))
def test_no_groups_is_one_group(filter, key, data):
    scores, _ = data
    np.testing.assert_array_equal(
        apply(filter, key, scores, None), apply(filter, key, scores, np.full(len(scores), 4))
    )


@every_filter
@few
@given(key=KEYS, data=scored(nan=False), other=st.one_of(SCORE, KEYS))
def test_scores_of_one_group_never_change_the_mask_of_another(filter, key, data, other):
    """Whether that group's scores all become one value or are drawn anew."""
    scores, groups = data
    other = other.numpy().random(len(scores)) if isinstance(other, Key) else other
    changed = np.where(groups == 0, other, scores)
    before, after = apply(filter, key, scores, groups), apply(filter, key, changed, groups)
    np.testing.assert_array_equal(after[groups != 0], before[groups != 0])


@every_filter
@few
@given(key=KEYS, data=scored())
def test_group_labels_are_only_names(filter, key, data):
    scores, groups = data
    np.testing.assert_array_equal(
        apply(filter, key, scores, groups),
        apply(filter, key, scores, np.array([5, 1, 0])[np.sign(groups)]),
    )


@every_ranking
@few
@given(key=KEYS, data=scored())
def test_count_is_exact_in_every_group(filter, key, data):
    """To the nearest row of the fraction, or refused because too few rows have a verdict.

    A group without any verdict is skipped.
    """
    scores, groups = data
    judged = np.unique(groups[~np.isnan(scores)])
    assert not filter(key, np.where(np.isin(groups, judged), np.nan, scores), groups).any()
    sizes = {label: (groups == label).sum() for label in judged}
    short = [
        label
        for label, n in sizes.items()
        if (~np.isnan(scores[groups == label])).sum() < wanted(filter, n)
    ]
    if short:
        with pytest.raises(
            RoundError, match=rf"group {short[0]} has \d+ rows with a verdict, \d+ are to be kept"
        ):
            filter(key, scores, groups)
        return
    mask = filter(key, scores, groups)
    for label, size in sizes.items():
        kept = mask[groups == label].sum()
        assert kept == wanted(filter, size)
        if not isinstance(filter, TopCount | Luce):
            assert abs(kept - filter.fraction * size) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    "filter", [TopFraction(0.3), TopFraction(0.75), TopCount(1), TopCount(3)], ids=repr
)
@given(key=KEYS, data=scored(min_size=12))
def test_kept_rows_score_at_least_as_high_as_dropped_rows_of_their_group(filter, key, data):
    scores, groups = data
    mask, judged = apply(filter, key, scores, groups), ~np.isnan(scores)
    both = [label for label in np.unique(groups) if (judged & ~mask & (groups == label)).any()]
    both = [label for label in both if (mask & (groups == label)).any()]
    assume(both)
    for label in both:
        own = judged & (groups == label)
        assert scores[own & mask].min() >= scores[own & ~mask].max()


@every_ranking
@few
@given(key=KEYS, n=st.integers(4, 60), score=st.sampled_from([0.0, 1.0, -2.5]))
def test_equal_scores_keep_the_exact_count(filter, key, n, score):
    assert filter(key, np.full(n, score), None).sum() == wanted(filter, n)


@every_ranking
def test_ties_are_broken_by_the_key_alike_for_all_rows(filter):
    """Under 2,000 keys every one of 20 tied rows is kept equally often, wherever it stands."""
    masks = np.stack([filter(Key(key), np.zeros(20)) for key in range(2000)])
    share = wanted(filter, 20) / 20
    z = (masks.mean(axis=0) - share) / np.sqrt(share * (1 - share) / len(masks))
    assert np.abs(z).max() < 4
    # Neighbouring rows: without replacement their choices correlate by -1 / 19.
    both, joint = (masks[:, 0] & masks[:, 1]).mean(), share * (wanted(filter, 20) - 1) / 19
    assert abs(both - joint) <= 4 * np.sqrt(joint * (1 - joint) / len(masks))


@every_ranking
@few
@given(key=KEYS, data=scored())
def test_groups_may_be_of_any_integers_and_in_any_order(filter, key, data):
    """Labels of one byte rank as those of eight do; groups one after the other as groups mixed."""
    scores, groups = data
    small = np.searchsorted([-3, 0, 7], groups).astype(np.uint8)
    mask = apply(filter, key, scores, groups)
    np.testing.assert_array_equal(apply(filter, key, scores, small), mask)
    np.testing.assert_array_equal(apply(filter, key, scores, small.tolist()), mask)


@pytest.mark.parametrize(
    "filter", [TopFraction(0.3), TopFraction(0.5), TopCount(1), TopCount(2)], ids=repr
)
@given(
    key=KEYS,
    scores=st.lists(st.floats(-5, 5), min_size=12, max_size=40, unique=True),
    seed=st.integers(0, 99),
)
def test_without_ties_the_mask_is_that_of_sorting_each_group(filter, key, scores, seed):
    """Redone by hand; also for groups of very different sizes."""
    scores, groups = (
        np.array(scores),
        np.random.default_rng(seed).choice(3, len(scores), p=[0.7, 0.2, 0.1]),
    )
    kept = []
    for group in np.unique(groups):
        rows = sorted(np.flatnonzero(groups == group), key=lambda row: -scores[row])
        if wanted(filter, len(rows)) > len(rows):
            assume(False)
        kept += rows[: wanted(filter, len(rows))]
    assert np.flatnonzero(filter(key, scores, groups)).tolist() == sorted(kept)


def test_a_tie_at_the_cut_never_costs_a_better_row():
    scores = np.array([1.0, 0.5, 0.5, 0.5, 0.0, 2.0])
    masks = np.stack([TopCount(3)(Key(key), scores) for key in range(50)])
    assert masks[:, [0, 5]].all() and not masks[:, 4].any()
    assert (masks[:, 1:4].sum(axis=1) == 1).all() and masks[:, 1:4].any(axis=0).all()


@given(key=KEYS, data=scored(), fraction=st.floats(0.01, 1))
def test_random_fraction_keeps_as_many_of_each_group_as_top_fraction(key, data, fraction):
    scores, groups = data
    random = apply(RandomFraction(fraction), key, scores, groups)
    top = apply(TopFraction(fraction), key, scores, groups)
    for label in np.unique(groups):
        assert random[groups == label].sum() == top[groups == label].sum()


@given(key=KEYS, data=scored(), other=KEYS)
def test_random_fraction_ignores_the_scores(key, data, other):
    scores, groups = data
    changed = np.where(np.isnan(scores), np.nan, other.numpy().random(len(scores)))
    np.testing.assert_array_equal(
        apply(RandomFraction(0.4), key, scores, groups),
        apply(RandomFraction(0.4), key, changed, groups),
    )


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_random_fraction_selects_nothing(fraction):
    """The kept rows' mean score is the mean of all, within its error for draws without replacement."""
    n = 20_000
    scores = Key(1).fold("scores").numpy().standard_normal(n)
    kept = scores[RandomFraction(fraction)(Key(1), scores)]
    error = scores.std(ddof=1) * np.sqrt((1 - fraction) / (n * fraction))
    assert abs((kept.mean() - scores.mean()) / error) < 4


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.97])
def test_bernoulli_keeps_at_the_rate_of_the_score(p):
    n = 100_000
    kept = Bernoulli()(Key(2), np.full(n, p)).sum()
    assert abs((kept - n * p) / np.sqrt(n * p * (1 - p))) < 4


def test_bernoulli_keeps_rows_independently():
    """The pairs of neighbouring rows kept together are as many as chance makes."""
    n, p = 100_000, 0.3
    mask = Bernoulli()(Key(3), np.full(n, p)).reshape(-1, 2)
    assert abs((mask.all(axis=1).sum() - n / 2 * p**2) / np.sqrt(n / 2 * p**2 * (1 - p**2))) < 4


@given(KEYS, st.integers(1, 50))
def test_bernoulli_is_certain_at_0_and_1(key, n):
    assert Bernoulli()(key, np.ones(n)).all() and not Bernoulli()(key, np.zeros(n)).any()


@pytest.mark.parametrize("wrong", [-0.001, 1.001, -np.inf, np.inf])
def test_bernoulli_refuses_scores_that_are_no_probabilities(wrong):
    with pytest.raises(ValueError, match=rf"scores in \[0, 1\], got {re.escape(f'{wrong:.4g}')}"):
        Bernoulli()(Key(0), np.array([0.5, np.nan, wrong]))


def test_threshold_keeps_the_cut_itself_and_negative_zero():
    mask = Threshold(0.0)(
        Key(0), np.array([0.0, -0.0, -np.finfo(float).tiny, np.inf, -np.inf, np.nan])
    )
    np.testing.assert_array_equal(mask, [True, True, False, True, False, False])


@pytest.mark.parametrize(
    "scores",
    [
        np.arange(6),
        np.arange(6, dtype=np.uint8),  # whose negative is no order
        np.arange(6, dtype=np.float32),
        np.arange(6) > 2,
        [0, 1, 2, 3, 4, 5],
    ],
)
@pytest.mark.parametrize(
    "filter", [KeepAll(), Threshold(0.5), TopFraction(0.5), RandomFraction(0.5), TopCount(2)]
)
def test_scores_of_any_real_type_are_taken(filter, scores):
    mask = filter(Key(0), scores, np.zeros(6, dtype=int))
    assert mask.dtype == bool and mask.shape == (6,)
    if isinstance(filter, TopFraction):
        np.testing.assert_array_equal(mask, np.arange(6) > 2)


@pytest.mark.parametrize("make", [TopFraction, RandomFraction])
@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.0001, np.nan, np.inf])
def test_fractions_outside_0_to_1_are_refused(make, fraction):
    with pytest.raises(
        ValueError, match=rf"{make.__name__}\.fraction must be in \(0, 1\], got {fraction}"
    ):
        make(fraction)


@pytest.mark.parametrize(
    "filter",
    [
        KeepAll(),
        Threshold(0.5),
        TopFraction(0.3),
        TopCount(2),
        TopCount({-3: 1, 0: 0, 7: 2}),
        NearBest(0.3),
    ],
    ids=repr,
)
@given(key=KEYS, seed=st.integers(0, 99), n=st.integers(12, 60))
def test_another_order_of_the_rows_is_another_order_of_the_mask(filter, key, seed, n):
    """Where no two scores tie; choices by lot, and sets of consecutive rows, are another matter."""
    draw = np.random.default_rng(seed)
    scores, groups, order = draw.permutation(n) / n, draw.choice([-3, 0, 7], n), draw.permutation(n)
    mask = apply(filter, key, scores, groups)
    np.testing.assert_array_equal(apply(filter, key, scores[order], groups[order]), mask[order])


MANY = 310_000  # groups of three or four rows, more than 1 << 20 rows: ranked in two passes


@pytest.fixture(scope="module")
def many():
    """Scores without a tie, and groups of three rows and of four in turn, in any order."""
    labels = np.arange(MANY)
    groups = Key(0).fold("groups").numpy().permutation(np.repeat(labels, labels % 2 + 3))
    scores = Key(0).fold("scores").numpy().permutation(len(groups)) / len(groups)
    return scores, groups


def test_many_small_groups_are_ranked_as_each_alone(many):
    """More rows than are ranked at once; by hand, each group's rows sorted by score."""
    scores, groups = many
    assert len(scores) > 1 << 20
    order = np.lexsort((-scores, groups))
    sizes = np.bincount(groups)
    place = np.arange(len(scores)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    best = np.zeros(len(scores), dtype=bool)
    best[order[place < 2]] = True
    np.testing.assert_array_equal(TopCount(2)(Key(1), scores, groups), best)


def test_a_tie_in_any_of_many_small_groups_keeps_the_exact_count(many):
    """Wherever the passes meet, each group keeps two of its rows."""
    _, groups = many
    mask = TopCount(2)(Key(1), np.zeros(len(groups)), groups)
    assert (np.bincount(groups, weights=mask) == 2).all()


@pytest.mark.parametrize("short", [0, MANY - 1], ids=["first", "last"])
def test_the_one_group_of_many_that_is_short_is_named(many, short):
    scores, groups = many
    scores = scores.copy()
    scores[np.flatnonzero(groups == short)[1:]] = np.nan
    wanted = f"group {short} has 1 rows with a verdict, 2 are to be kept"
    with pytest.raises(RoundError, match=wanted):
        TopCount(2)(Key(1), scores, groups)


# A count for each group.


@given(key=KEYS, data=scored(nan=False), counts=st.tuples(*[st.integers(0, 6)] * 3))
def test_counts_by_group_keep_of_each_group_what_its_own_count_keeps(key, data, counts):
    scores, groups = data
    count = {
        label: min(n, (groups == label).sum()) for label, n in zip([-3, 0, 7], counts, strict=True)
    }
    mask = TopCount(count)(key, scores, groups)
    for label, n in count.items():
        rows = groups == label
        assert mask[rows].sum() == n
        others_too = TopCount({other: n * (other == label) for other in count})(key, scores, groups)
        np.testing.assert_array_equal(mask[rows], others_too[rows])
        if 0 < n <= min((groups == other).sum() for other in np.unique(groups)):
            np.testing.assert_array_equal(mask[rows], TopCount(int(n))(key, scores, groups)[rows])


def test_a_count_of_its_own_is_asked_of_a_group_without_any_verdict():
    """A count for all skips such a group."""
    scores, groups = np.array([1.0, 2.0, np.nan]), np.array([0, 0, 1])
    with pytest.raises(RoundError, match="group 1 has 0 rows with a verdict, 1 are to be kept"):
        TopCount({0: 1, 1: 1})(Key(0), scores, groups)
    np.testing.assert_array_equal(TopCount(1)(Key(0), scores, groups), [False, True, False])


def test_counts_by_group_refuse_groups_without_a_count_or_without_rows():
    scores, groups = np.array([1.0, 2.0, np.nan]), np.array([0, 1, 1])
    with pytest.raises(
        ValueError, match="must name every group, 0 for none of it; it lacks group 1"
    ):
        TopCount({0: 1})(Key(0), scores, groups)
    with pytest.raises(RoundError, match="group 5 has 0 rows with a verdict, 2 are to be kept"):
        TopCount({0: 1, 1: 1, 5: 2})(Key(0), scores, groups)
    with pytest.raises(RoundError, match="group 1 has 1 rows with a verdict, 2 are to be kept"):
        TopCount({0: 1, 1: 2})(Key(0), scores, groups)
    np.testing.assert_array_equal(
        TopCount({0: 0, 1: 1, 5: 0})(Key(0), scores, groups), [False, True, False]
    )


@pytest.mark.parametrize("count", [{}, {0: -1}, {0: 1, 1: 1.5}, {0: True}, {0: None}])
def test_counts_by_group_that_are_no_counts_are_refused(count):
    with pytest.raises(
        ValueError,
        match=rf"TopCount.count must give each group an integer of at least 0, got {re.escape(str(count))}",
    ):
        TopCount(count)


@pytest.mark.parametrize("count", [0, -1, 1.5, np.nan, 2.0, True, None, "3"])
def test_counts_that_are_not_positive_integers_are_refused(count):
    with pytest.raises(
        ValueError, match=rf"TopCount\.count must be an integer of at least 1, got {count!r}"
    ):
        TopCount(count)


@pytest.mark.parametrize("cut", [np.nan, "0", None, True])
def test_a_threshold_that_is_no_number_is_refused(cut):
    with pytest.raises(ValueError, match=rf"Threshold\.cut must be a finite number, got {cut!r}"):
        Threshold(cut)


@pytest.mark.parametrize("fraction", ["0.5", True, None])
def test_a_fraction_that_is_no_number_is_refused(fraction):
    with pytest.raises(ValueError, match=rf"fraction must be in \(0, 1\], got {fraction!r}"):
        TopFraction(fraction)


def test_too_few_verdicts_name_group_and_counts():
    scores, groups = np.array([1.0, np.nan, np.nan, 2.0]), np.array([4, 4, 4, 9])
    with pytest.raises(RoundError, match="group 4 has 1 rows with a verdict, 2 are to be kept"):
        TopFraction(0.5)(Key(0), scores, groups)
    with pytest.raises(RoundError, match="group 4 has 1 rows with a verdict, 2 are to be kept"):
        TopCount(2)(Key(0), scores, groups)
    with pytest.raises(RoundError, match="group 4 has 1 rows with a verdict, 2 are to be kept"):
        RandomFraction(0.5)(Key(0), scores, groups)


FLAGS = np.arange(30) % 2


SPARSE = np.where(np.arange(60) % 3 == 0, np.nan, np.arange(60) % 2)


@pytest.mark.parametrize("scores", [FLAGS, FLAGS.astype(float), 0 * FLAGS, SPARSE])
def test_scores_of_0_and_1_alone_are_refused_at_a_cut_of_0(scores):
    """Exact match as a number kept every row, in silence. On a scale, or cut between them, they are fine."""
    with pytest.raises(
        ValueError, match=r"0 and 1 alone, .* return 1 to accept and -1 to reject, or give"
    ):
        Threshold()(Key(0), scores)
    assert Threshold(0.5)(Key(0), scores).tolist() == (scores == 1).tolist()
    assert Threshold()(Key(0), np.append(scores, 0.5)).sum() > 0


def test_a_few_ratings_and_no_verifier_are_no_flags():
    """Ratings of a few rows may be 0 and 1 by chance; `Constant()` scores all rows 0."""
    assert Threshold()(Key(0), np.array([0.0, 1.0, 1.0])).all()
    assert Threshold()(Key(0), np.zeros(100)).all()


PROBABILITIES = np.linspace(0, 1, 200)


@pytest.mark.parametrize(
    "scores", [PROBABILITIES, np.append(PROBABILITIES, np.nan), PROBABILITIES.astype(np.float32)]
)
def test_probabilities_at_a_cut_of_0_are_warned_of(scores):
    """All of them are kept, which may be meant."""
    with pytest.warns(UserWarning, match=r"keeps every row of this round.* give Threshold\(0.5\)"):
        mask = Threshold()(Key(0), scores)
    np.testing.assert_array_equal(mask, ~np.isnan(scores))


@pytest.mark.parametrize(
    "filter, scores",
    [
        (Threshold(0.5), PROBABILITIES),
        (KeepAll(), PROBABILITIES),
        (Threshold(), PROBABILITIES - 0.01),  # rejects some, so it is a cut
        (Threshold(), PROBABILITIES + 0.5),  # goes on above 1
        (Threshold(), 0.5 + PROBABILITIES / 2),  # a verifier that accepts all clearly
        (Threshold(), PROBABILITIES[:15]),  # too few to say
        (Threshold(), np.full(200, 0.05)),  # no verifier
    ],
)
def test_scores_that_are_cut_or_accepted_clearly_are_not_warned_of(filter, scores):
    filter(Key(0), scores)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_large_integers_that_are_one_float_are_ranked_apart(dtype):
    scores = np.array([2**60, 2**60 + 1, 2**60 - 5, 0], dtype=dtype)
    assert TopCount(1)(Key(0), scores).tolist() == [False, True, False, False]
    assert TopFraction(0.5)(Key(0), scores).tolist() == [True, True, False, False]
