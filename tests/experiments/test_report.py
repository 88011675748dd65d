"""What the report of a run says, and which runs it refuses."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers import RESULTS

from veriloop.report import as_markdown, section
from veriloop.report.__main__ import main


@pytest.fixture
def report():
    return lambda folder: as_markdown([section(folder)])


def about_of(name):
    """Return what run.json of a committed run says."""
    return json.loads((RESULTS / name / "run.json").read_text())


def cells(text):
    """Return the rows of the one table as cells, without its header."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    found = []
    for row in rows[2:]:
        inner = row.removeprefix("|").removesuffix("|")
        found.append([cell.strip() for cell in inner.split("|")])
    return found


def test_beside_what_was_expected(report, smoke):
    """The command, the machine, and every number with its distance from the expected one."""
    run = smoke("linear_landscape")
    text = report(run.out)
    assert text.startswith("## linear_landscape\n")
    command = "`python linear_landscape.py --preset smoke --engine serial`, seed 0"
    assert command in text and f"on {run.about['device']['cpus']} cores" in text
    summary = run.about["summary"]
    assert [row[0] for row in cells(text)] == list(summary)
    told = 0
    for name, expected, value, error, z in cells(text):
        number = summary[name]
        assert float(value) == pytest.approx(number["value"], rel=1e-3)
        if number["expected"] is not None:
            assert float(expected) == pytest.approx(number["expected"], rel=1e-3)
        if number["expected"] is not None and number["standard_error"]:
            away = (number["value"] - number["expected"]) / number["standard_error"]
            assert float(error) == pytest.approx(number["standard_error"], rel=1e-3)
            assert float(z) == pytest.approx(away, abs=0.06)
            told += 1
    assert told >= 1


def test_without_anything_expected(report):
    """A committed run of digits has means over seeds and their standard errors."""
    numbers = about_of("mnist_elbo")["summary"]
    text = report(RESULTS / "mnist_elbo")
    assert "| quantity | measured | standard error |" in text
    assert [name for name, _, _ in cells(text)] == list(numbers)
    for name, value, error in cells(text):
        assert float(value) == pytest.approx(numbers[name]["value"], rel=1e-3)
        assert float(error) == pytest.approx(numbers[name]["standard_error"], rel=0.05)


def test_changes_that_are_not_committed_are_told(report, tmp_path):
    """A run at a clean commit, and the same with changes."""
    about = about_of("linear_landscape")
    for dirty in (False, True):
        known = about | {"commit": "0123456789abcdef", "dirty": dirty}
        (tmp_path / "run.json").write_text(json.dumps(known))
        assert ("commit 0123456789 with changes." in report(tmp_path)) == dirty
        assert ("commit 0123456789." in report(tmp_path)) != dirty


def test_of_several_runs_on_the_command_line(tmp_path):
    """One section a run, in the order given."""
    names = ["linear_rounds", "linear_landscape"]
    out = tmp_path / "report.md"
    main([*(str(RESULTS / name) for name in names), "--out", str(out)])
    headings = [line for line in out.read_text().splitlines() if line.startswith("## ")]
    assert headings == [f"## {name}" for name in names]


def test_an_unfinished_run_is_refused(report, stopped):
    """In a sentence that says how to go on."""
    part = stopped("linear_landscape", at=1)
    with pytest.raises(
        ValueError, match=rf"{part.out}: the run is not finished; go on with --resume"
    ):
        report(part.out)


@pytest.mark.parametrize("text", ["", "[]", "3", "{}", '{"finished": '])
def test_a_folder_without_a_readable_run_is_refused_in_one_sentence(text, report, tmp_path):
    """The sentence names the folder and run.json."""
    shutil.copy(RESULTS / "linear_policies" / "records.jsonl", tmp_path)
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(
        ValueError, match=rf"{tmp_path}: no readable run\.json; name the folder of a run"
    ):
        report(tmp_path)


def test_one_seed_has_no_standard_error_and_a_tree_may_have_no_commit(report, tmp_path):
    """The cell stays empty, and the sentence says that there is no commit."""
    about = about_of("mnist_elbo")
    for number in about["summary"].values():
        number["standard_error"] = None
    known = about | {"commit": None, "dirty": False}
    (tmp_path / "run.json").write_text(json.dumps(known))
    text = report(tmp_path)
    assert ", commit not known." in text
    assert {error for _, _, error in cells(text)} == {""}
