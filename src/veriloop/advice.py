"""Print alarms and advice for every arm of a finished or running run: python -m veriloop.advice RUN [METRIC]."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from veriloop.core.advice import WATCHED, advise, alarm


def report(folder: Path, metric: str = "error_truth", alpha: float = 0.05) -> Iterator[str]:
    """Yield the lines for each arm of records.jsonl; alarms of one arm are false together at most `alpha` often."""
    rows = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    for arm in dict.fromkeys(row.get("arm") for row in rows if "round" in row):
        own = [row for row in rows if row.get("arm") == arm and "round" in row]
        yield f"{arm}"
        watched = [name for name in WATCHED if len({row["round"] for row in own if row.get(name) is not None}) > 1]
        for name in watched:
            try:
                yield f"  {alarm(own, name, alpha=alpha / len(watched))}"
            except ValueError as error:
                yield f"  {error}"
        if len({row["round"] for row in own if row.get(metric) is not None}) > 4:
            yield f"  {metric}: {advise(own, metric)}".replace("\n", "\n  ")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not (Path(sys.argv[1]) / "records.jsonl").exists():
        sys.exit("usage: python -m veriloop.advice RUN [METRIC], with RUN a folder that holds records.jsonl")
    print("\n".join(report(Path(sys.argv[1]), *sys.argv[2:3])))
