"""How a run is stopped from outside: Ctrl-C and SIGTERM end it with one line, and no traceback."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import NoReturn

# Signals that ask a process to end; one that the user ignores, as nohup does, stays ignored.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Terminated(BaseException):
    """A signal asked the process to end.

    code: what it exits with: 128 and the number of the signal, as a shell says it.
    """

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(signal.Signals(number).name)


@contextmanager
def terminable() -> Generator[None]:
    """Raise `Terminated` where a signal would end this process; elsewhere nothing changes.

    Only the main thread of a program can do so. A notebook is left as it is.
    """
    if threading.current_thread() is not threading.main_thread() or interactive():
        yield
        return
    changed = [each for each in ENDING if signal.getsignal(each) is signal.SIG_DFL]
    for each in changed:
        signal.signal(each, _raise)
    try:
        yield
    finally:
        for each in changed:
            signal.signal(each, signal.SIG_DFL)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated(number)


def interactive() -> bool:
    """Tell whether somebody types the lines that run: a notebook or an interpreter.

    A script may import a library that imports IPython, so what counts is a shell that runs.

    >>> interactive()
    False
    """
    ipython = sys.modules.get("IPython")
    shell = getattr(ipython, "get_ipython", lambda: None)()
    return hasattr(sys, "ps1") or shell is not None


def without_traceback() -> None:
    """Let a KeyboardInterrupt that nobody catches end the program without its traceback."""
    if interactive():
        return
    shown = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if kind is not KeyboardInterrupt:
            shown(kind, error, trace)

    sys.excepthook = hook


def cause_of(stop: KeyboardInterrupt | Terminated) -> tuple[str, int]:
    """Return what stopped a run, in words, and the exit code.

    >>> cause_of(KeyboardInterrupt())
    ('Ctrl-C', 130)
    """
    if isinstance(stop, Terminated):
        return str(stop), stop.code
    return "Ctrl-C", 130
