"""Verifier algebra: scores against NumPy, parts and error rates against counts by hand, noise at its rate."""

import pickle
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Audited,
    Constant,
    Key,
    Loop,
    Noisy,
    Oracle,
    Random,
    Shifted,
    State,
    Threshold,
    Verdict,
    all_of,
    any_of,
    vote,
    weighted,
)

KEYS = st.integers(0, 2**32).map(Key)


@dataclass(frozen=True)
class Column:
    """Score a row by one of its columns."""

    j: int

    def __call__(self, key, batch):
        return batch[:, self.j]


@st.composite
def tables(draw, nan=True):
    """Rows of one score a part: few values, so ties and exact zeros abound, and NaN among them."""
    values = [-2.0, -1.0, -0.0, 0.0, 0.5, 3.0] + [np.nan] * nan
    columns = draw(st.integers(1, 4))
    rows = draw(st.lists(st.tuples(*[st.sampled_from(values)] * columns), min_size=1, max_size=20))
    return np.array(rows)


def columns(table):
    return {f"part{j}": Column(j) for j in range(table.shape[1])}


@given(KEYS, tables(nan=False))
def test_all_of_is_the_minimum_and_any_of_the_maximum(key, table):
    np.testing.assert_array_equal(all_of(**columns(table))(key, table).scores, table.min(axis=1))
    np.testing.assert_array_equal(any_of(**columns(table))(key, table).scores, table.max(axis=1))


@given(KEYS, tables(nan=False), st.data())
def test_vote_accepts_what_enough_parts_accept(key, table, data):
    needed = data.draw(st.integers(1, table.shape[1]))
    scores = vote(needed, **columns(table))(key, table).scores
    np.testing.assert_array_equal(scores >= 0, (table >= 0).sum(axis=1) >= needed)
    np.testing.assert_array_equal(scores, -np.sort(-table, axis=1)[:, needed - 1])


@given(KEYS, tables(), st.data())
def test_a_row_is_decided_where_no_vote_of_a_part_that_abstains_could_change_it(key, table, data):
    """`all_of` and `any_of` are votes of all and of one; every way to fill in a NaN is tried."""
    parts = table.shape[1]
    needed = data.draw(st.integers(1, parts))
    scores = vote(needed, **columns(table))(key, table).scores
    for row, score in zip(table, scores, strict=True):
        outcomes = set()
        for votes in product([-9.0, 9.0], repeat=int(np.isnan(row).sum())):
            filled = row.copy()
            filled[np.isnan(row)] = votes
            outcomes.add(bool((filled >= 0).sum() >= needed))
        if len(outcomes) == 2:
            assert np.isnan(score)
        else:
            assert outcomes == {bool(score >= 0)}
            assert score in row


def test_parts_that_abstain_by_hand():
    """What one part accepts, any_of accepts; what one part rejects, all_of rejects."""
    table = np.array([[1.0, np.nan], [-1.0, np.nan], [np.nan, np.nan]])
    parts = columns(table)
    np.testing.assert_array_equal(any_of(**parts)(Key(0), table).scores, [1.0, np.nan, np.nan])
    np.testing.assert_array_equal(all_of(**parts)(Key(0), table).scores, [np.nan, -1.0, np.nan])


