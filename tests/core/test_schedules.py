"""Schedules: whole sizes, exact ends, no step the wrong way."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import schedules

SIZE, ROUNDS = st.integers(1, 10**7), st.integers(2, 300)
shapes = pytest.mark.parametrize("schedule", [schedules.linear, schedules.geometric])


@shapes
@given(SIZE, SIZE, ROUNDS)
def test_length_ends_whole_numbers_and_order(schedule, first, last, rounds):
    sizes = schedule(first, last, rounds)
    assert len(sizes) == rounds and all(type(n) is int for n in sizes)
    assert sizes[0] == first and sizes[-1] == last
    assert all((b - a) * (last - first) >= 0 for a, b in pairwise(sizes))


@given(SIZE, SIZE, ROUNDS)
def test_linear_is_a_straight_line_to_the_nearest_row(first, last, rounds):
    exact = first + (last - first) * np.arange(rounds) / (rounds - 1)
    assert np.abs(np.array(schedules.linear(first, last, rounds)) - exact).max() <= 0.5 + 1e-6


@given(SIZE, SIZE, ROUNDS)
def test_geometric_is_a_straight_line_in_the_logarithm_to_the_nearest_row(first, last, rounds):
    exact = first * np.exp(np.log(last / first) * np.arange(rounds) / (rounds - 1))
    assert np.abs(np.array(schedules.geometric(first, last, rounds)) - exact).max() <= 0.5 + 1e-6


@given(SIZE, st.integers(1, 300))
def test_constant_and_flat_schedules_agree(n, rounds):
    flat = [n] * rounds
    assert schedules.constant(n, rounds) == schedules.linear(n, n, rounds) == flat
    assert schedules.geometric(n, n, rounds) == flat


@pytest.mark.parametrize("arguments", [(0, 5, 3), (5, 0, 3), (5, 5, 0), (-1, 5, 3)])
@shapes
def test_sizes_and_rounds_below_1_are_refused(schedule, arguments):
    first, last, rounds = arguments
    with pytest.raises(ValueError, match=f"{schedule.__name__} needs .* got {first} to {last} in {rounds} rounds"):
        schedule(*arguments)


def test_constant_refuses_under_its_own_name():
    with pytest.raises(ValueError, match="constant needs sizes and rounds of at least 1, got 0"):
        schedules.constant(0, 3)


@shapes
def test_one_round_cannot_have_two_sizes(schedule):
    with pytest.raises(ValueError, match="cannot go from 3 to 4 in one round"):
        schedule(3, 4, 1)
