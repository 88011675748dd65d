"""`make reproduce` says what comes and where it stands, goes on after a failure, and names it at the end."""

from __future__ import annotations

import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

import _reproduce

ROOT = Path(__file__).parents[2]


def reproduce(*arguments):
    command = [
        sys.executable,
        ROOT / "experiments" / "_reproduce.py",
        "--preset",
        "smoke",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_every_figure_is_made_and_has_its_time():
    """A new script cannot be forgotten."""
    scripts = {path.stem for path in (ROOT / "experiments").glob("[!_]*.py")}
    assert set(_reproduce.SECONDS) == scripts
    assert all(seconds > 0 for seconds in _reproduce.SECONDS.values())


def test_the_first_figure_needs_no_torch_and_takes_less_than_a_minute():
    """It is drawn before torch is installed, within two minutes of the command."""
    assert _reproduce.SECONDS[_reproduce.FIRST] < 60
    script = (ROOT / "experiments" / f"{_reproduce.FIRST}.py").read_text()
    assert not re.search(r"torch|_mnist|_xsum", script)


@pytest.mark.slow
def test_a_figure_that_fails_does_not_stop_the_others_and_is_named_at_the_end(tmp_path):
    """The first folder holds files of nobody's; the second figure is made all the same; the exit code is 1."""
    bad = tmp_path / "curation-smoke"
    bad.mkdir()
    (bad / "note.txt").write_text("mine")
    results = tmp_path / "results"
    names = ("curation", "linear_policies")
    ran = reproduce(*names, "--out", tmp_path, "--results", results)
    assert ran.returncode == 1
    assert sorted(path.name for path in results.iterdir()) == [
        "explorer.html",
        "report.html",
        "report.md",
    ]
    report = (results / "report.md").read_text()
    assert "## linear_policies" in report and "## curation" not in report
    assert (tmp_path / "linear_policies-smoke" / "figure.png").exists()
    lines = ran.stdout.splitlines()
    assert re.match(r"2 figures into .*, about \d+ minutes? at laptop on two cores", lines[0])
    assert [line for line in lines if line.startswith("[2/2] linear_policies: ")]
    assert lines[-1] == "1 of 2 failed: curation; the reason is printed above"
    assert "holds files but no run to resume" in ran.stderr


def test_digit_figures_get_the_data_and_a_folder_to_share(tmp_path):
    """The other figures take neither."""
    arguments = Namespace(preset="smoke", data="mnist", out=tmp_path)
    of_digits = {name for name in _reproduce.SECONDS if name.startswith("mnist_")}
    of_digits |= {"policies_vae", "same_data_verifier", "evolving_verifier"}
    for name in _reproduce.SECONDS:
        words = _reproduce.command(name, arguments)
        both = {"data=mnist", f"shared={tmp_path / 'shared'}"}
        assert both & set(words) == (both if name in of_digits else set()), name
        assert words[words.index("--out") + 1] == str(tmp_path / f"{name}-smoke")


def test_a_figure_that_is_not_there_is_refused_with_the_names(monkeypatch, capsys):
    """Exit 2 and one sentence; nothing is made."""
    monkeypatch.setattr(sys, "argv", ["_reproduce.py", "liner_rounds"])
    with pytest.raises(SystemExit) as ended:
        _reproduce.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "no figure is called 'liner_rounds'" in said and "linear_rounds" in said


def test_an_old_interpreter_is_refused_by_make_in_one_sentence(tmp_path):
    """The sentence names the version needed; no virtual environment is made, and pip does not start."""
    old = tmp_path / "python3.9"
    start = "import sys; sys.version_info = (3, 9, 18, 'final', 0); exec(sys.argv.pop(1))"
    old.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} -c "{start}" "$2"\nexit 7\n')
    old.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    ran = subprocess.run(
        ["make", "test", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert re.match(
        r"veriloop needs Python 3\.11 or newer, and \S+ is 3\.9: give another, as in", ran.stderr
    )
    assert not (tmp_path / ".venv").exists() and "pip" not in ran.stdout