@given(KEYS, tables(), st.lists(st.sampled_from([-1.5, 0.0, 0.25, 2.0]), min_size=4, max_size=4))
def test_weighted_is_the_weighted_sum(key, table, weights):
    """A part of weight 0 counts in nothing, so that its NaN does not either."""
    weights = weights[: table.shape[1]]
    scores = weighted(weights, **columns(table))(key, table).scores
    reference = []
    for row in table:
        terms = [w * s for w, s in zip(weights, row, strict=True) if w != 0]
        reference.append(sum(terms))
    np.testing.assert_allclose(scores, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weight", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(weight):
    with pytest.raises(ValueError, match="weighted: a weight must be a finite number, got"):
        weighted([weight], Constant())


@given(KEYS, tables())
def test_parts_are_reported_unchanged_under_their_names(key, table):
    for check in (all_of(**columns(table)), any_of(**columns(table)), vote(1, **columns(table))):
        verdict = check(key, table)
        assert list(verdict.parts) == list(columns(table))
        for j, scores in enumerate(verdict.parts.values()):
            np.testing.assert_array_equal(scores, table[:, j])


def test_parts_of_parts_are_named_by_their_path():
    inner = any_of(low=Column(0), high=Column(1))
    verdict = all_of(inner=inner, last=Column(2))(Key(0), np.array([[1.0, 2.0, 3.0]]))
    assert {name: float(scores[0]) for name, scores in verdict.parts.items()} == {
        "inner": 2.0,
        "inner.low": 1.0,
        "inner.high": 2.0,
        "last": 3.0,
    }


def test_bare_parts_take_the_name_of_their_function_or_class():
    def long_enough(key, batch):
        return batch[:, 0]

    assert list(all_of(long_enough, Random(), lambda key, batch: batch[:, 0]).parts) == [
        "long_enough",
        "Random",
        "lambda",
    ]


def test_parts_of_one_name_are_numbered_and_none_is_lost():
    """Also where the name has an underscore, and where an explicit name is in the way."""

    def at_least(cut):
        def at_least(key, batch):
            return batch[:, 0] - cut

        return at_least

    check = all_of(at_least(1), at_least(5), at_least(2), Random(), at_least_2=Column(0))
    assert set(check.parts) == {"at_least", "at_least_2", "at_least_3", "at_least_4", "Random"}
    assert len(check.parts) == 5
    assert all_of(at_least(1), at_least(5))(Key(0), np.array([[3.0]])).scores == -2.0
    assert len(any_of(Constant(1), Constant(2), Constant=Constant(3)).parts) == 3


def test_stochastic_parts_of_one_kind_draw_from_different_streams():
    verdict = all_of(Random(), Random(), other=Random())(Key(0), np.zeros((20_000, 1)))
    streams = np.stack(list(verdict.parts.values()))
    correlation = np.corrcoef(streams)[np.triu_indices(3, 1)] * np.sqrt(20_000)
    assert np.abs(correlation).max() < 4


def test_compositions_pickle_for_worker_processes():
    for check in (
        all_of(a=Column(0)),
        any_of(Column(0)),
        vote(1, Column(0)),
        weighted([2], Column(0)),
    ):
        copy = pickle.loads(pickle.dumps(Noisy(check, 0.5, 0.5)))
        table = np.array([[1.0], [-1.0], [np.nan]])
        np.testing.assert_array_equal(
            copy(Key(0), table).scores, Noisy(check, 0.5, 0.5)(Key(0), table).scores
        )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: all_of(), "all_of needs at least one verifier, got none"),
        (lambda: any_of(), "any_of needs at least one verifier, got none"),
        (lambda: weighted([]), "weighted needs at least one verifier, got none"),
        (lambda: vote(0, Random()), "vote.needed must be an integer from 1 to the 1 parts, got 0"),
        (
            lambda: vote(3, Random(), Random()),
            "vote.needed must be an integer from 1 to the 2 parts, got 3",
        ),
        (lambda: weighted([1.0], Random(), Random()), "one weight for each of the 2 parts, got 1"),
    ],
)
def test_compositions_refuse_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: all_of(Random), r"all_of: part 0 is the class Random; make a value of it"),
        (lambda: any_of(a=None), r"any_of: part 'a' must be a function of \(key, batch\)"),
        (lambda: all_of([Random()]), r"all_of: part 0 must be a function of .* got list"),
        (lambda: Noisy(Random), r"Noisy\.verifier is the class Random"),
        (lambda: Shifted(3, by=1), r"Shifted\.verifier must be a function of .* got int 3"),
        (
            lambda: Audited(Random(), lambda batch: batch > 0),
            r"Audited\.oracle must be a function of \(key, batch\), got <lambda>, which takes \(batch\)",
        ),
    ],
)
def test_what_is_no_verifier_is_refused_where_it_is_composed(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: vote(1.5, Random(), Random()), "vote.needed must be an integer from 1"),
        (lambda: vote(Random(), Random()), "vote.needed must be .* write vote"),
        (lambda: weighted(Random(), Random()), "weighted needs a list of weights first"),
        (lambda: weighted(["1"], Random()), "weighted: a weight must be a finite number, got '1'"),
        (lambda: Shifted(Random(), by=np.nan), "Shifted.by must be a finite number, got nan"),
        (lambda: Constant("1"), "Constant.score must be a finite number, got '1'"),
    ],
)
def test_numbers_of_another_kind_are_refused_at_the_door(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "unknown",
    [
        [True, None, False],
        [1, None, 0],
        np.array([1.0, np.nan, 0.0]),
        np.ma.masked_array([True, True, False], mask=[False, True, False]),
    ],
)
def test_a_truth_that_is_not_known_is_no_verdict(unknown):
    oracle = Oracle(lambda batch: unknown)
    np.testing.assert_array_equal(oracle(Key(0), np.zeros(3)), [1.0, np.nan, -1.0])


