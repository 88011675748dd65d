"""Signs of life of a run: small files in its folder that say who does what, and since when.

They are no records: `python -m veriloop.status` reads them, and nothing else does. A run that
finishes takes them away.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path

from veriloop.status import BEATS, LINES, MAIN, PERIOD
from veriloop.store.files import first_process

FIRST = 1.0  # seconds before the first sign, so that small units write none
TICK = 0.5  # seconds between two looks at what is due


class Heart:
    """Writes one file of signs, when it is told to and after a round, until it is removed.

    file: where.
    about: what it says beside time, host, process and memory.
    """

    def __init__(self, file: Path, about: Mapping[str, object]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._about: dict[str, object] = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": time.time(),
            **about,
        }
        self._written = time.monotonic()
        self._removed = False

    def note(self, **facts: object) -> None:
        """Change what it says; it is written soon."""
        with self._lock:
            self._about.update(facts)
        if time.monotonic() - self._written > FIRST:
            self.beat()

    def beat(self) -> None:
        """Write the file; a disk that is full, or a folder that is gone, stops no run."""
        self._written = time.monotonic()
        with self._lock, suppress(OSError):
            if self._removed:
                return
            told = {**self._about, "time": time.time(), "rss": memory()}
            temporary = self._file.with_name(f".{self._file.name}.tmp")
            temporary.write_text(json.dumps(told))
            os.replace(temporary, self._file)

    def remove(self) -> None:
        """Take the file away, for good."""
        with self._lock, suppress(OSError):
            self._removed = True
            self._file.unlink(missing_ok=True)


class _Beater:
    """One thread of this process, which beats for all of its hearts every few seconds.

    A thread for each unit would cost a small unit more than its work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[Heart, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, heart: Heart, first: float) -> None:
        """Beat for a heart, the first time after so many seconds."""
        with self._lock:
            self._due[heart] = time.monotonic() + first
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def leave(self, heart: Heart) -> None:
        """Beat for it no longer."""
        with self._lock:
            self._due.pop(heart, None)

    def forget(self) -> None:
        """Begin with nothing, in a process that was forked: the hearts are those of its parent."""
        self._lock = threading.Lock()
        self._due = {}
        self._thread = None

    def _run(self) -> None:
        while True:
            time.sleep(TICK)
            with self._lock:
                if not self._due:
                    self._thread = None
                    return
                now = time.monotonic()
                due = [heart for heart, when in self._due.items() if when <= now]
                self._due.update(dict.fromkeys(due, now + PERIOD))
            for heart in due:
                heart.beat()


_beater = _Beater()
if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_beater.forget)
# Of the unit that this thread does; what is said without a folder goes nowhere.
_heart: ContextVar[Heart | None] = ContextVar("heart", default=None)
_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextmanager
def beating(folder: Path | None, unit: str, rounds: int) -> Generator[None]:
    """Leave signs of life of a unit in the run's folder while it is done.

    folder: the run's; None leaves none.
    unit: its name.
    rounds: how many it has.
    """
    if folder is None or not first_process():
        yield
        return
    heart = Heart(folder / BEATS / f"{unit}.json", {"unit": unit, "round": 0, "rounds": rounds})
    set_heart = _heart.set(heart)
    set_folder = _folder.set(folder)
    try:
        with _in_thread(heart, FIRST), _warnings_noted():
            yield
    finally:
        _heart.reset(set_heart)
        _folder.reset(set_folder)
        heart.remove()


@contextmanager
def run_beating(
    folder: Path,
    engine: str,
    units: int,
    done: int,
    due: Mapping[str, int | None] | None = None,
) -> Generator[Heart]:
    """Leave signs of life of a whole run; what it says last stays until the run is finished.

    units: how many it has.
    done: how many were done before.
    due: the last rounds of units that are done up to other ones, by name; None of a unit that is
        done and left out.
    """
    place = folder / BEATS
    if not first_process():
        yield Heart(place / MAIN, {})
        return
    remove_signs(folder)
    with suppress(OSError):
        place.mkdir()
    about: dict[str, object] = {"engine": engine, "units": units, "before": done, "done": done}
    heart = Heart(place / MAIN, {**about, "due": due or {}, "failed": {}, "ended": None})
    heart.beat()
    ended = "with an error"
    try:
        with _in_thread(heart, PERIOD):
            yield heart
        ended = "done"
    except KeyboardInterrupt:
        ended = "by Ctrl-C"
        raise
    finally:
        heart.note(ended=ended)
        heart.beat()


def remove_signs(folder: Path) -> None:
    """Take away what a run has left; of a symbolic link, the link alone."""
    place = folder / BEATS
    if place.is_symlink():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)


def at_round(number: int) -> None:
    """Note which round the unit of this thread has ended."""
    heart = _heart.get()
    if heart is not None:
        heart.note(round=number)


def note_line(text: str) -> None:
    """Add a line to the last lines of the run."""
    folder = _folder.get()
    if folder is None:
        return
    with suppress(OSError), open(folder / BEATS / LINES, "a", encoding="utf-8") as stream:
        stream.write(f"{' '.join(text.split())}\n")


@contextmanager
def _in_thread(heart: Heart, first: float) -> Generator[None]:
    _beater.add(heart, first)
    try:
        yield
    finally:
        _beater.leave(heart)


@contextmanager
def _warnings_noted() -> Generator[None]:
    """Add each warning to the lines of the run, beside showing it.

    Python shows warnings by one function for all threads, so only the main thread changes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    shown = warnings.showwarning
    noting = partial(_noted, shown)
    warnings.showwarning = noting
    try:
        yield
    finally:
        if warnings.showwarning is noting:
            warnings.showwarning = shown


def _noted(
    shown: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    *place: object,
    **more: object,
) -> None:
    note_line(f"warning: {message}")
    shown(message, category, *place, **more)


def memory() -> int | None:
    """Return the bytes of memory that this process holds; None where the system does not tell.

    >>> memory() is None or memory() > 0
    True
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _highest_memory()


def _highest_memory() -> int | None:
    """Return the most that it has ever held, where only that is known."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return most
    return most * 1024
