"""Distances, agreement and the verifier's accuracy by round, for verifiers trained once and every
round.
"""

from __future__ import annotations

from figures._mnist import LABELS, MAIN, legend, show
from figures._seeds import curve, difference, ends, metrics
from figures.style import COLORS, GREY, Figure, Measured, Rows, line, plt, select

TRAINED = ("each round", "once", "on many")
NAMES = (
    "retrained every round",
    "once, on a model of all real images",
    "once, on models of several sizes",
)
METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "verifier_accuracy", "passed")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a way to train; below, images of the first seed at the end."""
    names = metrics(rows, METRICS)
    last = max(row["round"] for row in rows)
    figure = plt.figure(figsize=(7.0, 4.6))
    above, below = figure.subfigures(2, 1, height_ratios=(1, 0.85))  # pyright: ignore[reportGeneralTypeIssues]
    for panel, name in zip(above.subplots(1, len(names)), names, strict=True):
        for color, way in zip(COLORS, TRAINED, strict=False):
            curve(panel, select(rows, trained=way), name, color=color)
        if name not in ("verifier_accuracy", "passed"):
            curve(panel, select(rows, verified=False), name, color=GREY, ls="--")
        panel.set(title=LABELS[name], xlabel="round $k$")
    handles = [line(label, color=color) for color, label in zip(COLORS, NAMES, strict=False)]
    legend(above, rows, [*handles, line("no verifier", color=GREY, ls="--")])
    chosen = select(rows, seed=rows[0]["seed"], round=last)
    for panel, way in zip(below.subplots(1, 4), (*TRAINED, None), strict=True):
        show(panel, select(chosen, trained=way)[0], f"{way or 'no verifier'}, round {last}")
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each verifier's arm moved, and how far it ended from no verifier."""
    numbers: dict[str, Measured] = {}
    for way in TRAINED:
        for name in MAIN:
            first, last = ends(rows, name, trained=way)
            numbers[f"{way}, {name}: last - round 0"] = difference(last - first)
            numbers[f"{way}, {name}: last - unverified"] = difference(
                last - ends(rows, name, verified=False)[1]
            )
    return numbers
