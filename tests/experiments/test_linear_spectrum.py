"""The script of the real design's spectrum: theory beside simulation, and what no real row sees."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import settings

NAME = "linear_spectrum"


@pytest.fixture(scope="module")
def small():
    return settings(
        "replicates=400", "rounds=3", "designs=6", "design_replicates=60", "few_rows=[2,4,5,8]"
    )


def test_every_error_agrees_with_theory(here, small):
    """Both errors of every design, arm and round: designs of a spread one by one, the others together."""
    rows = here(NAME, *small).rows
    spread = [row for row in rows if row["part"] == "spread"]
    assert len(spread) == 2 * 2 * 2 * 4
    for row in spread:
        for name in ("error_truth", "error_center"):
            assert abs(row[name] - row[f"expected_{name}"]) < 4.5 * row[f"{name}_se"], row["arm"]
    few = [row for row in rows if row["part"] == "rows"]
    assert len(few) == 4 * 2 * 4
    for row in few:
        # The sum of the squares of `followed` z-scores has a standard deviation of sqrt(2 followed).
        excess = row["followed"] * (row["error_truth_z"] ** 2 - 1)
        assert abs(excess) < 4.5 * np.sqrt(2 * row["followed"]), row["arm"]


def test_verifying_takes_what_is_inside_the_span_and_leaves_the_rest(here, small):
    """Below one row a parameter the error ends above what no real row sees; beyond, there is none of it."""
    rows = here(NAME, *small).rows
    few = [row for row in rows if row["part"] == "rows" and row["round"] == 3]
    for row in few:
        assert (row["unseen"] > 0.1) == (row["real_rows"] < 4)
        assert row["error_truth"] > row["unseen"]
    at_peak = {row["verified"]: row["error_truth"] for row in few if row["real_rows"] == 4}
    assert at_peak[True] < 0.5 * at_peak[False]


def test_all_spread_designs_start_from_one_error(here):
    run = here(NAME, *settings("spreads=[1, 3, 1000]", "replicates=50"))
    start = {
        row["expected_error_truth"]
        for row in run.rows
        if not row["round"] and row["part"] == "spread"
    }
    assert max(start) - min(start) < 1e-9 and abs(max(start) - 0.8) < 1e-9


def test_a_design_that_theory_cannot_follow_has_a_start(here):
    """One of two designs is too singular; at the preset `laptop` such a design ended the run."""
    own = settings("few_rows=[4]", "few_dim=4", "designs=2", "seed=62", "spreads=[1]")
    few = [row for row in here(NAME, *own).rows if row["part"] == "rows"]
    assert {row["followed"] for row in few} == {1}
    for row in few:
        assert row["candidates"] >= row["kept"] >= 0, row["round"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "own", [("replicates=1", "design_replicates=1"), ("few_rows=[1]", "designs=1")]
)
def test_the_ends_of_the_ranges_run_and_draw(own, here):
    run = here(NAME, *settings(*own), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert "nan" not in run.stdout
