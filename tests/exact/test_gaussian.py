"""The Gaussian bench: every law against the generic loop, against enumeration, or against another way to it."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from scipy.special import gammaln
from scipy.stats import chi2

from veriloop import Accumulate, AccumulateSubsample, Key, Loop, Replace, State, TopFraction, run
from veriloop.exact.gaussian import (
    Drift,
    Gaussian,
    MaximumLikelihood,
    NearCenter,
    Policy,
    draw_rows,
    limit_path,
    replaced_log_volume,
    selected_round,
    unverified_trace,
)
from veriloop.pools import POOLS
from veriloop.testing import check_verifier


def z(sample, expected):
    """How many of its own standard errors a sample's mean is from what is expected."""
    return (np.mean(sample) - expected) / (np.std(sample, ddof=1) / np.sqrt(len(sample)))


def path_of(name, loop, key, start, sizes):
    """One metric by round, from round 1 on."""
    return [record.metrics[name] for _, record in run(loop, key, start, sizes) if record.round]


def test_the_laws_speak_of_the_pools_by_their_names():
    assert set(get_args(Policy)) == set(POOLS)


def test_drawn_rows_have_the_models_moments():
    """100,000 rows of a correlated model: each mean and covariance within 4.5 standard errors."""
    model = Gaussian(np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 0.5]]))
    rows = draw_rows(Key(0), model, 100_000)
    assert rows.shape == (100_000, 2)
    away = rows - model.mean
    for i in range(2):
        assert abs(z(rows[:, i], model.mean[i])) < 4.5
        for j in range(2):
            assert abs(z(away[:, i] * away[:, j], model.covariance[i, j])) < 4.5


def test_the_refit_is_the_likeliest_gaussian_and_adds_the_ridge():
    """Also in one dimension, where NumPy's covariance has no axes."""
    rows = draw_rows(Key(1), Gaussian.standard(3), 50)
    away = rows - rows.mean(axis=0)
    fitted = MaximumLikelihood(0.5)(Key(0), Gaussian.standard(3), rows)
    assert fitted.mean == pytest.approx(rows.mean(axis=0))
    assert fitted.covariance == pytest.approx(away.T @ away / 50 + 0.5 * np.eye(3))
    single = MaximumLikelihood()(Key(0), Gaussian.standard(1), rows[:, :1])
    assert single.covariance == pytest.approx(fitted.covariance[:1, :1] - 0.5)


def test_nearness_is_by_the_roots_own_distance():
    """The score is minus the squared Mahalanobis distance; a multiple of the root ranks alike."""
    root = np.array([[2.0, 0.0], [1.0, 0.5]])
    center = np.array([1.0, 1.0])
    rows = draw_rows(Key(2), Gaussian.standard(2), 30)
    scores = NearCenter(center, root)(Key(0), rows)
    inverse = np.linalg.inv(root @ root.T)
    assert scores == pytest.approx([-(row - center) @ inverse @ (row - center) for row in rows])
    tripled = NearCenter(center, 3 * root)(Key(0), rows)
    assert np.array_equal(np.argsort(scores), np.argsort(tripled))
    check_verifier(NearCenter(center, root), rows)


def test_drift_is_measured_from_the_truth():
    truth = Gaussian(np.array([1.0, 0.0]), np.diag([2.0, 0.5]))
    model = Gaussian(np.array([3.0, 5.0]), np.diag([1.0, 0.25]))
    drift = Drift(truth, readout=np.array([0.5, 0.0]))(Key(0), model)
    assert drift == pytest.approx({"trace": 0.5, "log_volume": np.log(0.25), "toward": 1.0})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: unverified_trace("window", 10, 2),
            "must be one of replace, accumulate, subsample, got 'window'",
        ),
        (lambda: unverified_trace("replace", 1, 2), "n must be an integer of at least 2"),
        (lambda: limit_path("window", 3, 0.0, 0.5, 2), "got 'window'"),
        (lambda: limit_path("replace", 1, 0.0, 0.5, 2), "dim must be an integer of at least 2"),
        (lambda: limit_path("replace", 3, 0.0, 0.0, 2), r"fraction must be in \(0, 1\]"),
        (lambda: selected_round(3, 0.0, 11, 10), "kept must be from 1 to candidates = 10, got 11"),
        (lambda: replaced_log_volume(3, 3, 2), "n must be more than dim = 3, got 3"),
        (lambda: selected_round(3, 1e4, 3, 10), "bias must be at most 1000, got 10000"),
        (lambda: limit_path("replace", 2, 1.0, 0.1, 400), "below 1e-280 in round 218, got 400"),
        (
            lambda: Gaussian(np.zeros(2), np.array([[1.0, 0.9], [0.0, 1.0]])),
            "must be symmetric, got 0.9 and 0 in places 0, 1 and 1, 0",
        ),
    ],
)
def test_what_has_no_law_is_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


