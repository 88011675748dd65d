"""The script that runs a Gaussian under selection, beside what is exactly known of it."""

from __future__ import annotations

import csv
from importlib import import_module

import pytest
from helpers import EXPERIMENTS, settings

NAME = "selection_bias"


@pytest.mark.slow
@pytest.mark.parametrize("truth", ["standard", "drawn"])
def test_the_records_follow_what_they_state(truth, here):
    """Every expectation in the records, on a truth of either kind, within 4 standard errors."""
    small = (
        "replicates=60",
        "rounds=3",
        "n=40",
        f"truth={truth}",
        "bias=[1]",
        "dim=3",
        "fraction=0.2",
    )
    rows = here(NAME, *settings(*small)).rows
    stated = 0
    for row in rows:
        for name in ("trace", "log_volume", "toward"):
            if row["round"] and row[f"expected_{name}"] is not None:
                assert abs(row[name] - row[f"expected_{name}"]) < 4 * row[f"{name}_se"], (
                    row["arm"],
                    name,
                )
                stated += 1
        if row["round"]:
            assert (row["shift_toward"] == 0 and row["spread_toward"] == 1) == (not row["verified"])
            assert (row["candidates"], row["kept"]) == ((200, 40) if row["verified"] else (40, 40))
    assert (
        stated == 3 * (3 + 3) + 3 + 3 * 2
    )  # trace and mean of three policies, one volume, first selected rounds


def test_published_numbers_are_drawn_only_beside_their_like(smoke):
    """Published ticks belong to a run of the published kind that reaches round 200."""
    plots = import_module("figures.selection_bias")
    rows = smoke(NAME).rows

    def ticks(rows):
        figure = plots.draw(rows)
        return [
            each for panel in figure.axes for each in panel.lines if each.get_gid() == "published"
        ]

    assert not ticks(rows)
    like = [
        row | {"truth": "drawn", "n": 300, "fraction": 0.05}
        for row in rows
        if row["bias"] in (None, 2)
    ]
    like = [row | {"bias": 3} if row["bias"] else row for row in like]
    assert not ticks(like)  # three rounds only
    whole = [
        row | {"round": k}
        for row in like
        for k in ([row["round"]] if row["round"] < 3 else range(3, 201))
    ]
    assert len(ticks(whole)) == 4


def test_the_published_numbers_are_a_table_that_can_be_read():
    """Eight numbers of one n and round, and none for a policy that was not published."""
    path = EXPERIMENTS / "published" / "selection_bias.csv"
    with open(path) as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 and {row["policy"] for row in rows} == {"replace", "accumulate"}
    assert all(0 <= float(row["value"]) < 1.1 and row["round"] == "200" for row in rows)


def test_one_replicate_and_one_round_run_and_draw(here):
    """One value has no standard error: it is null, and neither the figure nor the summary minds."""
    run = here(NAME, *settings("replicates=1", "rounds=1", "bias=[0]"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["trace_se"] is None for row in run.rows) and "nan" not in run.stdout
