"""What the report says of a study: its numbers are those of the records, and nothing is left out unsaid."""

from __future__ import annotations

import json

import pytest

from veriloop import Records, alarm
from veriloop.report import Lines, Picture, Section, Table, as_markdown, section, write
from veriloop.report.__main__ import main


def tables(part):
    """All tables of a section, those of its sections too, by the first words of the caption."""
    found = {}
    for each in part.parts:
        if isinstance(each, Section):
            found |= {f"{each.title}: {name}": table for name, table in tables(each).items()}
        if isinstance(each, Table):
            found[" ".join(each.caption.split()[:3])] = each
    return found


def rows_of(table):
    """The rows of a table by name of the column."""
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_every_arm_begins_and_ends_as_the_records_say(study, told):
    records = Records.read(study)
    rows = rows_of(tables(told)["Where each arm"])
    assert {(row["metric"], row["arm"]) for row in rows} == {
        (metric, arm) for metric in ("error", "recall") for arm in records.arms
    }
    for row in rows:
        curve = records.mean(row["arm"], row["metric"])
        middle, half = map(float, row["last"].split(" ± "))
        assert middle == pytest.approx(curve.mean[-1], abs=half / 10)
        assert half == pytest.approx(curve.high[-1] - curve.mean[-1], rel=0.05)
        assert row["n"] == "5" and row["rounds"] == "0 to 5"
    assert {row["better"] for row in rows if row["metric"] == "recall"} == {"higher"}


def test_differences_are_paired_and_from_the_arm_without_a_verifier(study, told):
    """It is the second arm here; the reading follows the interval and the better direction."""
    records = Records.read(study)
    rows = rows_of(tables(told)["Differences in the"])
    assert len(rows) == 4
    for row in rows:
        curve = records.difference(row["arm"], "plain", row["metric"])
        low, high = curve.low[-1], curve.high[-1]
        assert float(row["minus plain"].split(" ± ")[0]) == pytest.approx(curve.mean[-1], rel=0.1)
        assert (row["reading"] == "no clear difference") == (low <= 0 <= high)
        if row["metric"] == "recall" and low > 0:
            assert row["reading"] == "better"


def test_alarms_and_advice_are_those_of_the_library(study, told):
    records = Records.read(study)
    (part,) = (each for each in told.parts if getattr(each, "title", "") == "Alarms and advice")
    lines = {each.caption: each.lines for each in part.parts if isinstance(each, Lines)}
    assert set(lines) == set(records.arms)
    for arm, said in lines.items():
        assert said[0] == str(alarm(list(records.select(arm=arm)), "recall"))
        assert said[1].startswith("recall: ")


def test_a_metric_of_ones_own_is_told_of_once_its_direction_is_said(study, told):
    """Before, the page says how to say it."""
    assert "`--worse error=higher`" not in as_markdown([told])  # recall is known
    rows = [row for row in Records.read(study) if row["arm"] == "plain"]
    found = section(study, {"error": "higher"})
    (part,) = (each for each in found.parts if getattr(each, "title", "") == "Alarms and advice")
    lines = {each.caption: each.lines for each in part.parts if isinstance(each, Lines)}
    assert str(alarm(rows, "error", worse="higher", alpha=0.025)) in lines["plain"]
    ends = rows_of(tables(found)["Where each arm"])
    assert {row["better"] for row in ends if row["metric"] == "error"} == {"lower"}
    differences = rows_of(tables(found)["Differences in the"])
    assert {row["reading"] for row in differences} <= {"better", "worse", "no clear difference"}
    assert "By round: error, lower is better" in [
        getattr(part, "caption", "") for part in found.parts
    ]


def test_a_metric_of_unknown_direction_is_asked_about(tmp_path):
    rows = [{"arm": "a", "seed": s, "round": k, "odd": k + s} for s in range(3) for k in range(3)]
    Records(rows).write(tmp_path / "records.jsonl")
    assert "as in `--worse error=higher`" in as_markdown([section(tmp_path)])


@pytest.mark.parametrize(
    "worse, said",
    [
        ({"eror": "higher"}, "no metric is called 'eror'; pick from"),
        ({"error": "up"}, r"worse\['error'\] must be 'higher' or 'lower', got 'up'"),
        ({"recall": "higher"}, "'recall' is known to get worse lower"),
    ],
)
def test_a_wrong_direction_is_refused(study, tmp_path, worse, said):
    with pytest.raises(ValueError, match=said):
        write([study], tmp_path / "report.md", worse=worse)


def test_the_command_takes_directions(study, tmp_path, capsys):
    main([str(study), "--out", str(tmp_path / "page.md"), "--worse", "error=higher"])
    assert "error, lower is better" in (tmp_path / "page.md").read_text()
    with pytest.raises(SystemExit):
        main([str(study), "--worse", "error=up"])
    assert "give METRIC=higher or METRIC=lower, got 'error=up'" in capsys.readouterr().err


def test_there_is_a_drawing_of_each_metric(told):
    drawn = [part.caption for part in told.parts if isinstance(part, Picture)]
    assert drawn == ["By round: recall, higher is better", "By round: error"]


def test_a_study_that_goes_on_and_seeds_that_failed_are_told(study, tmp_path):
    about = json.loads((study / "run.json").read_text()) | {"finished": False}
    (tmp_path / "run.json").write_text(json.dumps(about))
    mark = {"arm": "plain", "seed": 9, "round": 2, "failed": "ValueError: no rows"}
    text = (study / "records.jsonl").read_text() + json.dumps(mark) + "\n"
    (tmp_path / "records.jsonl").write_text(text)
    said = as_markdown([section(tmp_path)])
    assert "The run is not finished" in said
    assert "Arm plain, seed 9 ended in round 2 with an error" in said and "no rows" in said


def test_records_alone_are_enough(tmp_path):
    """One seed tells no difference; a metric of unknown direction is neither better nor worse."""
    rows = [
        {"arm": arm, "seed": 0, "round": k, "mine": k + place}
        for place, arm in enumerate("ab")
        for k in range(2)
    ]
    Records(rows).write(tmp_path / "records.jsonl")
    found = tables(section(tmp_path))
    (row,) = rows_of(found["Differences in the"])
    assert row["minus a"] == "1" and row["reading"] == "one seed tells no difference"
    assert "no metric has a known direction" in as_markdown([section(tmp_path)])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"seed": 0, "round": 0, "error": 1.0}, "No row names its arm"),
        ({"arm": "a", "error": 1.0}, "nothing to compare"),
    ],
)
def test_rows_that_cannot_be_compared_are_told_so(row, said, tmp_path):
    Records([row]).write(tmp_path / "records.jsonl")
    assert said in as_markdown([section(tmp_path)])


def test_many_arms_and_metrics_are_cut_and_the_page_says_so(tmp_path):
    rows = []
    for arm in range(50):
        for seed in range(2):
            numbers = {f"metric{i}": arm + seed for i in range(30)}
            rows.append({"arm": f"arm{arm}", "seed": seed, "round": 1, **numbers})
    Records(rows).write(tmp_path / "records.jsonl")
    found = section(tmp_path)
    said = as_markdown([found])
    assert "The tables hold the first 40 of 50 arms." in said
    assert "20 metrics at most" in said
    assert len(tables(found)["Where each arm"].rows) == 40 * 20
    assert sum(isinstance(part, Picture) for part in found.parts) == 8
