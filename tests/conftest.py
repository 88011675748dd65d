"""For all tests: the same examples every run, one thread each, and other processes."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "veriloop",
    derandomize=True,
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("veriloop")

# One thread a test, set before torch is imported. Tests run side by side, and threads that wait
# for one another on a busy machine cost seven times as much as they save.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")


@pytest.fixture
def has_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in bfloat16 where it is asked for, on processors too that have no instructions for it."""
    monkeypatch.setattr("veriloop.core.bf16.cpu_has_bf16", lambda: True)


@pytest.fixture(scope="session")
def launch() -> Callable[..., list[tuple[str, str]]]:
    """Run a command in two processes with the variables that torchrun and accelerate set.

    Returns what each process wrote to stdout and stderr. A launcher would import torch once more.
    """

    def start(
        command: Sequence[object], cwd: Path, environment: Mapping[str, str]
    ) -> list[tuple[str, str]]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        common = {
            **environment,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": "2",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        line = [str(part) for part in command]
        started = []
        for rank in ("0", "1"):
            own = {**common, "RANK": rank, "LOCAL_RANK": rank}
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            started.append(subprocess.Popen(line, cwd=cwd, env=own, **pipes))
        written = [process.communicate(timeout=600) for process in started]
        for process, (_, stderr) in zip(started, written, strict=True):
            assert process.returncode == 0, stderr[-3000:]
        return written

    return start


@pytest.fixture(scope="module")
def browser() -> Iterator[Callable[..., AbstractContextManager[Any]]]:
    """Open tabs of one headless Chromium: `with browser(width=360, scheme="dark") as tab`.

    A tab that asks for anything from outside, or whose console is not empty, fails its test.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium, as in: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

    @contextmanager
    def tab(width: int = 1280, scheme: str = "light") -> Iterator[Any]:
        size = {"width": width, "height": 900}
        context = started.new_context(viewport=size, color_scheme=scheme, offline=True)
        opened = context.new_page()
        wrong: list[str] = []
        opened.on("console", lambda message: wrong.append(message.text))
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        opened.on("requestfailed", lambda request: wrong.append(request.url))
        yield opened
        context.close()
        assert wrong == []

    options = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=chromium, args=options)
        yield tab
        started.close()


# Holds a lock of a run folder until its stdin is closed, or says why it does not. It leaves out the
# package around the lock, which would import NumPy.
HOLD = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

spec = spec_from_file_location("lock", sys.argv[1])
lock = sys.modules["lock"] = module_from_spec(spec)
spec.loader.exec_module(lock)
try:
    with lock.locked(Path(sys.argv[2]), "the folder"):
        print("held", flush=True)
        sys.stdin.read()
except lock.InUse as error:
    print(error, flush=True)
"""


@pytest.fixture(scope="session")
def start_holder() -> Callable[[Path], subprocess.Popen[str]]:
    """Start another process that holds the lock of this file."""

    def start(file: Path) -> subprocess.Popen[str]:
        from veriloop.store import lock

        line = [sys.executable, "-I", "-c", HOLD, lock.__file__, str(file)]
        return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


@pytest.fixture(scope="session")
def holding(
    start_holder: Callable[[Path], subprocess.Popen[str]],
) -> Callable[[Path], AbstractContextManager[subprocess.Popen[str]]]:
    """A context in which another process holds the lock of this file."""

    @contextmanager
    def hold(file: Path) -> Iterator[subprocess.Popen[str]]:
        with start_holder(file) as other:
            try:
                assert other.stdout is not None and other.stdout.readline() == "held\n"
                yield other
            finally:
                other.kill()

    return hold
