"""Covariance matching: each step is the best one there is, redone in the plain way; rows are judged together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    CovarianceMatch,
    Key,
    Loop,
    Quota,
    RoundError,
    Shifted,
    State,
    Threshold,
    TopCount,
)
from veriloop.testing import check_verifier


def itself(batch):
    return batch


def far(x, chosen, target):
    return np.linalg.norm(np.cov(x[chosen], rowvar=False, ddof=0).reshape(target.shape) - target)


def sample(n, d, seed=0):
    return (
        Key(seed).fold(n, d).numpy().standard_normal((n, d)) @ np.diag(np.linspace(0.5, 2, d)) + 5
    )


@given(st.integers(1, 4), st.integers(0, 1000), st.integers(2, 12))
def test_every_row_taken_brings_the_covariance_nearest(d, seed, count):
    """Of all rows not yet taken, by the plain formula; ties in the last digits are let pass."""
    x, root = sample(20, d, seed), Key(seed).fold("target").numpy().standard_normal((d, d))
    target = root @ root.T
    scores = CovarianceMatch(itself, target, count)(Key(0), x)
    taken = np.argsort(-scores, kind="stable")[:count]
    np.testing.assert_array_equal(scores[taken], np.arange(count)[::-1])
    assert (np.delete(scores, taken) == -1).all()
    assert taken[0] == np.argmin(((x - x.mean(axis=0)) ** 2).sum(axis=1))
    for m in range(1, count):
        others = np.setdiff1d(np.arange(20), taken[:m])
        best = min(far(x, [*taken[:m], row], target) for row in others)
        assert far(x, taken[: m + 1], target) <= best * (1 + 1e-9) + 1e-9


def test_what_is_kept_is_nearer_to_the_target_than_a_sample_of_that_very_covariance():
    """Chosen from rows of another covariance; none of 200 normal samples of the target's own comes as near."""
    x, target = (
        sample(2000, 4),
        np.eye(4) + np.diag([0.6, 0, -0.3], 1) + np.diag([0.6, 0, -0.3], -1),
    )
    kept = np.flatnonzero(CovarianceMatch(itself, target, 100)(Key(0), x) >= 0)
    root = np.linalg.cholesky(target)
    drawn = [Key(i).numpy().standard_normal((100, 4)) @ root.T for i in range(200)]
    assert len(kept) == 100
    assert far(x, kept, target) < min(far(rows, slice(None), target) for rows in drawn)


def test_the_selection_does_not_depend_on_place_or_order():
    """A common shift of all rows, and another order of them, change nothing."""
    x, match = sample(200, 3), CovarianceMatch(itself, np.eye(3), 20)
    scores = match(Key(0), x)
    np.testing.assert_array_equal(match(Key(1), x + 50), scores)
    order = Key(2).numpy().permutation(200)
    np.testing.assert_array_equal(match(Key(0), x[order]), scores[order])


def test_threshold_and_top_count_keep_what_was_taken_and_top_count_of_fewer_the_first():
    x = sample(50, 2)
    scores = CovarianceMatch(itself, np.eye(2), 10)(Key(0), x)
    np.testing.assert_array_equal(Threshold(0.0)(Key(0), scores), TopCount(10)(Key(0), scores))
    np.testing.assert_array_equal(
        TopCount(4)(Key(0), scores), CovarianceMatch(itself, np.eye(2), 4)(Key(0), x) >= 0
    )


def test_rows_without_features_have_no_verdict_and_are_left_out():
    x = sample(30, 2)
    holes = x.copy()
    holes[::3, 1] = np.nan
    match = CovarianceMatch(itself, np.eye(2), 5)
    scores, known = match(Key(0), holes), ~np.isnan(holes).any(axis=1)
    np.testing.assert_array_equal(np.isnan(scores), ~known)
    np.testing.assert_array_equal(scores[known], match(Key(0), x[known]))
    with pytest.raises(
        RoundError, match="group 0 has 20 rows with features, 21 are to match a covariance"
    ):
        CovarianceMatch(itself, np.eye(2), 21)(Key(0), holes)


def test_all_rows_can_be_taken():
    scores = CovarianceMatch(itself, np.eye(2), 12)(Key(0), sample(12, 2))
    assert sorted(scores) == list(range(12))


