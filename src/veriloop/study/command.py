"""The command line of a script: from a configuration to records and a figure."""

# matplotlib's figures have members without types.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from veriloop.records import Records
from veriloop.store.candidates import needed
from veriloop.store.files import first_process, whole, wrong_name
from veriloop.study.config import DEFAULT, C, Config, read_config
from veriloop.study.engine import BadInput, RunStopped, Unit, UnitsFailed, check_engine
from veriloop.study.folder import RunFolder, script
from veriloop.study.stopping import Terminated, cause_of, terminable
from veriloop.study.study import Study
from veriloop.study.summary import Measured, known

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")


def main(
    kind: type[C],
    work: Callable[[C], Study | Sequence[Unit]],
    draw: Callable[[Records], Figure] | None = None,
    summarise: Callable[[Records], Mapping[str, Measured]] | None = None,
    prepare: Callable[[C], Mapping[str, Any]] | None = None,
) -> None:
    """Run the calling script as a command; exit with 0 when done, 2 on bad input, else 1.

    Ctrl-C exits with 130, SIGTERM with 143; both end the workers, and say how to go on.

    kind: the schema of its configuration.
    work: configuration -> a study, or units in the order of the records; their work takes the
        configuration first.
    draw: records -> figure, which is written as figure.png and figure.pdf. By default there is
        none.
    summarise: records -> the numbers worth comparing with `expected` in the configuration.
    prepare: what all units need, done once before them; what it returns is printed and goes into
        run.json.

    The configuration is SCRIPT.yaml beside the script, or ../configs/SCRIPT.yaml, unless `--config`
    names another. `--help` says the rest.
    """
    name = script().stem
    arguments = _parse(script())
    run: RunFolder | None = None
    try:
        with terminable():
            if arguments.redraw:
                _redraw(draw, arguments.redraw, name)
                return
            # A verifier of the user's own lies beside them, not beside the script.
            sys.path.append(os.getcwd())
            run, units, config, expected = _begun(kind, work, arguments)
            if prepare is not None:
                with run.stage("prepare"):
                    run.state("measures", _ended_by_nobody("prepare", prepare, config))
            with run.stage("work"):
                records = run.records(units, config.engine, limit=config.unit_timeout)
            if first_process():
                _finish(run, records, draw, summarise, expected)
    except BadInput as error:
        _exit(2, f"{name}: {error}")
    except UnitsFailed as error:
        traces = [failure.trace for failure in error.failures.values() if failure.trace]
        print("\n".join(traces), file=sys.stderr)
        _exit(1, f"{name}: {error}, with --resume")
    except RunStopped as error:
        _exit(1, f"{name}: {error}, with --resume")
    except (KeyboardInterrupt, Terminated) as stop:
        how, code = cause_of(stop)
        told = "nothing was begun"
        if run is not None:
            told = f"what is done is kept in {run.path}; run the same again with --resume to go on"
        _exit(code, f"{name}: stopped by {how}; {told}")


def _exit(code: int, told: str) -> NoReturn:
    print(told, file=sys.stderr)
    sys.exit(code)


def _begun(
    kind: type[C], work: Callable[[C], Study | Sequence[Unit]], arguments: argparse.Namespace
) -> tuple[RunFolder, list[Unit], C, Mapping[str, float]]:
    """Read and check all that is asked for, then open the folder.

    Raises:
        BadInput: before anything is written.
    """
    name = script().stem
    path = arguments.config or _config_of(script())
    config, expected = read_config(kind, path, arguments.preset, arguments.set)
    preset = arguments.preset or DEFAULT
    folder = arguments.out or Path("runs") / f"{name}-{preset}"
    run = RunFolder(folder, arguments.resume, may_grow=config.may_grow())
    asked = _ended_by_nobody("the configuration", work, config)
    units, described = _units(asked, config)
    _check_names(units)
    _check_launch(config)
    check_engine(config.engine, config.unit_timeout)
    if config.store is not None:
        _check_store(name, units)
    about: dict[str, object] = {
        "experiment": name,
        "preset": preset,
        "config": config.model_dump(mode="json"),
        "units": len(units),
    }
    run.open(about | described)
    return run, units, config, expected


def _ended_by_nobody(what: str, function: Callable[[C], T], config: C) -> T:
    """Call a function of the script; code that ends the process, as some modules do, is an error.

    Raises:
        BadInput: if it did.
    """
    try:
        return function(config)
    except SystemExit as error:
        raise BadInput(
            f"{what} names code that ends the process (sys.exit({error.code!r})) when it is "
            "loaded; correct that module"
        ) from None


def _units(work: Study | Sequence[Unit], config: Config) -> tuple[list[Unit], dict[str, Any]]:
    """Return the units, and what run.json says of a study."""
    if isinstance(work, Study):
        return work.units(candidates=config.store is not None), {"study": work.description()}
    return [unit._replace(arguments=(config, *unit.arguments)) for unit in work], {}


