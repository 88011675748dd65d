"""Drawings for a page: small, and in its own colours by day and by night."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from veriloop.metrics import Direction
from veriloop.plotting import plot
from veriloop.records import Records
from veriloop.report.parts import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"  # stands for the colour that the page writes in
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito's
DASHES = ("-", "--", "-.", ":", (0, (6, 1)), (0, (1, 2)))
WIDTH = 4.4  # inches, so that letters keep their size on a phone
HEIGHT = 2.5  # inches, without the legend
LINE = 0.21  # inches of a line of the legend
LONGEST = 44  # letters of a name in a legend


@contextmanager
def page_style() -> Generator[None]:
    """Let what is drawn inside take the style of a report's page."""
    try:
        from matplotlib import rc_context
        from matplotlib.rcsetup import cycler
    except ModuleNotFoundError as error:
        raise ImportError(
            f"a report needs {error.name!r}; install it with: pip install 'veriloop[study]'"
        ) from error
    inks = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    sizes = ("axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
    style: dict[Any, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "veriloop",
        "text.parse_math": False,  # names may hold any sign
        "font.size": 11,
        **dict.fromkeys(sizes, 11),
        "lines.linewidth": 1.6,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": cycler("color", COLORS) + cycler("linestyle", DASHES),
        "figure.constrained_layout.use": True,
        **dict.fromkeys(inks, INK),
    }
    with rc_context(style), warnings.catch_warnings():
        # A letter that the font lacks is drawn by the browser. Seeds that failed are told in text.
        warnings.simplefilter("ignore")
        yield


def by_round(metric: str, arms: Sequence[Records], worse: Direction | None = None) -> Picture:
    """Return a drawing of a metric by round: a line for each arm, a band for its 95 % interval.

    metric: its name.
    arms: the rows of each, with arm, seed, round and the metric.
    worse: the direction in which the metric gets worse, if its name does not tell.
    """
    names = ("arm", "seed", "round", metric)
    rows: list[dict[str, object]] = []
    for records in arms:
        for row in records:
            rows.append({name: row[name] for name in names if name in row})
    with page_style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(WIDTH, HEIGHT + LINE * len(arms)))
        axes = figure.subplots()
        if worse is None:
            plot(rows, metric, axes=axes)
        else:
            plot(rows, metric, axes=axes, worse=worse)
        legend = axes.get_legend()
        if legend is not None:
            legend.remove()
        lines = axes.get_lines()
        labels = [_short(str(line.get_label())) for line in lines]
        figure.legend(lines, labels, loc="outside lower left")
        caption = f"By round: {axes.get_ylabel()}"
        axes.set_ylabel("")
        return picture(figure, caption)


def picture(figure: Figure, caption: str) -> Picture:
    """Return a figure of matplotlib as a drawing in the colours of the page.

    figure: made and drawn inside `page_style`.
    caption: what it shows.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    drawing = written.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)  # several drawings share a page
    drawing = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", drawing)
    drawing = drawing.replace(INK, "currentColor")
    for place, color in enumerate(COLORS):
        drawing = drawing.replace(color, f"var(--line-{place}, {color})")
    return Picture(caption, svg=drawing)


def _short(name: str) -> str:
    """Return a name that a legend has room for, and shows even if it begins with `_`."""
    if len(name) > LONGEST:
        name = f"{name[: LONGEST // 2]}...{name[-LONGEST // 2 :]}"
    return f" {name}"
