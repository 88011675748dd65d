"""Spread of the model by round under each data policy, with and without selection."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

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
    published_is_drawn,
    select,
    values,
)

POLICIES = ("replace", "accumulate", "subsample")
LABELS = ("replace", "accumulate", "accumulate, subsample")
FOLDER = Path(__file__).parents[1] / "published"


@cache
def published() -> Rows:
    """Return the authors' final dispersion ratios."""
    with open(FOLDER / "selection_bias.csv") as stream:
        rows = list(csv.DictReader(stream))
    return [
        row
        | {
            "round": int(row["round"]),
            "value": float(row["value"]),
            "verified": row["verified"] == "true",
        }
        for row in rows
    ]


def draw(rows: Rows) -> Figure:
    """The trace of the covariance for every bias, and for the last its volume, each against the
    truth's.
    """
    biases = values(rows, "bias")
    figure, axes = panels(1, len(biases) + 1, height=2.7)
    off = (
        "centre off by {:g} s.d."
        if rows[0]["truth"] == "standard"
        else "centre off by {:g} N(0, 1), in half of d"
    )
    for panel, bias in zip(axes[0], biases, strict=False):
        _panel(panel, rows, bias, "trace")
        panel.set(title=off.format(bias), yscale="log")
    axes[0, 0].set_ylabel(r"$\mathrm{tr}\,\hat\Sigma_t\,/\,\mathrm{tr}\,\Sigma$")
    _panel(axes[0, -1], rows, biases[-1], "log_volume")
    axes[0, -1].set(
        title=f"volume, {off.format(biases[-1])}", ylabel=r"$\log(|\hat\Sigma_t| / |\Sigma|)$"
    )
    for panel in axes[0]:
        panel.set_xscale("symlog", linthresh=1)  # a power of t is a line
        panel.set(xlabel="round $t$", xlim=(0, 1.1 * max(values(rows, "round"))))
    handles = [line(label, color=color) for label, color in zip(LABELS, COLORS, strict=False)]
    handles += [line("selection", color="black"), line("no selection", color="black", ls="--")]
    handles += [line("exact expectation", color="black", lw=0.5)]
    if rows[0]["truth"] == "standard":
        handles += [line(r"$n \to \infty$", color="black", ls=":", lw=0.9)]
    handles += [patch(f"middle 90 % of {rows[0]['replicates']} runs", "black", 0.12)]
    if published_is_drawn(figure):
        handles += [line("published, round 200", color="black", ls="", marker="_")]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _panel(panel: Any, rows: Rows, bias: float, name: str) -> None:
    # The two that accumulate lie on one another: the wider line below.
    for color, policy in reversed(list(zip(COLORS, POLICIES, strict=False))):
        for own, style in ((bias, "-"), (None, "--")):
            arm = select(rows, policy=policy, bias=own)
            x = column(arm, "round")
            width = 1.8 if policy == "subsample" else 0.9
            band(panel, x, arm, name, color=color, ls=style, lw=width)
            if own is None:
                panel.plot(x, column(arm, f"expected_{name}"), color="black", lw=0.5)
            elif name == "trace":
                panel.plot(x, column(arm, "limit_trace"), ":", color="black", lw=0.9)
            if name == "trace" and _comparable(arm[0], bias, last=len(arm) - 1):
                for row in select(
                    published(), family="one Gaussian", policy=policy, verified=own is not None
                ):
                    panel.plot(
                        row["round"], row["value"], "_", color=color, ms=9, mew=1.5, gid="published"
                    )


def _comparable(row: dict[str, Any], bias: float, last: int) -> bool:
    """Tell whether a run is of the published kind, and reaches the published round."""
    return (row["truth"], row["n"], row["fraction"], bias) == (
        "drawn",
        300,
        0.05,
        3,
    ) and last >= 200


def summarise(rows: Rows) -> dict[str, Measured]:
    """The first and the last round's trace, the volume, and how far the first round moved towards
    the centre.
    """
    last = max(values(rows, "round"))
    numbers: dict[str, Measured] = {}

    def add(row: dict[str, Any], name: str, what: str) -> None:
        named = f"{row['arm']}: {what}, round {row['round']}"
        # That of the volume leaves out the ridge, which smallest eigenvalues come down to after
        # many rounds.
        expected = None if name == "log_volume" else row.get(f"expected_{name}")
        numbers[named] = Measured(row[name], row[f"{name}_se"], expected)

    for row in rows:
        if (
            row["verified"] and row["round"] == 1 and row["policy"] == "replace"
        ):  # the first is alike in all three
            add(row, "trace", "trace / truth's")
            add(row, "toward", "mean towards the centre, s.d.")
        if row["round"] == last:
            add(row, "trace", "trace / truth's")
            add(row, "log_volume", "log volume / truth's")
    return numbers
