"""What is attacked: programs that take a second or two, and how one is run and looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"

LOOP = """
import sys

import numpy as np

from veriloop import Accumulate, Key, Loop, RunDir, State, Threshold


def generate(key, model, n):
    return model + key.numpy().standard_normal((n, 2))


loop = Loop(
    generate=generate,
    verify=lambda key, batch: 2.0 - abs(batch[:, 0]),
    filter=Threshold(),
    refit=lambda key, model, batch: batch.mean(axis=0),
    pool=Accumulate(),
    measure=lambda key, model: {"size": float(abs(model).sum())},
)
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
runs = RunDir(sys.argv[1]).run(loop, Key(seed), State(np.zeros(2)), [500] * 12)
print(sum(record.kept for _, record in runs))
"""

STUDY = """
import sys

import veriloop as vl
from veriloop.linear import Problem

problem = Problem.gaussian(bias=0.25, radius=0.5)
study = vl.Study(
    arms={"verified": problem.loop(verify=problem.verifier), "unverified": problem.loop()},
    start=problem.start,
    sizes=[problem.size(50)] * 6,
    seeds=range(int(sys.argv[2]) if len(sys.argv) > 2 else 0, 8),
    save=problem.save,
    load=problem.load,
)
if __name__ == "__main__":
    study.run(sys.argv[1], engine="processes:2", progress=False)
"""


class Program(NamedTuple):
    """A program: how it is called for a folder, first, again, and with another seed."""

    name: str
    first: tuple[str, ...]
    again: tuple[str, ...]
    other: tuple[str, ...]


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    stderr: str

    @property
    def traceback(self) -> bool:
        return "Traceback (most recent call last)" in self.stderr


def programs(folder: Path) -> list[Program]:
    """Write the programs of this file, and return all; `{out}` stands for the run's folder."""
    for name, text in {"loop.py": LOOP, "study.py": STUDY}.items():
        (folder / name).write_text(text)
    found: list[Program] = []
    for name in ("loop", "study"):
        line = (str(folder / f"{name}.py"), "{out}")
        found.append(Program(name, line, line, (*line, "1")))
    for name in ("linear_rounds", "linear_landscape"):
        line = (str(EXPERIMENTS / f"{name}.py"), "--preset", "smoke", "--out", "{out}")
        found.append(Program(name, line, (*line, "--resume"), (*line, "--set", "seed=1")))
    return found


def started(line: Sequence[str], out: Path) -> subprocess.Popen[str]:
    """Start a program on a folder, in a session of its own."""
    arguments = [part.format(out=out) for part in line]
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=out.parent,
        env=own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 120) -> Ended:
    """Wait for it; one that does not end is killed, and its code is None's stand-in, 124."""
    try:
        _, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        _, stderr = process.communicate()
        return Ended(124, stderr)
    return Ended(process.returncode, stderr)


def records(out: Path) -> bytes:
    """Return the records; nothing where there are none."""
    file = out / "records.jsonl"
    return file.read_bytes() if file.exists() else b""


def leftovers(out: Path) -> list[str]:
    """Return names that a finished run should not leave."""
    found = [path.name for path in out.rglob("*.tmp")]
    return [*found, *(path.name for path in out.glob(".running"))]


def finished(out: Path) -> bool:
    """Tell whether run.json, where there is one, says that the run is whole."""
    file = out / "run.json"
    return not file.exists() or bool(json.loads(file.read_text())["finished"])