@pytest.mark.parametrize(
    "truth, message",
    [
        ([0.2, 1.0, 0.0], "must return booleans, or 0 and 1, got 0.2 in row 0"),
        ([True], r"must return one boolean a row, shape \(3,\), got shape \(1,\)"),
        (True, r"must return one boolean a row, shape \(3,\), got shape \(\)"),
        (["yes", "no", "no"], "must return numbers, got str 'yes' in row 0"),
    ],
)
def test_a_truth_that_is_no_boolean_is_refused(truth, message):
    oracle = Oracle(lambda batch: truth)
    with pytest.raises(ValueError, match=rf"Oracle\.truth {message}"):
        oracle(Key(0), np.zeros(3))


# Noise.


@pytest.mark.parametrize(
    "false_accept, false_reject", [(0.1, 0.3), (0.5, 0.5), (0.02, 0.0), (0.0, 0.9)]
)
def test_noise_flips_at_its_nominal_rates(false_accept, false_reject):
    n = 50_000
    table = Key(4).numpy().standard_normal((n, 1)) + 0.4
    clean = table[:, 0]
    noisy = Noisy(Column(0), false_accept, false_reject)(Key(5), table)
    wrong = (noisy.scores >= 0) != (clean >= 0)
    for rows, rate in ((clean < 0, false_accept), (clean >= 0, false_reject)):
        count, size = wrong[rows].sum(), rows.sum()
        assert abs(count - size * rate) <= 4 * np.sqrt(size * rate * (1 - rate))
    rates = noisy.metrics(noisy.scores >= 0)
    assert rates["false_accept"] == wrong[clean < 0].mean()
    assert rates["false_reject"] == wrong[clean >= 0].mean()


@given(KEYS, tables())
def test_noise_of_rate_0_changes_nothing_and_of_rate_1_flips_every_verdict(key, table):
    """Also at a score of exactly 0 or -0, whose sign alone could not tell; NaN stays NaN."""
    clean = table[:, 0]
    np.testing.assert_array_equal(Noisy(Column(0))(key, table).scores, clean)
    flipped = Noisy(Column(0), 1.0, 1.0)(key, table).scores
    judged = ~np.isnan(clean)
    np.testing.assert_array_equal(np.isnan(flipped), ~judged)
    np.testing.assert_array_equal((flipped >= 0)[judged], ~(clean >= 0)[judged])
    np.testing.assert_allclose(np.abs(flipped), np.abs(clean), atol=1e-300)


@given(KEYS, tables(nan=False))
def test_noise_of_one_kind_leaves_the_other_verdicts_alone(key, table):
    clean = table[:, 0]
    lenient = Noisy(Column(0), false_accept=1.0)(key, table).scores
    strict = Noisy(Column(0), false_reject=1.0)(key, table).scores
    np.testing.assert_array_equal(lenient[clean >= 0], clean[clean >= 0])
    np.testing.assert_array_equal(strict[clean < 0], clean[clean < 0])
    assert (lenient >= 0).all() and (strict < 0).all()


def test_noise_keeps_an_oracle_that_its_verifier_brings():
    audited = Audited(Constant(1.0), Column(0))
    table = np.array([[-1.0], [1.0]])
    np.testing.assert_array_equal(Noisy(audited, 0.5, 0.5)(Key(0), table).oracle, table[:, 0])


