"""Killed at any moment, resumed or redrawn: the same bytes as a run that nobody touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import CLOSED, EXPERIMENTS, SCRIPTS, checkpoints, settings

from veriloop.study.workers import close_workers

# Thirty units of some tens of milliseconds each: time enough to be killed between them.
MANY = settings("replicates=200", "radius={first: 0.01, last: 0.5, count: 30}", "bias.count=4")
FEW = settings("replicates=3", "bias=[0, 0.3]", "radius=[0.1, 0.2, 0.3]")


def tree(folder):
    """Return every file of a folder with its bytes."""
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def copy(run, to):
    shutil.copytree(run.out, to)
    return to


@pytest.mark.slow
def test_killed_with_sigkill_and_resumed_gives_the_same_bytes(here, tmp_path):
    """kill -9 in the middle of the work, then --resume: committed units are kept, the records are the same."""
    whole = here("linear_landscape", *MANY, out=tmp_path / "whole")
    out = tmp_path / "killed"
    script = EXPERIMENTS / "linear_landscape.py"
    line = [sys.executable, script, "--preset", "smoke", "--out", out, *MANY]
    started = subprocess.Popen(
        line, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    limit = time.monotonic() + 300
    while len(checkpoints(out)) < 6 and time.monotonic() < limit:
        time.sleep(0.002)
    os.kill(started.pid, signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    before = checkpoints(out)
    assert 3 <= len(before) // 2 < 30
    resumed = here("linear_landscape", *MANY, "--resume", out=out, figure=True)
    assert (resumed.code, resumed.stderr) == (0, "")
    assert resumed.records == whole.records
    after = checkpoints(out)
    assert len(after) == 60 and all(after[path] == when for path, when in before.items())
    assert resumed.about["finished"] is True and (out / "figure.png").exists()


@pytest.fixture(scope="module")
def workers():
    """Worker processes that import once for all scripts; ended with this module."""
    yield
    close_workers()


@pytest.mark.parametrize("name", CLOSED)
def test_stopped_in_the_middle_of_a_checkpoint_and_resumed_in_two_processes(
    name, smoke, stopped, here, workers, tmp_path
):
    """A unit half written counts as none; where the others are done changes no byte."""
    out = stopped(name, at=3).out
    before = checkpoints(out)
    assert len(before) == 6 and list(out.glob("round_*/.*.tmp"))
    resumed = here(name, "--resume", "--engine", "processes:2")
    assert (resumed.code, resumed.stderr) == (0, "")
    assert resumed.records == smoke(name).records
    assert resumed.about["config"]["engine"] == "processes:2"
    after = checkpoints(out)
    assert {path: after[path] for path in before} == before and not list(out.glob("round_*/.*.tmp"))


def test_stopped_in_the_first_checkpoint_and_resumed(stopped, here, smoke):
    """Its remains are in nobody's way; the run says that it is not finished, and has no figure."""
    part = stopped("linear_landscape", at=0, figure=True)
    assert not checkpoints(part.out) and list(part.out.glob("round_*/.*.tmp"))
    assert part.about["finished"] is False and not (part.out / "figure.png").exists()
    resumed = here("linear_landscape", "--resume")
    assert (resumed.code, resumed.stderr) == (0, "")
    assert resumed.records == smoke("linear_landscape").records


