"""`python -m veriloop.new NAME`: three files that run at once, in any folder."""

import json
import subprocess
import sys

import pytest

from veriloop import Records
from veriloop.new import main


def call(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_what_is_written_runs_at_once(tmp_path):
    """The script makes records and a figure, and goes on; its test passes."""
    written = call(tmp_path, "-m", "veriloop.new", "mine")
    assert written.returncode == 0 and written.stdout.startswith(
        "wrote mine.py, mine.yaml, test_mine.py"
    )
    ran = call(tmp_path, "mine.py", "--preset", "smoke")
    assert (ran.returncode, ran.stderr) == (0, "")
    out = tmp_path / "runs" / "mine-smoke"
    assert {path.name for path in out.iterdir() if path.is_file()} == {
        "run.json",
        "records.jsonl",
        "figure.png",
        "figure.pdf",
    }
    records = Records.read(out)
    assert records.arms == ("verified", "unverified") and len(records.seeds) == 5
    about = json.loads((out / "run.json").read_text())
    assert about["commit"] is None and about["dirty"] is None and about["versions"]["veriloop"]
    again = call(tmp_path, "mine.py", "--preset", "smoke", "--resume", "--engine", "processes:2")
    assert (again.returncode, again.stderr) == (0, "") and Records.read(out) == records
    tested = call(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine", "mine.yaml is there already"),
        ("numpy", "numpy is an installed module"),
        ("my-study", "must be a name for a Python module"),
        ("class", "must be a name for a Python module"),
        ("--help", "usage:"),
    ],
)
def test_nothing_is_overwritten_or_hidden(name, message, tmp_path, monkeypatch):
    """One sentence, with which Python ends with exit code 1, and no file is written."""
    (tmp_path / "mine.yaml").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message) as ended:
        main([name])
    assert "\n" not in ended.value.code
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert (tmp_path / "mine.yaml").read_text() == "mine"
