"""Run folders: checkpoints that either exist whole or not at all, and the records made from them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from veriloop.core.batch import as_batches
from veriloop.core.candidates import Quota
from veriloop.core.key import Key
from veriloop.core.loop import Loop, Record, State, run
from veriloop.records import Row, line, row
from veriloop.store.candidates import FILE, needed, write_candidates


class RunDir:
    """A folder of checkpoints `round_NNNN/NAME/`, each written under a temporary name, fsynced, then renamed.

    A checkpoint holds whatever `write` puts there, the rows it adds to records.jsonl, and the sha256 of every file.
    Killing the process at any moment loses at most what was not yet committed. Nothing is ever unpickled.

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

    def folder(self, round: int, name: str) -> Path:
        """Return where the checkpoint `name` of `round` lies."""
        return self.path / f"round_{round:04d}" / name

    def commit(
        self, round: int, name: str, rows: Sequence[Row], write: Callable[[Path], None] | None = None
    ) -> None:
        """Write a checkpoint: the files of `write(folder)`, then the rows, then the name that makes both count.

        Of several processes that do the same work the first writes, see `first_process`.
        """
        if not first_process():
            return
        final = self.folder(round, name)
        temporary = final.with_name(f".{final.name}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        if write is not None:
            write(temporary)
        (temporary / "rows.jsonl").write_text("".join(map(line, rows)))
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        sums = {file.relative_to(temporary).as_posix(): _sha256(file) for file in files}
        (temporary / "sha256.json").write_text(json.dumps(sums, indent=1))
        for path in (*temporary.rglob("*"), temporary):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        os.rename(temporary, final)
        _sync(final.parent)
        _sync(self.path)

    def rows(self, round: int, name: str) -> list[dict[str, Any]] | None:
        """Return the rows of a checkpoint, or None where there is none or it is damaged (which warns, by name)."""
        folder = self.folder(round, name)
        if not folder.exists():
            return None
        if damage := _damage(folder):
            warnings.warn(f"checkpoint {folder} is damaged ({damage}) and is not used", stacklevel=2)
            return None
        return [json.loads(text) for text in (folder / "rows.jsonl").read_text().splitlines()]

    def run(
        self,
        loop: Loop | Callable[[Key, State], Loop],
        key: Key,
        state: State,
        sizes: Sequence[int | Quota],
        *,
        save: Callable[[State, Path], None],
        load: Callable[[Path], State],
        name: str = "loop",
        candidates: bool = False,
    ) -> Iterator[tuple[State, Record]]:
        """Do as `veriloop.run` and commit every round; rounds already committed are read, not run.

        Resuming is right with the same arguments only; a folder holds one run.

        save, load: write a state into a folder and read it back; `save_arrays` and `load_arrays` serve models that
            are NumPy arrays.
        candidates: put every row drawn, with all its scores, into the checkpoint too, for `veriloop.refilter`.

        The states yielded for rounds read from disk are those of the last one only: earlier rounds are not loaded.
        """
        if candidates:
            needed("pyarrow.parquet")
        done: list[Record] = []
        while (rows := self.rows(state.round + len(done) + 1, name)) is not None:
            done.append(_record(rows[0]))
        if done:
            state = load(self.folder(done[-1].round, name))
            yield from ((state, record) for record in done)
        candidates = candidates and first_process()
        drawn = self.path / f".{name}.{FILE}"

        def write(new: State, folder: Path) -> None:
            save(new, folder)
            if candidates:
                os.replace(drawn, folder / FILE)

        rounds = run(loop, key, state, sizes, partial(write_candidates, drawn) if candidates else None)
        del state  # it is the loop's: held here too, a model would be in memory that nobody needs
        for new, record in rounds:
            self.commit(record.round, name, [row(record)], partial(write, new))
            yield new, record


def first_process() -> bool:
    """Tell whether this is the only process, or the first of those that torchrun or accelerate started.

    >>> first_process()
    True
    """
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


def cache_folder() -> Path:
    """Return where downloads and what is trained once are kept: $VERILOOP_CACHE, or ~/.cache/veriloop."""
    return Path(os.environ.get("VERILOOP_CACHE") or Path.home() / ".cache" / "veriloop")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a new folder that is called `path` once all is in it, unless another process has made one meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        yield temporary
        with suppress(OSError):  # there is one, and it is not empty
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_arrays(state: State, folder: Path) -> None:
    """Write a state whose model is an array, and whose past is a tuple of arrays, without pickling."""
    np.save(folder / "model.npy", state.model, allow_pickle=False)
    past = as_batches(state.past)
    for i, batch in enumerate(past):
        np.save(folder / f"past_{i:04d}.npy", batch, allow_pickle=False)
    (folder / "state.json").write_text(json.dumps({"round": state.round, "past": len(past)}))


def load_arrays(folder: Path) -> State:
    """Read back what `save_arrays` wrote."""
    about = json.loads((folder / "state.json").read_text())
    past = tuple(np.load(folder / f"past_{i:04d}.npy", allow_pickle=False) for i in range(about["past"]))
    return State(np.load(folder / "model.npy", allow_pickle=False), about["round"], past)


def _record(row: dict[str, Any]) -> Record:
    numbers = {name: float("nan") if value is None else value for name, value in row.items()}
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
        if _sha256(folder / name) != digest:
            return f"the sha256 of {name} differs"
    return ""


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
