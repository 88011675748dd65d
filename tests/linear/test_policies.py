"""Closed forms of the data policies against the generic loop, by z from its own standard error.

Most loops here run thousands of replicates at once: a row holds a label of each, which share designs and subsets.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from veriloop import (
    Accumulate,
    AccumulateSubsample,
    FreshReal,
    Key,
    Loop,
    MixReal,
    Replace,
    State,
    Window,
    run,
)
from veriloop.linear import GaussianDesign, Generate, WeightedReal, least_squares, policies
from veriloop.linear.model import Samples


def z_mean(sample, want):
    """How many of its own standard errors the mean of a sample, replicates first, is away from `want`."""
    return (sample.mean(0) - want) / (sample.std(0, ddof=1) / np.sqrt(len(sample)))


# Linear regression, in units of v = d / (T - d - 1)

DIM, ROWS, WIDE, NOISE = 2, 6, 20_000, 0.7  # WIDE: replicates
X = Key(0).fold("design").numpy().standard_normal((ROWS, DIM))


def relabel(key, model, n):
    """One design, labelled for every replicate: labels of shape (n, WIDE)."""
    return Samples(X, X @ model + NOISE * key.numpy().standard_normal((n, WIDE)))


def label(key, n):
    return relabel(key, np.zeros((DIM, WIDE)), n)


def errors(pool, rounds):
    """Squared length of X (theta - theta*) / sigma over d, by replicate and round: in expectation a path itself."""
    key = Key(1)
    real = label(key.fold("real"), ROWS)
    start = State(least_squares(key, np.zeros(0), real), past=(real,))
    loop = Loop(generate=relabel, refit=least_squares, pool=pool)
    models = [state.model for state, _ in run(loop, key, start, [ROWS] * rounds)]
    return np.sum((X @ np.stack(models) / NOISE) ** 2, axis=1).T / DIM


def test_replacing_adds_one_fit_a_round_with_every_design_drawn_anew():
    """E|theta_k - theta*|^2 = (k + 1) sigma^2 d / (T - d - 1) (Gerstgrasser et al.)."""
    write, rounds, truth = Generate(GaussianDesign(3), NOISE), 4, np.array([1.0, -2.0, 0.5])
    loop, paths = Loop(generate=write, refit=least_squares, pool=Replace()), []
    for key in (Key(2).fold(i) for i in range(800)):
        start = State(least_squares(key, truth, write(key.fold("real"), truth, 20)))
        paths.append([state.model for state, _ in run(loop, key, start, [20] * rounds)])
    squares = ((np.array(paths) - truth) ** 2).sum(-1) / NOISE**2
    assert abs(z_mean(squares, policies.replaced(rounds) * policies.one_fit(20, 3))).max() < 4


PATHS = {
    "replace": (lambda: Replace(), policies.replaced(6)),
    "accumulate": (lambda: Accumulate(), policies.accumulated(6)),
    "window": (lambda: Window(3), policies.pooled_mean(6, ROWS, window=3)),
    "mix": (lambda: MixReal(label(Key(1).fold("real"), ROWS), 0.75), policies.fixed_real(6, 0.75)),
    "fresh": (lambda: FreshReal(label, ROWS), policies.fresh_real(6, 0.5)),
    "fresh by copies of real": (lambda: FreshReal(label, ROWS, 0.75), policies.fresh_real(6, 0.75)),
    "fresh by copies of kept": (lambda: FreshReal(label, ROWS, 0.25), policies.fresh_real(6, 0.25)),
    "fresh by weight": (lambda: WeightedReal(label, ROWS, 0.25), policies.fresh_real(6, 0.25)),
}


@pytest.mark.parametrize("policy", PATHS)
def test_the_loop_follows_its_path(policy):
    make, path = PATHS[policy]
    assert abs(z_mean(errors(make(), 6), path)).max() < 4


def test_accumulation_stays_below_its_bound_and_comes_near_it():
    """pi^2 / 6: from below in closed form at any round, within four standard errors in the loop after 30."""
    path = policies.accumulated(10_000)
    assert (np.diff(path) > 0).all() and 0 < policies.ACCUMULATED - path[-1] < 1.01e-4
    last = errors(Accumulate(), 30)[:, -1]
    assert z_mean(last, policies.ACCUMULATED) < 4 and z_mean(last, 1.5) > 4


def test_the_best_share_of_fresh_real_data_is_the_golden_ratio():
    """The measured curve's lowest point, of the parabola through three shares on one stream of random numbers.

    Its standard error is the jackknife's over 40 groups of replicates, and small enough to tell it from half real
    data. A parabola's point is not quite the curve's, so what is expected is that of the closed form's parabola.
    """
    shares = policies.GOLDEN + np.array([-0.08, 0.0, 0.08])
    curve = np.stack(
        [errors(WeightedReal(label, ROWS, share), 8)[:, -1] for share in shares], axis=1
    )

    def lowest(low, middle, high):
        return policies.GOLDEN + 0.08 * (low - high) / (2 * (low - 2 * middle + high))

    groups = curve.reshape(40, -1, 3).mean(1)
    apart = np.array([lowest(*np.delete(groups, i, axis=0).mean(0)) for i in range(40)])
    found, error = lowest(*curve.mean(0)), np.sqrt(39 * apart.var())
    want = lowest(*policies.fresh_real_limit(shares))
    assert abs(want - policies.GOLDEN) < 0.005
    assert abs(found - want) / error < 4 and (found - 0.5) / error > 4
    assert abs(z_mean(curve, policies.fresh_real_limit(shares))).max() < 4


def test_the_limit_of_fresh_real_data_is_the_fixed_point_and_lowest_at_its_own_value():
    shares = np.linspace(0.05, 0.95, 19)
    for share in shares:
        assert policies.fresh_real(300, share)[-1] == pytest.approx(
            policies.fresh_real_limit(share), rel=1e-12
        )
    assert policies.fresh_real_limit(policies.GOLDEN) == pytest.approx(policies.GOLDEN, rel=1e-14)
    assert (policies.fresh_real_limit(shares) > policies.GOLDEN).all()
    near = policies.fresh_real_limit(policies.GOLDEN + np.array([-1e-4, 1e-4]))
    assert (near - policies.GOLDEN > 0).all()


# The mean of a sample, in units of 1 / rows


@pytest.mark.parametrize(
    ("pool", "settings"),
    [
        (Window(2), {"window": 2}),
        (Window(3), {"window": 3}),
        (AccumulateSubsample(5), {"sample": 5}),
        (AccumulateSubsample(12), {"sample": 12}),
    ],
    ids=repr,
)
def test_the_mean_of_pooled_rows_follows_its_recursion(pool, settings):
    """Subsets differ by key, not by replicate, so a key is one value of a z: the mean square of its replicates."""
    loop, squares = (
        Loop(generate=numbers, refit=lambda key, model, rows: rows.mean(0), pool=pool),
        [],
    )
    for key in (Key(4).fold(i) for i in range(250)):
        real = numbers(key.fold("real"), np.zeros(40), 5)
        start = State(real.mean(0), past=(real,))
        models = [state.model for state, _ in run(loop, key, start, [5] * 6)]
        squares.append((np.array(models) ** 2).mean(1))
    want = policies.pooled_mean(6, 5, **settings) / 5
    assert abs(z_mean(np.array(squares), want)).max() < 4


def numbers(key, model, n):
    return model + key.numpy().standard_normal((n, len(model)))


def test_pooled_means_have_the_known_cases():
    """All rows of all rounds accumulate, those of one round replace; a window grows by 4 / (w + 1)^2 in the end."""
    np.testing.assert_allclose(policies.pooled_mean(30, 7), policies.accumulated(30), rtol=1e-12)
    np.testing.assert_allclose(
        policies.pooled_mean(30, 7, window=1), policies.replaced(30), rtol=1e-12
    )
    np.testing.assert_array_equal(policies.pooled_mean(5, 7, sample=42), policies.pooled_mean(5, 7))
    for w in (2, 5):
        assert np.diff(policies.pooled_mean(300, 7, window=w))[-1] == pytest.approx(
            4 / (w + 1) ** 2, rel=1e-9
        )


def test_a_subsample_costs_a_bounded_factor():
    """With many rows: below pi^2/2 - 2 at any round, and it comes as near as rounds let it."""
    path = policies.pooled_mean(300, 10**7, sample=10**7)
    k = np.arange(100_000)
    by_hand = (
        1 + np.cumsum((1 + k / (k + 1)) / (k + 2) ** 2) + (k + 1) / (k + 2)
    )  # rows to infinity
    np.testing.assert_allclose(path[1:], by_hand[:300], rtol=1e-5)
    assert (np.diff(path) > 0).all() and 0 < policies.SUBSAMPLED - by_hand[-1] < 1e-4


# A Gaussian, refitted to its own rows


@dataclass(frozen=True)
class Normals:
    """A Gaussian a replicate: (mean, variance), shape (2, replicates)."""

    ddof: int

    def generate(self, key, model, n):
        return model[0] + np.sqrt(model[1]) * key.numpy().standard_normal((n, model.shape[1]))

    def refit(self, key, model, rows):
        return np.stack([rows.mean(0), rows.var(0, ddof=self.ddof)])

    def path(self, rounds, sample, replicates):
        start = State(np.stack([np.zeros(replicates), np.ones(replicates)]))
        loop = Loop(generate=self.generate, refit=self.refit)
        states = run(loop, Key(6), start, [sample] * rounds)
        return np.stack([state.model for state, _ in states])[1:]


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_variance_of_a_generation_follows_shumailovs_formula(unbiased):
    """E[m_k^2 + s_k^2] is 1 + k / M, or 1 by maximum likelihood; the variance of the mean alone is known too."""
    M, rounds = 20, 6
    mean, variance = np.moveaxis(Normals(int(unbiased)).path(rounds, M, 20_000), 1, 0)
    want = policies.gaussian_variance(rounds, M, unbiased=unbiased)[1:]
    assert abs(z_mean((mean**2 + variance).T, want)).max() < 4
    drift = want - (1 if unbiased else (1 - 1 / M) ** np.arange(1, rounds + 1))
    assert abs(z_mean((mean**2).T, drift)).max() < 4


@pytest.mark.parametrize("unbiased", [True, False])
def test_the_covariance_of_almost_every_path_goes_to_zero(unbiased):
    """The log of the variance drifts down as digamma says, with trigamma's spread, while the expectation stays."""
    M, rounds, replicates = 10, 150, 2000
    logs = np.log(Normals(int(unbiased)).path(rounds, M, replicates)[:, 1]).T
    mean, spread = (
        each[1:] for each in policies.gaussian_log_variance(rounds, M, unbiased=unbiased)
    )
    assert abs(z_mean(logs, mean)[[0, 9, 49, 149]]).max() < 4
    assert abs(z_mean((logs - mean) ** 2, spread)[[0, 9, 49, 149]]).max() < 4
    last = logs[:, -1]
    assert np.median(last) < np.log(1e-6) and mean[-1] < 0
    # The log is nearly normal by then, so the share of paths that collapsed is too.
    assert np.mean(last < np.log(0.01)) > 0.95
    assert policies.gaussian_variance(rounds, M, unbiased=unbiased)[-1] == pytest.approx(
        16 if unbiased else 1
    )


# Bad input


def test_what_has_no_expectation_is_refused():
    with pytest.raises(
        ValueError,
        match=r"rows must be at least dim \+ 2 = 5, got 4; with fewer the error is infinite",
    ):
        policies.one_fit(4, 3)
    with pytest.raises(
        ValueError, match="sample must be at least 2, got 1; one row has no variance"
    ):
        policies.gaussian_log_variance(3, 1)
    with pytest.raises(
        ValueError, match="pooled_mean: window must be an integer of at least 1, got 0"
    ):
        policies.pooled_mean(3, 5, window=0)
