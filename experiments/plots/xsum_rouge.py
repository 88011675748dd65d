"""ROUGE, facts and variety of language by round, filtered and unfiltered, for both rules of how many to keep."""

from __future__ import annotations

from plots._seeds import STYLE, curve, gains, metrics
from plots.common import COLORS, Figure, Measured, Rows, line, panels, select, values

LABELS = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "event": "event right",
    "place": "place right",
    "number": "number right",
    "types": "different words used",
    "perplexity": "perplexity of references",
    "kept_rouge1": "ROUGE-1 of the kept",
}

MOVED = ("rouge1", "event", "place", "number", "types")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a rule."""
    names, rules = metrics(rows, [*LABELS]), list(dict.fromkeys(row["rule"] for row in rows))
    figure, axes = panels(-(-len(names) // 3), 3, height=1.9, sharex=True)
    for panel, name in zip(axes.flat, names, strict=False):
        for color, rule in zip(COLORS, rules, strict=False):
            for verified, style in STYLE.items():
                curve(panel, _by_start(select(rows, rule=rule, verified=verified)), name, color=color, ls=style)
        panel.set(title=LABELS[name])
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("round $k$")
    handles = [line(f"kept share {rule}", color=color) for color, rule in zip(COLORS, rules, strict=False)]
    handles += [line("filtered by ROUGE-1", color="black"), line("unfiltered", color="black", ls="--")]
    starts = len({(row["base"], row["seed"]) for row in rows})
    about = f"{rows[0]['data']}, {len(values(rows, 'base'))} bases, {starts} starts, 95 % intervals"
    figure.legend(handles=handles, loc="outside lower center", ncols=4, title=about)
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each arm moved by the last round, and how far apart they ended."""
    rows, numbers = _by_start(rows), {}
    for rule in dict.fromkeys(row["rule"] for row in rows):
        numbers |= gains(rows, f"{rule}, ", metrics(rows, MOVED), rule=rule)
    return numbers


def _by_start(rows: Rows) -> Rows:
    """Let base and seed together count as the seed, over which means and differences are taken."""
    return [row | {"seed": f"{row['base']}-{row['seed']}"} for row in rows]
