"""Ways to run a script: in this process (fast, any warning is an error) and in one of its own (the contract)."""

from __future__ import annotations

import importlib.util
import io
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
sys.path.insert(0, str(EXPERIMENTS))  # as Python does for the script it starts


class Ran(NamedTuple):
    """How a script ended."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def records(self) -> bytes:
        return (self.out / "records.jsonl").read_bytes()


def command(name: str, out: Path | None, arguments: tuple[object, ...]) -> list[str]:
    """Return the script and its arguments: the smoke preset unless another is named."""
    preset = () if "--preset" in arguments else ("--preset", "smoke")
    folder = () if out is None else ("--out", out)
    return [str(part) for part in (EXPERIMENTS / f"{name}.py", *preset, *folder, *arguments)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a script in this process. figure=False leaves out the slow part, where only the records matter."""
    import matplotlib.pyplot as plt

    import _run

    def start(name: str, *arguments: object, out: Path | None = tmp_path / "run", figure: bool = True) -> Ran:
        line, stdout, stderr, code = command(name, out, arguments), io.StringIO(), io.StringIO(), 0
        with monkeypatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
            patch.setattr(sys, "argv", line)
            patch.setattr(sys, "path", list(sys.path))
            if not figure:
                patch.setattr(_run, "_save", lambda figure, folder: None)
            try:
                runpy.run_path(line[0], run_name="__main__")
            except SystemExit as exit:
                code = exit.code
            finally:
                plt.close("all")
        return Ran(code, stdout.getvalue(), stderr.getvalue(), out or tmp_path / "run")

    return start


@pytest.fixture
def stopped_and_resumed(
    here: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Ran, Ran]]:
    """Run a script whole, and again stopped at a commit inside an arm, and resumed."""
    import veriloop.core.store as store

    def both(name: str, *options: str, at: int = 5) -> tuple[Ran, Ran]:
        whole = here(name, *options, out=tmp_path / "whole", figure=False)
        count, commit = [], store.RunDir.commit

        def stopping(self: store.RunDir, *arguments: object) -> None:
            count.append(arguments)
            if len(count) == at:
                raise KeyboardInterrupt
            commit(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(store.RunDir, "commit", stopping)
            with pytest.raises(KeyboardInterrupt):
                here(name, *options, out=tmp_path / "part", figure=False)
        return whole, here(name, *options, "--resume", out=tmp_path / "part", figure=False)

    return both


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One feature network and one pre-trained base for all runs of a module, and none of the user's; no hub."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERILOOP_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("veriloop.xsum.data.hub_answers", lambda: False)
        patch.setattr("veriloop.xsum.base.hub_answers", lambda: False)
        yield


def environment() -> dict[str, str]:
    """Return the environment without what would help a script find its modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="session")
def apart() -> Callable[..., Ran]:
    """Run a script in a process of its own, from the folder `cwd`."""

    def start(name: str, *arguments: object, out: Path, cwd: Path) -> Ran:
        line = [sys.executable, *command(name, out, arguments)]
        done = subprocess.run(line, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=120)
        return Ran(done.returncode, done.stdout, done.stderr, out)

    return start


@pytest.fixture(scope="session")
def smoke(apart: Callable[..., Ran], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ran]:
    """Return a script's smoke run, made once. Its folder is shared: copy it before changing it."""
    runs: dict[str, Ran] = {}

    def of(name: str) -> Ran:
        if name not in runs:
            cwd = tmp_path_factory.mktemp(f"elsewhere-{name}")
            runs[name] = apart(name, out=cwd / "deep" / "run", cwd=cwd)
        return runs[name]

    return of


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script as a module, without running it."""

    def start(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"experiment_{name}", EXPERIMENTS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return start
