"""The expected error by round is the theory's, and a fit of a path is that path."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key
from veriloop.diagnose.contraction import WITH_BIAS, Contraction
from veriloop.linear import theory

GRID = list(itertools.product((0.0, 0.25, 0.5), (0.5, 1.0, 1.5)))  # bias, radius
SIZES, GROWING = [100] * 10, [100 * 2**k for k in range(6)]


@pytest.mark.parametrize(("bias", "radius"), GRID)
@pytest.mark.parametrize("sizes", [SIZES, GROWING])
def test_the_distance_to_the_centre_is_the_bound_of_theorem_4_1(bias, radius, sizes, exact):
    """With s the variance of the start and q = p rho / n, for any sizes."""
    problem, parameters = exact(bias, radius)
    path = Contraction(np.array(sizes) / sizes[0], both=True).path(parameters)[0, len(sizes) + 1 :]
    bound = theory.error_bound(parameters[0, 1] + bias**2, problem.half_width, sizes, dim=8)
    np.testing.assert_allclose(path, bound, rtol=1e-12)


@pytest.mark.parametrize("sizes", [SIZES, GROWING])
def test_without_contraction_it_is_the_exact_random_walk(sizes, exact):
    problem, parameters = exact(0.0, 1.0)
    walk = Contraction(np.array(sizes) / sizes[0]).path(
        np.array([[1.0, parameters[0, 1], 8 / sizes[0], 0.3]])
    )[0]
    np.testing.assert_allclose(
        walk, theory.unfiltered_mse(problem.singular_values, sizes), rtol=1e-12
    )


@pytest.mark.parametrize(("bias", "radius"), GRID)
def test_the_error_to_the_truth_is_the_simulations(bias, radius, exact):
    """The linear formula is off by at most 5 % in any of ten rounds, beside four standard errors of the mean."""
    problem, parameters = exact(bias, radius)
    got = problem.simulate(SIZES, 1000, Key(0).fold(int(100 * bias), int(10 * radius)))[
        "error_truth"
    ]
    path, error = (
        Contraction(np.ones(10)).path(parameters)[0],
        got.std(axis=1, ddof=1) / np.sqrt(1000),
    )
    assert (np.abs(got.mean(axis=1) - path) < 0.05 * path + 4 * error).all()


@given(st.floats(0, 1), st.floats(0.01, 10), st.floats(0, 1), st.floats(0, 5))
def test_a_fit_of_a_path_is_that_path(rho, start, noise, bias):
    """Whatever the parameters; other parameters may give the same path."""
    model = Contraction(np.ones(6), both=True)
    path = model.path(np.array([[rho, start, noise, bias]]))
    np.testing.assert_allclose(
        model.path(model.fit(path, np.abs(path[0]) + 0.01, WITH_BIAS)), path, rtol=0.02, atol=1e-3
    )
