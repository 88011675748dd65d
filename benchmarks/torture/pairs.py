"""Two runs started together on one new folder: one runs, the other is refused in one line."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from torture.processes import cache_of, ended, records, started
from torture.programs import SHARES, Program, programs, turns
from veriloop import Key


class Pairs:
    """Start a program twice with two seeds, 0 to 60 ms apart, on one folder and one cache."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = programs(folder)
        self._turns = [name for name in turns(SHARES) if not self._programs[name].worker]

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        program = self._programs[self._turns[number % len(self._turns)]]
        wanted = [self._whole(program, line) for line in (program.first, program.other)]
        out = self._folder / f"pair-{number}"
        one = started(program.first, out)
        time.sleep(float(key.numpy().random()) * 0.06)
        two = started(program.other, out)
        both = [ended(one), ended(two)]
        found: dict[str, object] = {
            "where": program.name,
            "codes": [last.code for last in both],
            "traceback": any(last.traceback for last in both),
            "garbled": records(out) not in wanted,
            "told": [last.stderr[-300:] for last in both if last.code],
        }
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(cache_of(out), ignore_errors=True)
        return found

    def _whole(self, program: Program, line: tuple[str, ...]) -> bytes:
        out = self._folder / f"alone-{program.name}-{line == program.other}"
        if not out.exists():
            ended(started(line, out))
        return records(out)


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    codes = found["codes"]
    if found["traceback"]:
        return "traceback"
    if found["garbled"]:
        return "garbled"
    if codes == [0, 0]:
        return "one after the other"
    return "one refused" if codes in ([0, 2], [2, 0]) else "both failed"
