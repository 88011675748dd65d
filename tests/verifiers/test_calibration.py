"""Calibration: the probabilities are those of the labels, by two methods, within their standard errors."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Bernoulli, Calibrated, Key, Shifted, TopFraction, Verdict, calibrated
from veriloop.testing import check_verifier

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

SLOPE, OFFSET = 1.7, -0.6
METHODS = ["isotonic", "platt"]


def score(key, batch):
    return batch


def sample(n, seed=0):
    """Scores of scale 3 about 1, and labels that are true with the logistic probability of each."""
    draw = Key(seed).fold("sample").numpy()
    scores = 1 + 3 * draw.standard_normal(n)
    return scores, draw.random(n) < probability(scores)


def probability(scores):
    return 1 / (1 + np.exp(-(SLOPE * scores + OFFSET)))


def test_platt_recovers_slope_and_offset_within_their_standard_errors():
    """The errors are those of maximum likelihood, from the Fisher information at the truth."""
    z = []
    for seed in range(6):
        scores, labels = sample(20_000, seed)
        curve = calibrated(score, Key(0), scores, labels, "platt").curve
        design, weight = (
            np.stack([scores, np.ones_like(scores)]),
            probability(scores) * (1 - probability(scores)),
        )
        error = np.sqrt(np.diag(np.linalg.inv(design * weight @ design.T)))
        z.append((np.array([curve.slope, curve.offset]) - (SLOPE, OFFSET)) / error)
    assert np.abs(z).max() < 4
    assert np.abs(np.mean(z, axis=0) * np.sqrt(6)).max() < 4


def test_platt_is_the_maximum_of_its_likelihood():
    """To the last digits, also for scores far from 0 and of a large unit: its score equations hold."""
    scores, labels = sample(300)
    for unit, shift in ((1, 0), (1e6, 5e6), (1e-4, 0), (1, -300)):
        moved = scores * unit + shift
        made = calibrated(score, Key(0), moved, labels, "platt")
        p, good = made(Key(0), moved).scores + 0.5, labels.sum()
        target = np.where(labels, (good + 1) / (good + 2), 1 / (300 - good + 2))
        # The fit ends when its loss no longer moves: to 64 eps, so its gradient is of the size of their root, 1e-7.
        unit_scores = (scores - scores.mean()) / scores.std()
        assert abs((target - p).mean()) < 1e-6 and abs(((target - p) * unit_scores).mean()) < 1e-6


def test_platt_stays_finite_where_the_scores_tell_good_from_bad_without_error():
    scores = np.concatenate([np.linspace(-2, -1, 30), np.linspace(1, 2, 30)])
    made = calibrated(score, Key(0), scores, scores > 0, "platt")
    assert np.isfinite(made.curve.slope) and made.curve.slope > 0
    np.testing.assert_array_equal(made(Key(0), scores).scores >= 0, scores > 0)


def test_isotonic_is_the_rising_function_of_least_squares():
    """By pooling adjacent violators, redone here."""
    scores, labels = sample(400)
    order = np.argsort(scores)
    pools: list[list[float]] = []  # sum, count
    for label in labels[order]:
        pools.append([float(label), 1])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            total, count = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += count
    wanted = np.concatenate([np.full(int(count), total / count) for total, count in pools])
    made = calibrated(score, Key(0), scores, labels)
    np.testing.assert_allclose(made(Key(0), scores[order]).scores + 0.5, wanted, rtol=0, atol=1e-9)


def test_rows_on_one_step_keep_the_order_of_their_scores():
    """So the best hundredth is that of the raw scores, where these were drawn by lot from a step."""
    scores, labels = sample(2000)
    made = calibrated(score, Key(0), scores, labels)
    fresh, _ = sample(20_000, 1)
    calibrated_scores = made(Key(0), fresh).scores
    assert (np.diff(calibrated_scores[np.argsort(fresh)]) >= 0).all()
    assert len(np.unique(calibrated_scores)) > 19_900
    for fraction in (0.01, 0.2):
        best = TopFraction(fraction)
        np.testing.assert_array_equal(best(Key(0), calibrated_scores), best(Key(0), fresh))


def test_the_order_on_a_step_neither_leaves_0_to_1_nor_changes_what_is_accepted():
    rows = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0])
    labels = np.array([0, 0, 1, 0, 1, 0, 1, 1])  # steps at 0, one half and 1
    made = calibrated(score, Key(0), rows, labels)
    fresh = np.linspace(-30, 30, 601)
    steps = np.interp(fresh, made.curve.scores, made.curve.probabilities)
    p = made.curve(fresh)
    assert {0.0, 0.5, 1.0} <= set(steps)
    assert p.min() >= 0 and p.max() <= 1
    np.testing.assert_array_equal(p >= 0.5, steps >= 0.5)
    np.testing.assert_allclose(p, steps, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_fresh_rows_are_good_as_often_as_the_probability_says(method):
    """In twenty equal bins, by z-scores; the ten times larger sample of the fit adds a tenth of variance."""
    scores, labels = sample(200_000, 1)
    made = calibrated(score, Key(0), scores, labels, method)
    fresh, good = sample(20_000, 2)
    p = made(Key(0), fresh).scores + 0.5
    for rows in np.array_split(np.argsort(p), 20):
        truth = probability(fresh[rows])
        assert abs(good[rows].sum() - p[rows].sum()) < 4 * np.sqrt(
            1.1 * (truth * (1 - truth)).sum()
        )


@pytest.mark.parametrize("method", METHODS)
def test_a_score_of_0_or_more_accepts_what_is_at_least_as_likely_good_as_not(method):
    """Of the 500 fresh rows accepted next to the cut at least half are good, of the 500 rejected at most half."""
    scores, labels = sample(200_000, 3)
    made = calibrated(score, Key(0), scores, labels, method)
    fresh, good = sample(50_000, 4)
    accepted = made(Key(0), fresh).scores >= 0
    above, below = np.sort(fresh[accepted])[499], np.sort(fresh[~accepted])[-500]
    error = 0.5 / np.sqrt(500)
    assert good[accepted & (fresh <= above)].mean() > 0.5 - 4 * error
    assert good[~accepted & (fresh >= below)].mean() < 0.5 + 4 * error
    assert fresh[accepted].min() > fresh[~accepted].max()


@pytest.mark.parametrize("method", METHODS)
@given(seed=st.integers(0, 50), n=st.integers(4, 60))
def test_scores_are_finite_in_range_and_rise_with_the_old_ones(method, seed, n):
    scores, labels = sample(n, seed)
    scores = np.round(scores)
    labels[:2] = [True, False]
    made = calibrated(score, Key(0), scores, labels, method)
    far = np.sort(np.concatenate([scores, [-1e9, -50.0, 0.0, 50.0, 1e9]]))
    new = made(Key(0), far).scores
    assert (np.abs(new) <= 0.5).all()
    steps = np.diff(new)
    assert (steps >= 0).all() or (method == "platt" and made.curve.slope < 0 and (steps <= 0).all())


def test_rows_without_a_verdict_stay_without_one_and_teach_nothing():
    scores, labels = sample(500)
    holes = np.where(np.arange(500) % 3 == 0, np.nan, scores)
    some = calibrated(score, Key(0), holes, labels)
    few = calibrated(score, Key(0), holes[~np.isnan(holes)], labels[~np.isnan(holes)])
    np.testing.assert_array_equal(some(Key(0), holes).scores, few(Key(0), holes).scores)
    np.testing.assert_array_equal(np.isnan(some(Key(0), holes).scores), np.isnan(holes))


def test_the_verifier_is_asked_with_the_key_given():
    def random(key, batch):
        return key.numpy().standard_normal(len(batch))

    labels = np.arange(60) % 2 == 0
    one, other = (calibrated(random, Key(key), np.zeros(60), labels, "platt") for key in (0, 1))
    assert one.curve != other.curve
    assert one.curve == calibrated(random, Key(0), np.zeros(60), labels, "platt").curve


@pytest.mark.parametrize("method", METHODS)
def test_it_is_a_legal_verifier_that_pickles_and_shows_no_array_of_the_sample(method):
    scores, labels = sample(200)
    made = calibrated(score, Key(0), scores, labels, method)
    assert isinstance(made, Calibrated) and made.verifier is score
    check_verifier(made, scores)
    copy = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(copy(Key(0), scores).scores, made(Key(0), scores).scores)


def test_shifted_by_a_half_it_is_a_probability_for_bernoulli():
    """Which keeps as many rows as are good, within chance, and takes every probability from 0 to 1."""
    scores, labels = sample(20_000)
    soft = Shifted(calibrated(score, Key(0), scores, labels), 0.5)
    p = soft(Key(0), scores).scores
    assert 0 <= p.min() < 1e-9 and 1 - 1e-9 < p.max() <= 1
    kept = Bernoulli()(Key(1), p)
    assert abs(kept.sum() - labels.sum()) < 4 * np.sqrt((p * (1 - p)).sum())


def test_a_verdict_is_calibrated_on_its_scores():
    scores, labels = sample(100)
    made = calibrated(lambda key, batch: Verdict(batch, {"part": -batch}), Key(0), scores, labels)
    plain = calibrated(score, Key(0), scores, labels)
    np.testing.assert_array_equal(made(Key(0), scores).scores, plain(Key(0), scores).scores)
    np.testing.assert_array_equal(made(Key(0), scores).parts["part"], -scores)


ROWS = np.arange(4.0)


@pytest.mark.parametrize(
    "batch, labels, message",
    [
        (
            ROWS,
            [True, False],
            r"labels must be true or false for each row, shape \(4,\), got bool of shape \(2,\)",
        ),
        (
            ROWS,
            [0.2, 0.4, 1, 0],
            r"labels must be true or false for each row, shape \(4,\), got float64",
        ),
        (ROWS, [0, 1, 2, 1], "labels must be true or false for each row"),
        (ROWS, ["a", "b", "a", "b"], "labels must be true or false for each row, .* got <U1"),
        (
            ROWS,
            [True] * 4,
            "there must be good rows and bad ones that have a verdict, got 4 good of 4",
        ),
        (
            ROWS,
            [0] * 4,
            "there must be good rows and bad ones that have a verdict, got 0 good of 4",
        ),
        (np.array([0, 1, np.nan, np.nan]), [1, 1, 0, 0], "that have a verdict, got 2 good of 2"),
        (np.full(4, np.nan), [1, 1, 0, 0], "that have a verdict, got 0 good of 0"),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_samples_that_cannot_teach_are_refused(batch, labels, message, method):
    with pytest.raises(ValueError, match=f"^calibrated: .*{message}"):
        calibrated(score, Key(0), batch, np.array(labels), method)


def test_an_unknown_method_is_refused_before_anything_is_asked():
    with pytest.raises(
        ValueError, match="calibrated: method must be isotonic or platt, got 'sigmoid'"
    ):
        calibrated(pytest.fail, Key(0), ROWS, ROWS > 1, "sigmoid")  # type: ignore[arg-type]


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)  # as if it were not installed
    wanted = "calibrated needs 'sklearn'; install it with: pip install 'scikit-learn'"
    with pytest.raises(ImportError, match=wanted):
        calibrated(pytest.fail, Key(0), ROWS, ROWS > 1)


def test_masked_labels_are_refused_as_their_values_would_count():
    rows = np.arange(6.0)
    labels = np.ma.array(rows > 2, mask=rows < 1)
    with pytest.raises(ValueError, match="labels .* got a masked array; leave out the rows"):
        calibrated(score, Key(0), rows, labels)
