"""Filters of one acceptance: one cut for all digits, and arms that keep equally many."""

import numpy as np
import pytest
from helpers import settings

from _mnist_selection import OneCut
from veriloop import Key, TopFraction

GROUPS = np.arange(1000) % 10
SCORES = Key(0).numpy().standard_normal(1000) + GROUPS  # digits of higher number are liked better
FRACTION = 0.2


def test_one_cut_keeps_what_scores_best_of_all_digits():
    """As many as the top fraction of each digit, which keeps equally many of each."""
    one = OneCut(FRACTION)(Key(0), SCORES, GROUPS)
    each = TopFraction(FRACTION)(Key(0), SCORES, GROUPS)
    assert one.sum() == each.sum() == 200
    assert SCORES[one].min() > SCORES[~one].max()
    assert np.bincount(GROUPS[one], minlength=10)[0] == 0
    np.testing.assert_array_equal(np.bincount(GROUPS[each]), np.full(10, 20))


def test_arms_start_alike_and_keep_equally_many_of_the_same_candidates(smoke):
    """Only the filter differs: round 0 and the first candidates are shared."""
    rows = smoke("mnist_selection").rows
    assert {row["selection"] for row in rows} == {"top", "threshold", "weight 1", "weight 4", None}
    first = [row for row in rows if row["seed"] == 1 and row["round"] == 0]
    assert len({row["nelbo"] for row in first}) == 1
    for row in rows:
        if row["round"]:
            assert row["kept"] == 200
            assert row["candidates"] == (2000 if row["verified"] else 200)
    in_round_1 = [row for row in rows if row["round"] == 1 and row["verified"] and row["seed"] == 1]
    assert len({row["passed"] for row in in_round_1}) == 1
    assert len({row["nelbo"] for row in in_round_1}) == 4  # four models


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("filter=threshold", "filter: got threshold, must be top; the arms are the filters"),
        ("temperatures=[1.0, 1.0]", "temperatures: got [1.0, 1.0], must be different"),
        ("temperatures=[0.0]", "temperatures"),
        ("sizes={a: 100, b: 200}", "must be one schedule"),
    ],
)
def test_what_would_make_no_figure_is_refused(setting, message, here):
    run = here("mnist_selection", *settings(setting))
    assert run.code == 2 and message in run.stderr
