"""Where the units of an experiment's work are done: in this process, in others, or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import call
from typing import Any, NamedTuple

import joblib

from _config import Config
from plots.common import Rows


class Unit(NamedTuple):
    """A piece of work done in one process and committed as a whole: `work(config, *arguments) -> rows`."""

    name: str
    round: int  # the last round its rows report
    work: Callable[..., Rows]
    arguments: tuple[Any, ...] = ()
    saves: bool = False  # work takes the run's folder as its last argument, for checkpoints of its own


def evaluate(units: Sequence[Unit], config: Config) -> Iterator[Rows]:
    """Yield each unit's rows, in order, from the engine that the configuration names."""
    name, _, detail = config.engine.partition(":")
    if name == "dask":
        yield from _on_cluster(units, config, f"tcp:{detail}")
        return
    workers = 1 if name == "serial" else int(detail or joblib.cpu_count())
    with joblib.parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
        results: Any = joblib.Parallel(return_as="generator")(
            joblib.delayed(unit.work)(config, *unit.arguments) for unit in units
        )
        yield from results


def _on_cluster(units: Sequence[Unit], config: Config, address: str) -> Iterator[Rows]:
    """Yield each unit's rows, in order, from a dask cluster that shares this machine's file system."""
    import cloudpickle
    from distributed import Client  # joblib's dask backend returns nothing before everything is done

    with Client(address) as client:
        # The workers, now and later, import what this process can: the script's modules and the user's own.
        find = f"import sys; sys.path[:0] = [path for path in {sys.path!r} if path not in sys.path]"
        client.register_worker_callbacks(partial(exec, find, {}))
        # Bytes, because the scheduler unpickles whatever else it passes on, and it cannot import the script.
        tasks = [cloudpickle.dumps(partial(unit.work, config, *unit.arguments)) for unit in units]
        futures = [client.submit(call, client.submit(cloudpickle.loads, task), pure=False) for task in tasks]
        while futures:
            yield futures.pop(0).result()
