"""What several figures have in common is computed once: kept by an address made of all that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

import veriloop
from plots.common import Rows
from veriloop import RunDir

SOURCES = (Path(veriloop.__file__).parent, Path(__file__).parent)
PACKAGES = ("numpy", "torch")


class Shared:
    """One address in a folder: rows, and files beside them, written whole or not at all, checked when read.

    folder: where all figures look; None where nothing is shared, so nothing is found and nothing kept.
    deciding: everything that the rows depend on: numbers, texts, lists, mappings, and functions that have a name.
        The library's source and the versions of numpy and torch are added.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> one = Shared(folder, {"seed": 1})
    >>> with one.held() as rows:
    ...     assert rows is None
    ...     one.write([{"round": 0}])
    >>> with Shared(folder, {"seed": 1}).held() as rows:
    ...     print(rows)
    [{'round': 0}]
    """

    def __init__(self, folder: str | Path | None, deciding: Mapping[str, Any]) -> None:
        self._store = None if folder is None else RunDir(folder)
        versions = {name: version(name) for name in PACKAGES}
        everything = [described(deciding), versions, source_digest()]
        text = json.dumps(everything, sort_keys=True)
        self.address = hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path | None:
        """Where the files of this address lie; None where nothing is shared."""
        if self._store is None:
            return None
        return self._store.folder(0, self.address)

    @contextmanager
    def held(self) -> Iterator[Rows | None]:
        """Yield the rows, or None where there are none yet; another process that wants them waits meanwhile."""
        if self._store is None:
            yield None
            return
        with FileLock(self._store.path / f"{self.address}.lock"):
            yield self._store.rows(0, self.address)

    def write(self, rows: Rows, save: Callable[[Path], None] | None = None) -> None:
        """Keep the rows, and the files that `save(folder)` writes."""
        if self._store is not None:
            self._store.commit(0, self.address, rows, save)


def described(value: Any) -> Any:
    """Return JSON that differs where values differ; of a function, the file and the name.

    Raises:
        TypeError: for a lambda or an inner function, as two of them may have one name.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): described(each) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [described(each) for each in value]
    if isinstance(value, partial):
        return [described(value.func), described(value.args), described(value.keywords)]
    name = getattr(value, "__qualname__", None)
    if name is None or "<" in name:
        raise TypeError(f"what decides a result must have a name of its own, got {value!r}; define it in a module")
    code = getattr(value, "__code__", None)
    file = value.__module__ if code is None else Path(code.co_filename).stem
    return f"{file}:{name}"


@cache
def source_digest() -> str:
    """Return a digest of the source of the library and of the experiments."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
