"""Stored rounds: every row drawn and all its scores, as Parquet, to be filtered again."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias, cast

import numpy as np

from veriloop.components import class_in_file, describe
from veriloop.core.arrays import AnyBatch, Array
from veriloop.core.batch import Columns, concatenate
from veriloop.core.blocks import Drawn
from veriloop.core.candidates import Quota
from veriloop.core.checks import need
from veriloop.core.key import Key
from veriloop.core.verdict import Verdict, inner_verifiers
from veriloop.filters.ranking import KeepAll
from veriloop.verifiers.algebra import Constant

ArrowTable: TypeAlias = Any  # of pyarrow, which has no types
ArrowArray: TypeAlias = Any

FILE = "candidates.parquet"
COLUMNS = {"verdict.scores", "group", "kept"}
KINDS = {"group": "iu", "kept": "b", "counted": "b"}  # of columns that are no numbers of a verdict
ABOUT = {"round", "key", "quota", "filter", "verifier", "stateful", "batch"}
EXTRA = "veriloop[study]"  # what brings pyarrow and yaml


def needed(module: str) -> ModuleType:
    """Import a module of the extra [study], or say what to install."""
    return need(module, EXTRA, "storing candidates")


def write_candidates(file: Path, drawn: Drawn) -> None:
    """Write all that a round drew, one row group a block.

    So the bytes do not depend on what is held in memory. Columns: `batch` of an array, or
    `batch.NAME` of each column of a `Columns`; verdict.scores, verdict.parts.NAME, verdict.oracle;
    group; kept; and, of a quota, counted. Text is text, rows of bytes are binary, other rows are
    lists of their numbers.

    Raises:
        ValueError: if the batch is neither an array nor a `Columns`, or a column has no place in
            Parquet.
    """
    try:
        _write(file, drawn)
    except Exception:
        file.unlink(missing_ok=True)  # a file is whole or not there
        raise


def _write(file: Path, drawn: Drawn) -> None:
    parquet = needed("pyarrow.parquet")
    writer: Any = None
    done = 0
    try:
        for batch in drawn.candidates.blocks():
            rows = np.arange(done, done + len(batch))
            done += len(batch)
            table = _table(drawn, batch, rows)
            if writer is None:
                about = {"veriloop": json.dumps(_about(drawn, type(batch)))}
                schema = table.schema.with_metadata(about)
                writer = parquet.ParquetWriter(file, schema, compression="zstd")
            table = table.replace_schema_metadata(writer.schema.metadata)
            writer.write_table(table, row_group_size=len(batch))
    finally:
        if writer is not None:
            writer.close()


def _table(drawn: Drawn, batch: AnyBatch, rows: Array) -> ArrowTable:
    """Return one block of a round as a table; `rows` are its places among all rows drawn."""
    pa = needed("pyarrow")
    columns = _columns("batch", batch) | _columns("verdict", drawn.verdict[rows])
    columns["group"] = drawn.candidates.labels()[rows]
    columns["kept"] = drawn.mask[rows]
    if drawn.counted is not None:
        columns["counted"] = drawn.counted[rows]
    arrays = {name: _to_arrow(pa, name, column) for name, column in columns.items()}
    return pa.table(arrays)


@dataclass(frozen=True)
class StoredRound:
    """A round that `write_candidates` wrote into the checkpoint `folder`.

    trust: names of modules whose types of batch may be imported, beside those of veriloop.

    Raises:
        ValueError: if there is none, or its sha256 is not the one that the checkpoint states.
    """

    folder: Path
    trust: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.folder / FILE).exists():
            raise ValueError(f"{self.folder} holds no {FILE}; run with candidates stored")
        sums = self.folder / "sha256.json"
        try:
            stated = json.loads(sums.read_text())[FILE]
        except (OSError, ValueError, LookupError, TypeError):
            raise ValueError(f"{sums} does not vouch for {FILE}; run the round again") from None
        if stated != self.sha256:
            raise ValueError(
                f"{self.folder / FILE} is damaged: its sha256 differs; run the round again"
            )

    @cached_property
    def sha256(self) -> str:
        """The address of the content."""
        with open(self.folder / FILE, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    @cached_property
    def about(self) -> dict[str, Any]:
        """How the round was drawn: round, key, quota, filter, verifier, stateful, batch."""
        with self._open() as parquet:
            metadata = parquet.schema_arrow.metadata or {}
        try:
            about = json.loads(metadata[b"veriloop"])
        except (LookupError, ValueError, RecursionError):
            about = None
        if not isinstance(about, dict) or not ABOUT <= set(about):
            raise self._damaged("it does not say how its rows were drawn")
        return about

    @property
    def key(self) -> Key:
        """The round's key, see `Drawn`."""
        try:
            seed, *path = self.about["key"]
            return Key(seed, tuple(path))
        except (TypeError, ValueError):
            raise self._damaged("the key is none") from None

    @property
    def quota(self) -> Quota | None:
        """The quota, where there was one."""
        quota = self.about["quota"]
        if quota is None:
            return None
        try:
            return Quota(**quota)
        except (TypeError, ValueError):
            raise self._damaged("the quota is none") from None

    @cached_property
    def sizes(self) -> list[int]:
        """Rows of each block."""
        with self._open() as parquet:
            return [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """All but the batch, by name, shape (n,) each."""
        with self._open() as parquet:
            names = [name for name in parquet.schema_arrow.names if not _of_batch(name)]
            missing = COLUMNS - set(names)
            if missing:
                raise self._damaged(f"the column {min(missing)!r} is missing")
            columns = self._read(parquet.read, names)
        for name, column in columns.items():
            kinds = KINDS.get(name, "fiu")
            if column.ndim != 1 or column.dtype.kind not in kinds:
                raise self._damaged(f"the column {name!r} is of another type")
        return columns

    @property
    def verdict(self) -> Verdict:
        """The scores that the round's verifier gave."""
        given: dict[str, Any] = {}
        for name, scores in self.columns.items():
            prefix, _, own = name.partition(".")
            slot, _, part = own.partition(".")
            if prefix == "verdict" and part:
                given.setdefault(slot, {})[part] = scores
            elif prefix == "verdict":
                given[slot] = scores
        return Verdict(**given)

    def blocks(self) -> Iterator[AnyBatch]:
        """Yield the batch block by block, as it was drawn.

        Raises:
            ValueError: if the batch's type is not of veriloop, not of a trusted module and not
                loaded already.
        """
        kind = _type_of_batch(self.about["batch"], self.trust)
        with self._open() as parquet:
            names = [name for name in parquet.schema_arrow.names if _of_batch(name)]
            for i in range(parquet.num_row_groups):
                columns = self._read(partial(parquet.read_row_group, i), names)
                if "batch" in columns:
                    yield columns["batch"]
                    continue
                named = {name.removeprefix("batch."): each for name, each in columns.items()}
                try:
                    yield kind(**named)
                except TypeError:
                    told = f"the columns are not those of {kind.__name__}"
                    raise self._damaged(told) from None

    def __getitem__(self, mask: np.ndarray) -> AnyBatch:
        """Return the rows of this mask, over all rows drawn, as one batch."""
        masks = np.split(mask, np.cumsum(self.sizes)[:-1])
        parts: list[Any] = []
        for batch, part in zip(self.blocks(), masks, strict=True):
            parts.append(batch[part])
        return concatenate(parts)

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.folder / FILE} is damaged: {what}; run the round again")

    def _open(self) -> ArrowTable:
        return needed("pyarrow.parquet").ParquetFile(self.folder / FILE)

    def _read(self, read: Callable[..., Any], names: list[str]) -> dict[str, np.ndarray]:
        pa = needed("pyarrow")
        table = read(columns=names, use_threads=False)
        return {name: _from_arrow(pa, table[name]) for name in names}


