"""Conclusions from paths: what counts where the best value is known, and where samples do not agree."""

import numpy as np
import pytest

from veriloop.diagnose.conclusions import CHANGE, Basis, best_contraction, counted, settle
from veriloop.diagnose.contraction import Contraction


@pytest.mark.parametrize(("known", "wanted"), [(True, CHANGE), (False, "keep going")])
def test_what_counts_is_a_part_of_the_error_or_of_the_change(known, wanted):
    """100.5, 100.4, ... falls by less than 5 % of it, and by more than 5 % of its range."""
    path = np.array([[100.0, 100.5, 100.4, 100.3, 100.2, 100.1, 99.9, 99.8, 99.7]])
    parameters = np.array([[1.0, 100.0, 0.0, 0.0]])
    found = Basis(4, True, known, apart=False).conclude(parameters, path)[0]
    assert found == wanted


def test_samples_that_differ_in_what_is_wrong_agree_that_something_is():
    one = ["tighten the filter"] * 10
    half = ["tighten the filter", "get a better verifier"] * 5
    assert settle([one, one], "tighten the filter") == ("tighten the filter", 1.0)
    assert settle([one, half], "tighten the filter") == (CHANGE, 1.0)
    assert settle([half, ["keep going"] * 10], "keep going") == ("keep going", 0.0)
    assert counted([half]) == "tighten the filter 50%, get a better verifier 50%"


@pytest.mark.parametrize("parameters", [[0.4, 1.0, 0.1, 0.5], [0.9, 0.1, 0.2, 0.0]])
def test_no_other_rho_ends_one_round_lower(parameters):
    """The noise of a round is proportional to rho."""
    rho, start, noise, bias = parameters
    _, lowest = best_contraction(np.array([parameters]))
    for other in np.linspace(0, 1, 101):
        path = Contraction(np.ones(1)).path(np.array([[other, start, noise * other / rho, bias]]))
        assert path[0, 1] >= lowest[0] - 1e-12
