"""Files that are whole or not there: where they lie, who writes them, and their sha256."""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED = 3600  # seconds after which nobody writes a file any longer that is half written
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

    If another process has made `path` meanwhile, that one stays. Who may read the folder is as the
    user's umask says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_left(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        _as_umask_says(temporary)
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
    removed(temporary)
    temporary.mkdir(parents=True)
    yield temporary
    _as_umask_says(temporary)
    for written in (*temporary.rglob("*"), temporary):
        sync(written)
    removed(path)
    os.rename(temporary, path)
    sync(path.parent)


def _as_umask_says(folder: Path) -> None:
    """Let those read the files of a new folder who may read it: some writers shut others out."""
    wanted = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode | wanted != mode:
                path.chmod(mode | wanted)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield the name of a new file, which takes the place of `path` once it is written.

    A symbolic link of that name is replaced, and not followed. Where nothing is written, `path`
    stays as it is.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    removed(temporary)
    try:
        yield temporary
        if temporary.exists():
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text file that exists whole or not at all, see `whole`."""
    with whole(path) as temporary, open(temporary, "x") as stream:
        stream.write(text)


def clear_left(path: Path) -> None:
    """Delete what killed processes left half written beside `path`, an hour ago or more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        with suppress(OSError):  # another process deletes it too
            if time.time() - left.stat().st_mtime > ABANDONED:
                removed(left)


def removed(path: Path) -> None:
    """Delete a folder or a file; of a symbolic link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def check_plain(folder: Path) -> None:
    """Refuse a folder in which something is neither a file nor a folder.

    A symbolic link could lead anything that is written out of the folder, and a pipe never ends.

    Raises:
        ValueError: naming it.
    """
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    kind = "a symbolic link" if entry.is_symlink() else "no file"
                    raise ValueError(
                        f"{entry.path} is {kind}, and nothing is written through one; delete it, "
                        "or name another folder"
                    )


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
