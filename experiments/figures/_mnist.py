"""What the digit figures share: labels, legends, published curves, and grids of images."""

from __future__ import annotations

import base64
import csv
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from figures._seeds import curve, metrics
from figures.style import (
    Figure,
    Rows,
    column,
    line,
    panels,
    published_is_drawn,
    select,
    values,
)

PUBLISHED = Path(__file__).parents[1] / "published" / "mnist.csv"
MAIN = ("mnist_fid", "agreement", "nelbo")
LABELS = {
    "mnist_fid": "MNIST-FID",
    "mnist_fid_v2": "MNIST-FID v2",
    "fid": "FID (Inception)",
    "agreement": "label agreement",
    "nelbo": "NELBO, nats",
    "coverage": "coverage",
    "recall": "recall",
    "verifier_accuracy": "verifier's accuracy",
    "passed": "share accepted",
    "lowest_kept": "lowest score kept",
    "reconstruction": "reconstruction, nats",
    "kl": "KL, nats",
}


def legend(
    figure: Any, rows: Rows, handles: list[Any], *, arms: bool = False, title: str = ""
) -> None:
    """Put a legend below, which says what was measured on how many seeds."""
    if arms:
        handles = [
            *handles,
            line("verified", color="black"),
            line("unverified", color="black", ls="--"),
        ]
    if published_is_drawn(figure):
        handles = [*handles, line("published", color="black", lw=0.5)]
    about = f"{rows[0]['data']}, {len(values(rows, 'seed'))} seeds, 95 % intervals"
    if title:
        about = f"{title}; {about}"
    figure.legend(handles=handles, loc="outside lower center", ncols=5, title=about)


def by_round(
    rows: Rows,
    names: Sequence[str],
    lines: Sequence[tuple[Rows, dict[str, Any]]],
    handles: list[Any],
    **options: Any,
) -> Figure:
    """Draw one panel a metric, by round; one line an arm: its rows, and how it is drawn. The legend
    goes below.
    """
    names = metrics(rows, names)
    figure, axes = panels(1, len(names), height=2.6)
    for panel, name in zip(axes[0], names, strict=True):
        for own, style in lines:
            if metrics(own, [name]):
                curve(panel, own, name, **style)
        panel.set(title=LABELS[name], xlabel="round $k$")
    legend(figure, rows, handles, **options)
    return figure


@cache
def published(experiment: str) -> Rows:
    """Return the authors' numbers for an experiment."""
    with open(PUBLISHED) as stream:
        rows = [row for row in csv.DictReader(stream) if row["experiment"] == experiment]
    return [
        row
        | {
            "round": int(row["round"]),
            "value": float(row["value"]),
            "verified": row["verified"] == "true",
        }
        for row in rows
    ]


def thin(
    panel: Any, experiment: str, line: str, metric: str, *, verified: bool, last: int, color: str
) -> None:
    """Draw the authors' curve up to our last round, if they published one; one value is a cross."""
    rows = select(published(experiment), line=line, metric=metric, verified=verified)
    rows = [row for row in rows if row["round"] <= last]
    if rows:
        style = "-" if verified else "--"
        marker = "x" if len(rows) == 1 else ""
        panel.plot(
            column(rows, "round"),
            column(rows, "value"),
            color=color,
            lw=0.5,
            ls=style,
            marker=marker,
            ms=5,
            gid="published",
        )


def images(row: dict[str, Any]) -> np.ndarray:
    """Return the images of a row side by side: eight lines of the ten digits, shape (224, 280)."""
    pixels = np.frombuffer(zlib.decompress(base64.b64decode(row["samples"])), np.uint8)
    return pixels.reshape(8, 10, 28, 28).swapaxes(1, 2).reshape(8 * 28, 10 * 28)


def show(panel: Any, row: dict[str, Any], title: str) -> None:
    """Draw the images of a row."""
    panel.imshow(255 - images(row), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    panel.set(title=title, xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
