"""The runner behind every experiment: configuration, resumable units of work, records, figure."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from operator import call
from pathlib import Path
from reprlib import repr as short
from typing import Any, NamedTuple, NoReturn

import joblib
import numpy as np
from tqdm import tqdm

import veriloop
from _config import BadInput, C, Config, read_config
from plots.common import Measured, Rows
from veriloop import Key, Loop, Quota, State
from veriloop.core.candidate_store import needed
from veriloop.core.store import RunDir, first_process, line, row


class Unit(NamedTuple):
    """A piece of work done in one process and committed as a whole: `work(config, *arguments) -> rows`."""

    name: str
    round: int  # the last round its rows report
    work: Callable[..., Rows]
    arguments: tuple[Any, ...] = ()
    saves: bool = False  # work takes the run's folder as its last argument, for checkpoints of its own


def spread(name: str, sample: np.ndarray) -> dict[str, float]:
    """Return a sample's mean, its standard error (NaN for one value), and the range of its middle 90 %."""
    low, high = np.quantile(sample, [0.05, 0.95])
    error = sample.std(ddof=1) / np.sqrt(len(sample)) if len(sample) > 1 else float("nan")
    named = {name: sample.mean(), f"{name}_se": error, f"{name}_low": low, f"{name}_high": high}
    return {key: float(value) for key, value in named.items()}


def follow(loop: Loop, key: Key, start: State, sizes: Sequence[int | Quota]) -> Rows:
    """Run the loop and return one flat row a round, the start as round 0."""
    first = {"round": start.round, "candidates": 0, "kept": 0, **loop.measure(key, start.model)}
    return [first, *(row(record) for _, record in veriloop.run(loop, key, start, sizes))]


def tell(name: str, row: dict[str, Any], rounds: int, shown: Sequence[str]) -> None:
    """Print some numbers of a round as soon as it ends, for whoever waits for the others."""
    numbers = ", ".join(f"{each} {row[each]:.4g}" for each in shown if each in row)
    if first_process():
        print(f"{name}: round {row['round']} of {rounds}: {numbers}", file=sys.stderr, flush=True)


def main(
    kind: type[C],
    units: Callable[[C], Sequence[Unit]],
    draw: Callable[[Rows], Any],
    summarise: Callable[[Rows], dict[str, Measured]],
    prepare: Callable[[C], dict[str, Any]] | None = None,
) -> None:
    """Run the experiment of the calling script; exit with 0 when done, 2 on bad input.

    kind: its configuration. units: the work, in the order of the records. draw: records -> matplotlib figure.
    summarise: records -> the numbers worth comparing with `expected` in the configuration.
    prepare: what all units need, done once before them; what it returns is printed and goes into run.json.
    """
    script = Path(sys.argv[0]).resolve()
    arguments = _parse(script)
    sys.path.append(os.getcwd())  # a verifier of the user's own lies beside them, not beside the script
    try:
        if arguments.redraw:
            _redraw(draw, arguments.redraw, script.stem)
            return
        config, expected = read_config(kind, arguments.config, arguments.preset, arguments.set)
        run = RunFolder(arguments.out or Path("runs") / f"{script.stem}-{arguments.preset}", arguments.resume)
        work = units(config)
        _check_names(work)
        _check_launch(config)
        if config.store is not None:
            _check_store(script.stem, work)
        run.open({"experiment": script.stem, "preset": arguments.preset, "config": config.model_dump(mode="json")})
    except BadInput as error:
        print(f"{script.stem}: {error}", file=sys.stderr)
        sys.exit(2)
    if prepare is not None:
        with run.stage("prepare"):
            run.state("measures", prepare(config))
    with run.stage("work"):
        rows = run.records(work, config)
    if first_process():
        with run.stage("figure"):
            _save(draw(rows), run.path)
        run.close(summarise(rows), expected)


