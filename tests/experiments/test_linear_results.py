"""What the committed linear records show: the claims of docs/results/linear.md can fail."""

import pytest
from helpers import RESULTS, rows_of

from figures.style import select

pytestmark = pytest.mark.claims


@pytest.fixture(scope="module")
def rounds():
    return rows_of(RESULTS / "linear_rounds")


def lost(rows, radius, size):
    """The rounds in which an arm of bias 1 is surely worse than no verifier."""
    found = []
    for row in select(rows, bias=1, radius=radius, size=size):
        if row["gain_truth"] + 1.96 * row["gain_truth_se"] < 0:
            found.append(row["round"])
    return found


def test_a_strong_bias_harms_early_at_constant_size(rounds):
    """Not from the first round on: in round 60 every radius is better than no verifier."""
    assert lost(rounds, 0.5, "constant") == list(range(1, 12))
    assert lost(rounds, 1, "constant") == list(range(1, 13))
    assert lost(rounds, 1.5, "constant") == list(range(3, 9))
    assert lost(rounds, 2, "constant") == []
    for row in select(rounds, bias=1, size="constant", round=60):
        if row["radius"] is not None:
            assert row["gain_truth"] - 4 * row["gain_truth_se"] > 0


def test_a_strong_bias_harms_in_the_end_at_growing_size(rounds):
    for radius in (0.5, 1, 1.5, 2):
        assert lost(rounds, radius, "growing")[-1] == 60


def test_a_mild_bias_gains_on_the_real_data(rounds):
    """At growing size for every radius but 2; at constant size for r = 0.5 in round 1 alone."""
    for radius in (0.5, 1, 1.5, 2):
        rows = select(rounds, bias=0.25, radius=radius, size="growing")
        assert (rows[60]["error_truth"] < rows[0]["error_truth"]) == (radius != 2)
        rows = select(rounds, bias=0.25, radius=radius, size="constant")
        assert (rows[1]["error_truth"] < rows[0]["error_truth"]) == (radius == 0.5)
        assert rows[60]["error_truth"] > rows[0]["error_truth"]


def test_gaussian_rows_have_not_come_to_rest():
    """They fall in each of the last five rounds."""
    rows = select(rows_of(RESULTS / "linear_designs"), arm="Gaussian rows")
    errors = [row["error_center"] for row in rows]
    assert errors[15:] == sorted(errors[15:], reverse=True)


def test_the_best_weight_is_the_golden_ratio_only_without_a_verifier():
    """Of eight weights; how sure the second is, paired runs say, and not these records."""
    rows = select(rows_of(RESULTS / "linear_policies"), policy="weight", round=20)
    best = {}
    for verified in (False, True):
        arms = select(rows, verified=verified)
        best[verified] = min(arms, key=lambda row: row["error_truth"])["weight"]
    assert best == {False: 0.618, True: 0.56}
