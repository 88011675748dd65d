"""The folder of one run: what ran, its records, and the units that are done."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from reprlib import repr as short
from typing import Any, TextIO, cast

from veriloop.core.bf16 import cpu_has_bf16
from veriloop.records import FILE, Records, Row, line
from veriloop.records.lines import from_json
from veriloop.store.files import check_plain, first_process, write_whole
from veriloop.store.folder import LOCK, SUMS, RunDir
from veriloop.store.lock import locked
from veriloop.study.description import differs
from veriloop.study.engine import (
    BadInput,
    Failure,
    Rows,
    RunStopped,
    Unit,
    UnitsFailed,
    evaluate,
)
from veriloop.study.heartbeat import remove_signs, run_beating
from veriloop.study.progress import Progress, bar
from veriloop.study.summary import Measured

# Settings that may change between stop and resume: no record depends on them.
NO_MATTER = {"engine", "shared", "unit_timeout"}
PACKAGES = ("veriloop", "numpy", "scipy", "joblib", "matplotlib")


class RunFolder:
    """One run's folder: run.json, records.jsonl, the figure and the checkpoints.

    Of several processes that a launcher started all read it, and the first writes. It is locked
    from `open` until `close`, an error in `records`, or the end of the process.

    path: the folder.
    resume: go on with the run that it holds, if there is one.
    given: how the user named the folder, for messages.
    may_grow: the counts of the configuration that a resumed run may raise, and lower while it has
        not ended.
    """

    def __init__(
        self,
        path: Path,
        resume: bool,
        given: str = "--out",
        may_grow: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._may_grow = may_grow
        self._resume = resume
        self._given = given
        self._about: dict[str, Any] = {"seconds": {}}
        self._lock = ExitStack()
        self._digest = ""  # of all that decides the run; its checkpoints hold it

    def open(self, about: Mapping[str, Any]) -> None:
        """Claim the folder for this run, new or resumed, before anything else is written.

        about: `experiment` and `config`, and maybe `study`. A run must have them in common to be
            the same. A study may have more arms, seeds and rounds than the one in the folder,
            and another run higher counts where its configuration allows that. They may be lower
            again while that run has not ended.

        Raises:
            BadInput: if the folder holds another run or other files, another process runs in it, it
                holds a symbolic link, or it cannot be written.
        """
        if first_process():
            try:
                self._claim(about)
            except BaseException:
                self._lock.close()
                raise
        self._store = RunDir(self.path)
        self._place = _identity(self.path)

    def _claim(self, about: Mapping[str, Any]) -> None:
        try:
            self._before(about)  # refuses most of what it refuses before anything is written
            self.path.mkdir(parents=True, exist_ok=True)
            check_plain(self.path)
            self._lock.enter_context(locked(self.path / LOCK, self.path))
            before = self._before(about)
            self._digest = before.get("digest") or _digest(about)
            self._about = {
                **about,
                **_provenance(),
                "digest": self._digest,
                "seconds": {},
                "finished": False,
            }
            if before.get("finished") and _is_same(before, about):
                self._about = before  # it says when and with what the records were made
            elif before:
                self._about["earlier"] = _earlier(before)
            self._write()
        except BadInput:
            raise
        except ValueError as error:
            raise BadInput(f"{self._given}: {error}") from None
        except OSError as error:
            raise BadInput(
                f"{self._given}: cannot write to {self.path} ({error.strerror}); name "
                "another folder"
            ) from None

    def _before(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """Return what run.json says of the run to go on with; nothing where there is none."""
        known = self.path / "run.json"
        if not self.path.exists():
            return {}
        # A run killed while it wrote its first file has left that file's temporary name and the
        # lock's, and no more.
        held = {path.name for path in self.path.iterdir()} - {".run.json.tmp", LOCK}
        if not held:
            return {}
        if not self._resume:
            raise BadInput(
                f"{self._given}: {self.path} already holds files; name a new folder, or add "
                "--resume"
            )
        if not known.exists():
            raise BadInput(
                f"{self._given}: {self.path} holds files but no run to resume; name another folder"
            )
        given = "--resume" if self._given == "--out" else self._given
        try:
            before: Any = from_json(known.read_bytes())
            _refuse_other_run(given, self.path, before, about, self._may_grow)
        except BadInput:
            raise
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadInput(
                f"{given}: {known} does not say what ran here, or in an older way; name another "
                "folder"
            ) from None
        return before

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Time a stage for run.json; a finished run keeps the times that it took."""
        start = time.perf_counter()
        yield
        if not self._about.get("finished"):
            self._about["seconds"][name] = round(time.perf_counter() - start, 3)

    def state(self, name: str, facts: Mapping[str, Any]) -> None:
        """Print facts about the run before its work starts, and put them into run.json."""
        if not first_process():
            return
        self._about[name] = dict(facts)
        self._write()
        for what, fact in facts.items():
            print(f"{what:<12} {fact}", flush=True)

    def records(
        self,
        units: Sequence[Unit],
        engine: str,
        progress: Progress = True,
        limit: float | None = None,
    ) -> Records:
        """Do the units that are not committed yet; write records.jsonl in the order of the units.

        limit: seconds that a unit may take.

        Raises:
            UnitsFailed: after all others are done, if a unit raised an error.
            RunStopped: if the folder cannot be written, or is not there any longer.
        """
        try:
            return self._records(units, engine, progress, limit)
        except BaseException:
            self._lock.close()
            raise

    def _records(
        self, units: Sequence[Unit], engine: str, progress: Progress, limit: float | None
    ) -> Records:
        done = self._done(units)
        todo = [self._with_folder(unit) for unit in units if done[unit.name] is None]
        if todo and self._about.get("finished"):
            # A checkpoint was damaged: a part of the run is done again.
            self._about = {
                **self._about,
                **_provenance(),
                "earlier": _earlier(self._about),
                "digest": self._digest,
                "seconds": {},
                "finished": False,
            }
            self._write()
        kept = len(units) - len(todo)
        lines: list[str] = []
        failures: dict[str, Failure] = {}

        def keep(unit: Unit, rows: Rows) -> None:
            nonlocal kept
            self.check_place()
            self._store.commit(unit.round, unit.name, rows, run=self._digest)
            kept += 1
            heart.note(done=kept)

        other = {unit.name: unit.round for unit in todo if self._has_other_rounds(unit)}
        due = {**dict.fromkeys(self._left_out(units)), **other}
        home = self.path.resolve()
        fresh = evaluate(todo, engine, folder=home, keep=keep, limit=limit)
        with (
            self.told_when_unwritable(),
            run_beating(home, engine, len(units), kept, due) as heart,
            closing(fresh),
            self._stream(units, done, keep=bool(other)) as stream,
        ):
            for unit in bar(units, progress):
                rows: Sequence[Row] | Failure | None = done[unit.name]
                if rows is None:
                    rows = next(fresh)
                if isinstance(rows, Failure):
                    failures[unit.name] = rows
                    heart.note(failed={name: each.error for name, each in failures.items()})
                    rows = rows.rows
                new = [line(row) for row in rows]
                stream.add(new)
                lines.extend(new)
        records = Records(json.loads(text) for text in lines)
        if failures:
            raise UnitsFailed(failures, records)
        return records

    @contextmanager
    def _stream(
        self, units: Sequence[Unit], done: Mapping[str, Rows | None], *, keep: bool
    ) -> Generator[_Lines]:
        """Yield what writes records.jsonl, of which a reader never sees less than before.

        The rows of the first units that are done take the place of the file whole. The lines of
        the others follow as they come.

        keep: leave the file as it is until there are as many rows as it has, or all. Its rows are
            those of a run with other rounds, and all its units are to be done.
        """
        if not first_process():
            yield _Lines(None)
            return
        ready: list[str] = []
        for unit in units:
            rows = done[unit.name]
            if rows is None:
                break
            ready.extend(line(row) for row in rows)
        file = self.path / FILE
        least = 0
        if keep and file.exists():
            least = file.read_bytes().count(b"\n")
        with closing(_Lines(file, ready, least)) as lines:
            yield lines
            if not lines.end():
                self.check_place()
                raise RunStopped(
                    f"{self._given}: {file} was moved or deleted while the run wrote to it; run "
                    "the same again, which writes it once more"
                )

    def _left_out(self, units: Sequence[Unit]) -> set[str]:
        """Return the names of units that are done, and that the run has no longer."""
        names = {path.parent.name for path in self.path.glob(f"round_*/*/{SUMS}")}
        names -= {unit.name for unit in units}
        return {name for name in names if not name.endswith("-model")}

    def _has_other_rounds(self, unit: Unit) -> bool:
        """Tell whether a unit is done up to another round than it is to end with."""
        if self._store.folder(unit.round, unit.name).exists():
            return False
        return self._store.begun(glob.escape(unit.name))

    def check_place(self) -> None:
        """Refuse to go on where the folder was moved or deleted: another one would be made.

        Raises:
            RunStopped: saying what is safe.
        """
        if _identity(self.path) != self._place or not (self.path / "run.json").exists():
            raise RunStopped(
                f"{self._given}: {self.path} was moved or deleted while the run wrote to it; what "
                "it had committed lies where it is now: put it back, and run the same again"
            )

    @contextmanager
    def told_when_unwritable(self) -> Generator[None]:
        """Say in one sentence that the folder cannot be written, as on a full disk."""
        try:
            yield
        except OSError as error:
            self.check_place()
            raise RunStopped(
                f"{self._given}: cannot write to {self.path} ({error.strerror or error}); what is "
                "committed is kept: make room or correct it, and run the same again"
            ) from None

    def _done(self, units: Sequence[Unit]) -> dict[str, Rows | None]:
        """Return the rows of each committed unit by its name; None where it is to be done."""
        with warnings.catch_warnings(record=True) as damaged:
            warnings.simplefilter("always")
            done: dict[str, Rows | None] = {}
            for unit in units:
                done[unit.name] = self._store.rows(unit.round, unit.name, self._digest)
        for warning in damaged:
            print(f"{warning.message}; doing it again", file=sys.stderr)
        return done

    def _with_folder(self, unit: Unit) -> Unit:
        if not unit.saves:
            return unit
        return unit._replace(arguments=(*unit.arguments, self.path.resolve()))

    def close(self, measured: Mapping[str, Measured] | None = None) -> None:
        """Write that the run is finished, and what it measured."""
        if not first_process():
            return
        if measured is not None:
            self._about["summary"] = {name: number._asdict() for name, number in measured.items()}
        self.check_place()
        self._about["finished"] = True
        self._write()
        remove_signs(self.path)
        self._lock.close()

    def _write(self) -> None:
        write_whole(self.path / "run.json", json.dumps(self._about, indent=1) + "\n")


