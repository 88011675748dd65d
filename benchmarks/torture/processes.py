"""How a program is run on a folder, in a new process or in a fork, and what it left."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from veriloop.store.files import sha256

LIMIT = 900  # seconds; what takes longer hangs
OWN = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
# What a fork finds imported already.
IMPORTED = [
    "matplotlib.pyplot",
    "joblib",
    "transformers",
    "veriloop.study",
    "veriloop.linear",
    "veriloop.mnist",
    "veriloop.xsum",
]


class Ended(NamedTuple):
    """How a process ended. The code of one that hangs is 124."""

    code: int
    stderr: str

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.stderr


def cache_of(out: Path) -> Path:
    """Return the folder of caches that belongs to a run, beside it."""
    return out.with_name(f"{out.name}.cache")


def started(
    line: Sequence[str],
    out: Path,
    cache: Path | None = None,
    *,
    folder: Path | None = None,
    own: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a program on a folder, in a session of its own.

    cache: the folder of caches. None: the one beside the run.
    folder: where it runs. None: where its run's folder is.
    own: more of its environment.
    """
    arguments = [part.format(out=out) for part in line]
    around = {**os.environ, **OWN, "VERILOOP_CACHE": str(cache or cache_of(out)), **(own or {})}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder or out.parent,
        env=around,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process; one that hangs is killed."""
    try:
        _, stderr = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        _, stderr = process.communicate()
        return Ended(124, stderr)
    return Ended(process.returncode, stderr)


def forked(line: Sequence[str], out: Path, cache: Path | None = None) -> Ended:
    """Run a program to its end in a fork of a process that has imported all: seconds are saved."""
    arguments = [part.format(out=out) for part in line]
    errors = out.with_name(f"{out.name}.stderr")
    own = {**OWN, "VERILOOP_CACHE": str(cache or cache_of(out))}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=_run, args=(arguments, out.parent, own, errors))
    process.start()
    process.join(LIMIT)
    code = process.exitcode
    if code is None:
        process.kill()
        process.join()
        code = 124
    told = errors.read_text(errors="replace")
    errors.unlink()
    return Ended(code, told)


def _run(arguments: list[str], folder: Path, own: dict[str, str], errors: Path) -> None:
    """Be that program."""
    os.environ.update(own)
    os.chdir(folder)
    for stream, file in ((1, Path(os.devnull)), (2, errors)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, stream)
    sys.argv = arguments
    sys.path.insert(0, str(Path(arguments[0]).parent))
    runpy.run_path(arguments[0], run_name="__main__")


def records(out: Path) -> bytes:
    """Return the records; nothing where there are none."""
    file = out / "records.jsonl"
    return file.read_bytes() if file.exists() else b""


def content(folder: Path) -> dict[str, str]:
    """Return the sha256 of all files of a folder that are not hidden; locks do not count."""
    found: dict[str, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder)
        if file.suffix != ".lock" and not any(part.startswith(".") for part in name.parts):
            found[str(name)] = sha256(file)
    return found


def leftovers(out: Path) -> list[str]:
    """Return names that a finished run should not leave."""
    found = [path.name for path in out.rglob("*.tmp")]
    return [*found, *(path.name for path in out.glob(".running"))]


def finished(out: Path) -> bool:
    """Tell whether run.json, where there is one, says that the run is whole."""
    file = out / "run.json"
    return not file.exists() or bool(json.loads(file.read_text())["finished"])
