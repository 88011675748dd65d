"""What the tests of advice, and of the formula under it, compare with."""

import numpy as np
import pytest

from veriloop.linear import Problem, theory


@pytest.fixture(scope="session")
def exact():
    """A problem, and the parameters of its errors: rho, s, q and beta^2 at 100 labels a direction."""

    def of(bias, radius):
        problem = Problem.gaussian(bias=bias, radius=radius)
        rho = float(theory.contraction_factor(problem.half_width))
        return problem, np.array(
            [[rho, np.sum(problem.singular_values**-2), 8 * rho / 100, bias**2]]
        )

    return of
