"""Ways to run a script: in this process (fast, any warning is an error) and in one of its own (the contract)."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from filelock import FileLock
from matplotlib import pyplot
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).parent))  # where the helpers are
sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))  # as Python does for a script

from helpers import EXPERIMENTS, Ran, environment

# Imports take seconds, so only two scripts have a process of their own. Another test runs one
# that needs torch in two launched processes.
APART = {"linear_landscape", "linear_rounds"}
STOPPED = -1  # the exit code of a run that a test has stopped
Drawn = bool | Literal["laid out"]


class Stop(BaseException):
    """Ends a run as a signal would: no `except Exception` catches it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what needs a smoke run, which the first of them waits for, or another process."""
    for item in items:
        if {"smoke", "apart"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def command(name: str, out: Path | None, arguments: tuple[object, ...]) -> list[str]:
    """Return the script and its arguments: the smoke preset unless another is named."""
    preset = () if "--preset" in arguments else ("--preset", "smoke")
    folder = () if out is None else ("--out", out)
    return [str(part) for part in (EXPERIMENTS / f"{name}.py", *preset, *folder, *arguments)]


def laid_out(figure: Figure, *arguments: Any, **options: Any) -> None:
    """Place everything in the figure, where any warning shows, and write nothing."""
    figure.draw_without_rendering()


def left_out(figure: Figure, *arguments: Any, **options: Any) -> None:
    """Write nothing."""


def in_this_process(name: str, *arguments: object, out: Path | None, figure: Drawn) -> Ran:
    line = command(name, out, arguments)
    stdout = io.StringIO()
    stderr = io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr(sys, "argv", line)
        patch.setattr(sys, "path", list(sys.path))
        if figure is not True:
            patch.setattr(Figure, "savefig", laid_out if figure else left_out)
        try:
            runpy.run_path(line[0], run_name="__main__")
        except SystemExit as exit:
            code = exit.code
        except Stop:
            code = STOPPED
        finally:
            pyplot.close("all")
    return Ran(code, stdout.getvalue(), stderr.getvalue(), Path() if out is None else out)


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that all worker processes of these tests share."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder = base / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def kept(common: Path) -> Path:
    """Return the cache of all runs: one feature network and one pre-trained base."""
    return common / "cache"


@pytest.fixture(autouse=True)
def own_cache(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs find what other runs have trained, and nothing of the user's."""
    monkeypatch.setenv("VERILOOP_CACHE", str(kept))


@pytest.fixture
def here(tmp_path: Path) -> Callable[..., Ran]:
    """Run a script in this process.

    figure: True, written; "laid out", which is cheaper, where it must only be possible; or False,
        where the records alone matter. Of most smoke runs the figure is the slow part.
    """

    def start(
        name: str, *arguments: object, out: Path | None = tmp_path / "run", figure: Drawn = False
    ) -> Ran:
        return in_this_process(name, *arguments, out=out, figure=figure)

    return start


@pytest.fixture
def stopped(here: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a script in this process until a checkpoint has all its files, and not yet its name.

    at: how many are committed before it, or its folder and name.
    """

    def start(name: str, *arguments: object, at: int | str, **options: Any) -> Ran:
        committed = 0
        rename = os.rename

        def stopping(old: Path, new: Path, **more: Any) -> None:
            nonlocal committed
            if Path(new).parent.name.startswith("round_"):
                if at in (committed, "/".join(Path(new).parts[-2:])):
                    raise Stop
                committed += 1
            rename(old, new, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", stopping)
            run = here(name, *arguments, **options)
        assert run.code == STOPPED, f"no checkpoint {at}"
        return run

    return start


@pytest.fixture(scope="session")
def apart(kept: Path) -> Callable[..., Ran]:
    """Run a script in a process of its own, from the folder `cwd`."""

    def start(name: str, *arguments: object, out: Path, cwd: Path) -> Ran:
        line = [sys.executable, *command(name, out, arguments)]
        own = environment(VERILOOP_CACHE=str(kept))
        done = subprocess.run(line, cwd=cwd, env=own, capture_output=True, text=True, timeout=600)
        return Ran(done.returncode, done.stdout, done.stderr, out)

    return start


@pytest.fixture(scope="session")
def smoke(apart: Callable[..., Ran], common: Path) -> Callable[[str], Ran]:
    """Return a script's smoke run, made once for all workers. Copy its folder before changing it."""

    @cache
    def of(name: str) -> Ran:
        place = common / f"smoke-{name}"
        out = place / "deep" / "run"
        ended = common / f"smoke-{name}.json"
        with FileLock(common / f"smoke-{name}.lock"):
            if not ended.exists():
                place.mkdir()
                if name in APART:
                    run = apart(name, out=out, cwd=place)
                else:
                    run = in_this_process(name, out=out, figure=True)
                ended.write_text(json.dumps([run.code, run.stdout, run.stderr]))
        return Ran(*json.loads(ended.read_text()), out)

    return of


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a script as a module, without running it."""

    def start(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(
            f"experiment_{name}", EXPERIMENTS / f"{name}.py"
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return start
