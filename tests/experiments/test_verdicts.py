"""A verdict follows from the records at hand: it could have been another, and it says where it is none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers import RESULTS

import _report
from claims.tables import Quantity
from claims.verdicts import CLAIMS, Finding, Run, above, around, below, not_above, told, verdict
from veriloop import Records


def run_of(name):
    """The smallest committed run of a figure."""
    folder = RESULTS / f"{name}-laptop"
    if not folder.exists():
        folder = RESULTS / name
    about = json.loads((folder / "run.json").read_text())
    return Run(folder, about, Records.read(folder))


def test_one_side_of_a_bound_needs_the_whole_interval():
    for value, half, holds, why in (
        (-2.0, 1.0, True, None),
        (-0.5, 1.0, False, "no clear difference"),
        (2.0, 1.0, False, "the other way"),
        (-2.0, None, None, "no interval"),
        (-2.0, float("nan"), None, "no interval"),
    ):
        for sign, hold in ((1, below), (-1, above)):
            finding = hold(Quantity("", sign * value, half, 3))
            assert finding.holds is holds
            assert why is None or finding.why == why


def test_a_bound_and_a_wanted_number_may_lie_in_the_interval():
    near = Quantity("", 1.0, 0.2, 9)
    assert around(near, 1.1).holds and not around(near, 1.3).holds
    assert not_above(near, 0.9).holds and not not_above(near, 0.7).holds
    assert around(near._replace(half=None), 1.0).holds is None


def test_what_is_told_of_a_finding():
    cells = told(below(Quantity("change", 2.0, 1.0, 3)))
    assert cells == ["change", "2.0 ± 1.0", "3", "below 0", "no, the other way"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_each_claim_has_findings_or_says_why_not(claim):
    """On committed records; no claim holds of a single seed or of a smoke test."""
    run = run_of(claim.run)
    findings, why = _report.found(claim, run)
    word = verdict(findings)
    assert (word == "not tested here") == bool(why)
    assert all(np.isfinite(finding.quantity.value) for finding in findings)
    smoke = run._replace(about={**run.about, "preset": "smoke"})
    assert _report.found(claim, smoke)[0] == []
    assert _report.found(claim, None) == (
        [],
        f"No finished run of `{claim.run}` is among those of this page.",
    )
    if len(run.records.seeds) > 1:
        alone = run._replace(records=run.records.select(seed=run.records.seeds[0]))
        assert verdict(_report.found(claim, alone)[0]) == "not tested here"


def turned(claim, run):
    """The records with time turned round, or with simulated numbers ten times as large."""
    rows = []
    last = {}
    for row in run.records:
        last[row.get("arm")] = max(row.get("round") or 0, last.get(row.get("arm"), 0))
    for row in run.records:
        if "replicates" in row:
            wrong = {name: 10 * row[name] for name in row if name in SIMULATED and row[name]}
            rows.append({**row, **wrong})
        else:
            rows.append({**row, "round": last[row["arm"]] - row["round"]})
    return run._replace(records=Records(rows))


SIMULATED = ("mean", "error_truth", "error_center", "accuracy", "trace", "gap", "gap_z", "reward")


def test_claims_that_hold_could_have_failed():
    """The same statistics on records that are turned round, or wrong, do not hold."""
    held = []
    for claim in CLAIMS:
        run = run_of(claim.run)
        if verdict(claim.find(run)) == "holds":
            held.append(claim.text)
            assert verdict(claim.find(turned(claim, run))) in ("not", "partly"), claim.text
    assert len(held) > 8


def test_no_finding_gives_no_verdict():
    one = Finding(Quantity("a"), "", None)
    assert verdict([]) == verdict([one]) == "not tested here"
    assert verdict([one, Finding(Quantity("b"), "", True)]) == "holds"


def test_a_page_of_some_runs_names_what_it_lacks(tmp_path):
    """The records at hand decide; the published curve is drawn beside ours and named as theirs."""
    folders = [RESULTS / "linear_landscape", RESULTS / "mnist_schedules-laptop"]
    files = _report.written(folders, tmp_path / "results")
    assert [file.name for file in files] == ["report.html", "report.md", "explorer.html"]
    text = files[1].read_text()
    table = [line for line in text.splitlines() if line.startswith("| ")]
    verdicts = {cells[1].strip(): cells[2].strip() for cells in (line.split("|") for line in table)}
    assert verdicts["Theorem 3.1: the error of one round"] == "holds"
    assert verdicts["Unverified digits degrade"] == "holds"
    assert verdicts["NELBO falls as more is kept"] == "not tested here"
    assert "No finished run of `xsum_rouge` is among those of this page." in text
    assert "preset laptop" in text and "data: mnist: 60000 real images" in text
    page = files[0].read_text()
    assert page.count("Published by the authors, one seed") >= 2 * 2  # caption and label of each
    assert page.count("data:image/png") == 2


def test_a_folder_that_is_no_figure_is_refused(tmp_path):
    Records([{"arm": "a", "seed": 0, "round": 0, "x": 1}]).write(tmp_path / "records.jsonl")
    with pytest.raises(ValueError, match="must be the folder of a figure's finished run"):
        _report.written([tmp_path], tmp_path / "results")
