"""Distances and agreement by round for each verifier, and where each ends against what it was
trained on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures._mnist import LABELS, MAIN, legend, thin
from figures._seeds import curve, difference, ends, metrics
from figures.style import GREY, Figure, Measured, Rows, line, panels, plt, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "verifier_accuracy")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one line a verifier."""
    names = metrics(rows, METRICS)
    sizes = _sizes(rows)
    last = max(row["round"] for row in rows)
    shades = plt.colormaps["viridis"](np.linspace(0, 0.95, len(sizes)))
    colors = dict(zip(sizes, shades, strict=True))
    figure, axes = panels(1, len(names), height=2.6)
    for panel, name in zip(axes[0], names, strict=True):
        for size, color in colors.items():
            curve(panel, select(rows, verifier_size=size), name, color=color)
            thin(
                panel, "mnist_verifier_size", str(size), name, verified=True, last=last, color=color
            )
        if name != "verifier_accuracy":
            curve(panel, select(rows, verified=False), name, color=GREY, ls="--")
        panel.set(title=LABELS[name], xlabel="round $k$")
    handles: list[Any] = []
    for size, color in colors.items():
        label = "the generator's own" if size == "initial" else f"{size:,}"
        handles.append(line(label, color=color))
    handles += [line("no verifier", color=GREY, ls="--")]
    legend(figure, rows, handles, title="real images the verifier learns from")
    return figure


def _sizes(rows: Rows) -> list[Any]:
    sizes = {row["verifier_size"] for row in rows if row["verified"]}
    return sorted(sizes, key=lambda size: 0 if size == "initial" else size)


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each verifier's arm moved, and how far it ended from no verifier."""
    numbers: dict[str, Measured] = {}
    for size in _sizes(rows):
        for name in MAIN:
            first, last = ends(rows, name, verifier_size=size)
            numbers[f"verifier of {size}, {name}: last - round 0"] = difference(last - first)
            numbers[f"verifier of {size}, {name}: last - unverified"] = difference(
                last - ends(rows, name, verified=False)[1]
            )
    return numbers
