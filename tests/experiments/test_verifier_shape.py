"""The script that compares shapes of verifiers: they accept equally often, and records follow what they state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import settings
from scipy.special import ndtr

from veriloop.linear import Problem

NAME = "verifier_shape"
SHAPES = ["none", "ball", "l1 ball", "box", "ellipsoid", "half-space", "soft ball"]


@pytest.fixture(scope="module")
def shapes():
    """The script's module of shapes; the path to it is there once the scripts' fixtures are."""
    import _verifier_shape

    return _verifier_shape


def test_all_shapes_are_right_about_the_truth_as_often_as_the_ball(shapes):
    """The match is of unbiased verifiers, whatever the bias of the problem they are then centred by."""
    for bias in (0.0, 2.0):
        problem = Problem.gaussian(bias=bias, radius=0.6)
        unbiased = replace(problem, center=problem.truth)
        made = {
            name: shapes.matched_verifier(name, problem, np.eye(8)[0], 5.0, 0.2) for name in SHAPES
        }
        shares = {}
        for name, verifier in made.items():
            assert getattr(verifier, "center", problem.center) is problem.center
            centred = verifier
            if name == "soft ball":
                centred = replace(
                    verifier, verifier=replace(verifier.verifier, center=problem.truth)
                )
            elif name != "none":
                centred = replace(verifier, center=problem.truth)
            shares[name] = shapes.right(centred, unbiased)
        assert shares.pop("none") == 1
        assert list(shares.values()) == pytest.approx(
            [2 * ndtr(problem.half_width) - 1] * 6, abs=1e-10
        )


@pytest.mark.slow
def test_the_records_follow_what_they_state(here):
    """Every expectation in a run's records, within 4.5 standard errors of the largest of some two hundred."""
    small = ("replicates=60", "simulated=400", "rounds=3", "sizes=40", "dim=3")
    rows = here(NAME, *settings(*small)).rows
    assert len(rows) == 7 * 2 * 2 * 4
    stated = 0
    for row in rows:
        for name in ("error_truth", "error_center", "ahead"):
            if row.get(f"expected_{name}") is not None:
                assert abs(row[name] - row[f"expected_{name}"]) < 4.5 * row[f"{name}_se"], (
                    row["arm"],
                    name,
                )
                stated += 1
        if row["round"] and row["design"] == "block design":
            assert row["kept"] / row["candidates"] == pytest.approx(
                row["expected_acceptance"], abs=0.02
            )
            held = row["shape"] not in ("none", "half-space")
            assert (row["plateau_center"] is not None) == held
    assert stated == 7 * 4 * (2 + 3)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [0, 0.5])
def test_one_replicate_and_one_bias_run_and_draw(bias, here):
    """One value has no standard error: it is null, and neither the figure nor the summary minds."""
    few = ("replicates=1", "simulated=1", "rounds=1", f"bias={bias}")
    run = here(NAME, *settings(*few), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["error_truth_se"] is None for row in run.rows) and "nan" not in run.stdout
