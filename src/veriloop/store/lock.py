"""One run in a folder at a time: a lock that the system takes back when its process ends.

The bare install has no package for this, so it stands here: `fcntl` on Unix, `msvcrt` on Windows.
A lock belongs to the process, and not to its forks. So a killed run is over as soon as it is dead.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import EACCES, EAGAIN, EDEADLK
from pathlib import Path

PAUSE = 0.1  # seconds between two tries
_TAKEN = (EACCES, EAGAIN, EDEADLK)  # what the system says of a lock that another process holds


class InUse(ValueError):
    """Another process holds the lock; the message says which, and where it runs."""


@dataclass
class _Held:
    descriptor: int
    process: int
    times: int


_held: dict[Path, _Held] = {}  # of this process, by the lock's file
_guard = threading.RLock()


@contextmanager
def locked(file: Path, what: object, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock; this process may hold it several times, and another not at all.

    The file says which process holds it. It is deleted at the end. Where the file system has no
    locks, nothing is held.

    file: the lock's file, in a folder that is there.
    what: what it locks, for the message.
    wait: seconds to wait for another process.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp(), ".lock")
    >>> with locked(file, "the folder"), locked(file, "the folder"):
    ...     file.exists()
    True
    >>> file.exists()
    False

    Raises:
        InUse: if another process holds it, and still does after `wait` seconds.
        OSError: if the file cannot be written.
    """
    place = file.parent.resolve() / file.name
    _acquire(place, what, time.monotonic() + wait)
    try:
        yield
    finally:
        _release(place)


def _acquire(file: Path, what: object, deadline: float) -> None:
    while True:
        with _guard:
            known = _held.get(file)
            if known is not None and known.process == os.getpid():
                known.times += 1
                return
            descriptor = _opened(file)
            holder = _try(descriptor, file)
            if holder is None:
                _held[file] = _Held(descriptor, os.getpid(), 1)
                return
            os.close(descriptor)
        if holder and time.monotonic() >= deadline:
            raise InUse(
                f"{what} is in use by {holder}; wait until that run ends, or name another folder"
            )
        time.sleep(PAUSE)


def _opened(file: Path) -> int:
    no_follow: int = getattr(os, "O_NOFOLLOW", 0)
    return os.open(file, os.O_RDWR | os.O_CREAT | no_follow, 0o666)


def _try(descriptor: int, file: Path) -> str | None:
    """Take the lock and return None, or return who holds it: empty where that just changed."""
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _TAKEN:
            return _holder(descriptor)
        return None  # a file system without locks
    if not _is_there(descriptor, file):  # its holder has deleted it at the end
        return ""
    about = {"process": os.getpid(), "host": platform.node()}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(about).encode())
    return None


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        about = json.loads(os.read(descriptor, 1000))
        return f"process {about['process']} on {about['host']}"
    except (OSError, ValueError, LookupError, TypeError):  # it is being written
        return "another process"


def _is_there(descriptor: int, file: Path) -> bool:
    """Tell whether the open file still is the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(file))
    except OSError:
        return False


def _release(file: Path) -> None:
    with _guard:
        known = _held.get(file)
        if known is None or known.process != os.getpid():  # a fork's copy of what its parent holds
            return
        known.times -= 1
        if known.times:
            return
        del _held[file]
        if _is_there(known.descriptor, file):
            with suppress(OSError):  # Windows deletes no open file; the next process takes it over
                file.unlink()
        os.close(known.descriptor)


@atexit.register
def _release_all() -> None:
    for file, known in list(_held.items()):
        known.times = 1
        _release(file)


if sys.platform == "win32":
    import msvcrt

    _FAR = 2**30  # a byte beyond the text, as Windows lets nobody read a locked one

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
