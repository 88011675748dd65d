"""What several figures share is computed once, and kept by an address of all that decides it."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType
from typing import Any, cast

from filelock import FileLock

from veriloop.core.fingerprints import fingerprint
from veriloop.store.folder import RunDir
from veriloop.study.engine import Rows

LIBRARY = Path(__file__).parents[1]
PACKAGES = ("numpy", "torch")


class Shared:
    """One address in a folder: rows and files, written whole or not at all, checked when read.

    folder: where all figures look; None where nothing is shared, so nothing is found and nothing
        kept.
    deciding: everything that the rows depend on: numbers, texts, lists, mappings, arrays,
        dataclasses, functions. The source of the library, that of the folders in which the
        functions are written, and the versions of numpy and torch are added.

    Raises:
        TypeError: if `deciding` holds an object that cannot be told from another of its type.

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
        self._store = None
        if folder is not None:
            self._store = RunDir(folder)
        folders = [LIBRARY, *sorted(_folders(deciding))]
        unseen: set[str] = set()
        decided = fingerprint(deciding, unseen)
        if unseen:
            raise TypeError(
                "what decides a result must be numbers, text, arrays or functions, got an "
                "object of "
                f"{', '.join(sorted(unseen))}; leave it out"
            )
        everything = [decided, _versions(), *map(source_digest, folders)]
        text = json.dumps(everything, sort_keys=True)
        self.address = hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path | None:
        """Where the files of this address lie; None where nothing is shared."""
        if self._store is None:
            return None
        return self._store.folder(0, self.address)

    @contextmanager
    def held(self) -> Generator[list[dict[str, Any]] | None]:
        """Yield the rows, or None where there are none yet; other processes wait meanwhile."""
        if self._store is None:
            yield None
            return
        with FileLock(self._store.path / f"{self.address}.lock"):
            yield self._store.rows(0, self.address)

    def write(self, rows: Rows, save: Callable[[Path], None] | None = None) -> None:
        """Keep the rows, and the files that `save(folder)` writes."""
        if self._store is not None:
            self._store.commit(0, self.address, rows, save)


def _versions() -> dict[str, str]:
    versions: dict[str, str] = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _folders(value: object) -> set[Path]:
    """Return the folders in which the functions of a value are written."""
    inner: list[object] = []
    if isinstance(value, FunctionType):
        return {Path(inspect.getfile(value)).resolve().parent}
    if isinstance(value, partial):
        bound = cast("partial[object]", value)
        inner = [bound.func, *bound.args, *bound.keywords.values()]
    elif isinstance(value, Mapping):
        inner = list(cast("Mapping[object, object]", value).values())
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        inner = list(cast("Sequence[object]", value))
    found: set[Path] = set()
    for each in inner:
        found |= _folders(each)
    return found


@cache
def source_digest(folder: Path) -> str:
    """Return a digest of the Python source in a folder, and of the library below it too."""
    pattern = "*.py"
    if folder == LIBRARY:
        pattern = "**/*.py"
    digest = hashlib.sha256()
    for file in sorted(folder.glob(pattern)):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
