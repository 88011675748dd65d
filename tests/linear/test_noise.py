"""The error of a ball with noisy verdicts: against the exact theory at its ends, and against the loop."""

from __future__ import annotations

import numpy as np
import pytest

from veriloop import Key, Noisy
from veriloop.linear import Problem, noisy_one_round_mse, theory
from veriloop.linear.truncated import truncated_moments

PROBLEM = Problem.gaussian(bias=0.4, radius=0.6)
KNOWN = (PROBLEM.singular_values, PROBLEM.center_offset, PROBLEM.half_width)


def mse(false_accept, false_reject, kept=30):
    return noisy_one_round_mse(*KNOWN, kept, false_accept=false_accept, false_reject=false_reject)


def test_without_errors_it_is_the_exact_theory():
    assert mse(0.0, 0.0) == pytest.approx(theory.one_round_mse(*KNOWN, 30), rel=1e-9)


def test_where_both_kinds_of_label_pass_alike_there_is_no_verifier():
    unfiltered = theory.unfiltered_mse(PROBLEM.singular_values, [30])[1]
    assert mse(0.7, 0.3) == pytest.approx(unfiltered, rel=1e-9)


def test_the_ratio_of_the_rates_alone_counts():
    """Accepting half as many of both kinds changes the candidates, not the kept rows."""
    assert mse(0.2, 0.0) == pytest.approx(mse(0.1, 0.5), rel=1e-12)


@pytest.mark.parametrize("width", [0.5, 3.0, 9.0, 20.0])
def test_a_verifier_that_accepts_outside_alone_is_two_half_lines(width):
    """Half of the rows lie below, half above; their mean square is w^2 and a little more."""
    error = noisy_one_round_mse([1e6], [0.0], width, 10, false_accept=1.0, false_reject=1.0)
    mean, variance, _ = truncated_moments(0.0, 1.0, width, np.inf)
    assert error == pytest.approx((mean**2 + variance) / 10, rel=1e-6)


@pytest.mark.parametrize("width", [np.inf, 60.0])
def test_a_verifier_that_accepts_nothing_is_refused(width):
    with pytest.raises(ValueError, match="some label must be accepted, got a half_width of"):
        noisy_one_round_mse([2.0], [0.0], width, 10, false_accept=0.2, false_reject=1.0)


@pytest.mark.parametrize(("false_accept", "false_reject"), [(0.3, 0.1), (0.9, 0.8)])
def test_the_loop_has_that_error(false_accept, false_reject):
    """300 rounds of the generic loop, within 4 standard errors."""
    noisy = Noisy(PROBLEM.verifier, false_accept=false_accept, false_reject=false_reject)
    loop = PROBLEM.loop(verify=noisy)
    errors = []
    for i in range(300):
        key = Key(6).fold(i)
        _, record = loop.step(key, PROBLEM.start(key), PROBLEM.size(10))
        errors.append(record.metrics["error_truth"])
    z = (np.mean(errors) - mse(false_accept, false_reject, kept=10)) / np.std(errors, ddof=1)
    assert abs(z * np.sqrt(300)) < 4


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ((1.5, 0.0), r"false_accept must be in \[0, 1\], got 1.5"),
        ((0.0, -0.1), r"false_reject must be in \[0, 1\], got -0.1"),
        ((0.0, 1.0), "every label is refused"),
    ],
)
def test_rates_that_are_none_are_refused(rates, told):
    with pytest.raises(ValueError, match=told):
        mse(*rates)
