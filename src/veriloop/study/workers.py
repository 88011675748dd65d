"""Worker processes, one task at a time each: one that dies or is too slow costs its task alone."""

# loky, which joblib brings, has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, Generic, NamedTuple, TypeVar, cast

T = TypeVar("T")

IDLE = 300  # seconds after which a worker without a task ends
WATCH = 1.0  # seconds between two looks at whether the main process is still there
# A worker has one thread, so that what it computes does not depend on how many workers there are.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "BLIS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMBA_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)
PR_SET_PDEATHSIG = 1


class Lost(NamedTuple):
    """A task without a result: its worker died, was too slow, or could not read the task.

    error: what happened, in one line.
    trace: where, as far as it is known.
    """

    error: str
    trace: str


def run_all(
    tasks: Sequence[Callable[[], T]], count: int, limit: float | None = None
) -> Generator[tuple[int, T | Lost]]:
    """Yield the place and the result of each task as soon as it ends.

    tasks: what to call; each is sent to a worker with what it holds.
    count: the most workers at once.
    limit: seconds that a task may take; its worker is ended then. None: no limit.

    Closing it ends the workers that are at work.
    """
    waiting = list(range(len(tasks)))[::-1]
    running: dict[Future[T], _Running[T]] = {}
    free = _borrowed(min(count, len(tasks)))
    try:
        results: list[tuple[int, T | Lost]] = []
        while waiting or running:
            # Free workers begin before anybody looks at the results.
            while waiting and free:
                one = _Running(waiting.pop(), free.pop(), limit)
                running[one.start(tasks)] = one
            yield from results
            wait(running, timeout=_seconds_left(running), return_when=FIRST_COMPLETED)
            ended = [(future, one) for future, one in running.items() if one.is_over(future)]
            results = []
            for future, one in ended:
                del running[future]
                results.append((one.place, one.result(future)))
                free.append(one.worker)
        yield from results
    finally:
        for one in running.values():
            one.worker.end()
        _idle.extend(free)


def close_workers() -> None:
    """End the workers that wait for more tasks."""
    while _idle:
        _idle.pop().end()


class Worker(Generic[T]):
    """One process, started with its first task, and again after it has died."""

    def __init__(self) -> None:
        self.pid = os.getpid()  # whose worker it is
        self._executor: Any = None

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Send it a task."""
        try:
            return self._send(task)
        except (BrokenProcessPool, RuntimeError):  # it has died since its last task
            self.end()
            return self._send(task)

    def end(self) -> None:
        """Kill the process, whatever it does."""
        executor = self._executor
        self._executor = None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)

    def _send(self, task: Callable[[], T]) -> Future[T]:
        from joblib.externals.loky import ProcessPoolExecutor

        if self._executor is None:
            in_main_thread = threading.current_thread() is threading.main_thread()
            self._executor = ProcessPoolExecutor(
                max_workers=1,
                timeout=IDLE,
                initializer=_begin,
                initargs=(os.getpid(), in_main_thread),
                env=ONE_THREAD,
            )
        with _interrupts_blocked():
            return cast("Future[T]", self._executor.submit(task))


_idle: list[Worker[Any]] = []


class _Running(Generic[T]):
    """A task and the worker that does it."""

    def __init__(self, place: int, worker: Worker[T], limit: float | None) -> None:
        self.place = place
        self.worker = worker
        self.limit = limit
        self.end = None
        if limit is not None:
            self.end = time.monotonic() + limit

    def start(self, tasks: Sequence[Callable[[], T]]) -> Future[T]:
        return self.worker.submit(tasks[self.place])

    def is_over(self, future: Future[T]) -> bool:
        return future.done() or (self.end is not None and time.monotonic() >= self.end)

    def result(self, future: Future[T]) -> T | Lost:
        """Return the result; a worker that is of no further use is ended."""
        if not future.done():
            self.worker.end()
            return Lost(f"TimeoutError: not done after {self.limit:g} s, and stopped", "")
        try:
            return future.result()
        except BrokenProcessPool as error:
            self.worker.end()
            return Lost(_why_broken(error), _cause(error))
        except Exception as error:  # the task or its result could not be sent
            told = f"its work cannot be sent to a worker process: {_last_line(error)}"
            return Lost(f"{told}; give engine=serial", _cause(error))


def _borrowed(count: int) -> list[Worker[Any]]:
    """Return so many workers; those that wait go first."""
    workers: list[Worker[Any]] = []
    while len(workers) < count:
        worker: Worker[Any] = Worker()
        if _idle:
            worker = _idle.pop()
        if worker.pid == os.getpid():  # not one of the process that this one was forked from
            workers.append(worker)
    return workers


def _seconds_left(running: Mapping[Future[T], _Running[T]]) -> float | None:
    ends = [one.end for one in running.values() if one.end is not None]
    if not ends:
        return None
    return max(min(ends) - time.monotonic(), 0.0)


def _why_broken(error: BaseException) -> str:
    """Say how a worker ended: by which signal, as when memory is short, or by itself."""
    named = re.search(r"\{([^}]*)\}", str(error))
    if "terminated" not in str(error):
        return f"its task could not be read by the worker process: {_last_line(error)}"
    how = ""
    if named:
        how = f" ({named.group(1)})"
    if "SIGKILL" in how:
        return (
            f"its worker process was killed{how}, as the system does when memory is short; "
            "give fewer workers (engine=processes:N) or smaller settings"
        )
    return f"its worker process ended before it was done{how}"


def _cause(error: BaseException) -> str:
    return str(error.__cause__ or error) or type(error).__name__


def _last_line(error: BaseException) -> str:
    lines = _cause(error).strip().strip('"').strip().splitlines()
    return lines[-1].strip()


def _begin(main: int, in_main_thread: bool) -> None:
    """Begin a worker: Ctrl-C is for the main process, and with it the worker ends.

    in_main_thread: whether the thread that started the worker lives as long as its process, as
        Linux sends the signal when the thread ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if sys.platform == "linux" and in_main_thread:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.name == "posix":
        threading.Thread(target=_watch, args=(main,), daemon=True).start()


def _watch(main: int) -> None:
    """End this process as soon as the main process is gone."""
    while os.getppid() == main:
        time.sleep(WATCH)
    os._exit(1)


@contextmanager
def _interrupts_blocked() -> Generator[None]:
    """Start a process that no Ctrl-C reaches before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