@pytest.mark.parametrize(
    "policy, pool",
    [("replace", Replace()), ("accumulate", Accumulate()), ("subsample", AccumulateSubsample(8))],
)
def test_the_trace_without_a_verifier_is_exact(policy, pool):
    """Seven rounds of the generic loop with few rows and a large ridge, where an error in any term would show."""
    loop = Loop(
        generate=draw_rows,
        refit=MaximumLikelihood(0.05),
        pool=pool,
        measure=lambda key, model: {"trace": float(np.trace(model.covariance)) / 2},
    )
    truth = Gaussian.standard(2)
    paths = [path_of("trace", loop, Key(3).fold(i), State(truth), [8] * 7) for i in range(1000)]
    expected = unverified_trace(policy, 8, 7, ridge=0.05)
    assert expected[0] == 1
    for k, sample in enumerate(np.transpose(paths)):
        assert abs(z(sample, expected[k + 1])) < 4, (k + 1, expected[k + 1])


def test_accumulating_loses_no_more_than_eulers_product():
    """The trace's limit is a sine: 1 - pi^2 / (6 n), the variance's counterpart of pi^2 / 6."""
    for n in (2, 10, 300):
        angle = np.pi / np.sqrt(n)
        limit = np.sin(angle) / angle
        path = unverified_trace("accumulate", n, 5000)
        assert np.all(np.diff(path) < 0) and 0 < path[-1] - limit < 1 / (n * 4999)
    assert unverified_trace("replace", 300, 200) == pytest.approx((1 - 1 / 300) ** np.arange(201))


def test_the_volume_under_replace_is_exact():
    """The log-determinant of three rounds, against the Wishart expectation."""
    loop = Loop(
        generate=draw_rows,
        refit=MaximumLikelihood(0.0),
        measure=lambda key, model: {"volume": float(np.linalg.slogdet(model.covariance)[1])},
    )
    truth = Gaussian(np.zeros(3), np.diag([1.0, 2.0, 0.5]))
    paths = [path_of("volume", loop, Key(5).fold(i), State(truth), [9] * 3) for i in range(800)]
    for k, sample in enumerate(np.transpose(paths)):
        assert abs(z(sample, replaced_log_volume(3, 9, 3)[k + 1])) < 4


@pytest.mark.parametrize("bias", [0.0, 1.5, 6.0])
def test_one_selected_round_is_exact(bias):
    """Shift and both variances of the 6 nearest of 40 rows in 3 dimensions: few, for no limit is taken."""
    generator, found = Key(7).numpy(), []
    center = np.array([bias, 0.0, 0.0])
    near = NearCenter(center, np.eye(3))
    for _ in range(4000):
        rows = generator.standard_normal((40, 3))
        kept = rows[np.argsort(-near(Key(0), rows))[:6]]
        covariance = np.cov(kept, rowvar=False, bias=True)
        found.append(
            [kept[:, 0].mean(), covariance[0, 0], (covariance[1, 1] + covariance[2, 2]) / 2]
        )
    for sample, expected in zip(np.transpose(found), selected_round(3, bias, 6, 40), strict=True):
        assert abs(z(sample, expected)) < 4


