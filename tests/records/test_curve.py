"""Intervals over seeds: Student's t, and what it is where a value is infinite."""

import math

import numpy as np
import pytest

from veriloop import Key
from veriloop.records import interval


def test_intervals_hold_the_mean_in_95_of_100():
    """2,000 samples of four: the share that holds the truth, within three standard errors."""
    samples = Key(2).numpy().standard_normal((2000, 4))
    held = [low <= 0 <= high for _, low, high in map(interval, samples)]
    assert abs(np.mean(held) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize(
    ("sample", "mean"),
    [([1.0, math.inf], math.inf), ([-math.inf, -math.inf], -math.inf), ([math.inf], math.inf)],
)
def test_an_infinite_value_gives_an_infinite_mean_and_no_interval(sample, mean):
    found, low, high = interval(sample)
    assert found == mean and math.isnan(low) and math.isnan(high)


def test_values_infinite_both_ways_have_no_mean():
    assert np.isnan(interval([math.inf, -math.inf, 1.0])).all()
