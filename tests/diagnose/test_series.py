"""What is read from records: one arm, whatever its rows are given as; the rest is refused in a sentence."""

import numpy as np
import pytest

from veriloop import Record, advise, alarm
from veriloop.diagnose.series import Series, arm_without_seed
from veriloop.records import Records


def table(seeds=3, rounds=5, **more):
    """Rows of an error that halves by round, a little different by seed."""
    rows = []
    for seed in range(seeds):
        for k in range(rounds + 1):
            value = 0.5**k * (1 + 0.1 * seed)
            counts = {"kept": 10, "candidates": 20}
            rows.append({"seed": seed, "round": k, **counts, "error_truth": value, **more})
    return rows


@pytest.mark.parametrize(
    ("arm", "seed", "wanted"),
    [
        ("constant-filtered-base1-seed11", 11, "constant-filtered-base1"),
        ("filtered_seed3", 3, "filtered"),
        ("filtered, seed 3, large", 3, "filtered, large"),
        ("filtered-seed11", 1, "filtered-seed11"),
        ("seed5", 5, "seed5"),
        ("birdseed5", 5, "birdseed5"),
        ("filtered", None, "filtered"),
    ],
)
def test_a_seed_in_the_name_of_an_arm_is_left_out(arm, seed, wanted):
    assert arm_without_seed({"arm": arm, "seed": seed}) == wanted


def test_arms_that_hold_their_seed_are_one():
    rows = [row | {"arm": f"filtered-seed{row['seed']}"} for row in table()]
    assert Series.of("here", rows, "error_truth").values.shape == (3, 6)
    assert alarm(rows, "error_truth").rounds == (1, 2, 3, 4, 5)


def test_records_and_rows_are_read_alike():
    rows = table()
    runs = []
    for seed in range(3):
        own = [row for row in rows if row["seed"] == seed]
        runs.append([Record(r["round"], 20, 10, {"error_truth": r["error_truth"]}) for r in own])
    for given in (Records(rows), tuple(rows), iter(rows), runs, [tuple(run) for run in runs]):
        series = Series.of("here", given, "error_truth")
        np.testing.assert_array_equal(series.values[:, 1] * 2, series.values[:, 0])


class Frame:
    """What has the methods of a data frame that matter here."""

    def to_dict(self, orient):
        return []

    def __iter__(self):
        return iter(["seed", "round"])


@pytest.mark.parametrize("ask", [advise, lambda records: alarm(records, "error_truth")])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Frame(), r"got a Frame; give it \.to_dict\('records'\) of the data frame"),
        ("runs/mine", "needs rows, as in Records.read.*, got a str; pass such records"),
        ({"round": 0}, "got a dict; pass such records"),
        (3, "got a int; pass such records"),
        (None, "got a NoneType; pass such records"),
        (["seed", "round"], "got a str in place 0; see Records"),
        ([1.0, 2.0], "got a float in place 0; see Records"),
        ([[1.0, 2.0]], "got a float in the sequence in place 0; see Records"),
        ([[]], "got a list in place 0; see Records"),
    ],
)
def test_what_is_no_records_is_a_type_error(ask, given, message):
    with pytest.raises(TypeError, match=message):
        ask(given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r | {"round": r["round"] + 0.5}, "whole numbers as rounds, got 0.5"),
        (lambda r: r | {"round": "first"}, "whole numbers as rounds, got 'first'"),
        (lambda r: r | {"error_truth": "low"}, "needs numbers for 'error_truth', got 'low'"),
        (lambda r: r | {"error_truth": True}, "needs numbers for 'error_truth', got True"),
        (lambda r: r | {"kept": "some"}, "needs numbers for 'kept', got 'some'"),
        (lambda r: r | {"kept": False}, "needs numbers for 'kept', got False"),
        (lambda r: r | {"error_truth": np.inf}, "for 'error_truth' in every row, got infinity"),
    ],
)
def test_rows_that_cannot_be_read_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Series.of("here", [change(row) for row in table()], "error_truth")


def test_what_only_some_rows_have_is_not_read_beside():
    rows = table(error_center=1.0)
    assert Series.of("here", rows, "error_truth", "error_center").values.shape == (3, 12)
    del rows[0]["error_center"]
    assert Series.of("here", rows, "error_truth", "error_center").names == ["error_truth"]


def test_whole_rounds_may_be_floats():
    """As a data frame gives them."""
    rows = [row | {"round": float(row["round"])} for row in table()]
    assert Series.of("here", rows, "error_truth").rounds == [0, 1, 2, 3, 4, 5]


def test_rows_of_no_seed_and_of_no_round_are_told_from_the_others():
    rows = [{"about": "the run", "error_truth": 1.0}, *table()]
    assert Series.of("here", rows, "error_truth").rounds == [0, 1, 2, 3, 4, 5]
