"""Run folders: checkpoints that exist whole or not at all, and the records made from them."""

from __future__ import annotations

import glob
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from veriloop.core.batch import B, as_batches
from veriloop.core.candidates import Quota
from veriloop.core.fingerprints import fingerprint
from veriloop.core.key import Key
from veriloop.core.loop import Loop, run
from veriloop.core.parts import M
from veriloop.core.state import Record, State
from veriloop.records import FILE as RECORDS
from veriloop.records import Row, line
from veriloop.store.candidates import FILE, needed, write_candidates
from veriloop.store.files import committed, first_process, sha256, sync, wrong_name
from veriloop.store.states import (
    batch_name,
    is_batch,
    load_state,
    read_batch,
    save_state,
    write_batch,
)

UNFINISHED = ".unfinished"  # after the name of the checkpoint of a round that failed
PARTS = [each.name for each in fields(Loop) if each.name != "chunk"]  # chunk changes no result


class RunDir:
    """A folder of checkpoints, each of which exists whole or not at all.

    The checkpoint `round_NNNN/NAME/` is written under a temporary name, flushed to disk, then
    renamed. It holds whatever `write` puts there, the rows it adds to records.jsonl, and the sha256
    of every file. Killing the process at any moment loses at most what was not yet committed.
    Nothing is ever unpickled.

    path: the folder, which is made if it is not there.

    >>> import tempfile
    >>> folder = RunDir(tempfile.mkdtemp())
    >>> folder.commit(1, "verified", [{"round": 1, "kept": 5}])
    >>> folder.rows(1, "verified")
    [{'round': 1, 'kept': 5}]
    >>> folder.rows(2, "verified") is None
    True
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        # Batches of the past that are known to be as they were written.
        self._sound: set[str] = set()

    def __fingerprint__(self) -> str:
        """Where a run lies is no part of what it is made of."""
        return "RunDir"

    def folder(self, round: int, name: str) -> Path:
        """Return where the checkpoint `name` of `round` lies."""
        return self.path / f"round_{round:04d}" / name

    def commit(
        self,
        round: int,
        name: str,
        rows: Sequence[Row],
        write: Callable[[Path], None] | None = None,
    ) -> None:
        """Write a checkpoint: files and rows, then the name that makes them count.

        Of several processes that do the same work the first writes, see `first_process`.

        round, name: which checkpoint.
        rows: what it adds to records.jsonl.
        write: folder -> None, writes further files.
        """
        if not first_process():
            return
        final = self.folder(round, name)
        with committed(final) as temporary:
            if write is not None:
                write(temporary)
            (temporary / "rows.jsonl").write_text("".join(map(line, rows)))
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            sums = {file.relative_to(temporary).as_posix(): sha256(file) for file in files}
            (temporary / "sha256.json").write_text(json.dumps(sums, indent=1))
        sync(self.path)

    def rows(self, round: int, name: str) -> list[dict[str, Any]] | None:
        """Return the rows of a checkpoint.

        None if there is none, or it is damaged; a warning says what is wrong.
        """
        folder = self.folder(round, name)
        if not folder.exists():
            return None
        damage = _damage(folder) or self._damaged_past(folder)
        if damage:
            warnings.warn(
                f"checkpoint {folder} is damaged ({damage}) and is not used", stacklevel=2
            )
            return None
        lines = (folder / "rows.jsonl").read_text().splitlines()
        return [json.loads(text) for text in lines]

    def _damaged_past(self, folder: Path) -> str:
        """Say what is wrong with the past that a checkpoint refers to; empty if nothing is."""
        file = folder / "past.json"
        if not file.exists():
            return ""
        for name in json.loads(file.read_text()):
            if name in self._sound:
                continue
            batch = self.path / "past" / name
            if not batch.exists():
                return f"past/{name} is missing"
            if batch_name(batch) != name:
                return f"the sha256 of past/{name} differs"
            self._sound.add(name)
        return ""

    def run(
        self,
        loop: Loop[M, B],
        key: Key,
        state: State[M],
        sizes: Sequence[int | Quota],
        *,
        save: Callable[[State[M], Path], None] | None = None,
        load: Callable[[Path], State[M]] | None = None,
        name: str = "loop",
        candidates: bool = False,
        records: bool = True,
        debug: bool = False,
    ) -> Iterator[tuple[State[M], Record]]:
        """Do as `veriloop.run` and commit every round; rounds already committed are read, not run.

        The folder remembers the loop, the key, the start and the sizes under `name`, and refuses
        another run. The sizes may be longer or shorter than before: a run ends after the last.

        save, load: write a state into a folder and read it back, as `Problem.save` and
            `Problem.load` do. Default: `save_state` and `load_state`, for models of arrays,
            dataclasses of arrays, and torch modules.
        name: of the checkpoints, where a folder holds several runs.
        candidates: put every row drawn, with all its scores, into the checkpoint too, for
            `veriloop.refilter`. If a round fails after rows were judged, they are kept too, in a
            checkpoint of their own, `NAME.unfinished`.
        records: write records.jsonl after every round, with the name as `arm` and the key's seed,
            for `veriloop.Records.read`.
        debug: check that no part of the loop changes what it is given, as `veriloop.run` does.

        The states yielded for rounds read from disk are those of the last one only: earlier rounds
        are not loaded.

        >>> import tempfile
        >>> import numpy as np
        >>> mean = Loop(
        ...     generate=lambda key, model, n: model + key.numpy().standard_normal(n),
        ...     refit=lambda key, model, batch: batch.mean(),
        ... )
        >>> folder = RunDir(tempfile.mkdtemp())
        >>> for sizes in ([10], [10, 20]):  # the second call goes on where the first has stopped
        ...     runs = folder.run(mean, Key(0), State(np.float64(0)), sizes)
        ...     print([record.kept for state, record in runs])
        [0, 10]
        [0, 10, 20]

        Raises:
            ValueError: if the folder holds rounds of another run, and the message says what
                differs; or if `name` cannot be the name of a file.
        """
        if candidates:
            needed("pyarrow.parquet")
        wrong = wrong_name(name)
        if wrong:
            raise ValueError(f"RunDir.run: name must be one of a file, got {name!r:.60}; {wrong}")
        run(loop, key, state, sizes)  # refuses arguments of another kind before anything is written
        done = self._done(name, state.round, len(sizes))
        self._remember(name, loop, key, state, sizes, state.round + max(len(done) - 1, 0))
        if save is None:
            save = save_state
        if load is None:
            load = partial(load_state, like=state.model)
        past = _Past(self.path / "past")
        if done:
            folder = self.folder(done[-1].round, name)
            state = past.put_back(load(folder), folder)
        del load  # it may hold the first model, which nobody needs any longer
        for record in done:
            yield state, record
        drawn = self.path / f".{name}.{FILE}"
        store = None
        if candidates and first_process():
            store = partial(write_candidates, drawn)

        def write(new: State[M], folder: Path) -> None:
            save(past.taken_out(new, folder), folder)
            if store is not None and new.round > 0:
                os.replace(drawn, folder / FILE)

        def commit(new: State[M], record: Record) -> tuple[State[M], Record]:
            self.commit(record.round, name, [record.row()], partial(write, new))
            done.append(record)
            if records and first_process():
                self._write_records(name, key, done)
            return new, record

        if not done and state.round == 0:
            yield commit(state, loop.first_record(key, state))
        for n in sizes[state.round :]:
            with self._unfinished(state.round + 1, name, drawn):
                state, record = commit(*loop.step(key, state, n, store, debug))
            yield state, record

    @contextmanager
    def _unfinished(self, round: int, name: str, drawn: Path) -> Iterator[None]:
        """Commit the candidates of a round that fails under a name of their own.

        drawn: the file of candidates, which is there once the rows are judged.
        """
        apart = f"{name}{UNFINISHED}"
        drawn.unlink(missing_ok=True)  # of a process that was killed
        try:
            yield
        except Exception as error:
            if drawn.exists():
                self.commit(round, apart, [], lambda folder: os.replace(drawn, folder / FILE))
                error.add_note(
                    "the candidates of the round are kept; filter them again with: python -m "
                    f"veriloop.refilter {self.path} --arm {apart} --round {round} --filter SPEC"
                )
            raise
        shutil.rmtree(self.folder(round, apart), ignore_errors=True)

    def _done(self, name: str, first: int, last: int) -> list[Record]:
        """Return the records of committed rounds, from round `first` to at most round `last`."""
        done: list[Record] = []
        for k in range(first, last + 1):
            rows = self.rows(k, name)
            if rows is None:
                break
            done.append(_record(rows[0]))
        return done

    def _write_records(self, name: str, key: Key, done: Sequence[Record]) -> None:
        """Write records.jsonl: the rows of this run, after those of the folder's other runs."""
        file = self.path / RECORDS
        lines: list[str] = []
        if file.exists():
            for text in file.read_text().splitlines(keepends=True):
                arm = _arm(text)
                if arm is not None and arm != name:
                    lines.append(text)
        for record in done:
            lines.append(line({"arm": name, "seed": key.seed, **record.row()}))
        written = self.path / f".{name}.{RECORDS}"
        written.write_text("".join(lines))
        os.replace(written, file)

    def _remember(
        self,
        name: str,
        loop: Loop[M, B],
        key: Key,
        state: State[M],
        sizes: Sequence[int | Quota],
        committed: int,
    ) -> None:
        """Write down what a run is made of, or compare it with what is written.

        committed: how many rounds are on disk; the sizes of the others may change.
        """
        about: dict[str, Any] = {part: fingerprint(getattr(loop, part)) for part in PARTS}
        about["key"] = [key.seed, *key.path]
        about["start"] = fingerprint([state.model, state.round, as_batches(state.past)])
        about["sizes"] = [_size(n) for n in sizes]
        file = self.path / "loops" / f"{name}.json"
        if file.exists() and self.begun(glob.escape(name)):
            before = _read_loop(file)
            self._compare(name, about, before, committed)
            if len(sizes) < committed:
                about["sizes"] = before["sizes"]
        if first_process():
            file.parent.mkdir(exist_ok=True)
            written = file.with_suffix(".tmp")
            written.write_text(json.dumps(about))
            os.replace(written, file)

    def begun(self, name: str) -> bool:
        """Tell whether any checkpoint has this name; `*` in it stands for anything."""
        return any(self.path.glob(f"round_*/{name}"))

    def _compare(
        self, name: str, about: dict[str, Any], before: dict[str, Any], committed: int
    ) -> None:
        """Refuse a run that differs from the one on disk; the message says in what."""
        for part in about:
            now = about[part]
            then = before.get(part)
            if part == "sizes":
                shared = min(len(now), committed)
                now = now[:shared]
                if isinstance(then, list):
                    then = then[:shared]
            if now == then:
                continue
            other = f"another {part}"
            if part == "sizes":
                other = "other sizes"
            told = (
                f"{self.path} holds a run {name!r} with {other}; give the same {part} to go on, "
                "or another folder or name for a new run"
            )
            if part not in ("key", "sizes"):
                told += (
                    ". If it changes by itself, as a cache or a counter does, keep that in a "
                    "dataclass field with compare=False"
                )
            raise ValueError(told)


