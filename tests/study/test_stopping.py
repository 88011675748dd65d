"""Ctrl-C and SIGTERM: one line that says how to go on, the exit code of a shell, and no worker left."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

import veriloop as vl
from veriloop import Loop, State
from veriloop.study.stopping import Terminated, interactive

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")

SCRIPT = '''"""Units that wait."""

import os
import time
from pathlib import Path

from veriloop.study import Config, Unit, main


def work(config, i):
    Path("pids").mkdir(exist_ok=True)
    Path("pids", str(os.getpid())).touch()
    if i:
        time.sleep(1000)
    return [{"round": 1, "arm": "a", "seed": 0}]


def units(config):
    return [Unit(f"unit{i}", 1, work, (i,)) for i in range(3)]


if __name__ == "__main__":
    main(Config, units)
'''

STUDY = """
import time
from pathlib import Path
import veriloop as vl

def refit(key, model, batch):
    Path("pids").mkdir(exist_ok=True)
    Path("pids", "0").touch()
    time.sleep(1000)

loop = vl.Loop(generate=lambda key, model, n: key.numpy().random(n), refit=refit)
vl.Study(arms={"a": loop}, start=lambda key: vl.State(0.0), sizes=[5], seeds=[0]).run("run")
"""


def stopped(folder, script, number, group, *arguments):
    """Start a script, send a signal when its units are at work; return how it ended."""
    (folder / "slow.py").write_text(script)
    (folder / "slow.yaml").write_text("seed: 0\n")
    line = [sys.executable, "slow.py", *arguments]
    started = subprocess.Popen(
        line, cwd=folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    pids = folder / "pids"
    limit = time.monotonic() + 60
    wanted = 1 if "serial" in arguments or script is STUDY else 2
    while len(list(pids.glob("*"))) < wanted and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(0.3)
    send = os.killpg if group else os.kill
    send(started.pid, number)
    _, stderr = started.communicate(timeout=60)  # workers hold stderr open: they are gone too
    return started.returncode, stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "group", "engine", "code", "how"),
    [
        (signal.SIGINT, True, "processes:2", 130, "Ctrl-C"),  # a terminal sends it to all
        (signal.SIGTERM, False, "processes:2", 143, "SIGTERM"),
        (signal.SIGTERM, False, "serial", 143, "SIGTERM"),
    ],
)
def test_a_script_ends_with_one_line(number, group, engine, code, how, tmp_path):
    ended, stderr = stopped(tmp_path, SCRIPT, number, group, "--out", "run", "--engine", engine)
    assert ended == code
    assert stderr == (
        f"slow: stopped by {how}; what is done is kept in run; run the same again with --resume "
        "to go on\n"
    )
    assert (tmp_path / "run" / "round_0001" / "unit0").exists()


@pytest.mark.slow
def test_a_study_in_a_program_ends_with_one_line(tmp_path):
    """The KeyboardInterrupt goes through, and Python itself says it to the shell."""
    ended, stderr = stopped(tmp_path, STUDY, signal.SIGINT, True)
    assert ended == -signal.SIGINT  # 130 in a shell
    assert stderr == (
        "Study.run: stopped by Ctrl-C; what is done is kept in run; run the same again to go on\n"
    )


def interrupting(raised):
    def refit(key, model, batch):
        raise raised

    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=refit)
    return vl.Study(arms={"a": loop}, start=lambda key: State(0.0), sizes=[5], seeds=[0])


@pytest.fixture
def own_hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


def test_an_interrupt_stays_one_for_whoever_catches_it(own_hook, capsys, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupting(KeyboardInterrupt).run(tmp_path / "run")
    told = capsys.readouterr().err
    assert told.endswith("run the same again to go on\n") and told.count("\n") == 1
    with pytest.raises(KeyboardInterrupt):
        interrupting(KeyboardInterrupt).run()
    assert "nothing is kept; give Study.run a folder" in capsys.readouterr().err


def test_a_terminated_study_exits(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        interrupting(Terminated(signal.SIGTERM)).run(tmp_path / "run")
    assert ended.value.code == 143
    assert "Study.run: stopped by SIGTERM" in capsys.readouterr().err


CAUGHT = """
import os
import signal
import time

from veriloop.study.stopping import Terminated, terminable

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with terminable():
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except Terminated as stop:
        print(stop)
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""


def test_only_a_signal_that_would_end_the_process_is_caught():
    """One that is ignored stays so, and everything is as before at the end.

    In a process of its own: what runs the tests may have handlers, and would be ended.
    """
    ran = subprocess.run([sys.executable, "-c", CAUGHT], capture_output=True, text=True, check=True)
    assert "SIGTERM" in ran.stdout and ran.stderr == ""


@pytest.mark.parametrize(("shell", "told"), [(None, False), (object(), True)])
def test_a_script_that_imports_ipython_is_no_notebook(monkeypatch, shell, told):
    """A library that imported ipykernel was enough: SIGTERM then ended a run without a word."""
    monkeypatch.delattr(sys, "ps1", raising=False)
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    assert interactive() is told
