"""Curves with intervals, from records onto axes. It sets no backend and no global style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from veriloop.metrics import KNOWN, Direction, Known
from veriloop.records import Curve, Records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AnyStyle: TypeAlias = Any  # what matplotlib takes for a line
UNSAID: Any = object()
BETTER: dict[str | None, Direction | None] = {"higher": "lower", "lower": "higher", None: None}


def plot(
    records: Iterable[Any],
    metric: str,
    *,
    arms: Sequence[str] | None = None,
    axes: Axes | None = None,
    worse: Direction | None = UNSAID,
    label: str | None = None,
    **style: AnyStyle,
) -> Axes:
    """Draw a metric by round: a line for each arm, and a band for its 95 % interval over seeds.

    records: rows with `arm`, `seed`, `round` and the metric; `Records`, or what `Records.of` takes.
    metric: the name of the column.
    arms: which arms, in this order; by default all.
    axes: where to draw; by default the axes of a new figure.
    worse: the direction in which the metric gets worse, "higher" or "lower", as for `advise`. The
        label says the other beside the name. None says neither; by default what is known.
    label: words for the y axis; by default the metric's name, with its unit where that is known.
    style: given to the lines, as `axes.plot` takes it.

    Returns the axes. The legend says how many seeds each line has. One seed has a line and no band.
    An arm without any number of the metric has no line, and the legend says so.

    >>> from matplotlib.figure import Figure
    >>> rows = [{"arm": arm, "seed": s, "round": k, "nelbo": 100 - k + s} for arm in ("a", "b")
    ...         for s in range(3) for k in range(4)]
    >>> axes = plot(rows, "nelbo", axes=Figure().subplots())
    >>> axes.get_ylabel()
    'nelbo (nats per image), lower is better'
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['a (n = 3)', 'b (n = 3)']

    Raises:
        ValueError: if an arm or the metric is not known, or `worse` is no direction.
        ImportError: if matplotlib is not installed; it says how to install it.
    """
    if worse is not UNSAID and worse not in ("lower", "higher", None):
        raise ValueError(f"plot: worse must be 'higher', 'lower' or None, got {worse!r}")
    everything = Records.of(records)
    names = everything.arms if arms is None else tuple(arms)
    if not names:
        raise ValueError(
            "plot: needs rows with an arm, got none; give every row the name of its arm"
        )
    curves = _curves(everything, names, metric)
    if axes is None:
        axes = _new_axes()
    for arm, curve in curves.items():
        if curve is None:
            axes.plot([], [], label=f"{arm} (no {metric})")
        else:
            _draw(axes, arm, curve, style)
    axes.set_xlabel("round")
    axes.set_ylabel(_label(metric, label, worse))
    axes.locator_params(axis="x", integer=True)
    axes.legend()
    return axes


def _curves(records: Records, arms: Sequence[str], metric: str) -> dict[str, Curve | None]:
    """Return the curve of each arm; None of an arm without a number, if another has one."""
    has = {arm: _has_numbers(records, arm, metric) for arm in arms}
    curves: dict[str, Curve | None] = {}
    for arm in arms:
        curves[arm] = None
        if has[arm] or not any(has.values()):
            curves[arm] = records.mean(arm, metric)
    return curves


def _has_numbers(records: Records, arm: str, metric: str) -> bool:
    if arm not in records.arms or metric not in records.metrics:
        return True  # not known, which `Records.mean` says with the names that are
    own = records.select(arm=arm)
    return bool(np.isfinite(own.column(metric)).any())


def _new_axes() -> Axes:
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        raise ImportError(
            f"veriloop.plot needs {error.name!r}; install it with: pip install 'veriloop[study]'"
        ) from error
    return pyplot.subplots()[1]


def _draw(axes: Axes, arm: str, curve: Curve, style: dict[str, Any]) -> None:
    drawn = axes.plot(curve.round, curve.mean, **{"label": f"{arm} ({_count(curve)})", **style})
    color = drawn[0].get_color()
    if np.isfinite(curve.low).any():
        axes.fill_between(curve.round, curve.low, curve.high, color=color, alpha=0.15, linewidth=0)


def _count(curve: Curve) -> str:
    """Say how many seeds a line has; a run that still goes on has fewer in its last rounds."""
    fewest = curve.n.min()
    most = curve.n.max()
    if fewest == most:
        return f"n = {most}"
    return f"n = {fewest} to {most}"


def _label(metric: str, label: str | None, worse: Direction | None) -> str:
    known = KNOWN.get(metric, Known())
    words = label
    if words is None:
        words = f"{metric} ({known.unit})" if known.unit else metric
    better = known.better
    if worse is not UNSAID:
        better = BETTER[worse]
    if better is None:
        return words
    return f"{words}, {better} is better"