def _of_batch(name: str) -> bool:
    return name == "batch" or name.startswith("batch.")


def _about(drawn: Drawn, kind: type) -> dict[str, Any]:
    filter: Any = drawn.loop.filter
    if filter is None:
        filter = KeepAll()
    verifier: Any = drawn.loop.verify
    if verifier is None:
        verifier = Constant()
    quota = None
    if isinstance(drawn.n, Quota):
        quota = asdict(drawn.n)
    if issubclass(kind, np.ndarray):
        kind = np.ndarray
    return {
        "round": drawn.key.path[-1],
        "key": [drawn.key.seed, *drawn.key.path],
        "quota": quota,
        "filter": describe(filter),
        "verifier": describe(verifier),
        "stateful": stateful(verifier),
        "batch": describe(kind),
    }


def stateful(verifier: object) -> bool:
    """Tell whether the settings of a verifier alone do not give its scores.

    So it is if it has the attribute `stateful = True`, or one inside it has.
    """
    marks = (getattr(each, "stateful", False) for each in inner_verifiers(verifier))
    return any(mark is True for mark in marks)


def _columns(name: str, rows: object) -> dict[str, np.ndarray]:
    """Name the arrays of a batch or a verdict, those of a mapping too."""
    if isinstance(rows, np.ndarray):
        return {name: rows}
    if rows is None:
        return {}
    inside: dict[str, Any] = {}
    if isinstance(rows, Mapping):
        inside.update(rows)
    elif isinstance(rows, Columns | Verdict):
        for each in fields(rows):
            inside[each.name] = getattr(rows, each.name)
    else:
        kind = type(rows).__name__
        raise ValueError(f"only arrays and Columns can be stored as candidates, got {kind}")
    columns: dict[str, np.ndarray] = {}
    for part, own in inside.items():
        columns |= _columns(f"{name}.{part}", own)
    return columns