class _Lines:
    """Writes lines in place of those of a file.

    file: None writes nothing.
    ready: the first lines, which `add` is given again.
    least: how many there must be before they take the place of the old ones.
    """

    def __init__(self, file: Path | None, ready: Sequence[str] = (), least: int = 0) -> None:
        self._file = file
        self._skip = len(ready)
        self._held = list(ready)
        self._stream: TextIO | None = None
        self._least = least
        if len(ready) >= least:
            self._replace()

    def add(self, lines: Sequence[str]) -> None:
        """Write what is not there yet, at once."""
        new = lines[self._skip :]
        self._skip = max(self._skip - len(lines), 0)
        if self._stream is not None:
            self._stream.writelines(new)
            self._stream.flush()
            return
        self._held.extend(new)
        if len(self._held) >= self._least:
            self._replace()

    def _replace(self) -> None:
        """Write what is held in place of the file."""
        if self._file is not None:
            write_whole(self._file, "".join(self._held))
            self._stream = open(self._file, "a")

    def end(self) -> bool:
        """Write all that is held; tell whether the file is still where it was."""
        if self._file is None:
            return True
        if self._stream is None:
            self._replace()
        return self._stream is not None and _is_open(self._stream, self._file)

    def close(self) -> None:
        """Leave the file as it is."""
        if self._stream is not None:
            self._stream.close()


