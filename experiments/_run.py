"""The runner behind every experiment: from the command line to records and figure."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import veriloop
from _config import BadInput, C, Config, read_config
from _engine import Unit as Unit
from _folder import RunFolder
from plots.common import Measured, Rows
from veriloop import Key, Loop, Quota, State
from veriloop.store.candidates import needed
from veriloop.store.folder import first_process


def spread(name: str, sample: np.ndarray) -> dict[str, float]:
    """Return a sample's mean, its standard error (NaN for one value), and the range of its middle 90 %."""
    low, high = np.quantile(sample, [0.05, 0.95])
    error = sample.std(ddof=1) / np.sqrt(len(sample)) if len(sample) > 1 else float("nan")
    named = {name: sample.mean(), f"{name}_se": error, f"{name}_low": low, f"{name}_high": high}
    return {key: float(value) for key, value in named.items()}


def mean(name: str, sample: np.ndarray) -> dict[str, float]:
    """Return a sample's mean alone."""
    return {name: float(np.mean(sample))}


def same(name: str, sample: np.ndarray) -> dict[str, Any]:
    """Return the value that all replicates have in common."""
    return {name: sample[0].item()}


def over_replicates(runs: Sequence[Rows], told: Mapping[str, Callable[[str, np.ndarray], dict[str, Any]]]) -> Rows:
    """Return one row a round: its number, and what is told of each named number over the replicates.

    runs: the rows of every replicate, one a round. told: name -> `spread`, `mean`, `same`, or another function of
        name and sample, in the order that the row is to have. A round without a number of that name leaves it out.
    """
    rows: Rows = []
    for k, replicates in enumerate(zip(*runs, strict=True)):
        row: dict[str, Any] = {"round": k}
        for name, tell_of in told.items():
            if name in replicates[0]:
                sample = np.array([replicate[name] for replicate in replicates])
                row |= tell_of(name, sample)
        rows.append(row)
    return rows


def follow(loop: Loop, key: Key, start: State, sizes: Sequence[int | Quota]) -> Rows:
    """Run the loop and return one flat row a round, the start as round 0."""
    return [record.row() for _, record in veriloop.run(loop, key, start, sizes)]


def tell(name: str, row: dict[str, Any], rounds: int, shown: Sequence[str]) -> None:
    """Print some numbers of a round as soon as it ends, for whoever waits for the others."""
    known = [name for name in shown if row.get(name) is not None]
    numbers = ", ".join(f"{each} {row[each]:.4g}" for each in known)
    say(f"{name}: round {row['round']} of {rounds}: {numbers}")


def say(text: str) -> None:
    """Print a line for whoever waits; of several processes that a launcher started, only the first does."""
    if first_process():
        print(text, file=sys.stderr, flush=True)


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


def _redraw(draw: Callable[[Rows], Any], folder: Path, name: str) -> None:
    rows = _read_records(folder)
    made_by = _experiment_of(folder)
    if made_by not in (None, name):
        raise BadInput(f"--redraw: {folder} holds a run of {made_by}, got {name}; redraw it with {made_by}.py")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a stopped run may leave a panel without a line
            _save(draw(rows), folder)
    except (LookupError, ValueError) as error:
        raise BadInput(
            f"--redraw: {name} cannot draw the records in {folder} ({error!r:.200}); name a run's folder of its own"
        ) from None


def _experiment_of(folder: Path) -> str | None:
    """Return which script made the records, where run.json still lies beside them."""
    try:
        return json.loads((folder / "run.json").read_text())["experiment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