def test_keeping_all_is_no_selection():
    """With as many candidates as rows kept, nothing is chosen."""
    assert selected_round(4, 2.0, 50, 50) == (0.0, 1 - 1 / 50, 1 - 1 / 50)


@pytest.mark.parametrize("bias", [0.0, 1.0, 4.0])
def test_the_limit_path_starts_where_one_round_with_many_rows_ends(bias):
    """Two ways to the same moments: quadrature along the line, and non-central chi-squares at n = 10^7."""
    path = limit_path("replace", 6, bias, 0.2, 1)
    assert path[1] == pytest.approx(selected_round(6, bias, 10**7, 5 * 10**7), abs=1e-5)


def test_centred_selection_is_geometric_under_replace_and_a_power_law_under_accumulate():
    """Centred, every round multiplies the variance by G_2; pooled, t falls as t^-(1 - G_2) by Gamma functions."""
    g = chi2.cdf(chi2.ppf(0.1, 10), 12) / 0.1
    t = np.arange(1, 41)
    power = np.exp(gammaln(t + g) - gammaln(g) - gammaln(t + 1))
    for policy, law in (("replace", g**t), ("accumulate", power), ("subsample", power)):
        path = limit_path(policy, 10, 0.0, 0.1, 40)[1:]
        assert path[:, 1] == pytest.approx(law, rel=1e-6) and path[:, 2] == pytest.approx(
            law, rel=1e-6
        )
        assert np.abs(path[:, 0]).max() < 1e-9


@pytest.mark.parametrize("dim, bias, fraction, rounds", [(2, 0.0, 0.1, 60), (2, 0.0, 1e-12, 4)])
def test_a_narrow_model_keeps_its_digits(dim, bias, fraction, rounds):
    """Variances of 1e-78 and 1e-49: the ball is sought in the model's own units."""
    g = chi2.cdf(chi2.isf(1 - fraction, dim), dim + 2) / fraction
    path = limit_path("replace", dim, bias, fraction, rounds)
    assert path[-1, 1:] == pytest.approx([g**rounds] * 2, rel=1e-3)


def test_a_narrow_model_comes_to_a_centre_apart_and_turns_round():
    """Once it is there, both variances fall alike, by the factor of centred selection."""
    path = limit_path("replace", 2, 1.0, 0.1, 40)
    g = chi2.cdf(chi2.ppf(0.1, 2), 4) / 0.1
    assert path[-1, 0] == pytest.approx(1.0, abs=1e-12)
    assert path[-1, 1:] / path[-2, 1:] == pytest.approx([g, g], rel=1e-5)


def test_the_limit_path_of_a_centre_far_off_is_that_of_a_half_line():
    """The nearest half of N(0, 1) to a centre at infinity: mean sqrt(2 / pi), variance 1 - 2 / pi."""
    path = limit_path("replace", 5, 1e8, 0.5, 1)
    assert path[1] == pytest.approx([np.sqrt(2 / np.pi), 1 - 2 / np.pi, 1.0], abs=1e-6)


def test_the_limit_path_follows_the_loop_with_many_rows():
    """Three biased rounds of the generic loop on 20,000 kept rows: the model is no longer round after the first."""
    center = np.array([1.5, 0.0, 0.0, 0.0])
    for policy, pool in (("replace", Replace()), ("accumulate", Accumulate())):
        loop = Loop(
            generate=draw_rows,
            verify=NearCenter(center, np.eye(4)),
            filter=TopFraction(0.25),
            refit=MaximumLikelihood(0.0),
            pool=pool,
        )
        truth = State(Gaussian.standard(4))
        found = []
        for i in range(8):
            *_, (state, _) = run(loop, Key(11).fold(i), truth, [80_000] * 3)
            variance = np.diag(state.model.covariance)
            found.append([state.model.mean[0], variance[0], variance[1:].mean()])
        expected = limit_path(policy, 4, 1.5, 0.25, 3)[3]
        for sample, number in zip(np.transpose(found), expected, strict=True):
            # Student's t with 7 degrees of freedom is past 6 as rarely as a normal past 4.
            assert abs(z(sample, number)) < 6, policy
