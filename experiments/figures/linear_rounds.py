"""Error by round, with Theorem 4.1's bound, the exact map and the three regimes."""

from __future__ import annotations

from typing import Any

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
    """One row a size; one column a bias for the error to the truth, and one more to the centre for
    the largest.
    """
    noise = rows[0]["noise"]
    biases = values(rows, "bias")
    targets = [(bias, "truth") for bias in biases] + [(biases[-1], "center")] * (biases[-1] > 0)
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, axes = panels(len(sizes), len(targets), height=2.2, sharex=True)
    for row, size in zip(axes, sizes, strict=True):
        for panel, (bias, target) in zip(row, targets, strict=True):
            _panel(panel, select(rows, noise=noise, bias=bias, size=size), target)
        row[0].set_ylabel(f"{size} size\nsquared error / $\\sigma^2$")
    for panel, (bias, target) in zip(axes[0], targets, strict=True):
        to = r"\theta_*" if target == "truth" else r"\theta_c"
        error = f"$\\|\\hat\\theta_k - {to}\\|^2 / \\sigma^2$"
        panel.set_title(f"$\\Delta$ = {bias:g}: {_regime(rows, bias)}\n{error}")
    for panel in axes[-1]:
        panel.set_xlabel("round $k$")
    _legend(figure, rows)
    return figure


def _regime(rows: Rows, bias: float) -> str:
    """Name the regime: biased is mild where the tightest ball's first round, without noise, gains
    on real data.
    """
    if bias == 0:
        return "unbiased"
    start, first = (
        select(rows, bias=bias, radius=values(rows, "radius")[0], round=k)[0] for k in (0, 1)
    )
    return "mildly biased" if first["map_truth"] < start["map_truth"] else "strongly biased"


def _panel(panel: Any, rows: Rows, target: str) -> None:
    for color, radius in zip((*COLORS, *COLORS), values(rows, "radius"), strict=False):
        arm_rows = select(rows, radius=radius)
        x = column(arm_rows, "round")
        band(panel, x, arm_rows, f"error_{target}", color=color)
        panel.plot(x, column(arm_rows, f"map_{target}"), ":", color=color, lw=0.9)
        if target == "center" or arm_rows[0]["bias"] == 0:  # unbiased, the truth is the centre
            panel.plot(x, column(arm_rows, "bound_center"), "--", color=color, lw=0.8)
    unverified = select(rows, radius=None)
    band(panel, column(unverified, "round"), unverified, f"error_{target}", color=GREY)
    low = min(row[f"error_{target}_low"] for row in rows)
    high = max(row[f"error_{target}_high"] for row in rows)
    panel.set(yscale="log", ylim=(0.7 * low, 1.4 * high))


def _legend(figure: Figure, rows: Rows) -> None:
    handles: list[Any] = [
        line(f"$r$ = {radius:g}", color=color)
        for color, radius in zip((*COLORS, *COLORS), values(rows, "radius"), strict=False)
    ]
    handles += [
        line("unverified", color=GREY),
        line("Theorem 4.1 bound", color="black", ls="--", lw=0.8),
        line("exact map, no noise", color="black", ls=":"),
        patch(f"middle 90 % of n = {rows[0]['replicates']}", "black", 0.12),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def summarise(rows: Rows) -> dict[str, Measured]:
    """The last round of every constant-size arm, and its paired gain over the unverified one."""
    last = [
        row for row in rows if row["round"] == rows[-1]["round"] and row["size"] == rows[0]["size"]
    ]
    numbers = {}
    for row in last:
        arm_name = "unverified" if row["radius"] is None else f"radius {row['radius']:g}"
        for target in ("truth", "center") if row["bias"] else ("truth",):
            name = f"bias {row['bias']:g}, {arm_name}: error to {target}, round {row['round']}"
            exact = row["unfiltered_truth"] if row["radius"] is None and target == "truth" else None
            numbers[name] = Measured(row[f"error_{target}"], row[f"error_{target}_se"], exact)
        if row["radius"] is not None:
            name = f"bias {row['bias']:g}, {arm_name}: paired gain over unverified"
            name = f"{name}, round {row['round']}"
            numbers[name] = Measured(row["gain_truth"], row["gain_truth_se"])
    return numbers
