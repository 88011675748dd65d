"""Maps of one round's log improvement, and the z-scores of the Monte Carlo."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm

from figures.style import Figure, Measured, Rows, column, grid, panels, select, values

LEVELS = np.linspace(-0.8, 0.8, 6)


def draw(rows: Rows) -> Figure:
    """Three maps with the exact zero-improvement curve, and the Monte Carlo's z-scores, for each
    noise.
    """
    noises = values(rows, "noise")
    figure, axes = panels(len(noises), 4, height=2.1, width_ratios=[1, 1, 1, 0.9])
    titles = {
        "exact": "exact",
        "expansion": "Theorem 3.1",
        "mean": f"Monte Carlo, n = {rows[0]['replicates']}",
    }
    for row, noise in zip(axes, noises, strict=True):
        cells = select(rows, noise=noise)
        for panel, (name, title) in zip(row, titles.items(), strict=False):
            _map(panel, cells, name)
            panel.set(title=title, xlabel=rf"bias $\Delta$  ($\sigma$ = {noise:g})")
        row[0].set_ylabel(r"radius $r$")
        row[0].annotate("no gain", (0.335, 0.44), fontsize=6.5, rotation=-88, va="center")
        row[0].annotate(r"$\Delta = r$", (0.12, 0.18), fontsize=6.5, rotation=50)
        colors = plt.cm.ScalarMappable(BoundaryNorm(LEVELS, 256, extend="both"), "RdYlBu")
        bar = figure.colorbar(colors, ax=row[:3], shrink=0.9, pad=0.02)
        bar.set_label(r"$\log(\|\hat\theta_0-\theta_*\| / \|\hat\theta_1-\theta_*\|)$", fontsize=7)
        _scores(row[3], cells)
    return figure


def _map(panel: Any, cells: Rows, name: str) -> None:
    bias, radius, mse = grid(cells, name, "radius", "bias")
    exact = grid(cells, "exact", "radius", "bias")[2]
    improvement, truth = (0.5 * np.log(cells[0]["baseline"] / table) for table in (mse, exact))
    norm = BoundaryNorm(LEVELS, 256, extend="both")
    panel.pcolormesh(
        bias, radius, improvement, norm=norm, cmap="RdYlBu", shading="nearest", rasterized=True
    )
    if min(truth.shape) > 1:
        panel.contour(bias, radius, truth, levels=[0], colors="black", linewidths=1)
    panel.plot([0, 1], [0, 1], ":", color="black", lw=0.8)
    panel.set(xlim=(min(bias), max(bias)), ylim=(min(radius), max(radius))) if min(
        truth.shape
    ) > 1 else None


def _scores(panel: Any, cells: Rows) -> None:
    z = (column(cells, "mean") - column(cells, "exact")) / column(cells, "standard_error")
    z = z[np.isfinite(z)]
    if len(z):
        panel.hist(z, bins=np.linspace(-5, 5, 41), density=True, color="#56B4E9")
    line = np.linspace(-5, 5, 200)
    panel.plot(line, np.exp(-(line**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=0.8)
    panel.set(title=f"rms z = {np.sqrt(np.mean(z**2)) if len(z) else np.nan:.2f}")
    panel.set(xlabel="z of a cell", yticks=[])


def summarise(rows: Rows) -> dict[str, Measured]:
    """The gain without bias and the zero-improvement bias at the ends of the radii, and the Monte
    Carlo's fit.
    """
    numbers = {}
    for radius in (min(values(rows, "radius")), max(values(rows, "radius"))):
        cells = sorted(
            select(rows, radius=radius, noise=rows[0]["noise"]), key=lambda row: row["bias"]
        )
        for name, title in (("exact", "exact"), ("expansion", "Theorem 3.1")):
            gain = 0.5 * np.log(column(cells, "baseline") / column(cells, name))
            numbers[f"{title}: log improvement, bias {cells[0]['bias']:g}, radius {radius:g}"] = (
                Measured(gain[0])
            )
            if gain[0] > 0 > gain[-1]:
                crossing = float(np.interp(0, -gain, column(cells, "bias")))
                numbers[f"{title}: zero-improvement bias, radius {radius:g}"] = Measured(crossing)
    gap = column(rows, "mean") - column(rows, "exact")
    error = column(rows, "standard_error")
    if np.isfinite(error).all():
        z = gap.sum() / np.sqrt(np.sum(error**2))
        numbers["z of all cells' mean gap, Monte Carlo - exact"] = Measured(z, 1.0)
    return numbers
