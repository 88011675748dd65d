"""Five ways to use scores: error by round, error at the end by acceptance, acceptance by round."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures.style import (
    COLORS,
    Figure,
    Measured,
    Rows,
    band,
    column,
    line,
    panels,
    patch,
    select,
    values,
)

MARKS = {"error_truth": "to truth", "error_center": "to centre"}


def draw(rows: Rows) -> Figure:
    """Error to the truth by round at each bias; the last errors by acceptance; the rows used."""
    biases = values(rows, "bias")
    fractions = values(rows, "fraction")
    shown = fractions[len(fractions) // 2]
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    figure, axes = panels(1, 3, height=2.7)
    last = max(values(rows, "round"))
    for color, rule in zip(COLORS, rules, strict=False):
        arm = select(rows, rule=rule, bias=biases[-1], fraction=shown)
        x = column(arm, "round")
        band(axes[0, 0], x, arm, "error_truth", color=color, label=rule)
        axes[0, 0].plot(x, column(arm, "expected_error_truth"), "--", color="black", lw=0.8)
        used = column(arm, "kept")[1:] / column(arm, "candidates")[1:]
        axes[0, 2].plot(x[1:], used, color=color)
        _by_fraction(axes[0, 1], select(rows, rule=rule, bias=biases[0], round=last), color)
    axes[0, 0].set(
        title=f"bias {biases[-1]:g}, acceptance {shown:g}",
        xlabel="round $k$",
        ylabel=r"$\|\hat\theta_k-\theta_*\|^2/\sigma^2$",
        yscale="log",
    )
    axes[0, 1].set(
        title=f"bias {biases[0]:g}, round {last}",
        xlabel="acceptance, effective size",
        ylabel=r"$\|\hat\theta_k-\theta_c\|^2/\sigma^2$",
        yscale="log",
    )
    axes[0, 2].set(title="rows in the fit / candidates", xlabel="round $k$", ylim=(0, 1.05))
    for panel in (axes[0, 0], axes[0, 2]):
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles.append(line("exact, given the round before", color="black", ls="--", lw=0.8))
    handles.append(patch(f"middle 90 % of n = {rows[0]['replicates']}", "black", 0.12))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _by_fraction(panel: Any, rows: Rows, color: str) -> None:
    """Draw the last error to the centre with its 95 % interval, and the exact one."""
    rows = sorted(rows, key=lambda row: row["fraction"])
    x = column(rows, "fraction")
    error = 1.96 * np.nan_to_num(column(rows, "error_center_se"))
    panel.errorbar(x, column(rows, "error_center"), error, fmt="o", ms=3, color=color, capsize=2)
    panel.plot(x, column(rows, "expected_error_center"), "--", color="black", lw=0.8)


def summarise(rows: Rows) -> dict[str, Measured]:
    """Both last errors and their law, the gain over no verifier, and the fit of all rounds."""
    numbers = {}
    last = max(values(rows, "round"))
    for row in select(rows, round=last):
        for name, label in MARKS.items():
            numbers[f"{row['arm']}: error {label}, round {last}"] = Measured(
                row[name], row[f"{name}_se"], row[f"expected_{name}"]
            )
        if row["rule"] != "no verifier":
            numbers[f"{row['arm']}: paired gain over no verifier, round {last}"] = Measured(
                row["gain_truth"], row["gain_truth_se"]
            )
    for rule in dict.fromkeys(row["rule"] for row in rows):
        later = [row for row in select(rows, rule=rule) if row["error_truth_z"] is not None]
        z = column(later, "error_truth_z")
        if len(z):
            numbers[f"{rule}: rms z of {len(z)} errors to truth, given the round before"] = (
                Measured(float(np.sqrt(np.mean(z**2))), float(1 / np.sqrt(2 * len(z))), 1.0)
            )
    return numbers
