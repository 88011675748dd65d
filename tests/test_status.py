"""python -m veriloop.status: what a run does, from its folder alone, which it never changes."""

import json
import os
import socket
import sys
import time

import pytest

import veriloop as vl
from veriloop import Key, Loop, RunDir, State, status
from veriloop.study import UnitsFailed, heartbeat

HOST = socket.gethostname()
GONE = 2**22 + 1  # above the highest process number of Linux


def study(refit=lambda key, model, batch: model):
    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=refit)
    return vl.Study(arms={"a": loop}, start=lambda key: State(0), sizes=[5] * 4, seeds=range(3))


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def beat(folder, name, **facts):
    told = {"host": HOST, "pid": os.getpid(), "started": 0, "time": time.time(), **facts}
    (folder / status.BEATS).mkdir(exist_ok=True)
    (folder / status.BEATS / name).write_text(json.dumps(told))


@pytest.fixture
def part(tmp_path):
    """A run of three units, of which one is done."""

    def refit(key, model, batch):
        if key.seed == 1:
            raise KeyboardInterrupt
        return model

    before = sys.excepthook
    with pytest.raises(KeyboardInterrupt):
        study(refit).run(tmp_path / "run")
    sys.excepthook = before
    return tmp_path / "run"


def test_a_run_under_way_says_where_it_is(part):
    now = time.time()
    main = {"engine": "processes:2", "units": 3, "before": 0, "done": 1, "failed": {}}
    beat(part, status.MAIN, started=now - 60, **main)
    beat(part, "a-seed1.json", unit="a-seed1", round=2, rounds=4, rss=50_000_000)
    beat(part, "a-seed2.json", unit="a-seed2", round=0, rounds=4, rss=None, time=now - 300)
    (part / status.BEATS / status.LINES).write_text("warning: low\nround 1\n\x1b[31mred\n")
    before = tree(part)
    told = status.status(part)
    assert tree(part) == before
    lines = told.splitlines()
    assert lines[0] == f"{part}  running: study, engine processes:2"
    assert "  units     1 of 3 done, 1 running, 0 failed" in lines
    assert "  time      1 min 0 s so far, about 1 min 0 s left" in lines
    assert f"  a-seed1  2 of 4  50 MB   0 s ago                {HOST}:{os.getpid()}" in lines
    assert any("0 of 4  ?" in line and "5 min 0 s ago, silent" in line for line in lines)
    assert lines[-4:] == ["  warnings  1", "  | warning: low", "  | round 1", "  | ?[31mred"]


def test_a_run_that_was_stopped_says_how_to_go_on(part):
    told = status.status(part)
    assert "stopped by Ctrl-C: study; go on with --resume" in told
    assert "1 of 3 done, 0 running, 0 failed" in told


STATES = {
    "dead": ({"pid": GONE}, "dead: study; process 4194305 on .* is gone, last sign 0 s ago; go on"),
    "slow": ({"time": 1e9}, "silent: study; no sign of process"),
    "elsewhere": ({"host": "other", "time": 1e9}, "silent: study; no sign of .* on other for"),
}


@pytest.mark.parametrize(("facts", "told"), STATES.values(), ids=STATES)
def test_a_dead_run_is_told_from_a_slow_one(facts, told, part):
    import re

    beat(part, status.MAIN, **{"engine": "serial", "units": 3, **facts})
    assert re.search(told, status.status(part))


def test_a_failed_run_names_its_units(tmp_path):
    with pytest.raises(UnitsFailed):
        study(lambda key, model, batch: 1 / 0).run(tmp_path / "run")
    told = status.status(tmp_path / "run")
    assert "failed: study; go on with --resume" in told and "0 of 3 done, 0 running, 3 fai" in told
    assert "failed    a-seed0: ZeroDivisionError: division by zero" in told


def test_a_finished_run(tmp_path):
    study().run(tmp_path / "run")
    told = status.status(tmp_path / "run")
    assert told.splitlines()[0].endswith("finished: study")
    assert "3 of 3 done, 0 running, 0 failed" in told and "time      work 0 s" in told


def test_a_loop_in_a_folder_says_its_rounds(tmp_path):
    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=lambda k, model, b: 1.0)
    list(RunDir(tmp_path).run(loop, Key(0), State(0.0), [5, 5]))
    told = status.status(tmp_path)
    assert "a loop without signs of life" in told and "rounds    committed: loop 2" in told


def test_damaged_signs_are_no_signs(part):
    for name, text in {"x.json": "[[", status.MAIN: '{"failed": 3, "units": "x"}'}.items():
        (part / status.BEATS / name).write_text(text)
    (part / "run.json").write_text('{"seconds": 3, "experiment": null}')
    assert status.status(part)


def test_the_command(part, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["status", str(part), str(part)])
    status.main()
    assert capsys.readouterr().out.count("stopped by Ctrl-C") == 2
    for arguments, told in ((["nowhere"], "veriloop.status: nowhere: no such folder"), ([], "")):
        monkeypatch.setattr(sys, "argv", ["status", *arguments])
        with pytest.raises(SystemExit) as ended:
            status.main()
        assert ended.value.code == 2 and told in capsys.readouterr().err


@pytest.mark.slow
def test_a_real_run_is_seen_from_beside(tmp_path, monkeypatch):
    """Asked by the run itself, in the middle of its second unit."""
    monkeypatch.setattr(heartbeat, "FIRST", 0.0)
    told = []

    def refit(key, model, batch):
        told.append(status.status(tmp_path / "run"))
        return model

    study(refit).run(tmp_path / "run")
    assert "running: study, engine serial" in told[7] and "1 of 3 done, 1 running" in told[7]
    assert "a-seed1  3 of 4" in told[7]
