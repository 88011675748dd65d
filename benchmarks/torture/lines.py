"""Whole command lines, of options and settings at random."""

from __future__ import annotations

from pathlib import Path

from torture.inputs import backend, scripts, value
from torture.processes import forked
from torture.programs import EXPERIMENTS
from veriloop import Key

OPTIONS = [
    ["--preset", "smoke"],
    ["--preset", "none"],
    ["--engine", "serial"],
    ["--engine", "dask://127.0.0.1:1"],
    ["--engine", "warp"],
    ["--unit-timeout", "5"],
    ["--unit-timeout", "x"],
    ["--config", "nowhere.yaml"],
    ["--config", "."],
    ["--out", "/dev/null/x"],
    ["--out", "{out}"],
    ["--redraw", "nowhere"],
    ["--redraw", "."],
    ["--resume"],
    ["--nonsense"],
    ["--help"],
    ["--set", "seed"],
    ["--set", "=1"],
    ["--set", "seed.a=1"],
]


class Lines:
    """Call a script with random options; it must end with 0 or 2, and never with a traceback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._scripts = scripts()

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        random = key.numpy()
        name = self._scripts[number % len(self._scripts)]
        line = [str(EXPERIMENTS / f"{name}.py")]
        for i in random.choice(len(OPTIONS), size=int(random.integers(1, 4)), replace=False):
            line += OPTIONS[i]
        line += ["--set", f"seed={value(random)}".replace("{", "{{").replace("}", "}}")]
        if "--out" not in line:
            line += ["--out", "{out}"]
        if "--preset" not in line:
            line += ["--preset", "smoke"]
        last = forked(line, self._folder / f"line-{number}", self._folder / "cache")
        outcome = {0: "accepted", 2: "refused", 124: "slow"}.get(last.code, "other exit")
        if last.traceback:
            outcome = "traceback"
        where = f"lines, {backend(name)}"
        told = last.stderr[-300:]
        return {"where": where, "line": [name, *line[1:]], "outcome": outcome, "told": told}
