"""What a run leaves behind, in a process of its own; and that the same configuration leaves the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

SCRIPTS = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("linear_*.py"))
SCRIPTS += ["curation", "noisy_verifier", "selection_bias", "verifier_shape"]
LANDSCAPE = {"bias", "radius", "exact", "expansion", "mean", "standard_error"}
ROUNDS = {"arm", "seed", "round", "candidates", "kept"}
PROVENANCE = {"experiment", "preset", "config", "commit", "dirty", "versions", "device", "seconds", "summary"}


def rows_of(text):
    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def seed_of(run):
    return json.loads((run.out / "run.json").read_text())["config"]["seed"]


def test_there_are_scripts():
    """The parametrised tests below do test something."""
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_smoke_run_leaves_every_file_and_is_quiet(name, smoke):
    """Started elsewhere, into a folder two levels deep: exit 0, every file, nothing on stderr, no progress bar."""
    run = smoke(name)
    assert run.code == 0, run.stderr
    assert run.stderr == ""
    assert "\r" not in run.stdout and "%|" not in run.stdout
    assert run.stdout.splitlines()[-1] == f"figure: {run.out / 'figure.png'}"
    names = {path.name for path in run.out.iterdir() if path.is_file()}
    assert names == {"run.json", "records.jsonl", "figure.png", "figure.pdf"}
    checkpoints = [path for path in run.out.glob("round_[0-9][0-9][0-9][0-9]/*") if path.is_dir()]
    assert checkpoints and not [path for path in checkpoints if path.name.startswith(".")]
    for folder in checkpoints:
        assert {path.name for path in folder.iterdir()} == {"rows.jsonl", "sha256.json"}
    assert {path.name for path in run.out.parent.parent.iterdir()} == {"deep"}  # nothing beside --out


@pytest.mark.parametrize("name", SCRIPTS)
def test_records_are_flat_json_with_the_columns_of_the_design(name, smoke):
    """Outside checks can read the columns by name; NaN and Infinity, which are not JSON, never appear."""
    rows = rows_of(smoke(name).records.decode())
    assert rows
    for row in rows:
        assert all(value is None or isinstance(value, str | bool | int | float) for value in row.values())
    if name == "linear_landscape":
        for row in rows:
            assert LANDSCAPE <= set(row) and {"seed", "replicates"} <= set(row)
            assert all(isinstance(row[column], float) and row[column] >= 0 for column in LANDSCAPE)
        return
    rounds = [row for row in rows if "arm" in row]
    errors = {
        "linear_policies": {"error_truth"},
        "curation": {"reward", "variance", "exact", "exact_variance"},
        "noisy_verifier": {"accuracy", "path"},
        "selection_bias": {"trace"},
    }.get(name, {"error_center", "error_truth"})
    for row in rounds:
        assert ROUNDS | errors <= set(row)
        assert row["candidates"] >= row["kept"] >= 0 and (row["kept"] > 0) == (row["round"] > 0)
        assert all(row[error] > 0 for error in errors)
    for arm in {row["arm"] for row in rounds}:
        mine = [row["round"] for row in rounds if row["arm"] == arm]
        assert sorted(mine) == sorted(range(max(mine) + 1)) * (len(mine) // (max(mine) + 1))
    assert len({(row["arm"], row["round"]) for row in rounds}) == len(rounds)
    if name not in ("linear_designs", "noisy_verifier"):
        assert len(rounds) == len(rows)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_figure_opens_and_shows_something(name, smoke):
    """figure.png is as wide as a page at 200 dpi and is not blank; figure.pdf is a PDF."""
    image = matplotlib.image.imread(smoke(name).out / "figure.png")
    height, width = image.shape[:2]
    assert width == 1400 and 300 <= height <= 1600
    gray = image[..., :3].mean(axis=2)
    inked = np.mean(gray < 0.9)
    assert 0.01 < inked < 0.9 and len(np.unique(gray)) > 50
    pdf = (smoke(name).out / "figure.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and b"/CreationDate" not in pdf


@pytest.mark.parametrize("name", SCRIPTS)
def test_run_json_says_what_made_the_figure(name, smoke):
    """The resolved configuration, commit, versions, device and seconds; finished; and it is strict JSON."""
    (about,) = rows_of((smoke(name).out / "run.json").read_text().replace("\n", " "))
    assert set(about) == PROVENANCE | {"finished"} and about["finished"] is True
    assert about["experiment"] == name and about["preset"] == "smoke"
    assert about["config"]["seed"] == 0 and about["config"]["engine"] == "serial"
    assert about["commit"] is None or len(about["commit"]) == 40
    assert {"python", "veriloop", "numpy", "scipy"} <= set(about["versions"])
    assert about["device"]["cpus"] >= 1
    assert set(about["seconds"]) == {"work", "figure"} and all(value >= 0 for value in about["seconds"].values())
    assert about["summary"] and all(set(number) >= {"value", "expected"} for number in about["summary"].values())


@pytest.mark.parametrize("name", SCRIPTS)
def test_checkpoints_hold_exactly_the_records(name, smoke):
    """records.jsonl is the checkpoints' rows, no line more and none less."""
    run = smoke(name)
    parts = [path.read_text().splitlines() for path in run.out.glob("round_*/*/rows.jsonl")]
    assert sorted(line for part in parts for line in part) == sorted(run.records.decode().splitlines())


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_seed_same_bytes_other_seed_other_bytes(name, smoke, here, tmp_path):
    """The records depend on configuration and seed alone: not on the process, its hash seed, or where it runs."""
    again = here(name, out=tmp_path / "again", figure=False)
    other = here(name, "--set", "seed=1", out=tmp_path / "other", figure=False)
    assert again.code == other.code == 0
    assert again.records == smoke(name).records
    assert seed_of(other) == 1
    first, second = (rows_of(run.records.decode()) for run in (again, other))
    assert len(first) == len(second)
    same = [a for a, b in zip(first, second, strict=True) if {**a, "seed": 0} == {**b, "seed": 0}]
    # Every row moves; what these two start from is no sample.
    assert {row.get("round") for row in same} <= ({0} if name in ("noisy_verifier", "selection_bias") else set())


