"""The command `python -m veriloop.diagnose`: alarms and advice for every arm of a run's records."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from veriloop import Key, advise, alarm
from veriloop.diagnose.__main__ import main, report

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"


def rows(arm, recall, errors):
    """Rows of three seeds that differ a little, one a round, of the two metrics given by round."""
    spread = 1 + 0.01 * Key(0).numpy().standard_normal((3, len(recall)))
    return [
        {"arm": arm, "seed": s, "round": k, "kept": 80, "candidates": 100}
        | {"recall": recall[k] * spread[s, k], "error_truth": errors[k] * spread[s, k]}
        for s in range(3)
        for k in range(len(recall))
    ]


SHORT = rows("short", [0.9, 0.5, 0.4], [1.0, 0.5, 0.3])
LONG = rows("long", [0.9] * 6, [1.0, 0.5, 0.3, 0.2, 0.15, 0.125])


@pytest.fixture
def run(tmp_path):
    """A run of two arms, and a line that is no round."""
    lines = [{"about": "the run"}, *SHORT, *LONG]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_every_arm_has_an_alarm_for_each_metric_it_was_measured_in(run):
    """In the order of the table; advice comes from four rounds after the start on."""
    error = [str(alarm(arm, "error_truth", alpha=0.01)) for arm in (SHORT, LONG)]
    recall = [str(alarm(arm, "recall", alpha=0.01)) for arm in (SHORT, LONG)]
    advice = str(advise(LONG)).splitlines()
    assert "worse since round 1" in recall[0] and "no alarm in 5 rounds" in recall[1]
    assert list(report(run, alpha=0.02)) == [
        "short",
        f"  {error[0]}",
        f"  {recall[0]}",
        "long",
        f"  {error[1]}",
        f"  {recall[1]}",
        "\n  ".join([f"  error_truth: {advice[0]}", *advice[1:]]),
    ]


def test_an_arms_metrics_share_its_level(tmp_path):
    """A p between half the level and the level: an alarm alone, none beside another metric."""
    alone = []
    for seed, fall in enumerate([0.8, 1.0, 1.2]):  # t is 8.66, and p 0.0066
        for k in (0, 1):
            alone.append({"arm": "a", "seed": seed, "round": k, "recall": 10 - k * fall})
    beside = [row | {"arm": "b", "error_truth": 1.0} for row in alone]
    lines = [json.dumps(row) + "\n" for row in alone + beside]
    (tmp_path / "records.jsonl").write_text("".join(lines))
    assert list(report(tmp_path, alpha=0.02)) == [
        "a",
        "  recall: worse since round 1 (-1, p = 0.007)",
        "b",
        "  error_truth: no alarm in 1 rounds",
        "  recall: no alarm in 1 rounds",
    ]


def test_an_arm_without_any_metric_that_is_known_is_passed_over(run):
    unknown = [{"arm": "odd", "seed": 0, "round": k, "odd": 1.0} for k in range(6)]
    with (run / "records.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in unknown))
    assert [line for line in report(run) if not line.startswith(" ")] == ["short", "long"]


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["nowhere", "recall"], ["a", "b", "c"]])
def test_the_command_line_names_its_use(arguments):
    with pytest.raises(SystemExit, match=r"^usage: python -m veriloop\.diagnose RUN \[METRIC\]"):
        main(arguments)


def test_records_that_cannot_be_read_so_are_one_sentence(run):
    """Two arms' worth of rows under one name: the folder, and what is wrong with its rows."""
    (run / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHORT + SHORT))
    wanted = rf"^{run}: alarm needs one row .* got 18 rows of 3 seeds"
    with pytest.raises(SystemExit, match=wanted) as ended:
        main([str(run)])
    assert "\n" not in str(ended.value)


@pytest.mark.slow
def test_the_command_line_speaks_of_every_arm():
    """In a process of its own, of a committed run, where any warning is an error."""
    line = ["-W", "error", "-m", "veriloop.diagnose", str(RESULTS / "mnist_schedules"), "mnist_fid"]
    ran = subprocess.run([sys.executable, *line], capture_output=True, text=True, check=True)
    arms = [line for line in ran.stdout.splitlines() if not line.startswith(" ")]
    assert arms == ["20k-verified", "20k-unverified"]
    assert "mnist_fid: keep going" in ran.stdout and "mnist_fid: worse since round 1" in ran.stdout
