"""The gain of verifying by the spread of singular values, and the error by real rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures.style import (
    COLORS,
    GREY,
    Figure,
    Measured,
    Rows,
    column,
    line,
    panels,
    select,
    values,
)


def draw(rows: Rows) -> Figure:
    """Error over the real estimate's after one and all rounds, by spread; error by real rows."""
    figure, axes = panels(1, 3, height=2.7)
    last = max(values(rows, "round"))
    biases = values(select(rows, part="spread"), "bias")
    for panel, round_ in zip(axes[0], (1, last), strict=False):
        for color, bias in zip(COLORS, biases, strict=False):
            for verified, style in ((True, "-"), (False, ":")):
                arm = select(rows, part="spread", bias=bias, verified=verified, round=round_)
                _with_theory(panel, arm, color, style)
        label = r"$\|\hat\theta_k-\theta_*\|^2/\sum\mu_j^{-2}$"
        panel.set(title=f"round {round_}", xlabel="spread of singular values", ylabel=label)
        panel.set(xscale="log")
        _ticks(panel, values(rows, "spread"))
    _by_rows(axes[0, 2], rows, last)
    handles = [
        line(f"bias {bias:g}", color=color) for color, bias in zip(COLORS, biases, strict=False)
    ]
    handles += [line("verified", color=GREY), line("no verifier", color=GREY, ls=":")]
    handles += [line("real data", color=COLORS[2]), line("theory", color="black", ls="--", lw=0.8)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _with_theory(panel: Any, arm: Rows, color: str, style: str) -> None:
    """Draw the measured error over the baseline with its 95 % interval, and the expected one."""
    x = column(arm, "spread")
    base = column(arm, "baseline")
    error = 1.96 * np.nan_to_num(column(arm, "error_truth_se")) / base
    panel.errorbar(x, column(arm, "error_truth") / base, error, color=color, ls=style, capsize=2)
    panel.plot(x, column(arm, "expected_error_truth") / base, "--", color="black", lw=0.8)


def _by_rows(panel: Any, rows: Rows, last: int) -> None:
    """Draw the median error over designs, of real data and in the last round."""
    few = sorted(select(rows, part="rows"), key=lambda row: row["real_rows"])
    lines = {"-": (0, True, COLORS[2]), "--": (last, True, GREY), ":": (last, False, GREY)}
    for style, (round_, verified, color) in lines.items():
        arm = select(few, round=round_, verified=verified)
        x = column(arm, "real_rows")
        drawn = "-" if style == "--" else style
        panel.plot(x, column(arm, "error_truth"), drawn, color=color, marker=".", ms=3)
        panel.plot(x, column(arm, "expected_error_truth"), "--", color="black", lw=0.8)
    arm = select(few, round=last, verified=True)
    panel.fill_between(
        column(arm, "real_rows"), column(arm, "unseen"), color=GREY, alpha=0.15, lw=0
    )
    panel.axvline(few[0]["dim"], color=GREY, lw=0.5)
    panel.set(
        title=f"{few[0]['dim']} parameters, round {last}",
        xlabel="real rows",
        ylabel=r"$\|\hat\theta_k-\theta_*\|^2/\sigma^2$",
        xscale="log",
        yscale="log",
    )
    _ticks(panel, [n for n in column(arm, "real_rows") if np.log2(n / few[0]["dim"]) % 1 == 0])


def _ticks(panel: Any, places: list[float]) -> None:
    """Mark these numbers alone on the x axis."""
    panel.set_xticks(places, [f"{place:g}" for place in places])
    panel.minorticks_off()


def summarise(rows: Rows) -> dict[str, Measured]:
    """Errors over the baseline by spread, medians by real rows, and the fit of theory."""
    numbers = {}
    last = max(values(rows, "round"))
    for row in select(rows, part="spread"):
        if row["round"] in (1, last):
            numbers[f"{row['arm']}: error to truth / real data's, round {row['round']}"] = _over(
                row, row["baseline"]
            )
    for row in select(rows, part="rows"):
        if row["round"] == last or (row["verified"] and not row["round"]):
            name = f"{row['arm']}: median error to truth, round {row['round']}"
            numbers[name] = _over(row, 1.0)
    z = _spread_z(select(rows, part="spread", round=last))
    if len(z):
        numbers[f"spread: rms z of {len(z)} errors to truth, round {last}"] = _rms(z, len(z))
    few = select(rows, part="rows", round=last)
    fits = [row for row in few if row["error_truth_z"] is not None]
    if fits:
        weights = column(fits, "followed")
        squares = column(fits, "error_truth_z") ** 2
        z = np.sqrt(np.sum(weights * squares) / np.sum(weights))
        count = int(weights.sum())
        numbers[f"rows: rms z of {count} errors to truth, round {last}"] = _rms(
            np.array([z]), count
        )
    return numbers


def _over(row: dict[str, Any], baseline: float) -> Measured:
    error = row["error_truth_se"]
    known = row["expected_error_truth"]
    return Measured(
        row["error_truth"] / baseline,
        None if error is None else error / baseline,
        None if known is None else known / baseline,
    )


def _rms(z: np.ndarray, count: int) -> Measured:
    return Measured(float(np.sqrt(np.mean(z**2))), float(1 / np.sqrt(2 * count)), 1.0)


def _spread_z(rows: Rows) -> np.ndarray:
    gap = column(rows, "error_truth") - column(rows, "expected_error_truth")
    z = gap / column(rows, "error_truth_se")
    return z[np.isfinite(z)]
