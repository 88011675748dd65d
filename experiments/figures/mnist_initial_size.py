"""Distances, agreement and ELBO by round for first models of different size."""

from __future__ import annotations

from figures._mnist import LABELS, MAIN, legend, thin
from figures._seeds import STYLE, curve, gains, metrics
from figures.style import COLORS, Figure, Measured, Rows, line, panels, select, values

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "recall")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a size."""
    names = metrics(rows, METRICS)
    sizes = values(rows, "initial")
    last = max(row["round"] for row in rows)
    figure, axes = panels(1, len(names), height=2.6)
    for panel, name in zip(axes[0], names, strict=True):
        for color, size in zip(COLORS, sizes, strict=False):
            for verified, style in STYLE.items():
                curve(
                    panel,
                    select(rows, initial=size, verified=verified),
                    name,
                    color=color,
                    ls=style,
                )
                thin(
                    panel,
                    "mnist_initial_size",
                    str(size),
                    name,
                    verified=verified,
                    last=last,
                    color=color,
                )
        panel.set(title=LABELS[name], xlabel="round $k$")
    handles = [
        line(f"{size:,} real images", color=color)
        for color, size in zip(COLORS, sizes, strict=False)
    ]
    legend(figure, rows, handles, arms=True)
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each arm moved by the last round."""
    numbers: dict[str, Measured] = {}
    for size in values(rows, "initial"):
        numbers |= gains(rows, f"first model of {size}, ", MAIN, initial=size)
    return numbers
