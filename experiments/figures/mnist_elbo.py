"""ELBO and its parts, distances, and the verifier's accuracy by round under growing schedules."""

from __future__ import annotations

from figures._mnist import LABELS, legend, thin
from figures._seeds import STYLE, curve, gains, metrics
from figures.style import COLORS, Figure, Measured, Rows, line, panels, select

METRICS = ("nelbo", "reconstruction", "kl", "mnist_fid", "fid", "verifier_accuracy")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a schedule."""
    names = metrics(rows, METRICS)
    last = max(row["round"] for row in rows)
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, axes = panels(1, len(names), height=2.6)
    for panel, name in zip(axes[0], names, strict=True):
        for color, size in zip(COLORS, sizes, strict=False):
            for verified, style in STYLE.items():
                if verified or name != "verifier_accuracy":
                    curve(
                        panel,
                        select(rows, size=size, verified=verified),
                        name,
                        color=color,
                        ls=style,
                    )
                thin(panel, "mnist_elbo", size, name, verified=verified, last=last, color=color)
        panel.set(title=LABELS[name], xlabel="round $k$")
    handles = [line(size, color=color) for color, size in zip(COLORS, sizes, strict=False)]
    legend(figure, rows, handles, arms=True)
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each arm moved by the last round."""
    names = ("nelbo", "reconstruction", "kl", "mnist_fid")
    numbers: dict[str, Measured] = {}
    for size in dict.fromkeys(row["size"] for row in rows):
        numbers |= gains(rows, f"{size}, ", names, size=size)
    return numbers
