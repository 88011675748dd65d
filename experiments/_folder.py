"""The folder of one run: what ran, its records, and the committed units that a stopped run goes on from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from reprlib import repr as short
from typing import Any

from tqdm import tqdm

import veriloop
from _config import BadInput, Config
from _engine import Unit, evaluate
from plots.common import Measured, Rows
from veriloop.store.folder import RunDir, first_process, line

NO_MATTER = {"engine", "shared"}  # settings that may change between stop and resume: no record depends on them


class RunFolder:
    """One run's folder: run.json, records.jsonl, the figure and the checkpoints.

    Of several processes that a launcher started all read it, and the first writes.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, self._resume = path, resume
        self._about: dict[str, Any] = {}

    def open(self, about: dict[str, Any]) -> None:
        """Claim the folder for this run, or the same run for resuming, before anything else is written."""
        if not first_process():
            self._about, self._store = {"seconds": {}}, RunDir(self.path)
            return
        known = self.path / "run.json"
        try:
            # A run killed while it wrote its first file has left that file's temporary name, and no more.
            if self.path.exists() and {path.name for path in self.path.iterdir()} - {".run.json.tmp"}:
                if not self._resume:
                    raise BadInput(f"--out: {self.path} already holds files; name a new folder, or add --resume")
                if not known.exists():
                    raise BadInput(f"--out: {self.path} holds files but no run to resume; name another folder")
                _refuse_other_run(about, known, self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._about = {**about, **_provenance(), "seconds": {}, "finished": False}
            self._write()
        except OSError as error:
            raise BadInput(f"--out: cannot write to {self.path} ({error.strerror}); name another folder") from None
        self._store = RunDir(self.path)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage for run.json."""
        start = time.perf_counter()
        yield
        self._about["seconds"][name] = round(time.perf_counter() - start, 3)

    def state(self, name: str, facts: dict[str, Any]) -> None:
        """Print facts about the run before its work starts, and put them into run.json."""
        if not first_process():
            return
        self._about[name] = facts
        self._write()
        for what, fact in facts.items():
            print(f"{what:<12} {fact}", flush=True)

    def records(self, units: Sequence[Unit], config: Config) -> Rows:
        """Do the units that are not committed yet; write records.jsonl in the order of the units."""
        with warnings.catch_warnings(record=True) as damaged:
            warnings.simplefilter("always")
            done = {unit.name: self._store.rows(unit.round, unit.name) for unit in units}
        for warning in damaged:
            print(f"{warning.message}; doing it again", file=sys.stderr)
        fresh = evaluate([self._with_folder(unit) for unit in units if done[unit.name] is None], config)
        rows: Rows = []
        with open(self.path / "records.jsonl" if first_process() else os.devnull, "w") as records:
            for unit in tqdm(units, disable=None if first_process() else True, unit="unit"):
                new = done[unit.name]
                if new is None:
                    new = next(fresh)
                    self._store.commit(unit.round, unit.name, new)
                records.writelines(map(line, new))
                records.flush()
                rows.extend(new)
        return [json.loads(line(row)) for row in rows]

    def _with_folder(self, unit: Unit) -> Unit:
        return unit._replace(arguments=(*unit.arguments, self.path.resolve())) if unit.saves else unit

    def close(self, measured: dict[str, Measured], expected: dict[str, float]) -> None:
        """Write and print what was measured beside what was expected, and where the figure is."""
        measured = {
            name: number if number.expected is not None else number._replace(expected=expected.get(name))
            for name, number in measured.items()
        }
        self._about["summary"] = {name: number._asdict() for name, number in measured.items()}
        self._about["finished"] = True
        self._write()
        for name, number in measured.items():
            error = "" if number.standard_error is None else f" ± {number.standard_error:.2g}"
            wanted = "" if number.expected is None else f"   expected {number.expected:.5g}"
            print(f"{name:<56} {number.value:.5g}{error}{wanted}")
        print(f"figure: {self.path / 'figure.png'}")

    def _write(self) -> None:
        temporary = self.path / ".run.json.tmp"
        temporary.write_text(json.dumps(self._about, indent=1) + "\n")
        os.replace(temporary, self.path / "run.json")


def _refuse_other_run(about: dict[str, Any], known: Path, path: Path) -> None:
    try:
        before = json.loads(known.read_text())
        old = {"experiment": before["experiment"], **before["config"]}
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"--resume: {known} says nothing of what ran here; name another folder") from None
    flat = {"experiment": about["experiment"], **about["config"]}
    for key in ("experiment", *sorted({*flat, *old} - {"experiment", *NO_MATTER})):
        if flat.get(key) != old.get(key):
            raise BadInput(
                f"--resume: {path} holds a run with {key} = {short(old.get(key))}, got {short(flat.get(key))}; "
                "give the same configuration or name another folder"
            )


def _provenance() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "versions": {"python": platform.python_version(), "veriloop": veriloop.__version__}
        | {name: version(name) for name in ("numpy", "scipy", "joblib", "matplotlib")}
        | ({"torch": version("torch")} if "torch" in sys.modules else {}),
        "device": {
            "machine": platform.machine(),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "system": platform.system(),
        },
    }


def processor() -> str:
    """Name the processor where the system tells."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str | None:
    here = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
