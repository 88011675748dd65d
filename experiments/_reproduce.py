"""Make every figure, one after another: say what comes, how long it takes, and where it stands.

python experiments/_reproduce.py [NAME ...] [--first] [--preset laptop] [--data digits] [--out runs]

At the end, results/report.html says what the runs say of each claim, and results/explorer.html
shows by sliders when a verifier helps. A figure that fails does not stop the others. It is named
at the end, and the exit code is then 1.
After an interruption the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from veriloop.study.config import read_yaml

HERE = Path(__file__).resolve().parent

# Seconds that a figure takes at `laptop` with the embedded data, measured one after the other on
# two cores of an Intel Xeon. They were idle, except that mnist_published, self_training and
# xsum_references ran beside work of low priority. The figures are made in this order. The first
# needs no torch.
SECONDS = {
    "linear_landscape": 18,
    "linear_rounds": 57,
    "linear_designs": 58,
    "linear_policies": 24,
    "linear_spectrum": 9,
    "reward_weighting": 9,
    "noisy_verifier": 44,
    "verifier_shape": 48,
    "curation": 33,
    "selection_bias": 61,
    "mnist_schedules": 70,
    "mnist_fixed_verifier": 54,
    "mnist_verifier_size": 41,
    "mnist_initial_size": 39,
    "mnist_elbo": 33,
    "mnist_refit_length": 110,
    "policies_vae": 86,
    "same_data_verifier": 80,
    "evolving_verifier": 103,
    "mnist_selection": 104,
    "mnist_published": 84,
    "self_training": 157,
    "xsum_rouge": 386,
    "xsum_references": 75,
}
FIRST = next(iter(SECONDS))


class Made(NamedTuple):
    """How a figure's script ended."""

    name: str
    code: int
    seconds: float
    folder: Path


def main() -> None:
    """Make the figures that the command line names, or all."""
    arguments = _parse()
    names = arguments.name or list(SECONDS)
    if arguments.first:
        names = [FIRST]
    print(_plan(names, arguments), flush=True)
    began = time.monotonic()
    made: list[Made] = []
    for place, name in enumerate(names):
        so_far = (time.monotonic() - began) / 60
        left = _minutes(names[place:])
        number = f"[{place + 1}/{len(names)}]"
        print(f"\n{number} {name}: {so_far:.1f} minutes so far, about {left:.1f} to go", flush=True)
        made.append(_make(name, arguments))
    finished = [figure.folder for figure in made if not figure.code]
    code = 0
    if finished and not arguments.first:
        code = _pages(finished, arguments.results)
    if len(names) > 1:
        print(_report(made), flush=True)
    sys.exit(code != 0 or any(figure.code for figure in made))


def _plan(names: Sequence[str], arguments: argparse.Namespace) -> str:
    if arguments.first:
        return f"First {FIRST}, about {SECONDS[FIRST]} seconds, then the set-up goes on."
    counted = f"{len(names)} figures" if len(names) > 1 else "1 figure"
    plan = (
        f"{counted} into {arguments.out}/NAME-{arguments.preset}/figure.png, "
        f"about {_minutes(names):.0f} minutes at laptop on two cores. "
        "Stop at any time: the same command goes on where it was."
    )
    if arguments.data == "digits":
        return (
            f"{plan}\nThe digits are the 1,797 of scikit-learn, too few for more than to see the "
            "code at work."
        )
    return f"{plan}\nThe digits are real MNIST where it is found, which takes longer."


def _minutes(names: Sequence[str]) -> float:
    return sum(SECONDS[name] for name in names) / 60


def command(name: str, arguments: argparse.Namespace) -> list[str]:
    """Return the command that makes a figure; digit figures also get their data, and share their
    arms.
    """
    script = [sys.executable, str(HERE / f"{name}.py"), "--preset", arguments.preset, "--resume"]
    given = ["--out", str(_folder(name, arguments))]
    if _is_of_digits(name):
        shared = arguments.out.resolve() / "shared"
        given += ["--set", f"data={arguments.data}", "--set", f"shared={shared}"]
    return script + given


def _make(name: str, arguments: argparse.Namespace) -> Made:
    began = time.monotonic()
    try:
        code = subprocess.run(command(name, arguments)).returncode
    except KeyboardInterrupt:
        print(f"\nStopped in {name}. The same command goes on there.", file=sys.stderr)
        sys.exit(130)
    return Made(name, code, time.monotonic() - began, _folder(name, arguments))


def _pages(folders: Sequence[Path], results: Path) -> int:
    """Write the report on all figures, and the explorer; return the exit code."""
    print("\nThe report and the explorer:", flush=True)
    script = [sys.executable, str(HERE / "_report.py")]
    return subprocess.run([*script, *map(str, folders), "--out", str(results)]).returncode


def _folder(name: str, arguments: argparse.Namespace) -> Path:
    return arguments.out / f"{name}-{arguments.preset}"


def _is_of_digits(name: str) -> bool:
    """Tell whether the figure's configuration has values of its own for scikit-learn's digits."""
    return "on_digits" in read_yaml(HERE.parent / "configs" / f"{name}.yaml")


def _report(made: Sequence[Made]) -> str:
    lines = ["", "seconds  figure"]
    for figure in made:
        result = str(figure.folder / "figure.png")
        if figure.code:
            result = f"{figure.name} FAILED with exit code {figure.code}"
        lines.append(f"{figure.seconds:7.0f}  {result}")
    seconds = sum(figure.seconds for figure in made)
    lines.append(f"{seconds:7.0f}  all {len(made)}")
    failed = [figure.name for figure in made if figure.code]
    if failed:
        lines.append(
            f"{len(failed)} of {len(made)} failed: {', '.join(failed)}; the reason is printed above"
        )
    return "\n".join(lines)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="reproduce", description="Make every figure, one after another."
    )
    parser.add_argument("name", nargs="*", metavar="NAME", help="figures to make (default: all)")
    parser.add_argument(
        "--first", action="store_true", help=f"make the first figure alone, {FIRST}"
    )
    parser.add_argument(
        "--preset", default="laptop", help="smoke, laptop (default), evidence or paper"
    )
    parser.add_argument(
        "--data",
        default="digits",
        help="of the digit figures: digits (embedded, default), mnist, or auto",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), help="folder of the runs (default: runs)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        help="folder of the report and the explorer (default: results)",
    )
    arguments = parser.parse_args()
    for name in arguments.name:
        if name not in SECONDS:
            parser.error(f"no figure is called {name!r}; the figures are {', '.join(SECONDS)}")
    return arguments


if __name__ == "__main__":
    main()
