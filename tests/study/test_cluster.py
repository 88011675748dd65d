"""A scheduler and two workers, each a process of its own: a killed worker's unit is redone elsewhere."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from veriloop.status import status

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX"),
]

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"

SCRIPT = '''"""Units that note which process does them, and wait until they may end."""

import os
import time
from pathlib import Path

from veriloop import Key
from veriloop.study import Config, Unit, main


def work(config, i):
    Path("pids").mkdir(exist_ok=True)
    Path("pids", f"{i}-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return [{"round": 1, "arm": "a", "seed": i, "x": Key(i).numpy().random()}]


def units(config):
    return [Unit(f"unit{i}", 1, work, (i,)) for i in range(4)]


if __name__ == "__main__":
    main(Config, units)
'''


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def answers(port):
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def until(found, seconds=60):
    limit = time.monotonic() + seconds
    while not found() and time.monotonic() < limit:
        time.sleep(0.02)
    assert found()


def start(folder, *arguments):
    line = [sys.executable, "-m", *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(line, cwd=folder, start_new_session=True, **quiet)


@pytest.fixture
def cluster(tmp_path):
    """Yield the port of a scheduler with two workers, and its process."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--no-dashboard"]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    started = [start(tmp_path, *scheduler, "--port", str(port))]
    started += [start(tmp_path, *worker) for _ in range(2)]
    until(lambda: answers(port))
    yield port, started[0]
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def script(folder, *arguments):
    line = [sys.executable, "mine.py", *arguments]
    return subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True)


def noted(folder):
    return sorted((folder / "pids").glob("*"))


def test_a_killed_workers_unit_is_done_elsewhere_and_a_lost_scheduler_is_said(cluster, tmp_path):
    """The bytes are those of one process; after the scheduler is lost, --resume goes on without."""
    port, scheduler = cluster
    (tmp_path / "mine.py").write_text(SCRIPT)
    (tmp_path / "mine.yaml").write_text("seed: 0\n")
    address = f"dask://127.0.0.1:{port}"
    run = script(tmp_path, "--out", "run", "--engine", address)
    until(lambda: len(noted(tmp_path)) == 2)
    signs = tmp_path / "run" / ".running"
    until(lambda: len(list(signs.glob("unit*.json"))) == 2)
    told = status(tmp_path / "run")  # workers leave signs of life in the folder that all share
    assert f"running: mine, preset laptop, engine {address}" in told and "2 running" in told
    for path in noted(tmp_path):
        unit, _, pid = path.name.partition("-")
        assert re.search(
            rf"unit{unit} +0 of 1 .* {socket.gethostname()}:{pid}$", told, re.MULTILINE
        )
    killed = noted(tmp_path)[0].name
    os.kill(int(killed.partition("-")[2]), signal.SIGKILL)
    again = killed.partition("-")[0]
    (tmp_path / "go").touch()
    _, stderr = run.communicate(timeout=60)
    assert run.returncode == 0, stderr
    pids = {path.name for path in noted(tmp_path) if path.name.startswith(f"{again}-")}
    assert len(pids) == 2  # the unit was begun twice, by two workers

    (tmp_path / "go").unlink()
    for path in noted(tmp_path):
        path.unlink()
    lost = script(tmp_path, "--out", "lost", "--engine", address)
    until(lambda: noted(tmp_path))
    os.killpg(scheduler.pid, signal.SIGKILL)
    _, stderr = lost.communicate(timeout=60)
    assert lost.returncode == 1
    assert stderr == (
        f"mine: the dask scheduler at {address} is gone; what is committed is kept: start one, and "
        "run the same again, with --resume\n"
    )
    (tmp_path / "go").touch()
    serial = script(tmp_path, "--out", "lost", "--engine", "serial", "--resume")
    serial.communicate(timeout=60)
    assert serial.returncode == 0
    one, two = ((tmp_path / name / "records.jsonl").read_bytes() for name in ("run", "lost"))
    assert one == two


def test_the_page_is_short_and_its_script_compiles():
    text = PAGE.read_text()
    assert len(re.findall(r"\w+", text)) < 650
    (block,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    compile(block, "cluster.py", "exec")
