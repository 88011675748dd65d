"""What tests of experiments share: the scripts by kind, how a run ended, its records, z-scores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from veriloop import records
from veriloop.study.config import read_yaml

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
RESULTS = ROOT / "docs" / "results"


def config_of(name: str) -> dict[str, Any]:
    """Return the script's configuration file, with what it shares with others."""
    return read_yaml(ROOT / "configs" / f"{name}.yaml")


SCRIPTS = sorted(path.stem for path in EXPERIMENTS.glob("[!_]*.py"))
DIGITS = [name for name in SCRIPTS if "on_digits" in config_of(name)]
SUMMARIES = [name for name in SCRIPTS if config_of(name).get("data") == "reports"]
SUMS = [name for name in SCRIPTS if "pretraining" in config_of(name) and name not in SUMMARIES]
TRAINED = (*DIGITS, *SUMMARIES, *SUMS)
CLOSED = [name for name in SCRIPTS if name not in TRAINED]  # nothing is trained
LINEAR = [name for name in CLOSED if name.startswith("linear_")]


class Ran(NamedTuple):
    """How a script ended."""

    code: int
    stdout: str
    stderr: str
    out: Path

    @property
    def records(self) -> bytes:
        return (self.out / "records.jsonl").read_bytes()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The records of a run that ended well."""
        assert self.code == 0, self.stderr
        return rows_of(self.out)

    @property
    def about(self) -> dict[str, Any]:
        """What run.json says."""
        return strict((self.out / "run.json").read_text())


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return a folder's records; at least one."""
    rows = [strict(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert rows
    return rows


def strict(text: str) -> Any:
    """Read JSON, and refuse NaN and Infinity, which are none."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def settings(*each: str) -> list[str]:
    """Return what the command line needs for each KEY=VALUE; the last of a key counts."""
    return [part for setting in last(each) for part in ("--set", setting)]


def last(settings: Sequence[str]) -> list[str]:
    """Return the settings without those whose key is set again, by itself or as a whole."""
    kept: list[str] = []
    for setting in settings:
        name = setting.partition("=")[0]
        kept = [each for each in kept if not f"{each.partition('=')[0]}.".startswith(f"{name}.")]
        kept.append(setting)
    return kept


def z(sample: Any, expected: float) -> float:
    """Return how many of its own standard errors a sample's mean is from what is expected."""
    return (np.mean(sample) - expected) / (np.std(sample, ddof=1) / np.sqrt(len(sample)))


def interval(sample: Any) -> tuple[float, float]:
    """Return the ends of the 95 % interval of the mean over seeds."""
    _, low, high = records.interval(sample)
    return low, high


def checkpoints(out: Path) -> dict[Path, int]:
    """Return when each committed file was last written."""
    return {path.relative_to(out): path.stat().st_mtime_ns for path in out.glob("round_*/[!.]*/*")}


def environment(**more: str) -> dict[str, str]:
    """Return the environment without what would help a script find its modules."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | more