@pytest.mark.parametrize("name", ["false_accept", "false_reject"])
@pytest.mark.parametrize("rate", [-0.1, 1.1, np.nan])
def test_noise_rates_outside_0_to_1_are_refused(name, rate):
    with pytest.raises(ValueError, match=rf"Noisy\.{name} must be in \[0, 1\], got {rate}"):
        Noisy(Random(), **{name: rate})


# Oracles and audits.


def test_audit_counts_errors_as_by_hand():
    """Six rows; the truth accepts the first three. The mask, not the score, is what was kept."""
    truth = np.array([1.0, 0.0, 2.0, -1.0, -2.0, -0.5])
    scores = np.array([1.0, -1.0, np.nan, 1.0, -1.0, -1.0])
    verdict = Audited(all_of(first=Column(0), second=Column(1)), Column(2))(
        Key(0), np.stack([scores, np.full(6, 9.0), truth], axis=1)
    )
    np.testing.assert_array_equal(verdict.scores, np.minimum(scores, 9.0))
    mask = np.array([True, True, False, True, True, False])
    assert verdict.metrics(mask) == {
        "acceptance_first": 2 / 6,
        "acceptance_second": 1.0,
        "false_accept": 2 / 3,
        "false_reject": 1 / 3,
        "false_accept_first": 1 / 3,
        "false_reject_first": 2 / 3,
        "false_accept_second": 1.0,
        "false_reject_second": 0.0,
    }


def test_error_rates_over_nothing_are_nan():
    rates = Verdict(np.ones(3), oracle=np.ones(3)).metrics(np.ones(3, dtype=bool))
    assert np.isnan(rates["false_accept"]) and rates["false_reject"] == 0.0


@given(KEYS, tables())
def test_an_oracle_never_errs(key, table):
    verdict = Audited(Oracle(lambda batch: batch[:, 0] >= 0), Column(0))(key, table)
    rates = verdict.metrics(verdict.scores >= 0)
    good, bad = table[:, 0] >= 0, table[:, 0] < 0  # neither where there is no verdict
    np.testing.assert_array_equal(verdict.scores, np.where(good, 1.0, -1.0))
    assert (rates["false_accept"] == 0) == bad.any() == (not np.isnan(rates["false_accept"]))
    assert (rates["false_reject"] == 0) == good.any() == (not np.isnan(rates["false_reject"]))


def test_auditing_leaves_the_scores_as_they_were():
    """The audited verifier sees the key itself, so adding an audit cannot change a run."""
    table = np.zeros((50, 1))
    np.testing.assert_array_equal(
        Audited(Random(), Random())(Key(3), table).scores, Random()(Key(3), table)
    )
    verdict = Audited(Random(), Random())(Key(3), table)
    assert not np.array_equal(verdict.scores, verdict.oracle)


@given(KEYS, tables(), st.sampled_from([-1.0, 0.0, 0.75]))
def test_shifted_moves_scores_and_leaves_parts_and_oracle(key, table, by):
    check = Audited(all_of(**columns(table)), Column(0))
    before, after = check(key, table), Shifted(check, by)(key, table)
    np.testing.assert_array_equal(after.scores, before.scores + by)
    np.testing.assert_array_equal(after.oracle, before.oracle)
    for name in before.parts:
        np.testing.assert_array_equal(after.parts[name], before.parts[name])


@given(KEYS, st.integers(1, 20), st.sampled_from([-1, 0, 2.5]))
def test_constant_is_one_float_for_all(key, n, score):
    scores = Constant(score)(key, np.zeros(n))
    assert scores.dtype == float and scores.shape == (n,) and (scores == score).all()


def test_random_ignores_the_rows_and_is_standard_normal():
    n = 40_000
    scores = Random()(Key(9), np.zeros(n))
    np.testing.assert_array_equal(scores, Random()(Key(9), np.arange(n)))
    assert abs(scores.mean() * np.sqrt(n)) < 4
    assert abs(((scores**2).mean() - 1) * np.sqrt(n / 2)) < 4
    assert abs(np.corrcoef(scores, Random()(Key(10), np.zeros(n)))[0, 1] * np.sqrt(n)) < 4


