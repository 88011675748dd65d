"""Units of work, and the engines that do them: in this process, in others, or on a cluster."""

# cloudpickle and distributed have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from operator import call
from pathlib import Path
from typing import Any, NamedTuple, cast

from veriloop.core.checks import need
from veriloop.records import FAILED, Records, line
from veriloop.store.folder import Refused
from veriloop.study.heartbeat import beating
from veriloop.study.workers import Lost, run_all

Rows = list[dict[str, Any]]
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quotas
PACKAGES = {"processes": ("joblib",), "dask": ("cloudpickle", "distributed")}
REACH = 10  # seconds within which a dask scheduler must answer
MOST_FRAMES = 1000  # in the first message of a scheduler
NAMED = 3  # how many failed units an error names
ENGINES = r"^(serial|processes(:[1-9]\d*)?|dask://[^/]+:\d+)$"


class BadInput(ValueError):
    """Something the user can put right, in one sentence; a script exits with code 2."""


class Unit(NamedTuple):
    """A piece of work done in one process and committed as a whole: `work(*arguments) -> rows`.

    name: a file name, which no other unit of the run has.
    round: the last round that its rows report.
    work: what returns the rows. In a script, the configuration comes before the arguments.
    saves: whether work takes the run's folder as its last argument, for checkpoints of its own.
    """

    name: str
    round: int
    work: Callable[..., Rows]
    arguments: tuple[Any, ...] = ()
    saves: bool = False


class Failure(NamedTuple):
    """What went wrong in a unit: the error in one line, and where it came from.

    error: its type and its message.
    trace: the traceback.
    rows: what the unit had finished before, and last its mark: a row whose `failed` is the error.
    """

    error: str
    trace: str
    rows: Rows = []  # noqa: RUF012  # never changed


class Unfinished(Exception):
    """An error in the middle of a unit, raised from its cause, with the rows done before it.

    rows: of the finished rounds.
    place: arm, seed and round that failed, for the mark.
    """

    def __init__(self, rows: Rows, place: Mapping[str, Any]) -> None:
        super().__init__(f"after {len(rows)} rows")
        self.rows = rows
        self.place = dict(place)


class UnitsFailed(RuntimeError):
    """Some units raised an error. All others are done, and committed where there is a folder.

    failures: by the name of the unit.
    records: the rows of the other units, and those of the rounds that the failed ones finished;
        `records.failed` marks them.
    """

    def __init__(self, failures: Mapping[str, Failure], records: Records) -> None:
        self.failures = dict(failures)
        self.records = records
        told = [f"{name}: {failure.error}" for name, failure in failures.items()]
        named = "; ".join(told[:NAMED])
        if len(told) > NAMED:
            named += f"; and {len(told) - NAMED} more"
        several = "unit"
        if len(failures) > 1:
            several = "units"
        super().__init__(
            f"{len(failures)} {several} failed, {named}; all finished rounds are kept: "
            "correct the cause and run the same again"
        )


class RunStopped(RuntimeError):
    """A run cannot go on, for a reason outside of its work; what it has committed is safe.

    A script says it in one line, and exits with 1.
    """


def check_engine(engine: str, limit: float | None = None) -> None:
    """Refuse a name that is no engine, and one that cannot be reached or cannot keep the limit.

    engine: as in `evaluate`.
    limit: seconds that a unit may take.

    Raises:
        BadInput: naming the engines, or the command that installs what is missing.
    """
    given = cast("object", engine)
    if not isinstance(given, str) or not re.match(ENGINES, engine):
        raise BadInput(
            f"engine: got {engine!r}, must be serial, processes, processes:N or dask://HOST:PORT"
        )
    if limit is not None and not engine.startswith("processes"):
        raise BadInput(
            f"unit_timeout: got {limit:g} with engine={engine}, which cannot stop a unit; give "
            "engine=processes:N, or leave it out"
        )
    _check_installed(engine)
    if engine.startswith("dask"):
        _reach(engine)


def _check_installed(engine: str) -> None:
    """Refuse an engine whose packages are missing, before any work."""
    name, _, _ = engine.partition(":")
    for package in PACKAGES.get(name, ()):
        try:
            need(package, "veriloop[study]", f"engine={engine}")
        except ImportError as error:
            raise BadInput(str(error)) from None


def _reach(engine: str) -> None:
    """Refuse an address where no scheduler answers, or something that is none.

    A scheduler speaks first. Its first 8 bytes are a small number: how many frames follow.
    distributed itself would wait for ever for something that takes the connection and is silent.
    """
    host, _, port = engine.removeprefix("dask://").rpartition(":")
    end = time.monotonic() + REACH
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH) as connection:
            connection.settimeout(max(end - time.monotonic(), 0.001))
            first = connection.recv(8, socket.MSG_WAITALL)
    except (OSError, OverflowError, UnicodeError) as error:
        raise _unreached(engine, str(error)) from None
    if len(first) < 8 or int.from_bytes(first, "little") > MOST_FRAMES:
        raise _unreached(engine, "something else is there")


def _unreached(engine: str, why: str) -> BadInput:
    return BadInput(
        f"engine: no dask scheduler answers at {engine} within {REACH} s ({why}); start one with "
        "`dask scheduler`, or give engine=processes"
    )


Keep = Callable[[Unit, Rows], None]
Task = Callable[[], Rows | Failure]
Found = Generator[tuple[int, Rows | Failure | Lost]]


