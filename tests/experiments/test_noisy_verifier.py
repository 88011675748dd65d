"""The three parts of the script about noisy verifiers, against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import settings

SMALL = ("ball_error=[0]", "ball_sizes=[1]", "bias=[0]", "starts=[0.5]", "loop_size=1", "rounds=1")


def rows_of(run, part):
    return [row for row in run.rows if row["part"] == part]


def assert_fits(z):
    """The z-scores of independent cells are standard normal in mean square."""
    assert len(z) >= 20 and abs(np.sum(z**2) - len(z)) < 4 * np.sqrt(2 * len(z)), np.sort(z)


@pytest.mark.slow
def test_every_cell_agrees_with_its_closed_form(here):
    """Accuracy at all shares, verifiers and sizes, and the ball at all error rates: z-scores of unit size."""
    run = here(
        "noisy_verifier",
        *settings(
            "replicates=60",
            "sizes=[20, 100]",
            "near=[0, 0.02, 0.1]",
            "wrong=[0.2, 0.9]",
            "loop_size=50",
        ),
        *settings(
            "ball_error={first: 0, last: 1, count: 5}",
            "ball_sizes=[5, 20]",
            "starts=[0.5]",
            "rounds=1",
        ),
    )
    for part, name, error in (("transition", "accuracy", "exact_se"), ("ball", "mse", "mse_se")):
        assert_fits(
            np.array([(row[name] - row["exact"]) / row[error] for row in rows_of(run, part)])
        )
    crossings = [
        number for name, number in run.about["summary"].items() if name.endswith("accuracy 1/2")
    ]
    assert len(crossings) == 4
    for each in crossings:
        assert abs(each["value"] - each["expected"]) < 4 * each["standard_error"]


@pytest.mark.slow
def test_the_loop_ends_high_below_the_threshold_and_low_above_it(here):
    """And each refit's signal is what the classifier before it lets expect, in every round."""
    few = ("ball_error=[0]", "ball_sizes=[1]", "bias=[0]", "sizes=[1]", "near=[0]", "wrong=[0.5]")
    own = ("starts=[0.3, 0.5, 0.7, 0.9]", "loop_size=1000", "rounds=6", "replicates=50")
    run = here("noisy_verifier", *settings(*few, *own))
    rows = rows_of(run, "rounds")
    assert all(row["star"] == pytest.approx(0.6) for row in rows)
    for row in rows:
        if row["round"] == 6:
            assert row["risen"] == (row["start"] < 0.6)
        if row["round"] == 0:
            assert row["accuracy"] == pytest.approx(1 - row["start"]) == pytest.approx(row["path"])
    assert_fits(np.array([row["gap"] / row["gap_se"] for row in rows if row["round"]]))


@pytest.mark.parametrize(
    "own",
    [
        ("wrong=[0.5]", "near=[0]"),
        ("wrong=[0.1]", "near=[0.9]"),
        ("dim=2", "separation=0.1", "starts=[0.5]"),
    ],
)
def test_the_ends_of_the_ranges_run_and_draw(own, here):
    """One share of wrong labels, no distance that stays within (0, 1), two dimensions."""
    run = here("noisy_verifier", *settings("sizes=[1]", *SMALL, *own), figure="laid out")
    assert (run.code, run.stderr) == (0, "")


@pytest.mark.slow
def test_one_replicate_runs(here):
    """One value has no standard error: it is null, and neither figure nor summary minds."""
    run = here("noisy_verifier", *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["accuracy_se"] is None for row in rows_of(run, "transition"))
    assert "NaN" not in (run.out / "run.json").read_text() and "nan" not in run.stdout