@given(tables(), st.lists(st.integers(0, 20), max_size=3))
def test_verdicts_stack_and_index_as_their_rows_do(table, cuts):
    check = Audited(all_of(**columns(table)), Column(0))
    blocks = [
        block
        for block in np.split(table, np.sort(np.minimum(cuts, len(table))).astype(int))
        if len(block)
    ]
    table_rows = np.arange(len(table))[::-2]
    stacked, whole = (
        Verdict.concatenate([check(Key(0), block) for block in blocks]),
        check(Key(0), table),
    )
    np.testing.assert_array_equal(stacked.scores, whole.scores)
    np.testing.assert_array_equal(stacked.oracle, whole.oracle)
    assert stacked.parts.keys() == whole.parts.keys()
    for name in whole.parts:
        np.testing.assert_array_equal(stacked.parts[name], whole.parts[name])
    picked, alone = whole[table_rows], check(Key(0), table[table_rows])
    np.testing.assert_array_equal(picked.scores, alone.scores)
    np.testing.assert_array_equal(picked.oracle, alone.oracle)
    np.testing.assert_equal(dict(picked.parts), dict(alone.parts))


def test_part_acceptances_and_error_rates_land_in_the_record():
    """Over several blocks: the record's rates are those of all candidates, counted by hand."""
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal((n, 2)),
        refit=lambda key, model, batch: batch.mean(axis=0),
        verify=Audited(
            all_of(first=Column(0), second=Column(1)), Oracle(lambda batch: batch.sum(axis=1) > 0)
        ),
        filter=Threshold(0.0),
        block=30,
    )
    _, record = loop.step(Key(1), State(None), 100)
    key = Key(1).fold(1, "generate")
    batch = np.concatenate(
        [loop.generate(key.fold(i), None, n) for i, n in enumerate((30, 30, 30, 10))]
    )
    truth, kept = batch.sum(axis=1) > 0, (batch >= 0).all(axis=1)
    assert record.metrics == {
        "no_verdict": 0,
        "acceptance_first": (batch[:, 0] >= 0).mean(),
        "acceptance_second": (batch[:, 1] >= 0).mean(),
        "disagreement_first_second": ((batch[:, 0] >= 0) != (batch[:, 1] >= 0)).mean(),
        "false_accept": 0.0,
        "false_reject": 1 - kept[truth].mean(),
        "false_accept_first": (batch[:, 0] >= 0)[~truth].mean(),
        "false_reject_first": (batch[:, 0] < 0)[truth].mean(),
        "false_accept_second": (batch[:, 1] >= 0)[~truth].mean(),
        "false_reject_second": (batch[:, 1] < 0)[truth].mean(),
    }
    assert record.kept == kept.sum()


@pytest.mark.parametrize("made", [all_of, any_of, lambda **parts: vote(2, **parts)])
def test_a_part_that_says_0_and_1_is_refused_by_name(made):
    """0 accepts, so it would have accepted every row."""
    verify = made(
        exact=lambda key, batch: (batch > 0).astype(float), size=lambda key, batch: 3 - batch
    )
    with pytest.raises(
        ValueError, match="part 'exact' got scores of 0 and 1 alone, and a score of 0 accepts"
    ):
        verify(Key(0), np.linspace(-1.0, 2.0, 40))


def test_noise_on_a_verifier_that_says_0_and_1_is_refused():
    with pytest.raises(ValueError, match="Noisy got scores of 0 and 1 alone"):
        Noisy(lambda key, batch: (batch > 0).astype(float), 0.1, 0.1)(
            Key(0), np.linspace(-1, 1, 40)
        )


@pytest.mark.parametrize("weights", [{0.5, 0.1}, {0: 0.5, 1: 0.5}])
def test_weights_without_an_order_are_refused(weights):
    with pytest.raises(ValueError, match="weighted needs a list of weights first, got (set|dict)"):
        weighted(weights, Constant(1.0), Constant(2.0))
