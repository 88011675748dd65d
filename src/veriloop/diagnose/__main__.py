"""Print alarms and advice for every arm of a run: python -m veriloop.diagnose RUN [METRIC]."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from veriloop.diagnose.advice import advise
from veriloop.diagnose.alarms import WATCHED, alarm
from veriloop.records import Records


def report(folder: Path, metric: str = "error_truth", alpha: float = 0.05) -> Iterator[str]:
    """Yield the lines of each arm; a false alarm in an arm has at most the probability `alpha`."""
    rows = Records([row for row in Records.read(folder) if "round" in row])
    for arm in dict.fromkeys(row.get("arm") for row in rows):
        own = rows.select(arm=arm)
        rounds = {name: _rounds_with(own, name) for name in (*WATCHED, metric)}
        watched = [name for name in WATCHED if len(rounds[name]) > 1]
        if watched:
            yield f"{arm}"
        for name in watched:
            yield f"  {alarm(own, name, alpha=alpha / len(watched))}"
        if len(rounds[metric]) > 4:
            yield f"  {metric}: {advise(own, metric)}".replace("\n", "\n  ")


def _rounds_with(rows: Records, metric: str) -> set[int]:
    """Return the rounds that have a number for the metric."""
    if metric not in rows.metrics:
        return set()
    known = ~np.isnan(rows.column(metric))
    return {row["round"] for row, there in zip(rows, known, strict=True) if there}


def main(arguments: list[str]) -> None:
    """Print the report of a run: its folder comes first, a metric for advice second."""
    if len(arguments) not in (1, 2) or not (Path(arguments[0]) / "records.jsonl").exists():
        sys.exit("usage: python -m veriloop.diagnose RUN [METRIC], RUN a folder with records.jsonl")
    metric = arguments[1] if len(arguments) == 2 else "error_truth"
    try:
        print("\n".join(report(Path(arguments[0]), metric)))
    except ValueError as error:
        sys.exit(f"{arguments[0]}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
