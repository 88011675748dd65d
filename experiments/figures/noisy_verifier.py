"""Accuracy against wrong labels, the ball verifier's error against wrong verdicts, and accuracy by
round.
"""

from __future__ import annotations

from itertools import pairwise
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

ALPHA = (0.3, 0.6, 1.0)  # of the smallest, a middle and the largest size


def draw(rows: Rows) -> Figure:
    """The classifier's phase transition beside the ball's smooth error, and what rounds make of a
    start.
    """
    figure, axes = panels(1, 3, height=2.9)
    _transition(axes[0, 0], select(rows, part="transition"))
    _ball(axes[0, 1], select(rows, part="ball"))
    _rounds(axes[0, 2], select(rows, part="rounds"))
    handles = [line("expected", color="black", ls="--", lw=0.8)]
    handles += [line("threshold $p^*$", color="black", ls=":", lw=0.8)]
    handles += [
        line(
            f"mean, 95 % interval, n = {rows[0]['replicates']}",
            color="black",
            marker="o",
            ms=2,
            ls="",
        )
    ]
    handles += [line("pale to full: the sizes, in order", color="black", alpha=0.3)]
    handles += [patch("middle 90 %", "black", 0.12)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _transition(panel: Any, rows: Rows) -> None:
    verifiers = sorted({(row["star"], row["phi"], row["psi"]) for row in rows})
    sizes = values(rows, "kept")
    for color, (star, phi, psi) in zip(COLORS, verifiers, strict=False):
        panel.axvline(star, color=color, ls=":", lw=0.8)
        for size in sizes:
            cells = sorted(select(rows, phi=phi, psi=psi, kept=size), key=lambda row: row["wrong"])
            _points(panel, cells, "wrong", "accuracy", color, _shade(size, sizes))
        panel.plot([], [], color=color, label=f"{phi:g}, {psi:g}")
    panel.axhline(0.5, color=GREY, lw=0.5)
    panel.set(
        xlabel="wrong labels $p$",
        ylabel="accuracy",
        title=_sizes("kept", sizes),
        ylim=(-0.02, 1.02),
    )
    panel.legend(loc="lower left", title=r"$\varphi$, $\psi$", title_fontsize=6.5)


def _ball(panel: Any, rows: Rows) -> None:
    sizes = values(rows, "kept")
    for color, bias in zip(COLORS[3:], values(rows, "bias"), strict=False):
        for size in sizes:
            cells = [
                row | {"unit": row["mse"] / row["real"]}
                for row in select(rows, bias=bias, kept=size)
            ]
            for row in cells:
                row |= {
                    "unit_se": row["mse_se"] and row["mse_se"] / row["real"],
                    "exact": row["exact"] / row["real"],
                }
            _points(
                panel,
                sorted(cells, key=lambda row: row["error"]),
                "error",
                "unit",
                color,
                _shade(size, sizes),
            )
        panel.plot([], [], color=color, label=f"bias {bias:g}")
    panel.axhline(1, color=GREY, lw=0.5)
    panel.set(
        xlabel="wrong verdicts, either kind", ylabel="error, round 1 / real data's", yscale="log"
    )
    panel.set(title=_sizes("ball, kept a direction", sizes), ylim=(None, 3 * panel.get_ylim()[1]))
    panel.legend(loc="upper left")


def _points(panel: Any, cells: Rows, x: str, y: str, color: str, alpha: float) -> None:
    at = column(cells, x)
    error = 1.96 * np.nan_to_num(column(cells, f"{y}_se"))
    panel.errorbar(at, column(cells, y), error, fmt="o", ms=2, lw=0.8, color=color, alpha=alpha)
    panel.plot(at, column(cells, "exact"), "--", lw=0.8, color=color, alpha=alpha)


def _shade(size: int, sizes: list[int]) -> float:
    return float(np.interp(sizes.index(size), np.linspace(0, max(len(sizes) - 1, 1), 3), ALPHA))


def _sizes(what: str, sizes: list[int]) -> str:
    return f"{what}: {', '.join(map(str, sizes))}"


def _rounds(panel: Any, rows: Rows) -> None:
    for color, start in zip(COLORS, values(rows, "start"), strict=False):
        arm = select(rows, start=start)
        band(
            panel,
            column(arm, "round"),
            arm,
            "accuracy",
            color=color,
            label=f"first $p$ = {start:g}",
        )
        panel.plot(column(arm, "round"), column(arm, "path"), "--", color="black", lw=0.8)
    for row in rows[:1]:
        panel.axhline(1 - row["star"], color="black", ls=":", lw=0.8)
        panel.set_title(rf"rounds, $\varphi$ = {row['phi']:g}, $\psi$ = {row['psi']:g}")
    panel.set(xlabel="round $k$", ylabel="accuracy", ylim=(-0.02, 1.02))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.legend(loc="upper right", bbox_to_anchor=(1, 0.93))


def summarise(rows: Rows) -> dict[str, Measured]:
    """Where accuracy crosses 1/2, the fit of all cells to their closed forms, and where the loop
    ends.
    """
    numbers = {}
    arms = dict.fromkeys(
        (row["phi"], row["psi"], row["kept"]) for row in select(rows, part="transition")
    )
    for phi, psi, kept in arms:
        cells = sorted(
            select(rows, part="transition", phi=phi, psi=psi, kept=kept),
            key=lambda row: row["wrong"],
        )
        crossing = _crossing(cells)
        if crossing is not None:
            numbers[f"phi {phi:g}, psi {psi:g}, {kept} kept: wrong labels at accuracy 1/2"] = (
                crossing
            )
    for part, name, expected in (("transition", "accuracy", "exact_se"), ("ball", "mse", "mse_se")):
        cells = select(rows, part=part)
        gap = column(cells, name) - column(cells, "exact")
        error = column(cells, expected)
        if np.isfinite(error).all() and (error > 0).all():
            z = gap / error
            numbers[f"{part}: rms z of {len(z)} cells, simulation - exact"] = Measured(
                float(np.sqrt(np.mean(z**2))), float(1 / np.sqrt(2 * len(z))), 1.0
            )
    loop = select(rows, part="rounds")
    for row in loop:
        if row["round"] == loop[-1]["round"]:
            name = f"loop from p = {row['start']:g} (p* = {row['star']:.4g})"
            numbers[f"{name}: share above 1/2, round {row['round']}"] = Measured(
                row["risen"], expected=float(row["start"] < row["star"])
            )
            numbers[f"{name}: accuracy, round {row['round']}"] = Measured(
                row["accuracy"], row["accuracy_se"]
            )
    gaps = [row for row in loop if row["round"] and row["gap_se"]]
    if gaps:
        gap = column(gaps, "gap")
        error = column(gaps, "gap_se")
        numbers["loop: signal - its expectation given the round before"] = Measured(
            float(gap.mean()), float(np.sqrt(np.sum(error**2)) / len(error)), 0.0
        )
    return numbers


def _crossing(cells: Rows) -> Measured | None:
    """Interpolate between neighbours on both sides of 1/2, with the error of one accuracy over the
    slope.
    """
    for left, right in pairwise(cells):
        if left["accuracy"] >= 0.5 > right["accuracy"]:
            slope = (right["accuracy"] - left["accuracy"]) / (right["wrong"] - left["wrong"])
            near = min(left, right, key=lambda row: abs(row["accuracy"] - 0.5))
            at = left["wrong"] + (0.5 - left["accuracy"]) / slope
            error = near["accuracy_se"]
            return Measured(at, error and error / -slope, left["star"])
    return None
