"""A stranger's script against the built wheel: killed, resumed, plotted, compared."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("stranger.py")
BUILD = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("hatchling") is None, reason="hatchling, which builds the wheel, is not installed"
    ),
    pytest.mark.skipif(find_spec("sklearn") is None, reason="scikit-learn is not installed"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A scratch folder with the script alone, and an environment that finds the wheel."""
    folder = tmp_path_factory.mktemp("stranger")
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD, built], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    installed = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(installed)
    shutil.copy(SCRIPT, folder / "mine.py")
    return folder, {**os.environ, "PYTHONPATH": str(installed)}


def started(place, out):
    folder, environment = place
    line = [sys.executable, "mine.py", out]
    return subprocess.Popen(
        line, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(place, out):
    process = started(place, out)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert stderr == ""
    return stdout


def test_the_script_is_short():
    """Two arms by five seeds of a scikit-learn model, with a verifier, in 40 lines."""
    text = SCRIPT.read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    assert "range(5)" in text and "GaussianMixture" in text


def test_the_wheel_is_what_is_imported(place):
    folder, environment = place
    code = "import veriloop; print(veriloop.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ran.stdout.startswith(environment["PYTHONPATH"])


def test_killed_and_resumed_it_gives_the_same_records_a_figure_and_differences(place):
    """kill -9 after two units at least; what was committed is not run again."""
    folder, _ = place
    whole = finished(place, "whole")
    process = started(place, "killed")
    limit = time.monotonic() + 300
    while (
        len(list(folder.glob("killed/round_*/[!.]*/sha256.json"))) < 2 and time.monotonic() < limit
    ):
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = {
        path: path.stat().st_mtime_ns for path in folder.glob("killed/round_*/[!.]*/sha256.json")
    }
    assert 2 <= len(kept) < 10
    assert finished(place, "killed") == whole
    assert (folder / "killed" / "records.jsonl").read_bytes() == (
        folder / "whole" / "records.jsonl"
    ).read_bytes()
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    assert (folder / "killed" / "figure.png").read_bytes().startswith(b"\x89PNG")
    lines = whole.splitlines()
    assert len(lines) == 5 and lines[0] == "round 0: 0 (0 to 0, n = 5)"
    assert all(re.fullmatch(r"round \d: \S+ \(\S+ to \S+, n = 5\)", line) for line in lines)
    about = json.loads((folder / "killed" / "run.json").read_text())
    assert about["finished"] is True and about["commit"] is None
