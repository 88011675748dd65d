"""Run folders: checkpoints that exist whole or not at all, and the records made from them."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from veriloop.core.batch import B, as_batches
from veriloop.core.candidates import Quota
from veriloop.core.checks import check_path
from veriloop.core.fingerprints import fingerprint
from veriloop.core.key import Key
from veriloop.core.loop import Loop, run
from veriloop.core.parts import M
from veriloop.core.state import Record, State
from veriloop.records import FILE as RECORDS
from veriloop.records import Row, line
from veriloop.records.lines import from_json
from veriloop.store.candidates import FILE, needed, write_candidates
from veriloop.store.files import (
    check_plain,
    committed,
    first_process,
    removed,
    sha256,
    sync,
    write_whole,
    wrong_name,
)
from veriloop.store.lock import locked
from veriloop.store.states import (
    batch_name,
    is_batch,
    load_state,
    read_batch,
    save_state,
    write_batch,
)

UNFINISHED = ".unfinished"  # after the name of the checkpoint of a round that failed
LOCK = ".lock"  # in the folder, while a run writes to it
SUMS = "sha256.json"  # in a checkpoint: the sha256 of every other file, and under OF whose it is
OF = "checkpoint"
WORKER_ENDS = 20.0  # seconds in which a worker ends whose main process was killed
PARTS = [each.name for each in fields(Loop) if each.name != "chunk"]  # chunk changes no result


class Refused(ValueError):
    """A folder in which a run cannot go on. The message says all, so nobody needs a traceback."""


class RunDir:
    """A folder of checkpoints, each of which exists whole or not at all.

    The checkpoint `round_NNNN/NAME/` is written under a temporary name, flushed to disk, then
    renamed. It holds whatever `write` puts there, the rows it adds to records.jsonl, which run and
    round it is of, and the sha256 of every file. Killing the process at any moment loses at most
    what was not yet committed. Nothing is ever unpickled, and no symbolic link in the folder is
    followed.

    path: the folder, which is made if it is not there.

    Raises:
        ValueError: if no folder can have that name, or it cannot be made.

    >>> import tempfile
    >>> folder = RunDir(tempfile.mkdtemp())
    >>> folder.commit(1, "verified", [{"round": 1, "kept": 5}])
    >>> folder.rows(1, "verified")
    [{'round': 1, 'kept': 5}]
    >>> folder.rows(2, "verified") is None
    True
    """

    def __init__(self, path: str | Path) -> None:
        self.path = check_path("RunDir", path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(
                f"RunDir: the folder {self.path} cannot be made ({error.strerror}); name another"
            ) from None
        # Batches of the past that are known to be as they were written.
        self._sound: set[str] = set()
        self._plain = False

    def __fingerprint__(self) -> str:
        """Return the same for every folder: where a run lies changes nothing in it."""
        return "RunDir"

    def folder(self, round: int, name: str) -> Path:
        """Return where the checkpoint `name` of `round` lies.

        Raises:
            ValueError: if the name cannot be one of a file, and would lie elsewhere.
        """
        wrong = wrong_name(name)
        if wrong:
            raise ValueError(
                f"RunDir: the name of a checkpoint must be one of a file, got {name!r:.60}; {wrong}"
            )
        return self.path / f"round_{round:04d}" / name

    def commit(
        self,
        round: int,
        name: str,
        rows: Sequence[Row],
        write: Callable[[Path], None] | None = None,
        run: str = "",
    ) -> None:
        """Write a checkpoint: files and rows, then the name that makes them count.

        Of several processes that do the same work the first writes, see `first_process`.

        round, name: which checkpoint.
        rows: what it adds to records.jsonl.
        write: folder -> None, writes further files.
        run: a digest of all that decides the run, by which `rows` tells it from another run.

        Raises:
            ValueError: if the name cannot be one of a file, or a symbolic link is in the way.
            FileNotFoundError: if the run's folder was moved or deleted.
        """
        if not first_process():
            return
        final = self.folder(round, name)
        self._check_place(final.parent)
        about = {"run": run, "round": int(round), "name": name}
        with committed(final) as temporary:
            if write is not None:
                write(temporary)
            (temporary / "rows.jsonl").write_text("".join(map(line, rows)))
            files = sorted(path for path in temporary.rglob("*") if path.is_file())
            sums: dict[str, object] = {}
            for file in files:
                sums[file.relative_to(temporary).as_posix()] = sha256(file)
            (temporary / SUMS).write_text(json.dumps({**sums, OF: about}, indent=1))
        sync(self.path)

    def _check_place(self, parent: Path) -> None:
        """Refuse to write where the folder is gone, or leads elsewhere."""
        if not self.path.is_dir():
            raise FileNotFoundError(
                f"{self.path} was moved or deleted while a run wrote to it; put it back and run "
                "the same again"
            )
        if parent.is_symlink():
            raise ValueError(
                f"{parent} is a symbolic link, and nothing is written through one; delete it, or "
                "name another folder"
            )

    def rows(self, round: int, name: str, run: str = "") -> list[dict[str, Any]] | None:
        """Return the rows of a checkpoint.

        None if there is none, or it is damaged, or another's; a warning says what is wrong.

        round, name: which checkpoint.
        run: as it was given to `commit`; empty takes a checkpoint of any run.
        """
        folder = self.folder(round, name)
        if not folder.exists():
            return None
        sums = _sums(folder)
        damage = _damage(folder, sums) or self._damaged_past(folder)
        told = f"is damaged ({damage})"
        if not damage:
            told = _misplaced(sums.get(OF), round, name, run)
        if told:
            warnings.warn(f"checkpoint {folder} {told} and is not used", stacklevel=2)
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
            if wrong_name(name):
                return f"past.json names {name!r:.60}"
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
        While a run writes, no other process can run in the folder. The lock ends with the process.

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
                differs; if another process runs in the folder; if the folder holds a symbolic
                link; or if `name` cannot be the name of a file.
        """
        if candidates:
            needed("pyarrow.parquet")
        wrong = wrong_name(name)
        if wrong:
            raise ValueError(f"RunDir.run: name must be one of a file, got {name!r:.60}; {wrong}")
        run(loop, key, state, sizes)  # refuses arguments of another kind before anything is written
        with self._locked(name, records):
            about = _about(loop, key, state, sizes)
            digest = _digest(about)
            self._refuse_another(name, about)
            done = self._done(name, state.round, len(sizes), digest)
            self._remember(name, about, state.round + max(len(done) - 1, 0))
            if save is None:
                save = save_state
            if load is None:
                load = partial(load_state, like=state.model)
            past = _Past(self.path / "past")
            if done:
                folder = self.folder(done[-1].round, name)
                state = past.put_back(load(folder), folder)
            del load  # it may hold the first model, which nobody needs any longer
            if records and first_process() and not self._holds(name, key, done):
                self._write_records(name, key, done)
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
                self.commit(record.round, name, [record.row()], partial(write, new), digest)
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

    def _check_plain(self) -> None:
        """Look for symbolic links once; a study has looked before its arms run."""
        if not self._plain:
            check_plain(self.path)
            self._plain = True

    @contextmanager
    def _locked(self, name: str, records: bool) -> Iterator[None]:
        """Hold the folder, or the name alone for a run that writes no records.

        So several arms of a study run side by side. One waits for a worker of a main process that
        was killed.
        """
        if not first_process():
            yield
            return
        with ExitStack() as held:
            if records:
                self._check_plain()
                held.enter_context(locked(self.path / LOCK, self.path))
            loops = self.path / "loops"
            loops.mkdir(exist_ok=True)
            wait = 0.0
            if not records:
                wait = WORKER_ENDS
            own = loops / f".{name}{LOCK}"
            held.enter_context(locked(own, f"{name!r} in {self.path}", wait))
            yield

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
        removed(self.folder(round, apart))

    def _done(self, name: str, first: int, last: int, run: str) -> list[Record]:
        """Return the records of committed rounds, from round `first` to at most round `last`."""
        done: list[Record] = []
        for k in range(first, last + 1):
            rows = self.rows(k, name, run)
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
        lines.extend(_lines_of(name, key, done))
        write_whole(file, "".join(lines))

    def _holds(self, name: str, key: Key, done: Sequence[Record]) -> bool:
        """Tell whether records.jsonl has these rows, which a kill before the write leaves out."""
        file = self.path / RECORDS
        there: set[str] = set()
        if file.exists():
            there.update(file.read_text().splitlines(keepends=True))
        return there.issuperset(_lines_of(name, key, done))

    def _remember(self, name: str, about: dict[str, Any], committed: int) -> None:
        """Write down what a run is made of, if its sizes are those on disk.

        committed: how many rounds are on disk; the sizes of the others may change.
        """
        file = self._written_down(name)
        if file.exists() and self.begun(glob.escape(name)):
            before = _read_loop(file)
            shared = min(len(about["sizes"]), committed)
            then = before.get("sizes")
            if not isinstance(then, list) or then[:shared] != about["sizes"][:shared]:
                raise Refused(self._differs(name, "sizes"))
            # A shorter call forgets nothing of the rounds that it does not come to.
            about = about | {"sizes": about["sizes"] + then[len(about["sizes"]) :]}
        if first_process():
            file.parent.mkdir(exist_ok=True)
            write_whole(file, json.dumps(about))

    def _written_down(self, name: str) -> Path:
        return self.path / "loops" / f"{name}.json"

    def begun(self, name: str) -> bool:
        """Tell whether any checkpoint has this name; `*` in it stands for anything."""
        return any(self.path.glob(f"round_*/{name}"))

    def _refuse_another(self, name: str, about: dict[str, Any]) -> None:
        """Refuse a run that differs from the one on disk; the message says in what."""
        file = self._written_down(name)
        if not file.exists() or not self.begun(glob.escape(name)):
            return
        before = _read_loop(file)
        for part in about:
            if part != "sizes" and about[part] != before.get(part):
                raise Refused(self._differs(name, part))

    def _differs(self, name: str, part: str) -> str:
        """Say that a run differs from the one on disk."""
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
        return told


