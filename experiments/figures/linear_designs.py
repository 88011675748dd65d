"""Error by round on each design, and the maps of the best estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap

from figures.style import (
    COLORS,
    Figure,
    Measured,
    Rows,
    band,
    column,
    grid,
    panels,
    patch,
    select,
    values,
)

STRATEGIES = (
    "real",
    "filtered real",
    "filtered synthetic",
    "filtered synthetic from filtered real",
)


def draw(rows: Rows) -> Figure:
    """Error by round on each design; the best strategy over the two maps."""
    figure, axes = panels(1, 3, height=2.8)
    designs = list(dict.fromkeys(row["arm"] for row in select(rows, part="rounds")))
    for color, name, style in zip(COLORS, designs, ("-", "--", "-", "--"), strict=False):
        arm = select(rows, arm=name)
        band(
            axes[0, 0], column(arm, "round"), arm, "error_center", color=color, label=name, ls=style
        )
    axes[0, 0].set(
        xlabel="round $k$", ylabel=r"$\|\hat\theta_k-\theta_c\|^2/\sigma^2$", yscale="log"
    )
    axes[0, 0].set_title(f"designs, middle 90 % of n = {rows[0]['replicates']}")
    axes[0, 0].set_ylim(top=6 * axes[0, 0].get_ylim()[1])  # room for the legend
    axes[0, 0].legend()
    titles = {"mean": ("best for the mean of N(0, 1)", "interval's shift", "interval's width")}
    titles["regression"] = ("best for regression", r"bias $\Delta$", "radius $r$")
    for panel, (part, (title, x, y)) in zip(axes[0, 1:], titles.items(), strict=True):
        _best(panel, select(rows, part=part))
        panel.set(title=title, xlabel=f"{x} / $\\sigma$", ylabel=f"{y} / $\\sigma$")
    handles = [patch(name, color) for name, color in zip(STRATEGIES, COLORS, strict=False)]
    handles.append(patch("pale: lead within 2 s.e.", "black", 0.2))
    figure.legend(handles=handles, loc="outside lower right", ncols=3)
    return figure


def _best(panel: Any, rows: Rows) -> None:
    """Colour each cell by the best estimate, pale where its lead over the next is within two
    standard errors.
    """
    tables = {
        name: grid(rows, name, "radius", "bias")[2] for name in (*STRATEGIES, "lead", "lead_se")
    }
    best = np.argmin([tables[name] for name in STRATEGIES], axis=0)
    x, y, _ = grid(rows, "lead", "radius", "bias")
    alpha = np.where(tables["lead"] > 2 * tables["lead_se"], 1.0, 0.35)
    norm = BoundaryNorm(np.arange(5) - 0.5, 4)
    panel.pcolormesh(
        x, y, best, cmap=ListedColormap(COLORS[:4]), norm=norm, alpha=alpha, rasterized=True
    )


def summarise(rows: Rows) -> dict[str, Measured]:
    """Each design's last round, and the share of each map where synthetic data are the best."""
    last = [
        row for row in select(rows, part="rounds") if row["round"] == max(values(rows, "round"))
    ]
    numbers = {
        f"{row['arm']}: error to centre, round {row['round']}": Measured(
            row["error_center"], row["error_center_se"]
        )
        for row in last
    }
    for part in ("mean", "regression"):
        table = np.array([column(select(rows, part=part), name) for name in STRATEGIES])
        numbers[f"{part} map: share where synthetic is best"] = Measured(
            float(np.mean(np.argmin(table, axis=0) >= 2))
        )
    return numbers
