"""Error by round under each shape of verifier, on the block design and on random directions."""

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

SHAPES = ("none", "ball", "l1 ball", "box", "ellipsoid", "half-space", "soft ball")
DESIGNS = ("block design", "random directions")
STYLES = dict(zip(SHAPES, (GREY, *COLORS), strict=True))
EARLY = 5  # rounds after which the bias that is left is reported


def draw(rows: Rows) -> Figure:
    """One row a design; the error to the truth for every bias, and the share of the largest that is
    still ahead.
    """
    biases = values(rows, "bias")
    targets = [(bias, "error_truth") for bias in biases] + [(biases[-1], "ahead")] * (
        biases[-1] > 0
    )
    figure, axes = panels(len(DESIGNS), len(targets), height=2.2, sharex=True, sharey="col")
    for line_of, design in zip(axes, DESIGNS, strict=True):
        for panel, (bias, name) in zip(line_of, targets, strict=True):
            _panel(panel, select(rows, design=design, bias=bias), name)
        replicates = select(rows, design=design, shape="ball")[0]["replicates"]
        line_of[0].set_ylabel(f"{design}\nmean of n = {replicates}")
    for panel, (bias, name) in zip(axes[0], targets, strict=True):
        truth = r"$\|\hat\theta_k-\theta_*\|^2/\sigma^2$"
        panel.set_title(
            f"$\\Delta$ = {bias:g}: {truth if name == 'error_truth' else 'share of the bias ahead'}"
        )
    for panel in axes[-1]:
        panel.set_xlabel("round $k$")
    handles: list[Any] = [
        line(shape, color=color, ls=_dashes(shape)) for shape, color in STYLES.items()
    ]
    handles += [line("expected", color="black", ls=":"), patch("middle 90 %, ball", "black", 0.12)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5)
    return figure


def _panel(panel: Any, rows: Rows, name: str) -> None:
    for shape, color in STYLES.items():
        arm = select(rows, shape=shape)
        x = column(arm, "round")
        if shape == "ball":
            band(panel, x, arm, name, color=color)
        else:
            panel.plot(x, column(arm, name), _dashes(shape), color=color)
        panel.plot(x, column(arm, f"expected_{name}"), ":", color="black", lw=0.9)
    if name == "error_truth":
        panel.set_yscale("log")


def _dashes(shape: str) -> str:
    return "--" if shape == "box" else "-"  # it lies on the ball


def summarise(rows: Rows) -> dict[str, Measured]:
    """Every shape's first acceptance, last errors, and early share of the bias ahead."""
    last = max(values(rows, "round"))
    early = min(EARLY, last)
    numbers: dict[str, Measured] = {}
    for row in rows:
        named = f"{row['shape']}, {row['design']}, bias {row['bias']:g}"

        def add(what: str, name: str, row: dict[str, Any] = row, named: str = named) -> None:
            numbers[f"{named}: {what}"] = Measured(
                row[name], row[f"{name}_se"], row.get(f"expected_{name}")
            )

        if row["round"] == 1:
            share = row["kept"] / row["candidates"]
            numbers[f"{named}: acceptance, round 1"] = Measured(
                share, None, row.get("expected_acceptance")
            )
        if row["round"] == early and row["bias"]:
            add(f"share of the bias ahead, round {early}", "ahead")
        if row["round"] == last:
            add(f"error to truth, round {last}", "error_truth")
            if row["bias"]:
                add(f"error to centre, round {last}", "error_center")
            elif row.get("plateau_center") is not None:
                # Where the loop comes to rest: 1, but late in directions that see a wide window.
                rest = row["plateau_center"]
                error = row["error_center_se"]
                if error is not None:
                    error = error / rest
                share = Measured(row["error_center"] / rest, error)
                numbers[f"{named}: share of the plateau, round {last}"] = share
    return numbers