def _about(
    loop: Loop[M, B], key: Key, state: State[M], sizes: Sequence[int | Quota]
) -> dict[str, Any]:
    """Return what a run is made of, as JSON."""
    about: dict[str, Any] = {part: fingerprint(getattr(loop, part)) for part in PARTS}
    about["key"] = [key.seed, *key.path]
    about["start"] = fingerprint([state.model, state.round, as_batches(state.past)])
    about["sizes"] = [_size(n) for n in sizes]
    return about


def _digest(about: Mapping[str, Any]) -> str:
    """Return a digest of all that decides a run, except its sizes, which may grow."""
    lasting = {part: value for part, value in about.items() if part != "sizes"}
    return hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()[:32]


def _read_loop(file: Path) -> dict[str, Any]:
    """Read what a run was started with."""
    try:
        found = from_json(file.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Refused(
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


def _lines_of(name: str, key: Key, records: Sequence[Record]) -> list[str]:
    """Return the lines of records.jsonl for a run's records."""
    lines: list[str] = []
    for record in records:
        lines.append(line({"arm": name, "seed": key.seed, **record.row()}))
    return lines


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


def _sums(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint says of its files and of itself; nothing if it is unreadable."""
    try:
        sums = from_json((folder / SUMS).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(sums, dict):
        return {}
    return cast("dict[str, Any]", sums)


def _damage(folder: Path, sums: Mapping[str, Any]) -> str:
    """Name what is wrong with a checkpoint, or return an empty string."""
    if "rows.jsonl" not in sums:
        return f"{SUMS} is missing or unreadable"
    for name, digest in sums.items():
        if name == OF:
            continue
        if not (folder / name).exists():
            return f"{name} is missing"
        if sha256(folder / name) != digest:
            return f"the sha256 of {name} differs"
    return ""


def _misplaced(of: object, round: int, name: str, run: str) -> str:
    """Say of which other run or round a sound checkpoint is, or return an empty string.

    of: what it says of itself; None in one of an earlier version.
    """
    if of is None:
        return ""
    if not isinstance(of, dict):
        return "does not say which it is"
    about = cast("dict[str, object]", of)
    if (about.get("round"), about.get("name")) != (round, name):
        return f"is that of round {about.get('round')} of {about.get('name')!r:.60}"
    if run and about.get("run") != run:
        return "is of another run"
    return ""
