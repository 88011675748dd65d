"""What a run leaves behind, in a process of its own; and that the same configuration leaves the same bytes."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap

import matplotlib.image
import numpy as np
import pytest
from helpers import (
    CLOSED,
    DIGITS,
    EXPERIMENTS,
    LINEAR,
    SCRIPTS,
    SUMMARIES,
    SUMS,
    config_of,
    environment,
    settings,
)

LANDSCAPE = {"bias", "radius", "exact", "expansion", "mean", "standard_error"}
ROUNDS = {"arm", "seed", "round", "candidates", "kept"}
PROVENANCE = {
    "experiment",
    "preset",
    "config",
    "commit",
    "dirty",
    "versions",
    "device",
    "seconds",
    "summary",
    "units",
    "digest",
}
NUMBERED = [name for name in CLOSED if name != "linear_landscape"]  # their rows are of rounds


def test_every_script_is_of_one_kind():
    """A new script is tested below: its configuration tells its kind, as its imports do."""
    assert sorted([*CLOSED, *DIGITS, *SUMMARIES, *SUMS]) == SCRIPTS
    for name in SCRIPTS:
        source = (EXPERIMENTS / f"{name}.py").read_text()
        assert (name in DIGITS) == ("\nfrom _mnist import" in source), name
        assert (name in SUMMARIES) == ("\nfrom _xsum import" in source), name
        assert (name in SUMS) == ("\nfrom _self_training import" in source), name
    assert {"linear_designs", "linear_landscape", "linear_policies", "linear_rounds"} <= set(LINEAR)
    assert {"curation", "noisy_verifier", "selection_bias", "verifier_shape"} <= set(CLOSED)
    assert {"mnist_elbo", "mnist_schedules", "evolving_verifier", "policies_vae"} <= set(DIGITS)
    assert "xsum_rouge" in SUMMARIES and "self_training" in SUMS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_smoke_run_leaves_every_file(name, smoke):
    """Started elsewhere, into a folder two levels deep: exit 0, every file, no progress bar."""
    run = smoke(name)
    assert run.code == 0, run.stderr
    assert "\r" not in run.stdout and "%|" not in run.stdout
    assert run.stdout.splitlines()[-1] == f"figure: {run.out / 'figure.png'}"
    names = {path.name for path in run.out.iterdir() if path.is_file()}
    assert names == {"run.json", "records.jsonl", "figure.png", "figure.pdf"}
    checkpoints = [path for path in run.out.glob("round_[0-9][0-9][0-9][0-9]/*") if path.is_dir()]
    assert checkpoints and not [path for path in checkpoints if path.name.startswith(".")]
    for folder in checkpoints:
        files = {path.name for path in folder.iterdir()}
        if name in CLOSED:
            assert files == {"rows.jsonl", "sha256.json"}
        else:
            assert files >= {"rows.jsonl", "sha256.json"}
    assert {path.name for path in run.out.parent.parent.iterdir()} == {
        "deep"
    }  # nothing beside --out


@pytest.mark.parametrize("name", CLOSED)
def test_what_takes_no_time_is_quiet(name, smoke):
    """Nothing on stderr."""
    assert smoke(name).stderr == ""


# The other way round, so that a second worker does not wait for the runs that the first makes.
@pytest.mark.parametrize("name", [*SUMS, *SUMMARIES, *reversed(DIGITS)])
def test_what_takes_time_says_a_line_a_round(name, smoke):
    """On stderr, for whoever waits: each arm's rounds from 0 on, and nothing else."""
    run = smoke(name)
    lines = run.stderr.splitlines()
    for line in lines:
        assert re.match(r".+-seed\d+: round \d+ of \d+: \w+ [-\d.e+]+", line), line
    assert len(lines) == len(run.rows)


@pytest.mark.parametrize("name", SCRIPTS)
def test_records_are_flat_json(name, smoke):
    """NaN and Infinity, which are not JSON, never appear, nor do lists or mappings."""
    for row in smoke(name).rows:
        assert all(
            value is None or isinstance(value, str | bool | int | float) for value in row.values()
        )


def test_cells_have_the_columns_of_the_design(smoke):
    """Outside checks can read the columns of a map by name."""
    for row in smoke("linear_landscape").rows:
        assert LANDSCAPE <= set(row) and {"seed", "replicates"} <= set(row)
        assert all(isinstance(row[column], float) and row[column] >= 0 for column in LANDSCAPE)


