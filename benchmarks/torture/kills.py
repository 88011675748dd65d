"""SIGKILL at any moment, imports included, then the same again: nothing lost, the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from torture.programs import Program, ended, finished, leftovers, programs, records, started
from veriloop import Key


class Kills:
    """Kill program after program at a random moment, up to three times, and compare the records."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = programs(folder)
        self._whole: Callable[[Program], tuple[bytes, float]] = cache(self._reference)

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        random = key.numpy()
        program = self._programs[number % len(self._programs)]
        wanted, seconds = self._whole(program)
        out = self._folder / f"kill-{number}"
        line = program.first
        kills = 0
        for _ in range(int(random.integers(1, 4))):
            process = started(line, out)
            time.sleep(float(random.random()) * seconds)
            if process.poll() is None:
                kills += 1
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            line = program.again
        last = ended(started(line, out))
        found = {
            "program": program.name,
            "kills": kills,
            "failed": last.code != 0,
            "traceback": last.traceback,
            "differs": records(out) != wanted,
            "unfinished": last.code == 0 and not finished(out),
            "leftovers": leftovers(out),
        }
        shutil.rmtree(out, ignore_errors=True)
        return found

    def _reference(self, program: Program) -> tuple[bytes, float]:
        """Return the records of a run that nobody touched, and the seconds it took."""
        out = self._folder / f"whole-{program.name}"
        begun = time.monotonic()
        last = ended(started(program.first, out))
        if last.code:
            raise RuntimeError(f"{program.name} fails by itself: {last.stderr[-500:]}")
        return records(out), time.monotonic() - begun


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    for bad in ("failed", "differs", "unfinished", "leftovers"):
        if found[bad]:
            return bad
    return "same bytes"