def _is_open(stream: TextIO, file: Path) -> bool:
    """Tell whether the open stream is still the file of that name."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.lstat(file))
    except OSError:
        return False


def _digest(about: Mapping[str, Any]) -> str:
    """Return a digest of all that decides a run, except its units: more may come later."""
    config = about["config"]
    settings = {name: value for name, value in config.items() if name not in NO_MATTER}
    lasting = {"experiment": about["experiment"], "config": settings, "study": about.get("study")}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:32]


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from another of the same name; None where there is none."""
    try:
        known = folder.stat()
    except OSError:
        return None
    return known.st_dev, known.st_ino


def _earlier(before: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what made each call that worked on a run before this one, in order.

    The machine counts: one without bfloat16 computes in float32 what another one does not.
    """
    last = {name: before.get(name) for name in ("commit", "dirty", "device", "seconds")}
    return [*before.get("earlier", ()), last]


def _refuse_other_run(
    given: str,
    path: Path,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    may_grow: Sequence[str],
) -> None:
    """Refuse to go on with a run that is another, or one that is not the same or more.

    may_grow: the counts that may be higher, or lower while the run has not ended; of a study all
        may be higher.
    """
    studies = "study" in old and "study" in new
    unfinished = old.get("finished") is False
    before = {"experiment": old["experiment"], **old["config"]}
    now = {"experiment": new["experiment"], **new["config"]}
    settings = {*before, *now} - {"experiment", *NO_MATTER}
    for key in ("experiment", *sorted(settings)):
        same = before.get(key) == now.get(key)
        grows = (studies or key in may_grow) and _is_more(before.get(key), now.get(key))
        shrinks = unfinished and key in may_grow and _is_more(now.get(key), before.get(key))
        if not same and not grows and not shrinks:
            wanted = "the same configuration"
            if key in may_grow:
                wanted = "as many or more"
            raise BadInput(
                f"{given}: {path} holds a run with {key} = {short(before.get(key))}, "
                f"got {short(now.get(key))}; "
                f"give {wanted} or name another folder"
            )
    if studies:
        begun = _begun(path, old["study"])
        told = None
        if begun["arms"]:
            told = differs(begun, json.loads(json.dumps(new["study"])))
        if told is not None:
            raise BadInput(
                f"{given}: {path} holds another study: {told}; give what it holds, and more arms, "
                "seeds or rounds if you like, or name another folder"
            )


def _begun(path: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the study without the arms of which nothing is committed, so they may change."""
    store = RunDir(path)
    arms: dict[str, Any] = {}
    for arm, parts in study["arms"].items():
        if store.begun(f"{glob.escape(arm)}-seed*"):
            arms[arm] = parts
    return {**study, "arms": arms}


def _is_more(old: object, new: object) -> bool:
    """Tell whether a setting says the same and more: a higher count, a list that goes on."""
    if type(old) is int and type(new) is int:
        return new > old
    if isinstance(old, list) and isinstance(new, list):
        before = cast("list[object]", old)
        after = cast("list[object]", new)
        return after[: len(before)] == before
    return False


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether a finished run is all that is asked for."""
    wanted = json.loads(json.dumps({"config": new["config"], "study": new.get("study")}))
    before = {name: old["config"].get(name) for name in old["config"] if name not in NO_MATTER}
    now = {name: value for name, value in wanted["config"].items() if name not in NO_MATTER}
    return before == now and old.get("study") == wanted["study"]


def script() -> Path:
    """Return the script that runs, or the current folder in a notebook or an interpreter.

    >>> script().is_absolute()
    True
    """
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None:
        return Path.cwd()
    return Path(file).resolve()


def _provenance() -> dict[str, Any]:
    """Return what made the records: the commit of the script's repository, versions, machine."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain")
    dirty = None
    if commit is not None:
        dirty = bool(changes)
    packages: list[str] = list(PACKAGES)
    if "torch" in sys.modules:
        packages.append("torch")
    versions = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    device: dict[str, object] = {
        "machine": platform.machine(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "system": platform.system(),
    }
    if "torch" in sys.modules:
        device["bf16"] = cpu_has_bf16()
    return {"commit": commit, "dirty": dirty, "versions": versions, "device": device}


def processor() -> str:
    """Name the processor where the system tells."""
    file = Path("/proc/cpuinfo")
    if file.exists():
        for text in file.read_text().splitlines():
            if text.startswith("model name"):
                return text.split(":")[1].strip()
    return platform.processor()


def _git(*arguments: str) -> str | None:
    folder = script()
    if not folder.is_dir():
        folder = folder.parent
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
