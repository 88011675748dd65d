"""One figure style: column width, colour-blind safe, nothing hidden in defaults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from veriloop.study import Measured as Measured

Rows = Sequence[dict[str, Any]]

# Okabe and Ito's palette, told apart by people with any common colour-vision deficiency; grey is
# "unverified".
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#6E6E6E"

plt.rcParams.update(
    {
        "font.size": 7.5,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "legend.fontsize": 6.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.2,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
    }
)


def panels(
    rows: int, columns: int, *, width: float = 7.0, height: float = 2.3, **options: Any
) -> tuple[Figure, Any]:
    """Return a figure `width` inches wide and its axes, an array of shape (rows, columns)."""
    return plt.subplots(rows, columns, figsize=(width, height * rows), squeeze=False, **options)


def select(rows: Iterable[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """Return the rows whose named values are the wanted ones."""
    return [row for row in rows if _has(row, wanted)]


def _has(row: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in wanted.items())


def published_is_drawn(figure: Figure) -> bool:
    """Tell whether a panel has a line of published numbers, which is named so when it is drawn."""
    for panel in figure.axes:
        if any(each.get_gid() == "published" for each in panel.lines):
            return True
    return False


def values(rows: Iterable[dict[str, Any]], name: str) -> list[Any]:
    """Return the different values of one column, None left out, in order."""
    return sorted({row[name] for row in rows if row.get(name) is not None})


def column(rows: Iterable[dict[str, Any]], name: str) -> np.ndarray:
    """Return one column as floats; null becomes NaN."""
    found = [row.get(name) for row in rows]
    return np.array(found, dtype=float)  # None becomes NaN


def grid(rows: Rows, name: str, y: str, x: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x values, y values and the table of one column over them, shape (y, x)."""
    xs = values(rows, x)
    ys = values(rows, y)
    table = np.full((len(ys), len(xs)), np.nan)
    for row, value in zip(rows, column(rows, name), strict=True):
        table[ys.index(row[y]), xs.index(row[x])] = value
    return np.array(xs), np.array(ys), table


def band(
    axes: Any, x: Any, rows: list[dict[str, Any]], name: str, *, color: str, **options: Any
) -> None:
    """Draw a mean over the replicates with the range of the middle 90 % of them."""
    axes.fill_between(
        x, column(rows, f"{name}_low"), column(rows, f"{name}_high"), color=color, alpha=0.12, lw=0
    )
    axes.plot(x, column(rows, name), color=color, **options)


def line(label: str, **options: Any) -> Line2D:
    """Return a line for a legend."""
    return Line2D([], [], label=label, **options)


def patch(label: str, color: str, alpha: float = 1.0) -> Rectangle:
    """Return a filled square for a legend."""
    return Rectangle((0, 0), 1, 1, color=color, alpha=alpha, label=label)
