"""Mean and variance of the reward by round, and what variance a share of real data keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures.style import (
    COLORS,
    GREY,
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


def draw(rows: Rows) -> Figure:
    """Mean and variance by round without real data, and the last variance against the share of real
    data.
    """
    figure, axes = panels(1, 3, height=2.7)
    choices = sorted(
        {(row["choice"], row["k"]) for row in rows}, key=lambda each: (each[0] != "luce", each[1])
    )
    first = min(values(rows, "share"))
    for color, (choice, k) in zip(COLORS, choices, strict=False):
        arm = select(rows, choice=choice, k=k, share=first)
        x = column(arm, "round")
        band(axes[0, 0], x, arm, "reward", color=color, label=_label(choice, k))
        axes[0, 0].plot(x, column(arm, "exact"), "--", color="black", lw=0.8)
        band(axes[0, 1], x, arm, "variance", color=color)
        axes[0, 1].plot(x, column(arm, "exact_variance"), "--", color="black", lw=0.8)
        _sweep(axes[0, 2], select(rows, choice=choice, k=k), color)
    arm = select(rows, arm=rows[0]["arm"])
    axes[0, 0].plot(column(arm, "round"), column(arm, "all"), ":", color=GREY)
    axes[0, 0].axhline(rows[0]["top"], color=GREY, lw=0.5)
    title = "no real data" if not first else f"real share {first:g}"
    axes[0, 0].set(title=title, xlabel="round $k$", ylabel="mean reward")
    axes[0, 1].set(title=title, xlabel="round $k$", ylabel="variance of the reward")
    measured = column(select(rows, share=first), "variance")
    if measured.max() > 0:  # the exact map goes on where no sample is left of the lower levels
        axes[0, 1].set_yscale("log", nonpositive="mask")
        axes[0, 1].set_ylim(0.3 * measured[measured > 0].min(), 3 * measured.max())
    for panel in axes[0, :2]:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    last = rows[-1]["round"]
    axes[0, 2].set(
        title=f"round {last}", xlabel="share of fresh real data", ylabel="variance of the reward"
    )
    axes[0, 2].axhline(rows[0]["exact_variance"], color=GREY, lw=0.5)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles += [
        line("exact map", color="black", ls="--", lw=0.8),
        line(r"K = $\infty$", color=GREY, ls=":"),
    ]
    handles += [patch(f"middle 90 % of n = {rows[0]['replicates']}", "black", 0.12)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _label(choice: str, k: int) -> str:
    return f"Luce, K = {k}" if choice == "luce" else f"best of {k}"


def _sweep(panel: Any, rows: Rows, color: str) -> None:
    """Draw the last round's variance with its 95 % interval, and the exact one."""
    last = sorted(
        (row for row in rows if row["round"] == rows[-1]["round"]), key=lambda row: row["share"]
    )
    x = column(last, "share")
    error = 1.96 * np.nan_to_num(column(last, "variance_se"))
    panel.errorbar(x, column(last, "variance"), error, fmt="o", ms=3, color=color, capsize=2)
    panel.plot(x, column(last, "exact_variance"), "--", color="black", lw=0.8)


def summarise(rows: Rows) -> dict[str, Measured]:
    """Mean reward and variance at the last round of every arm beside the exact map, and the fit of
    all rounds.
    """
    numbers = {}
    for row in rows:
        if row["round"] == rows[-1]["round"]:
            for name, exact in (("reward", "exact"), ("variance", "exact_variance")):
                error = row[f"{name}_se"]
                numbers[f"{row['arm']}: {name}, round {row['round']}"] = Measured(
                    row[name], error, row[exact]
                )
    z = column([row for row in rows if row.get("gap_z") is not None], "gap_z")
    if len(z):
        numbers[f"rms z of {len(z)} rounds, reward - its expectation given the round before"] = (
            Measured(float(np.sqrt(np.mean(z**2))), float(1 / np.sqrt(2 * len(z))), 1.0)
        )
    return numbers
