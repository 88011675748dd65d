"""The script that runs curated rounds, against their exact laws."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import settings


@pytest.mark.slow
def test_every_round_agrees_with_the_exact_map(here):
    """Given the round before, at any size; and iterated from the start, where the size is large."""
    own = (
        "replicates=40",
        "luce=[2, 5]",
        "best_of=[3]",
        "shares=[0, 0.3]",
        "size=2000",
        "rounds=5",
    )
    rows = here("curation", *settings(*own)).rows
    z = np.array([row["gap_z"] for row in rows if row["round"]])
    assert len(z) == 30 and abs(np.sum(z**2) - 30) < 4 * np.sqrt(60)
    for row in rows:
        for name, exact in (("reward", "exact"), ("variance", "exact_variance")):
            # The iterated map's own bias, O(1 / size), is below a fifth of these standard errors.
            assert abs(row[name] - row[exact]) < 4 * row[f"{name}_se"] + 1 / 2000, row["arm"]


@pytest.mark.slow
def test_at_a_small_size_the_round_is_exact_and_the_iterated_map_is_not(here):
    """20 picked a round: levels die out by chance, so the mean reward ends below the map's; gap knows no size."""
    own = ("replicates=200", "luce=[2]", "best_of=[2]", "shares=[0]", "size=20", "rounds=8")
    rows = here("curation", *settings(*own)).rows
    z = np.array([row["gap_z"] for row in rows if row["round"]])
    assert abs(np.sum(z**2) - len(z)) < 4 * np.sqrt(2 * len(z))
    last = next(row for row in rows if row["arm"] == "luce2-real0" and row["round"] == 8)
    assert last["reward"] < last["exact"] - 4 * last["reward_se"]


def test_real_data_keep_the_variance_that_curation_takes(here):
    """Without them it all but vanishes and the reward nears the top; half of them hold both well away."""
    own = ("replicates=5", "luce=[4]", "best_of=[4]", "shares=[0, 0.5]", "size=1000", "rounds=12")
    rows = here("curation", *settings(*own)).rows
    for choice in ("luce", "best"):
        alone, mixed = (
            [row for row in rows if row["choice"] == choice and row["share"] == s] for s in (0, 0.5)
        )
        assert alone[-1]["variance"] < 0.02 * alone[0]["variance"] and alone[-1]["reward"] > 2.98
        assert mixed[-1]["variance"] > 0.5 * mixed[0]["variance"] and mixed[-1]["reward"] < 2.6
        assert all(row["exact"] <= row["top"] for row in alone + mixed)


@pytest.mark.parametrize(
    "own",
    [
        ("levels=[1]",),
        ("size=1", "shares=[0]"),
        ("luce=[2]", "best_of=[]", "shares=[0.9]", "rounds=1", "size=1"),
    ],
)
def test_the_ends_of_the_ranges_run_and_draw(own, here):
    """A single level, one sample, one choice."""
    run = here("curation", *settings(*own), figure="laid out")
    assert (run.code, run.stderr) == (0, "")


def test_one_replicate_runs(here):
    """One value has no standard error: it is null, and neither figure nor summary minds."""
    run = here("curation", *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["reward_se"] is None for row in run.rows)
    assert "NaN" not in (run.out / "run.json").read_text() and "nan" not in run.stdout
