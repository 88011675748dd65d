"""The command `python -m veriloop.diagnose`: alarms and advice for every arm of a run's records."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from veriloop import Accumulate, Key, Study, advise, alarm
from veriloop.diagnose.__main__ import main, pools_of_study, report, report_of
from veriloop.linear import Problem
from veriloop.records import Records

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
        "  error_truth: no alarm in 1 round",
        "  recall: no alarm in 1 round; worse now (-1, p = 0.007), which more seeds may confirm",
    ]


def test_an_arm_without_any_metric_that_is_known_says_so(run):
    unknown = [{"arm": "odd", "seed": 0, "round": k, "odd": 1.0} for k in range(6)]
    with (run / "records.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in unknown))
    assert list(report(run))[-2:] == [
        "odd",
        "  no metric of a known direction in two rounds; name one, and --worse",
    ]


def test_a_metric_of_ones_own_is_named_with_its_direction(tmp_path, capsys):
    """Every arm has its name, one alarm and advice; the arms' names hold the seeds."""
    table = rows("own", [0.9] * 6, [1.0, 0.5, 0.3, 0.2, 0.15, 0.125])
    lines = []
    for row in table:
        named = {"mine": row["error_truth"], "arm": f"own-seed{row['seed']}"}
        lines.append(json.dumps({**row, **named, "recall": None, "error_truth": None}) + "\n")
    (tmp_path / "records.jsonl").write_text("".join(lines))
    main([str(tmp_path), "mine", "--worse", "higher", "--floor", "0"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == ["own", "  mine: no alarm in 5 rounds"]
    assert shown[2].startswith("  mine: ") and "rho" in shown[3]
    main([str(tmp_path), "mine"])
    shown = capsys.readouterr().out
    assert "mine: no advice is possible: advise: 'mine' needs worse='higher'" in shown


def test_the_command_takes_the_name_of_the_pool_that_advice_asks_for(run, capsys):
    main([str(run)])
    assert "name it with pool=" in capsys.readouterr().out
    main([str(run), "--pool", "accumulate"])
    assert "and this is 'accumulate': take this as a sketch" in capsys.readouterr().out


def test_rows_without_rounds_are_one_sentence(tmp_path):
    (tmp_path / "records.jsonl").write_text('{"bias": 1.0}\n')
    assert list(report(tmp_path)) == ["no row has a round, so there is nothing to diagnose"]


@pytest.mark.parametrize("arguments", [[], ["a", "b", "c"]])
def test_the_command_line_names_its_use(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "usage: python -m veriloop.diagnose" in capsys.readouterr().err


def test_a_folder_or_metric_that_is_not_there_is_one_sentence(run):
    with pytest.raises(SystemExit, match="^nowhere: cannot read nowhere"):
        main(["nowhere"])
    with pytest.raises(SystemExit, match=rf"^{run}: no metric is called 'odd'; pick one of recall"):
        main([str(run), "odd"])


def test_an_arm_that_cannot_be_read_says_why_and_the_others_go_on(run):
    """Two arms' worth of rows under one name, then an arm that is whole."""
    lines = [json.dumps(row) + "\n" for row in SHORT + SHORT + LONG]
    (run / "records.jsonl").write_text("".join(lines))
    shown = list(report(run))
    assert (
        "no alarm is possible: alarm needs one row" in shown[1]
        and "got 2 in round 0 of" in shown[1]
    )
    assert "  recall: no alarm in 5 rounds" in shown


def test_the_pool_of_each_arm_of_a_study_is_read_from_its_folder(tmp_path):
    """One that gives none replaces; the formula is not that of one that accumulates."""
    problem = Problem.gaussian(bias=0.5, radius=0.5)
    verified = problem.loop(verify=problem.verifier)
    arms = {"new rows alone": verified, "all rows": replace(verified, pool=Accumulate())}
    sizes = [problem.size(50)] * 5
    Study(arms=arms, start=problem.start, sizes=sizes, seeds=range(5)).run(tmp_path / "run")
    assert pools_of_study(tmp_path / "run") == {
        "new rows alone": "Replace",
        "all rows": "Accumulate",
    }
    lines = list(report(tmp_path / "run", "error_truth"))
    second = lines.index("all rows")
    assert not any("formula" in line for line in lines[:second])
    assert any("and this is 'Accumulate'" in line for line in lines[second:])


@pytest.mark.parametrize(
    "folder", sorted(RESULTS.glob("*/records.jsonl")), ids=lambda f: f.parent.name
)
def test_every_committed_run_ends_with_an_answer_or_a_sentence(folder):
    """The first two arms of each; every arm has a line beside its name."""
    records = Records.read(folder)
    arms = records.arms[:2]
    some = Records([row for row in records if row.get("arm") in arms][:200])
    lines = list(report_of(some))
    names = [line for line in lines if not line.startswith(" ")]
    assert lines and len(lines) > len(names) - (not arms)


@pytest.mark.slow
def test_the_command_line_speaks_of_every_arm():
    """In a process of its own, of a committed run, where any warning is an error."""
    line = ["-W", "error", "-m", "veriloop.diagnose", str(RESULTS / "mnist_schedules"), "mnist_fid"]
    ran = subprocess.run([sys.executable, *line], capture_output=True, text=True, check=True)
    arms = [line for line in ran.stdout.splitlines() if not line.startswith(" ")]
    assert arms == ["real", "20k-verified", "20k-unverified"]
    assert "mnist_fid: keep going" in ran.stdout and "mnist_fid: worse since round 1" in ran.stdout


@pytest.mark.parametrize(
    "about", ["[]", '{"study": "x"}', '{"study": {"arms": [1]}}', '{"study": {"arms": {"a": 7}}}']
)
def test_a_run_json_of_another_shape_tells_no_pool(run, about):
    """As may come from a stranger or a later version."""
    (run / "run.json").write_text(about)
    assert set(pools_of_study(run).values()) <= {"Replace"}


def test_a_damaged_run_json_and_records_nested_too_deep_are_one_sentence(run):
    (run / "run.json").write_text("[" * 100_000)
    with pytest.raises(SystemExit, match=r"run.json is damaged \(it is nested too deep; it must"):
        main([str(run)])
    (run / "records.jsonl").write_text('{"round": ' + "[" * 100_000 + "\n")
    with pytest.raises(SystemExit, match="line 1: must be a JSON object, got"):
        main([str(run)])


def test_the_name_of_an_arm_does_nothing_to_a_terminal():
    named = [row | {"arm": "\x1b[31mred"} for row in SHORT]
    assert next(iter(report_of(Records(named)))) == "'\\x1b[31mred'"