def _read_loop(file: Path) -> dict[str, Any]:
    """Read what a run was started with."""
    try:
        found = json.loads(file.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(
            f"{file} is damaged, so the run cannot be compared with the one on disk; delete it "
            "to go on with the same loop, key, start and sizes, or use another folder"
        )
    return found


class _Past:
    """The batches that pools carry from round to round.

    Each is written once, however many rounds hold it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Batches of the last state, and the names of their files.
        self._known: list[tuple[Any, str]] = []

    def taken_out(self, state: State[M], checkpoint: Path) -> State[M]:
        """Write the past beside the checkpoints, and its file names into this one.

        Returns the state without its past.
        """
        batches = as_batches(state.past)
        if not batches or not all(map(is_batch, batches)):
            self._known = []
            return state
        self._folder.mkdir(exist_ok=True)
        known: list[tuple[Any, str]] = []
        for batch in batches:
            name = self._name_of(batch)
            if name is None:
                name = write_batch(batch, self._folder)
            known.append((batch, name))
        self._known = known
        names = [name for _, name in known]
        (checkpoint / "past.json").write_text(json.dumps(names))
        return replace(state, past=None)

    def _name_of(self, batch: object) -> str | None:
        """Return the file name of a batch of the last state; None of any other."""
        for each, name in self._known:
            if each is batch:
                return name
        return None

    def put_back(self, state: State[M], checkpoint: Path) -> State[M]:
        """Read the past of a checkpoint that `taken_out` wrote."""
        file = checkpoint / "past.json"
        if not file.exists():
            return state
        names = json.loads(file.read_text())
        batches = [read_batch(name, self._folder) for name in names]
        self._known = list(zip(batches, names, strict=True))
        return replace(state, past=tuple(batches))


def _arm(text: str) -> object:
    """Return the arm that a line of records.jsonl is of; None of a line that is cut."""
    try:
        return json.loads(text)["arm"]
    except (ValueError, LookupError, TypeError):
        return None


def _size(n: int | Quota) -> int | dict[str, Any]:
    if isinstance(n, Quota):
        return asdict(n)
    return int(n)


def _record(row: dict[str, Any]) -> Record:
    numbers = dict(row)
    for name, value in row.items():
        if value is None:
            numbers[name] = float("nan")
    counts = {name: int(numbers.pop(name)) for name in ("round", "candidates", "kept")}
    return Record(**counts, metrics=numbers)


def _damage(folder: Path) -> str:
    """Name what is wrong with a checkpoint, or return an empty string."""
    try:
        sums = json.loads((folder / "sha256.json").read_text())
    except (OSError, ValueError):
        sums = None
    if not isinstance(sums, dict) or "rows.jsonl" not in sums:
        return "sha256.json is missing or unreadable"
    for name, digest in sums.items():
        if not (folder / name).exists():
            return f"{name} is missing"
        if sha256(folder / name) != digest:
            return f"the sha256 of {name} differs"
    return ""
