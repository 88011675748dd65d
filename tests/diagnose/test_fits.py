"""Means that could as well have been: Student's t for seeds, and a part that all seeds share."""

import numpy as np
import pytest
from scipy import stats

from veriloop import Key
from veriloop.diagnose.contraction import WITHOUT_BIAS, Contraction
from veriloop.diagnose.fits import Fit
from veriloop.diagnose.series import Series

ROUNDS = 8
MODEL = Contraction(np.ones(ROUNDS))
PATH = MODEL.path(np.array([[0.6, 1.0, 0.1, 0.0]]))[0]


def series(values):
    rows = []
    for seed, line in enumerate(values):
        rows += [{"seed": seed, "round": k, "x": value} for k, value in enumerate(line)]
    return Series.of("here", rows, "x")


def resampled(values, key=1, count=4000):
    given = series(values)
    fit = Fit.to(given, MODEL, WITHOUT_BIAS)
    return fit, fit.resample(given, MODEL, count, Key(key))


@pytest.mark.parametrize("seeds", [3, 10])
def test_the_interval_of_a_linear_number_is_students_t(seeds):
    """Seeds that differ by a factor alone: the start's 95 % interval is that of a t test."""
    factors = 1 + 0.1 * Key(2).fold(seeds).numpy().standard_normal((seeds, 1))
    _, drawn = resampled(PATH * factors)
    low, high = np.quantile(drawn[:, 1], [0.025, 0.975])
    error = factors.std(ddof=1) / np.sqrt(seeds)
    half = stats.t.ppf(0.975, seeds - 1) * error
    assert high - low == pytest.approx(2 * half, rel=0.12)
    assert (high + low) / 2 == pytest.approx(factors.mean(), abs=0.1 * half)


def test_noise_that_all_seeds_share_widens_the_interval():
    """Between seeds it cannot be seen; it shows in how the means miss the fit."""
    noise = 0.01 * Key(3).numpy().standard_normal((10, ROUNDS + 1))
    shared = 0.1 * Key(4).numpy().standard_normal(ROUNDS + 1)
    alone, own = resampled(PATH * (1 + noise))
    missed, both = resampled(PATH * (1 + noise + shared))
    assert alone.explains and not missed.explains
    assert both[:, 1].std() > 4 * own[:, 1].std()


def test_the_same_key_draws_the_same():
    values = PATH * (1 + 0.1 * Key(5).numpy().standard_normal((4, ROUNDS + 1)))
    first, again, other = (resampled(values, key, 20)[1] for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