def _to_arrow(pa: ModuleType, name: str, column: np.ndarray) -> ArrowArray:
    kind = column.dtype
    if kind.kind == "O" and column.ndim == 1 and all(isinstance(text, str) for text in column):
        return pa.array(column, pa.large_string())
    if kind.kind not in "biuf" or kind.itemsize > 8 or not kind.isnative:
        raise ValueError(
            f"the candidates' {name} cannot be stored: it must be numbers or str, got {kind}"
        )
    flat = np.ascontiguousarray(column)
    sizes = column.shape[1:]
    if flat.dtype == np.uint8 and len(sizes) == 1:
        buffers = [None, pa.py_buffer(flat)]
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(sizes[0]), len(flat), buffers)
    array = pa.array(flat.reshape(-1))
    for size in reversed(sizes):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def _from_arrow(pa: ModuleType, column: ArrowArray) -> np.ndarray:
    """Return a copy: the memory of Arrow cannot be written to, and torch wants to be able to."""
    array = column.combine_chunks()
    shape = [len(column)]
    if pa.types.is_fixed_size_binary(array.type):
        width = array.type.byte_width
        buffer = array.buffers()[1]
        content = np.frombuffer(buffer, np.uint8, len(array) * width, array.offset * width)
        return content.reshape(-1, width).copy()
    while pa.types.is_fixed_size_list(array.type):
        shape.append(array.type.list_size)
        array = array.flatten()
    return np.array(array.to_numpy(zero_copy_only=False)).reshape(shape)


def _type_of_batch(name: str, trust: Sequence[str]) -> type:
    """Find a type of batch: a file must not decide which code is imported."""
    if name == describe(np.ndarray):
        return np.ndarray
    module, _, attribute = str(name).partition(":")
    found: object = getattr(sys.modules.get(module), attribute, None)
    if not _is_columns(found):
        found = class_in_file(name, trust)
    if not _is_columns(found):
        raise ValueError(
            f"the candidates are of type {name}, which is no Columns; leave verifier out"
        )
    return cast("type", found)


def _is_columns(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Columns)