@pytest.mark.parametrize("name", NUMBERED)
def test_rounds_have_the_columns_of_the_design(name, smoke):
    """Outside checks can read the columns by name; every arm has all rounds, each once."""
    rows = smoke(name).rows
    rounds = [row for row in rows if "arm" in row]
    errors = {
        "linear_policies": {"error_truth"},
        "curation": {"reward", "variance", "exact", "exact_variance"},
        "noisy_verifier": {"accuracy", "path"},
        "selection_bias": {"trace"},
    }.get(name, {"error_center", "error_truth"})
    assert rounds
    for row in rounds:
        assert ROUNDS | errors <= set(row)
        assert row["candidates"] >= row["kept"] >= 0 and (row["kept"] > 0) == (row["round"] > 0)
        assert all(row[error] > 0 for error in errors)
    for arm in {row["arm"] for row in rounds}:
        mine = [row["round"] for row in rounds if row["arm"] == arm]
        assert sorted(mine) == list(range(max(mine) + 1))
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
    about = smoke(name).about
    stages = {"work", "figure"}
    own = {"finished"}
    if name not in CLOSED:
        stages.add("prepare")
        own.add("measures")
    assert set(about) == PROVENANCE | own and about["finished"] is True
    assert about["experiment"] == name and about["preset"] == "smoke"
    assert (
        about["config"]["seed"] == config_of(name)["seed"] and about["config"]["engine"] == "serial"
    )
    assert about["commit"] is None or len(about["commit"]) == 40
    assert {"python", "veriloop", "numpy", "scipy"} <= set(about["versions"])
    assert about["device"]["cpus"] >= 1
    assert set(about["seconds"]) == stages and all(
        value >= 0 for value in about["seconds"].values()
    )
    assert about["summary"] and all(
        set(number) >= {"value", "expected"} for number in about["summary"].values()
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_checkpoints_hold_exactly_the_records(name, smoke):
    """records.jsonl is the units' rows, no line more and none less."""
    run = smoke(name)
    lines = []
    for path in run.out.glob("round_*/*/rows.jsonl"):
        if not path.parent.name.endswith("-model"):  # a round of an arm that has not ended
            lines += path.read_text().splitlines()
    assert sorted(lines) == sorted(run.records.decode().splitlines())


@pytest.mark.parametrize("name", CLOSED)
def test_another_seed_moves_every_row(name, smoke, here):
    """The seed is that of all random numbers; only what two arms start from is no sample."""
    other = here(name, *settings("seed=1"))
    pairs = zip(smoke(name).rows, other.rows, strict=True)
    same = [one.get("round") for one, two in pairs if {**one, "seed": 0} == {**two, "seed": 0}]
    assert other.about["config"]["seed"] == 1
    assert set(same) <= ({0} if name in ("noisy_verifier", "selection_bias") else set())


def test_the_preset_sets_the_default_folder(here, tmp_path, monkeypatch):
    """Without --out the run goes to runs/NAME-PRESET under the current folder."""
    monkeypatch.chdir(tmp_path)
    assert here("linear_landscape", *settings("replicates=2"), out=None).code == 0
    assert (tmp_path / "runs" / "linear_landscape-smoke" / "records.jsonl").exists()


def test_a_failure_in_the_work_exits_with_1(apart, tmp_path):
    """Neither 0 nor 2: the configuration was valid, and what went wrong is named."""
    own = settings("radius=0", "bias=50", "budget=100", "replicates=1")
    run = apart("linear_policies", *own, out=tmp_path / "run", cwd=tmp_path)
    assert run.code == 1
    assert "RoundError" in run.stderr and "100" in run.stderr
    assert run.about["finished"] is False


VERIFIER = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Near:
    reach: float = 2.0
    def __call__(self, key, batch):
        return self.reach - np.abs(batch.y - batch.x.sum(axis=1))
"""
OWN = settings("verifier.call=my_verifier:Near", "verifier.reach=1.5")


@pytest.fixture(scope="module")
def own(tmp_path_factory, apart):
    """A run with the user's own verifier, from a module beside them."""
    cwd = tmp_path_factory.mktemp("own")
    (cwd / "my_verifier.py").write_text(VERIFIER)
    return apart("linear_policies", *OWN, out=cwd / "run", cwd=cwd)


def test_a_users_own_verifier_runs_from_the_current_folder(own, smoke):
    """Ten lines in a file of one's own and two settings replace the verifier: verified arms change, others not."""
    assert (own.code, own.stderr) == (0, "")
    for mine, default in zip(own.rows, smoke("linear_policies").rows, strict=True):
        assert (mine == default) == (not mine["verified"] or mine["round"] == 0)
    assert own.about["config"]["verifier"] == {"call": "my_verifier:Near", "reach": 1.5}


def test_a_users_own_verifier_runs_in_other_processes(own, apart, tmp_path):
    """Worker processes find the user's module too."""
    run = apart(
        "linear_policies", *OWN, "--engine", "processes:2", out=tmp_path / "run", cwd=own.out.parent
    )
    assert (run.code, run.stderr) == (0, "")
    assert run.records == own.records
    assert run.about["config"]["engine"] == "processes:2"


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
    started = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = started.stdout.readline().strip()
    yield address.removeprefix("tcp://")
    started.communicate("", timeout=300)


def test_a_dask_cluster_gives_the_bytes_of_one_process(cluster, own, apart, tmp_path):
    """Workers on a cluster, with the script's modules and the user's own verifier to find, change no byte."""
    run = apart(
        "linear_policies",
        "--engine",
        f"dask://{cluster}",
        *OWN,
        out=tmp_path / "run",
        cwd=own.out.parent,
    )
    assert (run.code, run.stderr) == (0, "")
    assert run.records == own.records


def test_help_says_every_option(here):
    """--help exits with 0, says what the experiment shows and names the options."""
    run = here("linear_rounds", "--help")
    assert run.code == 0 and "Sixty rounds" in textwrap.fill(run.stdout, 10_000)
    for option in ("--config", "--preset", "--set", "--engine", "--out", "--resume", "--redraw"):
        assert option in run.stdout
