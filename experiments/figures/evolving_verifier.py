"""Distances, agreement, and the verifier's accuracy by round, for verifiers that evolve in several
ways.
"""

from __future__ import annotations

from typing import Any

from figures._mnist import MAIN, by_round
from figures._seeds import difference, ends
from figures.style import COLORS, GREY, Figure, Measured, Rows, line, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "verifier_accuracy", "passed")
NAMES = {
    "once": "once",
    "retrained": "anew every round",
    "continued": "going on from the last",
    "cumulative": "anew, against all models",
    "grown": "anew, on more real images",
}


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a way."""
    arms: list[tuple[Rows, dict[str, Any]]] = []
    handles: list[Any] = []
    for (way, label), color in zip(NAMES.items(), COLORS, strict=False):
        arms.append((select(rows, way=way), {"color": color}))
        handles.append(line(label, color=color))
    arms.append((select(rows, verified=False), {"color": GREY, "ls": "--"}))
    handles.append(line("no verifier", color=GREY, ls="--"))
    return by_round(rows, METRICS, arms, handles, title="verifier trained")


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each way's arm moved, and how far it ended from no verifier and from one trained anew
    every round.
    """
    numbers: dict[str, Measured] = {}
    for way in NAMES:
        for name in MAIN:
            first, last = ends(rows, name, way=way)
            numbers[f"{way}, {name}: last - round 0"] = difference(last - first)
            numbers[f"{way}, {name}: last - unverified"] = difference(
                last - ends(rows, name, verified=False)[1]
            )
        for name in (*MAIN, "verifier_accuracy") if way != "retrained" else ():
            _, mine = ends(rows, name, start=1, way=way)
            _, other = ends(rows, name, start=1, way="retrained")
            numbers[f"{way}, {name}: last - retrained"] = difference(mine - other)
        first, last = ends(rows, "verifier_accuracy", start=1, way=way)
        numbers[f"{way}, verifier_accuracy: last - round 1"] = difference(last - first)
    return numbers
