"""Error by round under each data policy, and against the share of real data."""

from __future__ import annotations

from typing import Any

import numpy as np

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
)

POLICIES = ("replace", "accumulate", "subsample", "mix", "fresh")
LABELS = ("replace", "accumulate", "accumulate, subsample", "half fixed real", "half fresh real")


def draw(rows: Rows) -> Figure:
    """Errors by round, unverified and verified, and the last round's error against the share of
    real data.
    """
    figure, axes = panels(1, 3, height=2.7)
    for panel, verified in zip(axes[0], (False, True), strict=False):
        for color, policy, label in zip(COLORS, POLICIES, LABELS, strict=False):
            arm_rows = select(rows, policy=policy, verified=verified)
            x = column(arm_rows, "round")
            band(panel, x, arm_rows, "error_truth", color=color, label=label)
            panel.plot(x, column(arm_rows, "closed_form"), "--", color="black", lw=0.8)
        title = "verified" if verified else "unverified"
        panel.set(title=title, xlabel="round $k$", yscale="log")
    axes[0, 0].set_ylabel(r"$\|\hat\theta_k-\theta_*\|^2/\sigma^2$")
    limits = [*axes[0, 0].get_ylim(), *axes[0, 1].get_ylim()]
    for panel in axes[0, :2]:
        panel.set_ylim(min(limits), max(limits))
    _sweep(axes[0, 2], rows)
    handles, _ = axes[0, 0].get_legend_handles_labels()
    handles += [line("closed form", color="black", ls="--", lw=0.8)]
    handles += [patch(f"middle 90 % of n = {rows[0]['replicates']}", "black", 0.12)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _sweep(panel: Any, rows: Rows) -> None:
    last = [row for row in select(rows, policy="weight") if row["round"] == rows[-1]["round"]]
    for verified, color, label in ((False, GREY, "unverified"), (True, COLORS[0], "verified")):
        arm_rows = sorted(select(last, verified=verified), key=lambda row: row["weight"])
        x = column(arm_rows, "weight")
        error = 1.96 * column(arm_rows, "error_truth_se")
        panel.errorbar(
            x,
            column(arm_rows, "error_truth"),
            error,
            fmt="o",
            ms=3,
            color=color,
            label=label,
            capsize=2,
        )
        panel.plot(x, column(arm_rows, "closed_form"), "--", color="black", lw=0.8)
    panel.axvline((np.sqrt(5) - 1) / 2, color="black", ls=":", lw=0.8, label="golden ratio")
    panel.set(title=f"fresh real data, round {rows[-1]['round']}", xlabel="weight of the real rows")
    panel.legend()


def summarise(rows: Rows) -> dict[str, Measured]:
    """The last round of every policy, as a multiple of the real-data estimate's error in closed
    form.
    """
    unit = select(rows, policy="replace", verified=False, round=0)[0]["closed_form"]
    last = [row for row in rows if row["round"] == rows[-1]["round"] and row["weight"] is None]
    numbers = {}
    for row in last:
        form = None if row["closed_form"] is None else row["closed_form"] / unit
        error = None if row["error_truth_se"] is None else row["error_truth_se"] / unit
        ratio = Measured(row["error_truth"] / unit, error, form)
        numbers[f"{row['arm']}: error to truth / real data's, round {row['round']}"] = ratio
        if row["verified"]:
            gain = Measured(row["gain_truth"] / unit, error and row["gain_truth_se"] / unit)
            numbers[
                f"{row['policy']}: paired gain of verifying / real data's, round {row['round']}"
            ] = gain
    sweep = [
        row
        for row in select(rows, policy="weight", verified=False)
        if row["round"] == rows[-1]["round"]
    ]
    if sweep:
        best = min(sweep, key=lambda row: row["error_truth"])
        numbers["best weight of real rows, unverified"] = Measured(
            best["weight"], expected=(np.sqrt(5) - 1) / 2
        )
    return numbers