def _finish(
    run: RunFolder,
    records: Records,
    draw: Callable[[Records], Figure] | None,
    summarise: Callable[[Records], Mapping[str, Measured]] | None,
    expected: Mapping[str, float],
) -> None:
    """Draw, and print what was measured beside what was expected."""
    if draw is not None:
        with run.stage("figure"):
            figure = draw(records)
            run.check_place()
            with run.told_when_unwritable():
                _save(figure, run.path)
    numbers: dict[str, Measured] = {}
    if summarise is not None:
        for name, number in summarise(records).items():
            number = known(number)
            if number.expected is None:
                number = number._replace(expected=expected.get(name))
            numbers[name] = number
    run.close(numbers)
    for name, number in numbers.items():
        print(_compared(name, number))
    if draw is None:
        print(f"records: {run.path / 'records.jsonl'}")
    else:
        print(f"figure: {run.path / 'figure.png'}")


def _compared(name: str, number: Measured) -> str:
    """Write a number on one line, with its error and the expected one where they are known."""
    text = f"{name:<56} {number.value:.5g}"
    if number.standard_error is not None:
        text += f" ± {number.standard_error:.2g}"
    if number.expected is not None:
        text += f"   expected {number.expected:.5g}"
    return text


def _check_names(units: Sequence[Unit]) -> None:
    """Refuse units that would share a checkpoint, or put it elsewhere."""
    for name, count in Counter(unit.name for unit in units).items():
        if count > 1:
            raise BadInput(f"the settings ask for {name} twice; give different values")
        wrong = wrong_name(name)
        if wrong:
            raise BadInput(
                f"the settings make {name!r:.60} the name of a checkpoint, must be a file name; "
                f"{wrong}"
            )


def _check_launch(config: Config) -> None:
    """Refuse processes started by processes: each of a launcher's has its share of every arm."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1 and config.engine != "serial":
        raise BadInput(
            f"engine: got {config.engine} in one of {count} launched processes; give engine=serial"
        )


def _check_store(name: str, units: Sequence[Unit]) -> None:
    """Refuse to store candidates where there are none, or nothing to write them with."""
    if not any(unit.saves for unit in units):
        raise BadInput(
            f"store: got candidates, and {name} commits no single rounds that could hold them; "
            "leave it out"
        )
    try:
        needed("pyarrow.parquet")
    except ImportError as error:
        raise BadInput(f"store: {error}") from None


def _redraw(draw: Callable[[Records], Figure] | None, folder: Path, name: str) -> None:
    if draw is None:
        raise BadInput(
            f"--redraw: {name} draws no figure; use veriloop.plot on Records.read({str(folder)!r})"
        )
    try:
        with warnings.catch_warnings(record=True) as cut:
            warnings.simplefilter("always")
            records = Records.read(folder)
    except ValueError as error:
        raise BadInput(f"--redraw: {error}") from None
    for warning in cut:
        print(f"{name}: {warning.message}", file=sys.stderr)
    made_by = _experiment_of(folder)
    if made_by not in (None, name):
        raise BadInput(
            f"--redraw: {folder} holds a run of {made_by}, got {name}; redraw it with {made_by}.py"
        )
    try:
        with warnings.catch_warnings():
            # A stopped run may leave a panel without a line.
            warnings.simplefilter("ignore", UserWarning)
            _save(draw(records), folder)
    except OSError as error:
        raise BadInput(
            f"--redraw: cannot write to {folder} ({error.strerror or error}); copy it, and redraw "
            "the copy"
        ) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise BadInput(
            f"--redraw: {name} cannot draw the records in {folder} ({error!r:.200}); name a "
            "run's folder of its own"
        ) from None


def _experiment_of(folder: Path) -> str | None:
    """Return which script made the records, where run.json still lies beside them."""
    try:
        return json.loads((folder / "run.json").read_text())["experiment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(figure: Figure, folder: Path) -> None:
    with whole(folder / "figure.png") as file:
        figure.savefig(file, format="png", dpi=200, metadata={"Software": None})
    with whole(folder / "figure.pdf") as file:
        figure.savefig(file, format="pdf", metadata={"CreationDate": None})


def _config_of(script: Path) -> Path:
    """Return a script's configuration: beside it, or in the folder configs beside its folder."""
    beside = script.with_suffix(".yaml")
    apart = script.parent.parent / "configs" / beside.name
    for path in (beside, apart):
        if path.exists():
            return path
    raise BadInput(
        f"--config: neither {beside} nor {apart} is there; write one, or name a YAML file"
    )


def _parse(script: Path) -> argparse.Namespace:
    parser = _Parser(prog=script.stem, description=sys.modules["__main__"].__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML file (default: %(prog)s.yaml beside the script, or ../configs/%(prog)s.yaml)",
    )
    parser.add_argument("--preset", help=f"a preset of the YAML file (default: {DEFAULT})")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable"
    )
    parser.add_argument(
        "--engine",
        help="serial, processes, processes:N or dask://HOST:PORT; short for --set engine=",
    )
    parser.add_argument(
        "--unit-timeout",
        metavar="SECONDS",
        help="what a unit may take in a worker process; short for --set unit_timeout=",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the run (default: runs/%(prog)s-PRESET)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in that folder, if there is one"
    )
    parser.add_argument(
        "--redraw",
        type=Path,
        metavar="DIR",
        help="only draw the figure again, from DIR/records.jsonl",
    )
    arguments = parser.parse_args()
    if arguments.engine is not None:
        arguments.set.append(f"engine={arguments.engine}")
    if arguments.unit_timeout is not None:
        arguments.set.append(f"unit_timeout={arguments.unit_timeout}")
    return arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see --help", file=sys.stderr)
        sys.exit(2)
