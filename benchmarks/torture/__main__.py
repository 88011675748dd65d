"""Torture: kills, damages, bad input, pairs of runs, verifiers and judges, counted in tables.

python benchmarks/torture            all series, some hours
python benchmarks/torture --cut      a cut of five minutes
python benchmarks/torture --kills 9  one series, of nine cases

Each case is written to OUT/cases.jsonl as it ends, and one that is there is not done again, so a
run that was stopped goes on. Cases are numbered, and case k is the same in every run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch read it
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package lies

from torture import damages, inputs, judges, kills, lines, pairs, verifiers
from torture.tables import Columns, Found, bad, known, tables
from veriloop import Key


class Series(NamedTuple):
    """Cases of one kind: how they are done, what each comes to, how many, and their table."""

    attack: Callable[[Path], Callable[[int, Key], Found]]
    verdict: Callable[[Found], str]
    whole: int
    cut: int
    columns: Columns


INPUT = Columns(("refused", "accepted"), ("at length", "slow", "other exit", "traceback"))
SERIES = {
    "configurations": Series(inputs.Configurations, inputs.verdict, 3000, 200, INPUT),
    "lines": Series(lines.Lines, inputs.verdict, 150, 12, INPUT),
    "verifiers": Series(
        verifiers.Verifiers,
        verifiers.verdict,
        50,
        25,
        Columns(("refused", "judged"), ("not as wanted",)),
    ),
    "judges": Series(
        judges.Judges,
        judges.verdict,
        60,
        30,
        Columns(
            ("refused", "rows without verdict", "judged"),
            ("not as wanted", "late or elsewhere", "traceback"),
        ),
    ),
    "damages": Series(
        damages.Damages,
        damages.verdict,
        300,
        20,
        Columns(
            ("named, redone, same", "no effect", "refused"),
            ("traceback", "hangs", "named, differs", "silent"),
        ),
    ),
    "pairs": Series(
        pairs.Pairs,
        pairs.verdict,
        30,
        3,
        Columns(("one refused", "one after the other"), ("both failed", "garbled", "traceback")),
    ),
    "kills": Series(
        kills.Kills,
        kills.verdict,
        160,
        8,
        Columns(
            ("same bytes",),
            ("resume failed", "records differ", "leftovers", "traceback"),
            sums={"kills": "SIGKILLs that hit", "missed": "ended before the kill"},
        ),
    ),
}


COLUMNS = {name: series.columns for name, series in SERIES.items()}


def main() -> None:
    """Do the cases that are not done yet; exit with 1 if one came to something bad."""
    arguments = parsed()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    file = out / "cases.jsonl"
    done = known(file)
    for name, series in SERIES.items():
        with tempfile.TemporaryDirectory() as folder, open(file, "a") as stream:
            attack = None
            for number in range(
                arguments.part[0] - 1, count_of(name, arguments), arguments.part[1]
            ):
                before = done.get((name, number))
                if before and not (arguments.again and bad([before], COLUMNS)):
                    continue
                if attack is None:
                    attack = series.attack(Path(folder).resolve())
                begun = time.monotonic()
                found = attack(number, Key(arguments.seed).fold(name, number))
                told = series.verdict(found)
                case = {"series": name, "number": number, "verdict": told, **found}
                case["seconds"] = round(time.monotonic() - begun, 2)
                stream.write(f"{json.dumps(case)}\n")
                stream.flush()
                done[name, number] = case
                if told in series.columns.bad:
                    print(json.dumps(case), file=sys.stderr, flush=True)
            os.chdir(out)
    cases = list(done.values())
    print(tables(cases, COLUMNS))
    sys.exit(bool(bad(cases, COLUMNS)))


def part(text: str) -> tuple[int, int]:
    """Return I and N of I/N.

    >>> part("2/3")
    (2, 3)
    """
    this, _, all = text.partition("/")
    if not 1 <= int(this) <= int(all):
        raise ValueError
    return int(this), int(all)


def count_of(name: str, arguments: argparse.Namespace) -> int:
    """Return how many cases of a series are asked for; none, where others are named."""
    asked = getattr(arguments, name)
    if asked is not None:
        return asked
    if any(getattr(arguments, other) is not None for other in SERIES):
        return 0
    return SERIES[name].cut if arguments.cut else SERIES[name].whole


def parsed() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/torture"), help="folder of the cases"
    )
    parser.add_argument("--cut", action="store_true", help="the cut of five minutes")
    parser.add_argument(
        "--part", type=part, default=(1, 1), metavar="I/N", help="every Nth case, for N processes"
    )
    parser.add_argument("--again", action="store_true", help="do the bad cases again")
    parser.add_argument("--seed", type=int, default=0, help="other cases for another")
    for name, series in SERIES.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {series.whole}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
