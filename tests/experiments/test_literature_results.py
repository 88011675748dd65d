"""What the committed records hold: the claims of docs/results/literature.md can fail."""

import importlib
import json

import numpy as np
import pytest
from helpers import RESULTS, rows_of

from figures.style import select

pytestmark = pytest.mark.claims
NAMES = ("curation", "noisy_verifier", "selection_bias", "selection_bias-10", "verifier_shape")


def about(name):
    return json.loads((RESULTS / name / "run.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_run_is_finished_and_meets_its_closed_forms(name):
    """At a clean commit; every number within four standard errors of its expectation.

    Not those of curated arms with hardly a sample left below the top, whose error is not normal.
    """
    run = about(name)
    rows = rows_of(RESULTS / name)
    assert run["finished"] and run["commit"] and not run["dirty"]
    assert run["config"]["seed"] in (1, 2)
    assert (RESULTS / name / "figure.png").exists()
    redone = importlib.import_module(f"figures.{run['experiment']}").summarise(rows)
    assert {key: number.value for key, number in redone.items()} == {
        key: number["value"] for key, number in run["summary"].items()
    }
    few = ("luce16-real0:", "best4-real0:")
    compared = {
        key: (number["value"] - number["expected"]) / number["standard_error"]
        for key, number in run["summary"].items()
        if number["expected"] is not None and number["standard_error"] and not key.startswith(few)
    }
    assert compared and all(abs(z) < 4 for z in compared.values()), compared


def test_rounds_amplify_the_threshold_of_a_classifier():
    """Below p* every replicate goes to the better half of accuracies, above it to the worse."""
    last = select(rows_of(RESULTS / "noisy_verifier"), part="rounds", round=6)
    assert {row["start"]: row["risen"] for row in last} == {
        0.3: 1.0,
        0.55: 1.0,
        0.65: 0.0,
        0.9: 0.0,
    }


def test_curation_ends_at_the_top_unless_real_data_come_in():
    rows = select(rows_of(RESULTS / "curation"), choice="luce", k=2, round=20)
    alone = select(rows, share=0)[0]
    half = select(rows, share=0.5)[0]
    assert alone["reward"] > 0.99 * alone["top"] and alone["variance"] < 0.01
    assert half["variance"] - 4 * half["variance_se"] > alone["variance"] + 4 * alone["variance_se"]


def test_selection_narrows_under_every_policy():
    """Each keeps less than a tenth of the dispersion that it keeps without selection."""
    rows = select(rows_of(RESULTS / "selection_bias"), round=200)
    for policy in ("replace", "accumulate", "subsample"):
        without = select(rows, policy=policy, verified=False)[0]["trace"]
        for row in select(rows, policy=policy, verified=True):
            assert row["trace"] + 4 * row["trace_se"] < 0.1 * without


def ends(design):
    """The last errors to the truth of every shape, unbiased, each with its standard error."""
    rows = select(rows_of(RESULTS / "verifier_shape"), round=20, bias=0, design=design)
    return {row["shape"]: (row["error_truth"], row["error_truth_se"]) for row in rows}


def is_above(one, other, errors=4):
    """Tell whether one end is above another by so many standard errors of their difference."""
    return one[0] - other[0] > errors * np.hypot(one[1], other[1])


def test_bounded_shapes_hold_the_loop_and_a_half_space_does_not():
    """Unbiased, on the block design: below no verifier at all, or above it."""
    found = ends("block design")
    for shape in ("ball", "l1 ball", "box", "soft ball", "ellipsoid"):
        assert is_above(found["none"], found[shape]), shape
    assert is_above(found["half-space"], found["none"])
    assert is_above(found["ellipsoid"], found["ball"])


def test_other_bounded_shapes_rest_above_the_ball():
    """On the block design, where acceptance is matched."""
    found = ends("block design")
    for shape in ("l1 ball", "box", "soft ball"):
        assert is_above(found[shape], found["ball"]), shape


def test_on_random_directions_the_box_is_not_told_from_the_ball():
    found = ends("random directions")
    assert not is_above(found["box"], found["ball"], 2)
    assert not is_above(found["ball"], found["box"], 2)
    assert is_above(found["l1 ball"], found["ball"])
