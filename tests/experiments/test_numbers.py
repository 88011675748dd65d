"""The numbers that the scripts record, at small scale, against what is known about them."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from helpers import LINEAR, settings

from figures.style import select


def test_the_landscapes_monte_carlo_agrees_with_its_exact_theory(here):
    """Cell by cell and pooled, the gap is what its standard error says, not more and not less."""
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
    # Standard errors from 200 skewed values are uncertain, so the largest may reach 5.
    assert np.max(np.abs(gap / error)) < 5
    assert abs(np.sum((gap / error) ** 2) - 80) < 4 * np.sqrt(2 * 80)


@pytest.mark.slow
def test_policies_without_a_verifier_follow_their_closed_forms(here):
    """Replace, accumulate, half fixed and fresh real data, in every round."""
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
    """The gain is a difference of means; its variance is below that of independent arms."""
    rows = here(name, *settings(*own)).rows
    paired = 0
    for row in rows:
        same = select(rows, **{k: row.get(k) for k in ("size", "policy", "round")})
        unverified = next(other for other in same if "unverified" in other["arm"])
        assert row["gain_truth"] == pytest.approx(
            unverified["error_truth"] - row["error_truth"], abs=1e-12
        )
        if row is unverified or row["round"] == 0:
            assert row["gain_truth"] == row["gain_truth_se"] == 0
        elif row["round"] == 1:
            independent = row["error_truth_se"] ** 2 + unverified["error_truth_se"] ** 2
            # For independent arms this is at most their correlation, of s.e. 1 / sqrt(n).
            saved = 1 - row["gain_truth_se"] ** 2 / independent
            assert saved * np.sqrt(row["replicates"]) > 4, (row["arm"], saved)
            paired += 1
    assert paired >= 2


def test_unverified_rounds_follow_the_exact_law(here):
    """Without a verifier the error grows by 1 / n in every direction and round, in mean."""
    run = here("linear_rounds", *settings("replicates=300", "bias=0.25", "radius=0.5"))
    rows = [row for row in run.rows if row["radius"] is None]
    cells = {(row["size"], row["round"]) for row in rows}
    assert cells == set(product(("constant", "growing"), range(5)))
    for row in rows:
        z = (row["error_truth"] - row["unfiltered_truth"]) / row["error_truth_se"]
        assert abs(z) < 4, (row["size"], row["round"], z)
        assert row["candidates"] == pytest.approx(row["kept"])  # everything is accepted


def test_verified_rounds_stay_below_the_bound(here):
    """The error to the centre is below the bound, and more candidates are drawn than kept."""
    rows = here("linear_rounds", *settings("replicates=100")).rows
    verified = [row for row in rows if row["radius"] is not None and row["round"]]
    assert len(verified) == 2 * 2 * 2 * 4
    for row in verified:
        assert row["error_center"] - 4 * row["error_center_se"] < row["bound_center"]
        assert row["candidates"] > row["kept"]


def test_block_designs_are_worth_the_same(here):
    """The real design's basis and the standard basis differ by a rotation only: equal error."""
    small = settings("replicates=40", "width=1", "map_radius=0.5", "map_replicates=2")
    rows = here("linear_designs", *small).rows
    for k in (1, 2):
        first = select(rows, arm="real design's basis", round=k)[0]
        second = select(rows, arm="standard basis", round=k)[0]
        gap = first["error_center"] - second["error_center"]
        error = np.hypot(first["error_center_se"], second["error_center_se"])
        assert abs(gap / error) < 4


@pytest.mark.slow
@pytest.mark.parametrize("name", LINEAR)
def test_one_replicate_runs(name, here):
    """One value has no standard error: it is null, and figure and summary go on."""
    run = here(name, *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    column = {"linear_landscape": "standard_error", "linear_policies": "error_truth_se"}.get(
        name, "error_center_se"
    )
    rows = [row for row in run.rows if row.get("part") in (None, "rounds", "spread")]
    assert rows and all(row[column] is None for row in rows)
    assert "NaN" not in (run.out / "run.json").read_text() and "nan" not in run.stdout


@pytest.mark.slow
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
    """One value instead of a grid, one dimension, one round, no sweep: all allowed, so all work."""
    run = here(name, *settings(*own), figure="laid out")
    assert (run.code, run.stderr) == (0, "") and run.rows


@pytest.mark.parametrize("own", [["shift=10", "width=0.1"], ["map_bias=50", "map_radius=0"]])
def test_a_cell_without_any_usable_replicate_says_so(own, here):
    """Where the verifier passes no real data nothing can be estimated: the cell is named."""
    run = here("linear_designs", *settings(*own))
    assert run.code == 1
    assert re.search(r"RoundError: .*no replicate.*x = (10, y = 0\.1|50, y = 0)\b", run.stderr)