class RunFolder:
    """One run's folder: run.json, records.jsonl, the figure and the checkpoints.

    Of several processes that a launcher started all read it, and the first writes.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, self._resume = path, resume
        self._about: dict[str, Any] = {}

    def open(self, about: dict[str, Any]) -> None:
        """Claim the folder for this run, or the same run for resuming, before anything else is written."""
        if not first_process():
            self._about, self._store = {"seconds": {}}, RunDir(self.path)
            return
        known = self.path / "run.json"
        try:
            # A run killed while it wrote its first file has left that file's temporary name, and no more.
            if self.path.exists() and {path.name for path in self.path.iterdir()} - {".run.json.tmp"}:
                if not self._resume:
                    raise BadInput(f"--out: {self.path} already holds files; name a new folder, or add --resume")
                if not known.exists():
                    raise BadInput(f"--out: {self.path} holds files but no run to resume; name another folder")
                _refuse_other_run(about, known, self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._about = {**about, **_provenance(), "seconds": {}, "finished": False}
            self._write()
        except OSError as error:
            raise BadInput(f"--out: cannot write to {self.path} ({error.strerror}); name another folder") from None
        self._store = RunDir(self.path)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage for run.json."""
        start = time.perf_counter()
        yield
        self._about["seconds"][name] = round(time.perf_counter() - start, 3)

    def state(self, name: str, facts: dict[str, Any]) -> None:
        """Print facts about the run before its work starts, and put them into run.json."""
        if not first_process():
            return
        self._about[name] = facts
        self._write()
        for what, fact in facts.items():
            print(f"{what:<12} {fact}", flush=True)

    def records(self, units: Sequence[Unit], config: Config) -> Rows:
        """Do the units that are not committed yet; write records.jsonl in the order of the units."""
        with warnings.catch_warnings(record=True) as damaged:
            warnings.simplefilter("always")
            done = {unit.name: self._store.rows(unit.round, unit.name) for unit in units}
        for warning in damaged:
            print(f"{warning.message}; doing it again", file=sys.stderr)
        fresh = _evaluate([self._with_folder(unit) for unit in units if done[unit.name] is None], config)
        rows: Rows = []
        with open(self.path / "records.jsonl" if first_process() else os.devnull, "w") as records:
            for unit in tqdm(units, disable=None if first_process() else True, unit="unit"):
                new = done[unit.name]
                if new is None:
                    new = next(fresh)
                    self._store.commit(unit.round, unit.name, new)
                records.writelines(map(line, new))
                records.flush()
                rows.extend(new)
        return [json.loads(line(row)) for row in rows]

    def _with_folder(self, unit: Unit) -> Unit:
        return unit._replace(arguments=(*unit.arguments, self.path.resolve())) if unit.saves else unit

    def close(self, measured: dict[str, Measured], expected: dict[str, float]) -> None:
        """Write and print what was measured beside what was expected, and where the figure is."""
        measured = {
            name: number if number.expected is not None else number._replace(expected=expected.get(name))
            for name, number in measured.items()
        }
        self._about["summary"] = {name: number._asdict() for name, number in measured.items()}
        self._about["finished"] = True
        self._write()
        for name, number in measured.items():
            error = "" if number.standard_error is None else f" ± {number.standard_error:.2g}"
            wanted = "" if number.expected is None else f"   expected {number.expected:.5g}"
            print(f"{name:<56} {number.value:.5g}{error}{wanted}")
        print(f"figure: {self.path / 'figure.png'}")

    def _write(self) -> None:
        temporary = self.path / ".run.json.tmp"
        temporary.write_text(json.dumps(self._about, indent=1) + "\n")
        os.replace(temporary, self.path / "run.json")


def _evaluate(units: Sequence[Unit], config: Config) -> Iterator[Rows]:
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


def _check_names(units: Sequence[Unit]) -> None:
    """Refuse units that would share a checkpoint, or put it elsewhere."""
    for name, count in Counter(unit.name for unit in units).items():
        if count > 1:
            raise BadInput(f"the settings ask for {name} twice; give different values")
        if Path(name).name != name:
            raise BadInput(
                f"the settings make {name!r} the name of a checkpoint, must be a file name; leave out '/'"
            )