def test_each_group_is_matched_by_itself_to_its_own_target():
    """As if there were no others; with one target for all, that one."""
    x, kinds = sample(90, 2), np.arange(90) % 3
    targets = {0: np.eye(2), 1: 0.3 * np.eye(2), 2: np.array([[1.0, 0.9], [0.9, 1.0]])}
    for target in (targets, targets[2]):
        scores = CovarianceMatch(itself, target, 8, group=lambda batch: kinds)(Key(0), x)
        for kind in range(3):
            own = target[kind] if isinstance(target, dict) else target
            alone = CovarianceMatch(itself, own, 8)(Key(0), x[kinds == kind])
            np.testing.assert_array_equal(scores[kinds == kind], alone)
    np.testing.assert_array_equal(TopCount(8)(Key(0), scores, kinds), scores >= 0)
    with pytest.raises(
        ValueError, match="CovarianceMatch.target must name every group, it lacks group 2"
    ):
        CovarianceMatch(itself, {0: np.eye(2), 1: np.eye(2)}, 8, group=lambda batch: kinds)(
            Key(0), x
        )


def test_the_checks_refuse_it_unless_told_and_then_pass():
    match = CovarianceMatch(itself, np.eye(2), 5)
    with pytest.raises(
        AssertionError, match="its scores depend on other rows; pass rowwise=False if they may"
    ):
        check_verifier(match, sample(30, 2))
    check_verifier(match, sample(30, 2), rowwise=False)
    check_verifier(Shifted(match, 1.0), sample(30, 2), rowwise=False)


def test_in_the_loop_it_judges_a_whole_round_or_is_refused():
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal((n, 2)),
        verify=CovarianceMatch(itself, 0.25 * np.eye(2), 40),
        filter=TopCount(40),
        refit=lambda key, model, batch: np.cov(batch, rowvar=False, ddof=0),
        block=400,
    )
    state, record = loop.step(Key(0), State(None), 400)
    np.testing.assert_allclose(state.model, 0.25 * np.eye(2), atol=0.01)
    assert record.kept == 40
    for n in (401, Quota(40)):
        with pytest.raises(ValueError, match="needs all candidates in one block"):
            loop.step(Key(0), State(None), n)


@pytest.mark.parametrize(
    "target, message",
    [
        (np.ones(3), r"symmetric matrix of finite numbers, got shape \(3,\)"),
        (np.ones((2, 3)), r"symmetric matrix of finite numbers, got shape \(2, 3\)"),
        (
            np.array([[1.0, 0.5], [0.4, 1.0]]),
            r"symmetric matrix of finite numbers, got shape \(2, 2\)",
        ),
        (np.full((2, 2), np.nan), "symmetric matrix of finite numbers"),
        ({0: np.eye(2), 1: np.ones(2)}, r"symmetric matrix of finite numbers, got shape \(2,\)"),
    ],
)
def test_targets_that_are_no_covariance_are_refused(target, message):
    with pytest.raises(ValueError, match=f"CovarianceMatch.target must be a {message}"):
        CovarianceMatch(itself, target, 3)


def test_other_settings_that_make_no_sense_are_refused():
    with pytest.raises(
        ValueError, match="CovarianceMatch.count must be an integer of at least 1, got 0"
    ):
        CovarianceMatch(itself, np.eye(2), 0)
    with pytest.raises(
        ValueError, match=r"CovarianceMatch.features must be of shape \(30, 3\), got \(30, 2\)"
    ):
        CovarianceMatch(itself, np.eye(3), 5)(Key(0), sample(30, 2))


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, np.ma.masked])
def test_a_row_with_a_feature_that_is_no_number_is_left_out_of_the_match(odd):
    rows = np.ma.array(Key(0).fold("rows").numpy().standard_normal((20, 2)))
    others = np.arange(20) != 3
    match = CovarianceMatch(lambda batch: batch, np.eye(2), 5)
    wanted = match(Key(0), rows[others])
    rows[3, 0] = odd
    scores = match(Key(0), rows)
    assert np.isnan(scores[3])
    np.testing.assert_array_equal(scores[others], wanted)


def test_a_group_that_is_masked_is_refused():
    groups = np.ma.array([0, 1] * 5, mask=[True] + [False] * 9)
    match = CovarianceMatch(lambda batch: batch, np.eye(1), 2, group=lambda batch: groups)
    with pytest.raises(ValueError, match=r"CovarianceMatch\.group must return a plain array"):
        match(Key(0), np.arange(10.0)[:, None])
