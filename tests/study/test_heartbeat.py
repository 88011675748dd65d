"""Signs of life: while a unit is done, gone when a run is finished, and never in a run's way."""

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import veriloop as vl
from veriloop import Loop, State
from veriloop.status import BEATS, LINES, MAIN
from veriloop.study import UnitsFailed, heartbeat, say
from veriloop.study.heartbeat import Heart, beating, note_line, run_beating


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(heartbeat, "FIRST", 0.0)


def until(found):
    limit = time.monotonic() + 60
    while not found() and time.monotonic() < limit:
        time.sleep(0.001)
    assert found()


def study(refit, seeds=(0,)):
    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=refit)
    return vl.Study(arms={"a": loop}, start=lambda key: State(0), sizes=[5, 5], seeds=seeds)


def test_a_unit_under_way_says_its_round_and_its_memory(tmp_path):
    """In the file of the unit; the file of the run counts what is done."""
    seen = []

    def refit(key, model, batch):
        folder = tmp_path / "run" / BEATS
        for name in ("a-seed1.json", MAIN):
            if (folder / name).exists():
                seen.append(json.loads((folder / name).read_text()))
        return model

    study(refit, seeds=[0, 1]).run(tmp_path / "run")
    unit, main = seen[-2], seen[-1]
    assert (unit["unit"], unit["round"], unit["rounds"]) == ("a-seed1", 1, 2)
    assert unit["rss"] > 1e6 and {"host", "pid", "time", "started"} <= set(unit)
    assert (main["engine"], main["units"], main["done"], main["ended"]) == ("serial", 2, 1, None)


def test_a_finished_run_keeps_no_sign_and_one_that_failed_says_why(tmp_path):
    study(lambda key, model, batch: model).run(tmp_path / "good")
    assert not (tmp_path / "good" / BEATS).exists()
    with pytest.raises(UnitsFailed):
        study(lambda key, model, batch: 1 / 0).run(tmp_path / "bad")
    left = [path.name for path in (tmp_path / "bad" / BEATS).iterdir()]
    assert left == [MAIN]
    main = json.loads((tmp_path / "bad" / BEATS / MAIN).read_text())
    assert main["failed"] == {"a-seed0": "ZeroDivisionError: division by zero"}
    assert main["ended"] == "done"


def test_lines_and_warnings_are_kept_and_shown(tmp_path, capsys):
    """The warning is shown as ever, and another run begins with no lines."""
    with run_beating(tmp_path, "serial", 1, 0), beating(tmp_path, "unit", 1):
        say("round 1 of 2")
        with pytest.warns(UserWarning, match="low"):
            warnings.warn("low\nmemory", stacklevel=1)
    shown = warnings.showwarning
    lines = (tmp_path / BEATS / LINES).read_text()
    assert lines.splitlines()[0] == "round 1 of 2"
    assert capsys.readouterr().err == "round 1 of 2\n"
    with run_beating(tmp_path, "serial", 1, 0):
        assert not (tmp_path / BEATS / LINES).exists()
    assert warnings.showwarning is shown


def test_a_warning_of_a_unit_is_noted(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(warnings, "showwarning", lambda *given, **more: told.append(given[0]))
    with run_beating(tmp_path, "serial", 1, 0), beating(tmp_path, "unit", 1):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning(UserWarning("low"), UserWarning, "file", 1)
    assert (tmp_path / BEATS / LINES).read_text() == "warning: low\n" and len(told) == 1


def test_a_folder_that_is_gone_or_full_stops_no_run(tmp_path):
    """And none is made again."""
    with beating(tmp_path / "gone", "unit", 1):
        note_line("something")
        heartbeat.at_round(1)
    assert not (tmp_path / "gone").exists()


def test_a_link_in_the_place_of_the_signs_is_not_followed(tmp_path):
    """A folder from somebody else must not write outside of itself."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / BEATS).symlink_to(tmp_path / "outside")
    with run_beating(tmp_path / "run", "serial", 1, 0), beating(tmp_path / "run", "unit", 1):
        note_line("something")
    assert not list((tmp_path / "outside").iterdir())
    assert (tmp_path / "run" / BEATS / LINES).exists()


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study(lambda key, model, batch: model).run()
    with beating(None, "unit", 1):
        note_line("something")
    assert not list(Path(tmp_path).iterdir())


def test_one_thread_beats_for_all_units_and_ends_with_the_last(tmp_path, monkeypatch):
    """A thread for each would cost a small unit more than its work."""
    monkeypatch.setattr(heartbeat, "TICK", 0.001)
    monkeypatch.setattr(heartbeat, "_beater", heartbeat._Beater())
    (tmp_path / BEATS).mkdir()
    before = set(threading.enumerate())  # one of an earlier test may still be about to end
    with beating(tmp_path, "one", 1), beating(tmp_path, "two", 1):
        until(lambda: len(list((tmp_path / BEATS).glob("[!.]*.json"))) == 2)
        (beater,) = set(threading.enumerate()) - before
    until(lambda: not beater.is_alive())
    assert not list((tmp_path / BEATS).iterdir())
    with beating(tmp_path, "three", 1):
        until(lambda: (tmp_path / BEATS / "three.json").exists())


FORKED = """
import os, pathlib, sys, time
from veriloop.study import heartbeat

folder = pathlib.Path(sys.argv[1])
heartbeat.FIRST = heartbeat.TICK = 0.0
with heartbeat.beating(folder, "parent", 1):
    child = os.fork()
    if child == 0:
        while (folder / ".running" / "parent.json").exists():
            time.sleep(0.001)
        with heartbeat.beating(folder, "child", 1):
            while not (folder / ".running" / "child.json").exists():
                time.sleep(0.001)
        os._exit((folder / ".running" / "parent.json").exists())
heartbeat._beater.forget()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_process_that_was_forked_beats_for_its_own_units_alone(tmp_path):
    """The signs of its parent would look alive after the parent is dead."""
    (tmp_path / BEATS).mkdir()
    line = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path)]
    subprocess.run(line, check=True, timeout=60)


def test_a_sign_that_was_taken_away_does_not_come_back(tmp_path):
    """The thread may be about to write it."""
    heart = Heart(tmp_path / "unit.json", {})
    heart.beat()
    heart.remove()
    heart.beat()
    heart.note(round=1)
    assert not list(tmp_path.iterdir())


def test_the_signs_change_no_byte_of_the_records(tmp_path, monkeypatch):
    def refit(key, model, batch):
        return float(np.mean(batch))

    study(refit).run(tmp_path / "one")
    monkeypatch.setattr(heartbeat, "FIRST", 1000.0)
    study(refit).run(tmp_path / "two")
    one, two = ((tmp_path / name / "records.jsonl").read_bytes() for name in ("one", "two"))
    assert one == two
