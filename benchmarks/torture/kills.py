"""SIGKILL at any moment, imports included, then the same again: nothing lost, the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from torture.processes import (
    Ended,
    cache_of,
    content,
    ended,
    finished,
    leftovers,
    records,
    started,
)
from torture.programs import SHARES, Program, programs, turns
from veriloop import Key


class Whole:
    """A run that nobody touched: its records, its caches, and the seconds it took."""

    def __init__(self, program: Program, out: Path) -> None:
        begun = time.monotonic()
        last = ended(started(program.first, out))
        if last.code:
            raise RuntimeError(f"{program.name} fails by itself: {last.stderr[-500:]}")
        self.seconds = time.monotonic() - begun
        self.records = records(out)
        self.caches = content(cache_of(out))


class Kills:
    """Kill program after program at a random moment, up to three times, and compare the records.

    A case begins with no cache, so some kills fall into the making of one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = programs(folder)
        self._turns = turns(SHARES)
        self._whole = cache(self._run_whole)

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        random = key.numpy()
        program = self._programs[self._turns[number % len(self._turns)]]
        whole = self._whole(program.name)
        out = self._folder / f"kill-{number}"
        line = program.first
        kills = 0
        tries = int(random.integers(1, 4))
        told: list[Ended] = []
        for once in range(tries):
            begun = time.monotonic()
            process = started(line, out)
            with suppress(subprocess.TimeoutExpired):
                process.wait(float(random.random()) * whole.seconds)
                if once == 0:  # the machine has less to do than it had before
                    whole.seconds = time.monotonic() - begun
            kills += killed(process, program, float(random.random()))
            told.append(ended(process))
            line = program.again
        last = ended(started(line, out))
        found: dict[str, object] = {
            "where": program.name,
            "kills": kills,
            "missed": tries - kills,
            "code": last.code,
            "traceback": any(each.traceback for each in (*told, last)),
            "differs": records(out) != whole.records or content(cache_of(out)) != whole.caches,
            "unfinished": last.code == 0 and not finished(out),
            "leftovers": leftovers(out),
            "told": last.stderr[-300:] if last.code else "",
        }
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(cache_of(out), ignore_errors=True)
        return found

    def _run_whole(self, name: str) -> Whole:
        return Whole(self._programs[name], self._folder / f"whole-{name}")


def killed(process: subprocess.Popen[str], program: Program, drawn: float) -> bool:
    """Kill the process, or one of its workers where the program says so; tell whether one was hit.

    drawn: between 0 and 1; it picks the worker.
    """
    if process.poll() is not None:
        return False
    victim = process.pid
    if program.worker:
        try:
            children = psutil.Process(process.pid).children(recursive=True)
            workers = [child.pid for child in children if "popen_loky" in " ".join(child.cmdline())]
        except psutil.Error:  # one ended meanwhile
            return False
        if not workers:
            return False
        victim = workers[int(drawn * len(workers))]
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    if found["traceback"]:
        return "traceback"
    if found["code"] or found["unfinished"]:
        return "resume failed"
    if found["differs"]:
        return "records differ"
    return "leftovers" if found["leftovers"] else "same bytes"
