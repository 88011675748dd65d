"""Files that are whole or not there: where they lie, who writes them, and their sha256."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LONGEST_NAME = 200  # of 255 bytes that file systems allow, for what is added to it


def first_process() -> bool:
    """Tell whether this is the only process, or the first that torchrun or accelerate started.

    >>> first_process()
    True
    """
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


def wrong_name(name: object) -> str:
    """Say what to do where a name cannot be one of a file; nothing where it can.

    >>> wrong_name("verified"), wrong_name("a/b")
    ('', "leave out '/', '\\\\' and a '.' at the start")
    """
    if not isinstance(name, str) or not name:
        return "write text"
    if Path(name).name != name or name.startswith(".") or "\\" in name:
        return "leave out '/', '\\' and a '.' at the start"
    if not name.isprintable():
        return "leave out line ends and control characters"
    if len(name.encode()) > LONGEST_NAME:
        return f"shorten it to {LONGEST_NAME} bytes"
    return ""


def cache_folder() -> Path:
    """Return the folder of downloads, and of networks that are trained once.

    It is $VERILOOP_CACHE, or ~/.cache/veriloop.
    """
    given = os.environ.get("VERILOOP_CACHE")
    if given:
        return Path(given)
    return Path.home() / ".cache" / "veriloop"


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a new folder, which is renamed to `path` once all its files are written.

    If another process has made `path` meanwhile, that one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        yield temporary
        with suppress(OSError):  # there is one, and it is not empty
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def committed(path: Path) -> Iterator[Path]:
    """Yield a new folder, which takes the place of `path` once all its files are on disk.

    Files and names are flushed, so a crash of the machine leaves the old folder or the new one.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    for written in (*temporary.rglob("*"), temporary):
        sync(written)
    shutil.rmtree(path, ignore_errors=True)
    os.rename(temporary, path)
    sync(path.parent)


def sha256(file: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to disk.

    Windows cannot open a folder, so there its names are flushed when the system does so. And it
    flushes only a file that is open for writing.
    """
    access = os.O_RDONLY
    if os.name == "nt" and path.is_file():
        access = os.O_RDWR
    try:
        descriptor = os.open(path, access)
    except PermissionError:
        if path.is_dir():
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
