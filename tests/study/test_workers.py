"""Worker processes: one that dies or takes too long costs its own task, and none outlives the main one."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import cloudpickle
import pytest

from veriloop.study.workers import Lost, close_workers, run_all

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX"),
]


def square(x):
    return x * x


def ends(x):
    """Do as it says; a number is squared."""
    if x == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if x == "leaves":
        os._exit(3)
    if x == "sleeps":
        time.sleep(1000)
    return square(x)


@pytest.fixture(scope="module", autouse=True)
def closed():
    yield
    close_workers()


def results(tasks, **options):
    return dict(run_all([partial(ends, task) for task in tasks], 2, **options))


def test_a_worker_that_dies_costs_its_task_and_is_named():
    """All others are done, those that ran beside it too."""
    found = results([1, "killed", 2, "leaves", 3])
    assert [found[place] for place in (0, 2, 4)] == [1, 4, 9]
    assert "was killed (SIGKILL(-9)), as the system does when memory is short" in found[1].error
    assert "give fewer workers (engine=processes:N)" in found[1].error
    assert "its worker process ended before it was done (EXIT(3))" in found[3].error


def test_a_task_that_takes_too_long_is_stopped():
    found = results(["sleeps", 2, 3], limit=4.0)
    assert found[0] == Lost("TimeoutError: not done after 4 s, and stopped", "")
    assert (found[1], found[2]) == (4, 9)


def test_what_cannot_be_sent_is_said():
    found = dict(run_all([partial(square, 2), threading.Lock().acquire], 2))
    assert found[0] == 4
    assert found[1].error == (
        "its work cannot be sent to a worker process: TypeError: cannot pickle '_thread.lock' "
        "object; give engine=serial"
    )


def test_workers_stay_for_the_next_tasks_and_have_one_thread():
    def who(_):
        return os.getpid(), os.environ["OMP_NUM_THREADS"]

    close_workers()
    first = dict(run_all([partial(who, 0)], 1))
    second = dict(run_all([partial(who, 0)], 1))
    assert first == second and first[0][1] == "1" and first[0][0] != os.getpid()


def test_a_worker_that_died_while_it_waited_is_started_again():
    pid = dict(run_all([os.getpid], 1))[0]
    os.kill(pid, signal.SIGKILL)
    assert gone([pid], within=10)
    time.sleep(0.5)  # until that is noticed
    assert dict(run_all([partial(square, 3)], 1)) == {0: 9}


def test_leaving_early_ends_the_workers_at_work(tmp_path):
    """As Ctrl-C does."""
    found = run_all([partial(note, tmp_path, rest) for rest in (0, 1000)], 2)
    next(found)
    pids = noted(tmp_path, 2)
    found.close()
    assert gone(pids[-1:], within=10)


def note(folder, rest):
    Path(folder, str(os.getpid())).write_text(str(rest))
    time.sleep(rest)


def noted(folder, count):
    """The processes that have noted themselves, those that go on last."""
    limit = time.monotonic() + 60
    while len(list(folder.iterdir())) < count and time.monotonic() < limit:
        time.sleep(0.02)
    time.sleep(0.1)
    files = sorted(folder.iterdir(), key=lambda file: int(file.read_text() or 0))
    return [int(file.name) for file in files]


def gone(pids, within):
    """Whether processes end within so many seconds; a zombie counts as ended."""
    limit = time.monotonic() + within
    while time.monotonic() < limit:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    if not state.exists():
        return os.path.exists("/proc") is False
    return state.read_text().rpartition(")")[2].split()[0] != "Z"


PROGRAM = """
import sys, time
from functools import partial
from pathlib import Path
import os

from veriloop.study.workers import run_all

def note(folder, rest):
    Path(folder, str(os.getpid())).write_text(str(rest))
    time.sleep(rest)

if __name__ == "__main__":
    list(run_all([partial(note, sys.argv[1], 1000)] * 2, 2))
"""


def test_workers_of_a_killed_main_process_are_gone_within_ten_seconds(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "pids").mkdir()
    line = [sys.executable, "program.py", "pids"]
    started = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.DEVNULL)
    pids = noted(tmp_path / "pids", 2)
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    started.kill()
    started.wait()
    assert gone(pids, within=10)
