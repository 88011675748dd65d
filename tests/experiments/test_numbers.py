"""The numbers that the scripts record, at small scale, against what is known about them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import LINEAR, settings


def test_the_landscapes_monte_carlo_agrees_with_its_exact_theory(here):
    """Cell by cell and pooled, the gap is what its standard error says: not more, and not less either."""
    own = (
        "replicates=200",
        "bias={first: 0, last: 0.7, count: 10}",
        "radius={first: 0.01, last: 1, count: 8}",
    )
    rows = here("linear_landscape", *settings(*own)).rows
    assert len(rows) == 80
    gap = np.array([row["mean"] - row["exact"] for row in rows])
    error = np.array([row["standard_error"] for row in rows])
    assert abs(gap.sum() / np.sqrt(np.sum(error**2))) < 4
    # A standard error from 200 skewed values is itself uncertain, hence 5 and not 4 for the largest of 80.
    assert np.max(np.abs(gap / error)) < 5
    assert abs(np.sum((gap / error) ** 2) - 80) < 4 * np.sqrt(2 * 80)


def test_policies_without_a_verifier_follow_their_closed_forms(here):
    """Replace, accumulate, half fixed and fresh real data, every round, within 4 standard errors."""
    rows = here("linear_policies", *settings("replicates=60", "rounds=3", "weights=[0.3]")).rows
    known = [row for row in rows if row["closed_form"] is not None]
    assert {row["policy"] for row in known} == {"replace", "accumulate", "mix", "fresh", "weight"}
    assert not [row for row in known if row["verified"]]
    for row in known:
        z = (row["error_truth"] - row["closed_form"]) / row["error_truth_se"]
        assert abs(z) < 4, (row["arm"], row["round"], z)
    replace = [row for row in known if row["policy"] == "replace"]
    assert [row["closed_form"] for row in replace] == pytest.approx(
        [8 / 91 * k for k in (1, 2, 3, 4)]
    )


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("linear_rounds", ["replicates=200", "bias=0", "radius=0.5"]),
        ("linear_policies", ["replicates=60", "rounds=2", "weights=[]"]),
    ],
)
def test_the_gain_of_verifying_is_paired(name, own, here):
    """The gain is the difference of means; after round 1 its variance is below that of independent arms."""
    rows = here(name, *settings(*own)).rows
    paired = 0
    for row in rows:
        same = [
            other
            for other in rows
            if all(other.get(k) == row.get(k) for k in ("size", "policy", "round"))
        ]
        unverified = next(other for other in same if "unverified" in other["arm"])
        assert row["gain_truth"] == pytest.approx(
            unverified["error_truth"] - row["error_truth"], abs=1e-12
        )
        if row is unverified or row["round"] == 0:
            assert row["gain_truth"] == row["gain_truth_se"] == 0
        elif row["round"] == 1:
            independent = row["error_truth_se"] ** 2 + unverified["error_truth_se"] ** 2
            # Of independent arms this is at most their sample correlation, whose standard error is 1 / sqrt(n).
            saved = 1 - row["gain_truth_se"] ** 2 / independent
            assert saved * np.sqrt(row["replicates"]) > 4, (row["arm"], saved)
            paired += 1
    assert paired >= 2


def test_unverified_rounds_follow_the_exact_law(here):
    """Without a verifier the error to the truth grows by 1 / n in every direction and round, exactly in mean."""
    run = here("linear_rounds", *settings("replicates=300", "bias=0.25", "radius=0.5"))
    rows = [row for row in run.rows if row["radius"] is None]
    assert {(row["size"], row["round"]) for row in rows} == {
        (s, k) for s in ("constant", "growing") for k in range(5)
    }
    for row in rows:
        z = (row["error_truth"] - row["unfiltered_truth"]) / row["error_truth_se"]
        assert abs(z) < 4, (row["size"], row["round"], z)
        assert row["candidates"] == pytest.approx(row["kept"])  # everything is accepted


def test_verified_rounds_stay_below_the_bound(here):
    """Theorem 4.1 bounds the error to the verifier's centre; a verifier needs more candidates than it keeps."""
    rows = here("linear_rounds", *settings("replicates=100")).rows
    verified = [row for row in rows if row["radius"] is not None and row["round"]]
    assert len(verified) == 2 * 2 * 2 * 4
    for row in verified:
        assert row["error_center"] - 4 * row["error_center_se"] < row["bound_center"]
        assert row["candidates"] > row["kept"]


def test_block_designs_are_worth_the_same(here):
    """The real design's basis and the standard basis differ by a rotation only: equal error within 4 s.e."""
    small = settings("replicates=40", "width=1", "map_radius=0.5", "map_replicates=2")
    rows = here("linear_designs", *small).rows
    for k in (1, 2):
        first, second = (
            next(row for row in rows if row.get("arm") == arm and row["round"] == k)
            for arm in ("real design's basis", "standard basis")
        )
        z = (first["error_center"] - second["error_center"]) / np.hypot(
            first["error_center_se"], second["error_center_se"]
        )
        assert abs(z) < 4


@pytest.mark.parametrize("name", LINEAR)
def test_one_replicate_runs(name, here):
    """No standard error can be had from one value: it is null, and neither the figure nor the summary minds."""
    run = here(name, *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    column = {"linear_landscape": "standard_error", "linear_policies": "error_truth_se"}.get(
        name, "error_center_se"
    )
    rows = [row for row in run.rows if row.get("part") in (None, "rounds")]
    assert rows and all(row[column] is None for row in rows)
    assert "NaN" not in (run.out / "run.json").read_text() and "nan" not in run.stdout


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("linear_landscape", ["radius=0.5", "bias=0.1"]),
        ("linear_landscape", ["noise=[0.5, 2]", "dim=1"]),
        ("linear_rounds", ["bias=0", "radius=0", "sizes=1"]),
        ("linear_rounds", ["noise=[1, 2]", "rounds=1", "sizes=50"]),
        (
            "linear_designs",
            ["shift=0", "width=1", "map_bias=0", "map_radius=0.5", "dim=1", "map_dim=1"],
        ),
        ("linear_policies", ["weights=[]", "rounds=1", "dim=2"]),
    ],
)
def test_the_ends_of_the_ranges_run_and_draw(name, own, here):
    """One value instead of a grid, one dimension, one round, no sweep: all allowed, hence all must work."""
    run = here(name, *settings(*own), figure="laid out")
    assert (run.code, run.stderr) == (0, "") and run.rows


@pytest.mark.parametrize("own", [["shift=10", "width=0.1"], ["map_bias=50", "map_radius=0"]])
def test_a_cell_without_any_usable_replicate_says_so(own, here):
    """A map's cell where the verifier passes no real data cannot be estimated: the cell is named."""
    run = here("linear_designs", *settings(*own))
    assert run.code == 1
    assert re.search(r"RoundError: .*no replicate.*x = (10, y = 0\.1|50, y = 0)\b", run.stderr)