@pytest.fixture(scope="module")
def workers():
    """Worker processes that outlive one run, so that they import once for all scripts; ended with this module."""
    from joblib.externals.loky import get_reusable_executor

    yield
    get_reusable_executor().shutdown(wait=True)


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_processes_give_the_bytes_of_one(name, smoke, here, workers, tmp_path):
    """The worker count does not change the records, nor their order."""
    run = here(name, "--engine", "processes:2", out=tmp_path / "run", figure=False)
    assert (run.code, run.stderr) == (0, "")
    assert run.records == smoke(name).records
    assert json.loads((run.out / "run.json").read_text())["config"]["engine"] == "processes:2"


def test_the_preset_sets_the_default_folder(here, tmp_path, monkeypatch):
    """Without --out the run goes to runs/NAME-PRESET under the current folder."""
    monkeypatch.chdir(tmp_path)
    assert here("linear_landscape", "--set", "replicates=2", out=None, figure=False).code == 0
    assert (tmp_path / "runs" / "linear_landscape-smoke" / "records.jsonl").exists()


def test_a_failure_in_the_work_exits_with_1(apart, tmp_path):
    """Neither 0 nor 2: the configuration was valid, and what went wrong is named."""
    settings = ("--set", "radius=0", "--set", "bias=50", "--set", "budget=100", "--set", "replicates=1")
    run = apart("linear_policies", *settings, out=tmp_path / "run", cwd=tmp_path)
    assert run.code == 1
    assert "RoundError" in run.stderr and "100" in run.stderr
    assert json.loads((run.out / "run.json").read_text())["finished"] is False


VERIFIER = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Near:
    reach: float = 2.0
    def __call__(self, key, batch):
        return self.reach - np.abs(batch.y - batch.x.sum(axis=1))
"""
OWN = ("--set", "verifier.call=my_verifier:Near", "--set", "verifier.reach=1.5")


@pytest.fixture(scope="module")
def own(tmp_path_factory, apart):
    """A run with the user's own verifier, from a module beside them."""
    cwd = tmp_path_factory.mktemp("own")
    (cwd / "my_verifier.py").write_text(VERIFIER)
    return apart("linear_policies", *OWN, out=cwd / "run", cwd=cwd)


def test_a_users_own_verifier_runs_from_the_current_folder(own, smoke):
    """Ten lines in a file of one's own and two settings replace the verifier: verified arms change, others not."""
    assert len(VERIFIER.strip().splitlines()) <= 10
    assert (own.code, own.stderr) == (0, "")
    mine, default = (rows_of(run.records.decode()) for run in (own, smoke("linear_policies")))
    assert len(mine) == len(default)
    for a, b in zip(mine, default, strict=True):
        assert (a == b) == (not a["verified"] or a["round"] == 0)
    assert json.loads((own.out / "run.json").read_text())["config"]["verifier"] == {
        "call": "my_verifier:Near",
        "reach": 1.5,
    }


def test_a_users_own_verifier_runs_in_other_processes(own, apart, tmp_path):
    """Worker processes find the user's module too."""
    run = apart("linear_policies", *OWN, "--engine", "processes:2", out=tmp_path / "run", cwd=own.out.parent)
    assert (run.code, run.stderr) == (0, "")
    assert run.records == own.records


CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with LocalCluster(host="127.0.0.1", **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A dask cluster on this machine that knows nothing about the scripts; yields HOST:PORT."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "cluster.py").write_text(CLUSTER)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    started = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=folder,
        env=clean,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = started.stdout.readline().strip()
    yield address.removeprefix("tcp://")
    started.communicate("", timeout=30)


def test_a_dask_cluster_gives_the_bytes_of_one_process(cluster, smoke, own, apart, tmp_path):
    """Workers on a cluster, with the script's modules and the user's own verifier to find, change no byte."""
    engine = ("--engine", f"dask://{cluster}")
    plain = apart("linear_landscape", *engine, out=tmp_path / "plain", cwd=tmp_path)
    assert (plain.code, plain.stderr) == (0, "")
    assert plain.records == smoke("linear_landscape").records
    mine = apart("linear_policies", *engine, *OWN, out=tmp_path / "mine", cwd=own.out.parent)
    assert (mine.code, mine.stderr) == (0, "")
    assert mine.records == own.records


def test_help_says_every_option(here):
    """--help exits with 0, says what the experiment shows and names the options."""
    run = here("linear_rounds", "--help")
    assert run.code == 0 and "Sixty rounds" in textwrap.fill(run.stdout, 10_000)
    for option in ("--config", "--preset", "--set", "--engine", "--out", "--resume", "--redraw"):
        assert option in run.stdout
