"""Units of work, and the engines that do them: in this process, in others, or on a cluster."""

# joblib, cloudpickle and distributed have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import call
from typing import Any, NamedTuple, cast

from veriloop.records import FAILED, Records, line

Rows = list[dict[str, Any]]
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

    error: its type and its message. trace: the traceback.
    rows: what the unit had finished before, and last its mark: a row whose `failed` is the error.
    """

    error: str
    trace: str
    rows: Rows = []  # noqa: RUF012  # never changed


class Unfinished(Exception):
    """An error in the middle of a unit, raised from its cause, with the rows done before it.

    rows: of the finished rounds. place: arm, seed and round that failed, for the mark.
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
        named = "; ".join(f"{name}: {failure.error}" for name, failure in failures.items())
        several = "unit"
        if len(failures) > 1:
            several = "units"
        super().__init__(
            f"{len(failures)} {several} failed, {named}; all finished rounds are kept: "
            "correct the cause and run the same again"
        )


def check_engine(engine: str) -> None:
    """Refuse a name that is no engine.

    Raises:
        BadInput: naming the engines.
    """
    given = cast("object", engine)
    if not isinstance(given, str) or not re.match(ENGINES, engine):
        raise BadInput(
            f"engine: got {engine!r}, must be serial, processes, processes:N or dask://HOST:PORT"
        )


def evaluate(units: Sequence[Unit], engine: str) -> Iterator[Rows | Failure]:
    """Yield each unit's rows, or what went wrong in it, in order.

    units: what to do. engine: "serial", "processes", "processes:N" or "dask://HOST:PORT".
    """
    check_engine(engine)
    name, _, detail = engine.partition(":")
    if name == "serial":
        return (attempt(unit.work, *unit.arguments) for unit in units)
    if name == "dask":
        return _on_cluster(units, f"tcp:{detail}")
    workers = None
    if detail:
        workers = int(detail)
    return _in_processes(units, workers)


def attempt(work: Callable[..., Rows], *arguments: object) -> Rows | Failure:
    """Return the rows of the work, or the failure; an interrupt goes through.

    One of several launched processes lets the error through: the others wait for it, and would wait
    for ever.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return work(*arguments)
    try:
        rows = work(*arguments)
        for row in rows:
            line(row)  # what cannot be written is the unit's failure, not the run's
    except Unfinished as stopped:
        cause = stopped.__cause__ or stopped
        told = _one_line(cause)
        mark = {**stopped.place, FAILED: told}
        trace = "".join(traceback.format_exception(cause))
        return Failure(told, trace, [*stopped.rows, mark])
    except Exception as error:
        return Failure(_one_line(error), traceback.format_exc())
    return rows


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _in_processes(units: Sequence[Unit], workers: int | None) -> Iterator[Rows | Failure]:
    import joblib

    count = workers or joblib.cpu_count()
    if count == 1:
        return (attempt(unit.work, *unit.arguments) for unit in units)
    return _in_workers(units, count)


def _in_workers(units: Sequence[Unit], count: int) -> Iterator[Rows | Failure]:
    import joblib

    with joblib.parallel_config(backend="loky", n_jobs=count, inner_max_num_threads=1):
        tasks = (joblib.delayed(attempt)(unit.work, *unit.arguments) for unit in units)
        results: Any = joblib.Parallel(return_as="generator")(tasks)
        yield from results


def _on_cluster(units: Sequence[Unit], address: str) -> Iterator[Rows | Failure]:
    """Yield each unit's rows, in order, from a dask cluster that shares this file system."""
    import cloudpickle

    # Not joblib's dask backend, which returns nothing before everything is done.
    from distributed import Client

    try:
        client = Client(address)
    except OSError:
        raise BadInput(
            f"engine: no dask scheduler answers at {address}; start one with `dask scheduler`, or "
            "give processes"
        ) from None
    with client:
        # The workers, now and later, import what this process can: the script's modules and the
        # user's own.
        find = f"import sys; sys.path[:0] = [path for path in {sys.path!r} if path not in sys.path]"
        client.register_worker_callbacks(partial(exec, find, {}))
        # Bytes, because the scheduler unpickles whatever else it passes on, and it cannot import
        # the script.
        tasks = [cloudpickle.dumps(partial(attempt, unit.work, *unit.arguments)) for unit in units]
        futures = [
            client.submit(call, client.submit(cloudpickle.loads, task), pure=False)
            for task in tasks
        ]
        while futures:
            yield futures.pop(0).result()