def evaluate(
    units: Sequence[Unit],
    engine: str,
    *,
    folder: Path | None = None,
    keep: Keep | None = None,
    limit: float | None = None,
) -> Generator[Rows | Failure]:
    """Yield each unit's rows, or what went wrong in it, in order.

    units: what to do.
    engine: "serial", "processes", "processes:N" or "dask://HOST:PORT".
    folder: the run's, where each process leaves its heartbeat. None: nowhere.
    keep: (unit, rows), called as soon as a unit is done, whatever comes before it in order.
    limit: seconds that a unit may take, the start of its process among them.

    Closing it ends the workers.
    """
    check_engine(engine, limit)
    tasks = [partial(attempt, unit, folder) for unit in units]
    name, _, detail = engine.partition(":")
    if name == "dask":
        found = _on_cluster(tasks, engine, detail)
    elif name == "processes":
        found = _in_processes(tasks, detail, limit)
    else:
        found = _one_by_one(tasks)
    return _in_order(units, found, keep)


def _in_order(
    units: Sequence[Unit],
    found: Found,
    keep: Keep | None,
) -> Generator[Rows | Failure]:
    """Yield the results in the order of the units, however they come; keep each when it comes."""
    early: dict[int, Rows | Failure] = {}
    wanted = 0
    with closing(found):
        for place, result in found:
            if isinstance(result, Lost):
                result = Failure(result.error, result.trace)
            if keep is not None and not isinstance(result, Failure):
                keep(units[place], result)
            early[place] = result
            while wanted in early:
                yield early.pop(wanted)
                wanted += 1


def attempt(unit: Unit, folder: Path | None = None) -> Rows | Failure:
    """Return the rows of a unit, or the failure; an interrupt goes through.

    One of several launched processes lets the error through: the others wait for it, and would wait
    for ever.

    folder: the run's, for the heartbeat.
    """
    with beating(folder, unit.name, unit.round):
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return unit.work(*unit.arguments)
        return _attempt(unit)


def _attempt(unit: Unit) -> Rows | Failure:
    try:
        rows = unit.work(*unit.arguments)
        for row in rows:
            line(row)  # what cannot be written is the unit's failure, not the run's
    except Unfinished as stopped:
        cause = stopped.__cause__ or stopped
        told = _one_line(cause)
        mark = {**stopped.place, FAILED: told}
        return Failure(told, _trace(cause), [*stopped.rows, mark])
    except (Exception, SystemExit) as error:
        return Failure(_one_line(error), _trace(error))
    return rows


def _trace(error: BaseException) -> str:
    """Return where an error came from; nothing where no code can be at fault."""
    if _is_full(error) or isinstance(error, Refused):
        return ""
    return "".join(traceback.format_exception(error))


def _is_full(error: BaseException) -> bool:
    """Tell whether there was no room on a disk, or in what the user may write there."""
    return isinstance(error, OSError) and error.errno in FULL


def _one_line(error: BaseException) -> str:
    """Say an error; of those that say little, also what to do."""
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, SystemExit):
        return f"{told}: the code of the unit ended the process; raise an error instead"
    if _is_full(error):
        return f"{told}: make room"
    if isinstance(error, MemoryError):
        return f"{told.removesuffix(': ')}: give fewer workers (engine=processes:N) or less at once"
    return told


def _in_processes(tasks: Sequence[Task], workers: str, limit: float | None) -> Found:
    import joblib

    count = joblib.cpu_count()
    if workers:
        count = int(workers)
    if count == 1 and limit is None:
        return _one_by_one(tasks)
    return run_all(tasks, count, limit)


def _one_by_one(tasks: Sequence[Task]) -> Found:
    for place, task in enumerate(tasks):
        yield place, task()


@contextmanager
def _quiet(package: str) -> Generator[None]:
    """Keep a package's loggers from what is told here in one sentence."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith(package)]
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _on_cluster(tasks: Sequence[Task], engine: str, place: str) -> Found:
    """Yield each result as it comes from a dask cluster that shares this file system."""
    import cloudpickle

    # Not joblib's dask backend, which returns nothing before everything is done.
    from distributed import CancelledError, Client, as_completed
    from distributed.scheduler import KilledWorker

    try:
        client = Client(f"tcp:{place}", timeout=REACH)
    except OSError as error:
        raise _unreached(engine, str(error)) from None
    with _quiet("distributed"), client:
        # The workers, now and later, import what this process can: the script's modules and the
        # user's own.
        find = f"import sys; sys.path[:0] = [path for path in {sys.path!r} if path not in sys.path]"
        client.register_worker_callbacks(partial(exec, find, {}))
        # Bytes, because the scheduler unpickles whatever else it passes on, and it cannot import
        # the script.
        sent = [cloudpickle.dumps(task) for task in tasks]
        futures = [
            client.submit(call, client.submit(cloudpickle.loads, task), pure=False) for task in sent
        ]
        places = {future.key: place for place, future in enumerate(futures)}
        for future in as_completed(list(futures)):
            try:
                yield places[future.key], future.result()
            except KilledWorker:
                told = "each worker that did it died; give workers with more memory"
                yield places[future.key], Failure(told, "")
            except CancelledError:
                raise RunStopped(
                    f"the dask scheduler at {engine} is gone; what is committed is kept: start "
                    "one, and run the same again"
                ) from None
            future.release()
