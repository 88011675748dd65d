"""ROUGE of each point that curves of summaries are compared with, on the test articles."""

from __future__ import annotations

import numpy as np

from figures._seeds import difference
from figures.style import COLORS, Figure, Measured, Rows, panels, select
from veriloop.records import interval

LABELS = {"test_rouge1": "ROUGE-1", "test_rouge2": "ROUGE-2", "test_rougeL": "ROUGE-L"}


def draw(rows: Rows) -> Figure:
    """One panel a ROUGE, one row a point; bars are 95 % intervals, over what the row says."""
    names = list(dict.fromkeys(row["arm"] for row in rows))
    figure, axes = panels(1, len(LABELS), height=1.5, sharey=True)
    for panel, (metric, label) in zip(axes.flat, LABELS.items(), strict=True):
        for place, name in enumerate(names):
            middle, low, high = _interval(select(rows, arm=name), metric)
            panel.plot([low, high], [place, place], color=COLORS[0])
            panel.plot([middle], [place], color=COLORS[0], marker="o", ms=4)
        panel.set(title=label, ylim=(len(names) - 0.5, -0.5))
        panel.set_yticks(range(len(names)), [_named(rows, name) for name in names])
    figure.supxlabel("F1, higher is better; bars are 95 % intervals", fontsize="medium")
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """Return each point's ROUGE-1 on the test articles."""
    numbers: dict[str, Measured] = {}
    for name in dict.fromkeys(row["arm"] for row in rows):
        sample = [row["test_rouge1"] for row in select(rows, arm=name)]
        numbers[f"{name}: ROUGE-1"] = difference(np.array(sample))
    return numbers


def _named(rows: Rows, name: str) -> str:
    """Return the name of a point, and what its interval is over."""
    n = len(select(rows, arm=name))
    return f"{name}\n(over {n} starts)" if n > 1 else f"{name}\n(over articles)"


def _interval(rows: Rows, metric: str) -> tuple[float, float, float]:
    """Return the mean and the ends of its interval."""
    if len(rows) > 1:
        middle, low, high = interval([row[metric] for row in rows])
        return middle, low, high
    (row,) = rows
    return row[metric], row[f"{metric}_low"], row[f"{metric}_high"]
