"""What changes no byte of the records, and what does: a table for each way of running the same.

python benchmarks/torture/same.py    some minutes; smoke presets of one script a backend
"""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package lies

import numpy as np

from torture.processes import ended, records, started
from torture.programs import EXPERIMENTS, programs
from torture.tables import line
from veriloop import Key, State, run

BACKENDS = {"linear": "linear_rounds", "digits": "digits", "summaries": "summaries"}
PLAIN = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Way:
    """One way to run: environment, options, working folder, and whether it makes its caches.

    backends: those that know the options.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    folder: Path | None = None
    caches: bool = False
    backends: tuple[str, ...] = tuple(BACKENDS)


WAYS = {
    "the same again, with caches of its own": Way(caches=True),
    "`OMP_NUM_THREADS=2`": Way({"OMP_NUM_THREADS": "2"}),
    "`OMP_NUM_THREADS=2`, with caches of its own": Way({"OMP_NUM_THREADS": "2"}, caches=True),
    "`--engine processes:1`": Way(options=("--engine", "processes:1")),
    "`--engine processes:2`": Way(options=("--engine", "processes:2")),
    "Dask, two workers": Way(options=("--engine", "dask://{address}")),
    "another hash seed, `LC_ALL=C`, working folder `/`": Way(
        {"PYTHONHASHSEED": "77", "LC_ALL": "C"}, folder=Path("/")
    ),
    "`--set threads=2`": Way(options=("--set", "threads=2"), backends=("digits", "summaries")),
}
CHUNKS = {"linear": (None, 65_536, 10_000), "digits": (None, 1_000, 300)}


def main() -> None:
    """Print the table."""
    told = [line(["changed", *BACKENDS]), line(["---"] * (1 + len(BACKENDS)))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        plain = {name: once(name, Way(), folder / f"plain-{name}") for name in BACKENDS}
        for way_name, way in WAYS.items():
            cells = [way_name]
            for name in BACKENDS:
                if name not in way.backends:
                    cells.append("-")
                    continue
                cache = None if way.caches else folder / f"plain-{name}.cache"
                out = folder / f"{len(told)}-{name}"
                cells.append(compared(plain[name], once(name, way, out, cache)))
            told.append(line(cells))
            print(told[-1], file=sys.stderr, flush=True)
    chunks = [", ".join("None" if n is None else f"{n:,}" for n in way) for way in CHUNKS.values()]
    same = [chunked(linear, CHUNKS["linear"]), chunked(digits, CHUNKS["digits"])]
    told.append(line([f"`Loop.chunk`: {'; '.join(chunks)}", *same, "-"]))
    print("\n".join(told))


def once(name: str, way: Way, out: Path, cache: Path | None = None) -> bytes:
    """Run a backend's script in one way, and return its records."""
    program = programs(out.parent)[BACKENDS[name]]
    if not any("{address}" in option for option in way.options):
        return _run(program.first, way, out, cache)
    from distributed import LocalCluster

    os.environ["PYTHONPATH"] = os.pathsep.join([str(EXPERIMENTS), os.environ.get("PYTHONPATH", "")])
    begun = cast(Any, LocalCluster)(n_workers=2, threads_per_worker=1, dashboard_address=":0")
    with begun as cluster:
        address = str(cluster.scheduler_address).removeprefix("tcp://")
        options = tuple(option.replace("{address}", address) for option in way.options)
        return _run(program.first, replace(way, options=options), out, cache)


def _run(first: tuple[str, ...], way: Way, out: Path, cache: Path | None) -> bytes:
    own = {**PLAIN, **way.environment}
    last = ended(started((*first, *way.options), out, cache, folder=way.folder, own=own))
    if last.code:
        raise RuntimeError(f"{out.name} fails: {last.stderr[-500:]}")
    return records(out)


def compared(one: bytes, other: bytes) -> str:
    """Say whether two runs have the same records; else by how much their numbers differ."""
    if one == other:
        return "same bytes"
    rows = [[json.loads(row) for row in each.splitlines()] for each in (one, other)]
    if [list(row) for row in rows[0]] != [list(row) for row in rows[1]]:
        return "other rows"
    largest = 0.0
    for a, b in zip(*rows, strict=True):
        for name, value in a.items():
            if isinstance(value, float) and not math.isclose(value, b[name], rel_tol=0):
                largest = max(largest, abs(value - b[name]) / max(abs(value), abs(b[name])))
    return f"differ by {largest:.0e}"


def linear(chunk: int | None) -> object:
    """Return the model after two rounds of 100,000 candidates."""
    from veriloop.linear import Problem

    problem = Problem.gaussian(bias=0.25, radius=0.5)
    loop = replace(problem.loop(verify=problem.verifier), chunk=chunk)
    return _last(loop, problem.start, 100_000)


def digits(chunk: int | None) -> object:
    """Return the weights after two rounds of 2,000 candidates."""
    from veriloop.mnist import Problem, Refit, Training, balanced, load

    data = load("digits")
    short = Refit(model="mlp", settings={"hidden": [16]}, training=Training(steps=4))
    initial = balanced(Key(0), data.train, 100)
    problem = Problem(
        initial=initial, first=short, refit=short, test=data.test, keep=0.1, chunk=chunk
    )
    return _last(problem.loop(), problem.start, 2_000)


def _last(loop: Any, start: Any, size: int) -> object:
    begun = start(Key(0))
    assert isinstance(begun, State)
    state, _ = list(run(loop, Key(0), begun, [size] * 2))[-1]
    if hasattr(state.model, "state_dict"):
        return [value.numpy().tobytes() for value in state.model.state_dict().values()]
    return np.asarray(state.model).tobytes()


def chunked(model: Callable[[int | None], object], chunks: tuple[int | None, ...]) -> str:
    """Say whether all chunk sizes end in the same model."""
    first, *others = [model(chunk) for chunk in chunks]
    return "same bytes" if all(other == first for other in others) else "differ"


if __name__ == "__main__":
    main()
