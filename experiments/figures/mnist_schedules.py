"""Distances, agreement and ELBO by round; images of the start, of both arms' ends, and of a model
of real data.
"""

from __future__ import annotations

from typing import Any

from figures._mnist import LABELS, MAIN, legend, show, thin
from figures._seeds import STYLE, curve, difference, ends, gains, mean, metrics
from figures.style import COLORS, Figure, Measured, Rows, line, plt, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "recall")


def draw(rows: Rows) -> Figure:
    """Metrics above, images of the first seed below."""
    names = metrics(rows, METRICS)
    figure = plt.figure(figsize=(7.0, 4.2))
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 0.72))
    above, below = parts
    last = max(row["round"] for row in rows)
    sizes = list(dict.fromkeys(row["size"] for row in rows if row["size"]))
    for panel, name in zip(above.subplots(1, len(names)), names, strict=True):
        for color, size in zip(COLORS, sizes, strict=False):
            for verified, style in STYLE.items():
                curve(
                    panel, select(rows, size=size, verified=verified), name, color=color, ls=style
                )
                thin(
                    panel, "mnist_schedules", size, name, verified=verified, last=last, color=color
                )
        best, _ = mean([row[name] for row in select(rows, arm="real")])
        panel.axhline(best, color="black", lw=0.8, ls=":")
        panel.set(title=LABELS[name], xlabel="round $k$")
    seed = rows[0]["seed"]
    handles = [
        line(f"{size} kept", color=color) for color, size in zip(COLORS, sizes, strict=False)
    ]
    handles += [line("fitted to all real images", color="black", ls=":", lw=0.8)]
    legend(above, rows, handles, arms=True)
    chosen = select(rows, seed=seed, size=sizes[-1])
    grids = {
        "round 0": select(chosen, verified=True, round=0)[0],
        f"verified, round {last}": select(chosen, verified=True, round=last)[0],
        f"unverified, round {last}": select(chosen, verified=False, round=last)[0],
        "fitted to all real images": select(rows, seed=seed, arm="real")[0],
    }
    for panel, (title, row) in zip(below.subplots(1, 4), grids.items(), strict=True):
        show(panel, row, title)
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each arm moved by the last round, and the model of real data."""
    numbers: dict[str, Any] = {}
    for size in dict.fromkeys(row["size"] for row in rows if row["size"]):
        numbers |= gains(rows, f"{size}, ", MAIN, size=size)
    for name in MAIN:
        numbers[f"real data, {name}"] = difference(ends(rows, name, arm="real")[0])
    return numbers
