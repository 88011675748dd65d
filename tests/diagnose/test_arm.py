"""What is known of an arm beside its numbers: the best of a metric, the pool, whether anything verified."""

import numpy as np
import pytest

from veriloop.diagnose.arm import ONE_IS_BEST, Scale, nothing_verified, pool_of, replaces
from veriloop.diagnose.series import Series
from veriloop.metrics import KNOWN


def series(gain, **more):
    """Five rounds of two seeds; kept rows score so much more than candidates, beside their noise."""
    rows = []
    for seed in range(2):
        for k in range(6):
            wobble = 0.1 * (-1) ** (k + seed)
            scores = {"candidates_rouge1": 0.5, "kept_rouge1": 0.5 + gain + wobble} if k else {}
            counts = {"kept": 10 * (k > 0), "candidates": 80 * (k > 0)}
            rows.append({"seed": seed, "round": k, "x": 1.0, **counts, **scores, **more})
    return Series.of("here", rows, "x")


@pytest.mark.parametrize("metric", sorted(ONE_IS_BEST))
def test_a_fraction_is_an_error_below_one(metric):
    scale = Scale.of(metric, None, None)
    assert KNOWN[metric].better == "higher"
    np.testing.assert_allclose(scale.errors(np.array([0.9, 0.2])), [0.1, 0.8])
    assert scale.value(0.8) == pytest.approx(0.2) and scale.value(7.0) == 0
    assert scale.interval(0.1, 0.8) == pytest.approx((0.2, 0.9))


@pytest.mark.parametrize("metric", ["error_truth", "nelbo", "mnist_fid", "perplexity"])
def test_what_is_better_when_lower_is_an_error(metric):
    scale = Scale.of(metric, None, None)
    assert (scale.best, scale.sign) == (0, 1)
    assert scale.known == (metric == "error_truth")
    assert Scale.of(metric, None, 3.0).errors(np.array([4.0])) == [1.0]


def test_no_verifier_is_told_from_one():
    assert nothing_verified(series(0.0))
    assert not nothing_verified(series(0.2))
    assert nothing_verified(series(0.2, verified=False))
    assert not nothing_verified(series(0.0, verified=True))
    assert nothing_verified(series(0.2, candidates=10, kept=10))
    assert not nothing_verified(series(0.0, kept_rouge1=None))


def test_the_pool_is_read_where_all_rows_name_one():
    assert pool_of(series(0.0)) is None
    assert pool_of(series(0.0, policy="accumulate")) == "accumulate"
    assert pool_of(series(0.0, pool="Replace()", policy="mine")) == "Replace()"
    assert replaces(" Replace ") and not replaces("window")
