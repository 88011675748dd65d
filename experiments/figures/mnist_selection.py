"""Distances, agreement and how evenly digits are drawn, by round, for filters of one acceptance."""

from __future__ import annotations

from figures._mnist import MAIN, by_round
from figures._seeds import difference, ends
from figures.style import COLORS, GREY, Figure, Measured, Rows, line, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "recall", "lowest_kept")
NAMES = {"top": "best of each digit", "threshold": "one threshold"}


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a filter."""
    arms = []
    handles = []
    for name, color in zip(_selections(rows), COLORS, strict=False):
        arms.append((select(rows, selection=name), {"color": color}))
        handles.append(line(_label(name), color=color))
    arms.append((select(rows, verified=False), {"color": GREY, "ls": "--"}))
    handles.append(line("no verifier", color=GREY, ls="--"))
    return by_round(
        rows,
        METRICS,
        arms,
        handles,
        title="kept, or by lots of weight exp(score / T), at one acceptance",
    )


def _selections(rows: Rows) -> list[str]:
    """Return the names of the verified arms, in the order of their rows."""
    return list(dict.fromkeys(row["selection"] for row in rows if row["verified"]))


def _label(name: str) -> str:
    if name in NAMES:
        return NAMES[name]
    temperature = name.split()[1]
    return f"lots, T = {temperature}"


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each filter's arm ended from round 0, from no verifier, and from the top fraction."""
    numbers: dict[str, Measured] = {}
    for name in _selections(rows):
        for metric in (*MAIN, "recall"):
            first, last = ends(rows, metric, selection=name)
            numbers[f"{name}, {metric}: last - round 0"] = difference(last - first)
            _, unverified = ends(rows, metric, verified=False)
            numbers[f"{name}, {metric}: last - unverified"] = difference(last - unverified)
            if name != "top":
                _, top = ends(rows, metric, selection="top")
                numbers[f"{name}, {metric}: last - top"] = difference(last - top)
    return numbers
