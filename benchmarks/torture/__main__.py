"""Torture: kills, damages, bad input, pairs of runs and verifiers, counted in a table.

python benchmarks/torture            all series, some hours
python benchmarks/torture --cut      a cut of five minutes
python benchmarks/torture --kills 9  one series, of nine cases

Each case is written to OUT/cases.jsonl as it ends, and one that is there is not done again, so a
run that was stopped goes on. Cases are numbered, and case k is the same in every run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where this package lies

from torture import damages, inputs, kills, pairs, verifiers
from veriloop import Key

Found = dict[str, Any]


class Series(NamedTuple):
    """Cases of one kind: how they are done, what each comes to, and how many there are."""

    attack: Callable[[Path], Callable[[int, Key], Found]]
    verdict: Callable[[Found], str]
    whole: int
    cut: int
    good: tuple[str, ...]


SERIES = {
    "kills": Series(kills.Kills, kills.verdict, 200, 12, ("same bytes",)),
    "damages": Series(
        damages.Damages,
        damages.verdict,
        300,
        16,
        ("named, redone, same", "no effect", "refused"),
    ),
    "configurations": Series(
        inputs.Configurations, inputs.verdict, 3000, 400, ("refused", "accepted")
    ),
    "lines": Series(inputs.Lines, inputs.verdict, 150, 16, ("refused", "accepted")),
    "pairs": Series(pairs.Pairs, pairs.verdict, 30, 4, ("one refused", "one after the other")),
    "verifiers": Series(verifiers.Verifiers, verifiers.verdict, 40, 25, ("refused", "judged")),
}


def main() -> None:
    """Do the cases that are not done yet; exit with 1 if one came to something bad."""
    arguments = parsed()
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "cases.jsonl"
    done = known(file)
    asked = {name: getattr(arguments, name) for name in SERIES}
    alone = any(count is not None for count in asked.values())
    for name, series in SERIES.items():
        count = asked[name]
        if count is None:
            count = 0 if alone else series.cut if arguments.cut else series.whole
        with tempfile.TemporaryDirectory() as folder, open(file, "a") as stream:
            attack = series.attack(Path(folder).resolve())
            for number in range(count):
                if (name, number) in done:
                    continue
                begun = time.monotonic()
                found = attack(number, Key(arguments.seed).fold(name, number))
                told = series.verdict(found)
                case = {"series": name, "number": number, "verdict": told, **found}
                case["seconds"] = round(time.monotonic() - begun, 2)
                stream.write(f"{json.dumps(case)}\n")
                stream.flush()
                done[name, number] = case
                if told not in series.good:
                    print(json.dumps(case), file=sys.stderr, flush=True)
    print(table(list(done.values())))
    sys.exit(bool(bad(list(done.values()))))


def parsed() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="torture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/torture"), help="folder of the cases"
    )
    parser.add_argument("--cut", action="store_true", help="the cut of five minutes")
    parser.add_argument("--seed", type=int, default=0, help="other cases for another")
    for name, series in SERIES.items():
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"default {series.whole}")
    return parser.parse_args()


def known(file: Path) -> dict[tuple[str, int], Found]:
    """Return the cases that are done; a last line that was cut is none."""
    cases: dict[tuple[str, int], Found] = {}
    if not file.exists():
        return cases
    for line in file.read_text().splitlines():
        try:
            case = json.loads(line)
        except ValueError:
            continue
        cases[case["series"], case["number"]] = case
    return cases


def bad(cases: list[Found]) -> list[Found]:
    """Return the cases that came to something that they must not."""
    return [case for case in cases if case["verdict"] not in SERIES[case["series"]].good]


def table(cases: list[Found]) -> str:
    """Return the counts as a Markdown table."""
    lines = ["| series | cases | bad | what they came to |", "|---|--:|--:|---|"]
    for name in SERIES:
        mine = [case for case in cases if case["series"] == name]
        if not mine:
            continue
        counts = Counter(case["verdict"] for case in mine)
        told = ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
        lines.append(f"| {name} | {len(mine)} | {len(bad(mine))} | {told} |")
    killed = sum(case.get("kills", 0) for case in cases)
    if killed:
        lines += ["", f"SIGKILLs that hit a running process: {killed}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