def test_stopped_before_the_first_file_is_whole_and_resumed(here, tmp_path):
    """Killed while run.json is written, the folder holds its temporary name only; --resume starts."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".run.json.tmp").write_text('{"experim')
    resumed = here("linear_landscape", *FEW, "--resume")
    assert (resumed.code, resumed.stderr) == (0, "")
    assert {path.name for path in resumed.out.iterdir()} == {
        "run.json",
        "records.jsonl",
        "round_0001",
    }


@pytest.mark.parametrize("name", ["curation", "linear_designs"])
def test_damaged_checkpoints_are_named_and_done_again(name, smoke, here, tmp_path):
    """A flipped byte and a missing sha256.json are noticed, said on stderr, and cost those two units only."""
    out = copy(smoke(name), tmp_path / "run")
    first, flipped, *others, bare = sorted(path for path in out.glob("round_*/*") if path.is_dir())
    data = bytearray((flipped / "rows.jsonl").read_bytes())
    data[len(data) // 2] ^= 1
    (flipped / "rows.jsonl").write_bytes(data)
    (bare / "sha256.json").unlink()
    before = checkpoints(out)
    resumed = here(name, "--resume")
    assert resumed.code == 0
    lines = resumed.stderr.splitlines()
    assert len(lines) == 2 and all(
        "damaged" in line and line.endswith("doing it again") for line in lines
    )
    assert [
        line for line in lines if str(flipped) in line and "sha256 of rows.jsonl differs" in line
    ]
    assert [line for line in lines if str(bare) in line and "sha256.json is missing" in line]
    assert resumed.records == smoke(name).records
    after = checkpoints(out)
    redone = {path.parent for path in after if after[path] != before.get(path)}
    assert (
        redone == {flipped.relative_to(out), bare.relative_to(out)}
        and first not in redone
        and others
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_resuming_a_finished_run_computes_nothing(name, smoke, here, tmp_path):
    """Checkpoints keep their time of writing, the records their bytes, run.json its summary."""
    out = copy(smoke(name), tmp_path / "run")
    before, files = checkpoints(out), tree(out)
    old = smoke(name).about
    resumed = here(name, "--resume")
    assert (resumed.code, resumed.stderr) == (0, "")
    assert resumed.stdout.splitlines()[:-1] == smoke(name).stdout.splitlines()[:-1]
    assert checkpoints(out) == before
    after = tree(out)
    assert {path for path in files if files[path] != after[path]} <= {Path("run.json")} and set(
        after
    ) == set(files)
    assert resumed.about["summary"] == old["summary"] and resumed.about["finished"] is True


@pytest.mark.parametrize("exists", [False, True])
def test_resuming_nothing_starts(exists, here, tmp_path):
    """--resume can always be given: a new or empty folder is a run not yet begun."""
    if exists:
        (tmp_path / "run").mkdir()
    first = here("linear_landscape", *FEW, "--resume")
    straight = here("linear_landscape", *FEW, out=tmp_path / "straight")
    assert (first.code, first.stderr) == (0, "")
    assert first.records == straight.records


@pytest.mark.parametrize(
    ("name", "setting", "key", "got"),
    [
        ("linear_landscape", "seed=5", "seed = 0", "got 5"),
        ("linear_landscape", "radius=[0.1, 0.2]", "radius = [0.01", "got [0.1, 0.2]"),
        ("linear_policies", "verifier.call=veriloop:Random", "verifier = None", "veriloop:Random"),
        ("linear_rounds", "sizes=100", "sizes = {", "got {'constant': 100}"),
        ("linear_designs", "rounds=3", "rounds = 2", "got 3"),
    ],
)
def test_another_configuration_is_not_mixed_in(name, setting, key, got, smoke, here, tmp_path):
    """--resume with a changed setting stops with 2, names the key and both values, and touches no file."""
    out = copy(smoke(name), tmp_path / "run")
    files = tree(out)
    refused = here(name, *settings(setting), "--resume")
    assert refused.code == 2 and refused.stderr.count("\n") == 1
    assert key in refused.stderr and got in refused.stderr and "--resume" in refused.stderr
    assert tree(out) == files


def test_another_experiment_is_not_mixed_in(smoke, here, tmp_path):
    """--resume of a folder that another script made stops with 2 and names both."""
    out = copy(smoke("linear_rounds"), tmp_path / "run")
    files = tree(out)
    refused = here("linear_landscape", "--resume")
    assert refused.code == 2 and refused.stderr.count("\n") == 1
    assert (
        "experiment = 'linear_rounds'" in refused.stderr and "'linear_landscape'" in refused.stderr
    )
    assert tree(out) == files


@pytest.mark.parametrize(
    "text", ["", '{"experiment": "linear_land', "[]", "{}", '{"experiment": 3, "config": 4}']
)
def test_a_run_json_that_cannot_be_read_stops_the_resume(text, smoke, here, tmp_path):
    """Without a readable configuration nothing says that the checkpoints belong here: exit 2, no file touched."""
    out = copy(smoke("linear_landscape"), tmp_path / "run")
    (out / "run.json").write_text(text)
    files = tree(out)
    refused = here("linear_landscape", "--resume")
    assert refused.code == 2 and refused.stderr.count("\n") == 1 and str(out) in refused.stderr
    assert tree(out) == files


@pytest.mark.parametrize("name", ["linear_landscape", "mnist_elbo"])
def test_redrawing_needs_the_records_alone(name, smoke, here, tmp_path):
    """With run.json, checkpoints and figures gone, --redraw makes the same picture, bit by bit; nothing else."""
    out = tmp_path / "only"
    out.mkdir()
    shutil.copy(smoke(name).out / "records.jsonl", out)
    redrawn = here(name, "--redraw", out, out=None, figure=True)
    assert (redrawn.code, redrawn.stderr) == (0, "")
    files, original = tree(out), tree(smoke(name).out)
    assert set(map(str, files)) == {"records.jsonl", "figure.png", "figure.pdf"}
    assert all(files[path] == original[path] for path in files)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stopped_runs_first_rows_draw_or_are_refused(name, smoke, here, tmp_path):
    """Half of the records are laid out, or refused in one sentence; never a traceback."""
    lines = smoke(name).records.splitlines(keepends=True)
    (tmp_path / "records.jsonl").write_bytes(b"".join(lines[: len(lines) // 2]))
    redrawn = here(name, "--redraw", tmp_path, out=None, figure="laid out")
    assert redrawn.code in (0, 2) and redrawn.stderr.count("\n") == redrawn.code // 2


GROWING = ["mnist_fixed_verifier", "mnist_published", "self_training", "xsum_rouge"]


@pytest.mark.parametrize("name", GROWING)
def test_a_run_goes_on_with_more_seeds_and_rounds(name, here, smoke):
    """What is done is kept, and the records are those of a run that had as many from the start.

    The sizes of `mnist_published` grow by a step, so more rounds change no earlier one.
    """
    few = here(name, *settings("replicates=1", "rounds=1"))
    assert few.code == 0, few.stderr
    before = checkpoints(few.out)
    more = here(name, "--resume")
    assert more.code == 0, more.stderr
    assert more.records == smoke(name).records
    after = checkpoints(more.out)
    assert {path: after[path] for path in before} == before
    assert more.about["config"]["replicates"] > 1 and len(more.about["earlier"]) == 1


@pytest.mark.slow
def test_counts_may_be_lower_until_a_run_has_ended(here, tmp_path, stopped):
    """What was done beyond them is left out; of a run that has ended nothing is."""
    fewer = settings("replicates=1", "rounds=1")
    whole = here("xsum_rouge", *fewer, out=tmp_path / "whole")
    stopped("xsum_rouge", *settings("replicates=2", "rounds=2"), at=4)
    lowered = here("xsum_rouge", *fewer, "--resume")
    assert lowered.code == 0, lowered.stderr
    assert lowered.records == whole.records and lowered.about["finished"]
    assert here("xsum_rouge", *settings("replicates=2", "rounds=1"), "--resume").code == 0
    refused = here("xsum_rouge", *fewer, "--resume")
    assert refused.code == 2 and "got 1; give as many or more" in refused.stderr


@pytest.mark.parametrize(
    ("name", "begun", "asked", "told"),
    [
        ("mnist_elbo", "rounds=2", "rounds=3", "got 3; give the same configuration"),
        ("evolving_verifier", "rounds=2", "rounds=3", "got 3; give the same configuration"),
        ("same_data_verifier", "rounds=1", "rounds=2", "got 2; give the same configuration"),
        ("linear_rounds", "replicates=3", "replicates=4", "got 4; give the same configuration"),
    ],
)
def test_a_count_that_done_units_depend_on_may_not_grow(
    name, begun, asked, told, here, monkeypatch
):
    """Sizes that rise to the last round are others with more rounds. Nothing is changed."""
    monkeypatch.setattr("veriloop.study.folder.RunFolder.records", stop)
    with pytest.raises(Stopped):
        here(name, *settings(begun))
    monkeypatch.undo()
    refused = here(name, *settings(asked), "--resume")
    assert refused.code == 2 and told in refused.stderr
    assert refused.about["config"][begun.split("=")[0]] == int(begun.split("=")[1])


class Stopped(BaseException):
    """Ends a run once its folder is claimed."""


def stop(*arguments, **options):
    raise Stopped