def _check_launch(config: Config) -> None:
    """Refuse processes started by processes: each of a launcher's has its share of every arm."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and config.engine != "serial":
        raise BadInput(f"engine: got {config.engine} in one of {count} launched processes; give engine=serial")


def _check_store(name: str, units: Sequence[Unit]) -> None:
    """Refuse to store candidates where there are none, or nothing to write them with."""
    if not any(unit.saves for unit in units):
        raise BadInput(
            f"store: got candidates, and {name} commits no single rounds that could hold them; leave it out"
        )
    try:
        needed("pyarrow.parquet")
    except ImportError as error:
        raise BadInput(f"store: {error}") from None


def _refuse_other_run(about: dict[str, Any], known: Path, path: Path) -> None:
    try:
        before = json.loads(known.read_text())
        old = {"experiment": before["experiment"], **before["config"]}
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"--resume: {known} says nothing of what ran here; name another folder") from None
    flat = {"experiment": about["experiment"], **about["config"]}
    for key in ("experiment", *sorted({*flat, *old} - {"experiment", "engine"})):
        if flat.get(key) != old.get(key):
            raise BadInput(
                f"--resume: {path} holds a run with {key} = {short(old.get(key))}, got {short(flat.get(key))}; "
                "give the same configuration or name another folder"
            )


def _provenance() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "versions": {"python": platform.python_version(), "veriloop": veriloop.__version__}
        | {name: version(name) for name in ("numpy", "scipy", "joblib", "matplotlib")}
        | ({"torch": version("torch")} if "torch" in sys.modules else {}),
        "device": {
            "machine": platform.machine(),
            "processor": processor(),
            "cpus": os.cpu_count(),
            "system": platform.system(),
        },
    }


def processor() -> str:
    """Name the processor where the system tells."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _git(*arguments: str) -> str | None:
    here = Path(__file__).parent
    try:
        return subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _redraw(draw: Callable[[Rows], Any], folder: Path, name: str) -> None:
    rows = _read_records(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a stopped run may leave a panel without a line
            _save(draw(rows), folder)
    except (LookupError, ValueError) as error:
        raise BadInput(
            f"--redraw: {name} cannot draw the records in {folder} ({error!r:.200}); name a run's folder of its own"
        ) from None


def _read_records(folder: Path) -> Rows:
    try:
        rows = [json.loads(text) for text in (folder / "records.jsonl").read_text().splitlines()]
        if not rows or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it holds no rows")
        return rows
    except (OSError, ValueError) as error:
        raise BadInput(f"--redraw: no readable records.jsonl in {folder} ({error}); name a run's folder") from None


def _save(figure: Any, folder: Path) -> None:
    figure.savefig(folder / "figure.png", dpi=200, metadata={"Software": None})
    figure.savefig(folder / "figure.pdf", metadata={"CreationDate": None})


def _parse(script: Path) -> argparse.Namespace:
    parser = _Parser(prog=script.stem, description=sys.modules["__main__"].__doc__)
    config = script.parent.parent / "configs" / f"{script.stem}.yaml"
    parser.add_argument("--config", type=Path, default=config, help="YAML file (default: configs/%(prog)s.yaml)")
    parser.add_argument("--preset", default="laptop", help="smoke, laptop (default), evidence or paper")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable"
    )
    parser.add_argument(
        "--engine", help="serial, processes, processes:N or dask://HOST:PORT; short for --set engine="
    )
    parser.add_argument("--out", type=Path, help="folder of the run (default: runs/%(prog)s-PRESET)")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder, if there is one")
    parser.add_argument(
        "--redraw", type=Path, metavar="DIR", help="only draw the figure anew from DIR/records.jsonl"
    )
    arguments = parser.parse_args()
    if arguments.engine:
        arguments.set.append(f"engine={arguments.engine}")
    return arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see --help", file=sys.stderr)
        sys.exit(2)
