"""The tables of what was attacked: a row for each place, a column for each verdict."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Found = dict[str, Any]
Cases = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Columns:
    """The verdicts of a series.

    good: what the library promises. bad: what must not be.
    sums: fields of a case that are added up -> what their column is called.
    """

    good: tuple[str, ...]
    bad: tuple[str, ...]
    sums: Mapping[str, str] = field(default_factory=dict)


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


def bad(cases: Cases, columns: Mapping[str, Columns]) -> list[Mapping[str, Any]]:
    """Return the cases that came to something that they must not."""
    return [case for case in cases if case["verdict"] not in columns[case["series"]].good]


def tables(cases: Cases, columns: Mapping[str, Columns]) -> str:
    """Return one Markdown table a series that has cases."""
    found: list[str] = []
    for name, those in columns.items():
        mine = [case for case in cases if case["series"] == name]
        if mine:
            found.append(_table(name, mine, those))
    return "\n\n".join(found)


def _table(name: str, cases: Cases, columns: Columns) -> str:
    verdicts = [*columns.good, *columns.bad]
    heads = [name, "cases", *columns.sums.values(), *verdicts]
    lines = [line(heads), line(["---", *["--:"] * (len(heads) - 1)])]
    places = sorted({case["where"] for case in cases})
    for place in places:
        mine = [case for case in cases if case["where"] == place]
        lines.append(line([place, *_counts(mine, columns)]))
    if len(places) > 1:
        lines.append(line(["sum", *_counts(cases, columns)]))
    return "\n".join(lines)


def _counts(cases: Cases, columns: Columns) -> list[str]:
    told = Counter(case["verdict"] for case in cases)
    sums = [sum(case[name] for case in cases) for name in columns.sums]
    counts = [told[verdict] for verdict in (*columns.good, *columns.bad)]
    return [f"{number:,}" for number in (len(cases), *sums, *counts)]


def line(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
