"""Configurations made at random from each script's schema."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

import veriloop.study as study
from torture.programs import EXPERIMENTS
from veriloop import Key
from veriloop.study import BadInput, Config, command, read_config

LONGEST = 60  # seconds in which a configuration must be refused or accepted
MEMORY = 8 * 2**30  # bytes more than a configuration may ask for
VALUES = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "0.5",
    "1e-3",
    "1e300",
    ".inf",
    ".nan",
    "1000000000000000000",
    "9223372036854775808",
    "true",
    "null",
    "''",
    "text",
    "'a/b'",
    r'"a\0b"',
    "[]",
    "[1]",
    "[1, 1]",
    "[0.1, 0.2]",
    "{}",
    "{a: 1}",
    "{first: 0, last: 1, count: 3}",
    "{first: 1, last: 0, count: 1}",
    "{first: 0, last: 1000000000000000000000, count: 2}",
    "{kind: linear, first: 1, last: 9}",
    "{call: 'os:getpid'}",
    "{call: 'nowhere:x'}",
    "{call: 'veriloop:Random'}",
    "2026-01-01",
    "!!python/object/apply:os.getpid []",
    "[" * 3000 + "]" * 3000,
    "'" + "x" * 300 + "'",
]
PLAIN = 7  # the first of them, which fit some keys


def scripts() -> list[str]:
    """Return the names of all scripts."""
    return sorted(path.stem for path in EXPERIMENTS.glob("[!_]*.py"))


def backend(script: str) -> str:
    """Return which backend a script is of."""
    if script.startswith(("mnist", "policies_vae")):
        return "digits"
    return "summaries" if script.startswith("xsum") else "linear and exact"


@cache
def captured(name: str) -> tuple[type[Config], Callable[[Any], object]]:
    """Return the schema and the work of a script, without running it."""
    held: list[tuple[type[Config], Callable[[Any], object]]] = []

    def main(
        kind: type[Config], work: Callable[[Any], object], *rest: object, **more: object
    ) -> None:
        held.append((kind, work))

    kept = study.main
    arguments = sys.argv
    sys.argv = [f"{name}.py"]
    study.main = cast(Any, main)
    try:
        runpy.run_path(str(EXPERIMENTS / f"{name}.py"), run_name="__main__")
    finally:
        study.main = kept
        sys.argv = arguments
    return held[0]


class Configurations:
    """Give a script one to three random settings, and build its units; their work is not begun."""

    def __init__(self, folder: Path) -> None:
        self._scripts = scripts()
        sys.path.insert(0, str(EXPERIMENTS))
        os.environ["VERILOOP_CACHE"] = str(folder / "cache")
        os.chdir(folder)

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        random = key.numpy()
        name = self._scripts[number % len(self._scripts)]
        kind, work = captured(name)
        settings = random_settings(kind, random)
        told = ""
        outcome = "accepted"
        quiet = io.StringIO()
        try:
            with limited(), contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
                path = EXPERIMENTS.parent / "configs" / f"{name}.yaml"
                config, _ = read_config(kind, path, "smoke", settings)
                asked = work(config)
                if isinstance(asked, Sequence):
                    command._check_names(asked)
        except BadInput as error:
            told = str(error)
            outcome = "refused" if "\n" not in told and len(told) <= 500 else "at length"
        except TimeoutError:
            outcome = "slow"
        except (Exception, SystemExit) as error:
            told = f"{type(error).__name__}: {error}"
            outcome = "traceback"
        where = f"configurations, {backend(name)}"
        found = {"script": name, "settings": settings, "outcome": outcome, "told": told[:300]}
        return {"where": where, **found}


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise what takes too long or too much memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LONGEST)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _too_long(*_: object) -> None:
    raise TimeoutError


def random_settings(kind: type[Config], random: np.random.Generator) -> list[str]:
    """Return one to three settings of keys that the schema knows, or nearly knows."""
    names = [*kind.model_fields, "nonsense", "sizes.a", "filter.call", "engine.x"]
    count = int(random.choice([1, 1, 2, 3]))
    picked = random.choice(len(names), size=count, replace=False)
    return [f"{names[i]}={value(random)}" for i in picked]


def value(random: np.random.Generator) -> str:
    """Return any value, or as often one of the plain numbers at the beginning, which may fit."""
    among = int(random.choice([PLAIN, len(VALUES)]))
    return VALUES[int(random.integers(among))]


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    return str(found["outcome"])
