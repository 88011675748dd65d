"""ROUGE, facts and variety of language by round, filtered and unfiltered, for both rules of how
many to keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from figures._seeds import curve, difference, ends, metrics
from figures.style import COLORS, Figure, Measured, Rows, line, panels, select, values

LABELS = {
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "kept_rouge1": "ROUGE-1 of the kept",
    "perplexity": "reference perplexity",
    "event": "event right",
    "place": "place right",
    "number": "number right",
    "wording": "whole sentences",
    "types": "different words used",
    "kinds": "kinds of event told",
    "words": "words in a summary",
    "copying": "3-grams copied",
}
PLACE: tuple[str, ...] = ("rule", "filtering", "seed", "round")
MOVED = ("rouge1", "event", "place", "number", "wording", "types", "kinds", "words")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a rule."""
    names = metrics(rows, [*LABELS])
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    figure, axes = panels(-(-len(names) // 4), 4, height=1.6, sharex=True)
    colors = dict(zip(rules, COLORS, strict=False))
    styles = _styles(rows)
    for panel, name in zip(axes.flat, names, strict=False):
        for rule, color in colors.items():
            for filtering in _filterings(rows, rule):
                arm = _by_corpus(select(rows, rule=rule, filtering=filtering))
                curve(panel, arm, name, color=color, ls=styles[filtering])
        panel.set(title=LABELS[name])
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    for panel in axes.flat[max(len(names) - 4, 0) : len(names)]:  # the lowest of each column
        panel.set_xlabel("round $k$")
        panel.tick_params(labelbottom=True)
    handles = [line(f"kept share {rule}", color=color) for rule, color in colors.items()]
    handles += [line(filtering, color="black", ls=style) for filtering, style in styles.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), title=_about(rows)
    )
    return figure


def _about(rows: Rows) -> str:
    """Say what the rows are of, and over how many corpora or starts the intervals are."""
    models = "1 pre-trained model"
    if len(values(rows, "base")) > 1:
        models = f"{len(values(rows, 'base'))} pre-trained models"
    n = len(values(rows, "seed"))
    spread = f"95 % intervals over n = {n}"
    if n == 1:
        spread = "one start, so no interval"
    return f"{rows[0]['data']}; {models}, {spread}"


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each arm moved by the last round, and how far it ended from the unfiltered and the
    filtered one.
    """
    rows = _by_corpus(rows)
    numbers = {}
    for rule in dict.fromkeys(row["rule"] for row in rows):
        arms = _filterings(rows, rule)
        for name in metrics(rows, MOVED):
            moved = {arm: ends(rows, name, rule=rule, filtering=arm) for arm in arms}
            numbers[f"{rule}, {name}: round 0"] = difference(moved["filtered"][0])
            for arm, (first, last) in moved.items():
                numbers[f"{rule}, {name}: {arm} - round 0"] = difference(last - first)
            for arm in arms:
                if arm != "filtered":
                    numbers[f"{rule}, {name}: filtered - {arm}"] = difference(
                        moved["filtered"][1] - moved[arm][1]
                    )
    return numbers


def _filterings(rows: Rows, rule: str) -> list[str]:
    return list(dict.fromkeys(row["filtering"] for row in rows if row["rule"] == rule))


def _styles(rows: Rows) -> dict[str, Any]:
    names = dict.fromkeys(row["filtering"] for row in rows)
    return dict(
        zip(names, ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3))), strict=False)
    )


def _by_corpus(rows: Rows) -> Rows:
    """Return one row a rule, filtering, seed and round: every number is its mean over the models.

    Models share the corpora and articles of a seed, so that seeds alone are independent.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        place = tuple(row[name] for name in PLACE)
        groups.setdefault(place, []).append(row)
    found: list[dict[str, Any]] = []
    for place, of_models in groups.items():
        means: dict[str, Any] = dict(zip(PLACE, place, strict=True))
        for name in LABELS:
            known = [row[name] for row in of_models if row.get(name) is not None]
            if known:
                means[name] = float(np.mean(known))
        found.append(means)
    return found
