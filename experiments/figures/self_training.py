"""Sums answered right by round, what was right among the kept, and pass@k at start and end."""

from __future__ import annotations

from typing import Any

import numpy as np

from figures._seeds import curve, difference, ends, mean
from figures.style import COLORS, GREY, Figure, Measured, Rows, line, panels, select, values

COLOR = {"verified": COLORS[0], "noisy": COLORS[4], "majority": COLORS[2], "unverified": GREY}
STYLE = {"continued": "-", "base": "--"}
REFITS = {"continued": "the last model refitted", "base": "the base fitted anew"}
SETS = {"held": "sums held out", "train": "sums trained on"}


def draw(rows: Rows) -> Figure:
    """Two panels by round, a line an arm; two of pass@k before and after, a line a verifier."""
    figure, axes = panels(1, 4, height=2.4)
    verifiers = _in_order(rows, "verifier", COLOR)
    refits = _in_order(rows, "refit", STYLE)
    for verifier in verifiers:
        for refit in refits:
            arm = select(rows, verifier=verifier, refit=refit)
            options = {"color": COLOR[verifier], "ls": STYLE[refit]}
            curve(axes[0, 0], arm, "exact", **options)
            curve(axes[0, 1], select_later(arm), "kept_exact", **options)
    axes[0, 0].set(title="sums held out: right, greedy", xlabel="round $k$", ylim=(0, 1))
    axes[0, 1].set(title="of the kept: right", xlabel="round $k$", ylim=(0, 1))
    for panel, (name, title) in zip(axes[0, 2:], SETS.items(), strict=True):
        start = select(rows, verifier=verifiers[0], refit=refits[0], round=0)
        _passes(panel, start, name, color="black", ls=":")
        for verifier in verifiers:
            end = select(rows, verifier=verifier, refit=refits[0], round=rows[-1]["round"])
            _passes(panel, end, name, color=COLOR[verifier])
        panel.set(title=f"{title}: pass@k", xlabel="$k$ answers", ylim=(0, 1))
        panel.set_xscale("log", base=2)
        panel.set_xticks(_tries(rows, name), _tries(rows, name))
    handles = [line(verifier, color=COLOR[verifier]) for verifier in verifiers]
    handles += [line(REFITS[refit], color="black", ls=STYLE[refit]) for refit in refits]
    handles += [line("pass@k: round 0", color="black", ls=":")]
    about = f"{len(values(rows, 'seed'))} seeds, 95 % intervals; pass@k: {REFITS[refits[0]]}"
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), title=about)
    return figure


def select_later(rows: Rows) -> Rows:
    """Return the rows after round 0, in which nothing is kept."""
    return [row for row in rows if row["round"]]


def _passes(panel: Any, rows: Rows, name: str, **options: Any) -> None:
    """Draw pass@k by k, the mean over seeds with its 95 % interval."""
    tries = _tries(rows, name)
    points: list[tuple[float, float]] = []
    for k in tries:
        sample = [row[f"{name}_pass@{k}"] for row in rows]
        points.append(mean(sample))
    middle, half = np.array(points).T
    panel.fill_between(
        tries, middle - half, middle + half, color=options["color"], alpha=0.15, lw=0
    )
    panel.plot(tries, middle, marker="o", ms=2, **options)


def _tries(rows: Rows, name: str) -> list[int]:
    """Return every k of which the first row has pass@k."""
    prefix = f"{name}_pass@"
    return sorted(int(each.removeprefix(prefix)) for each in rows[0] if each.startswith(prefix))


def _in_order(rows: Rows, name: str, known: dict[str, str]) -> list[str]:
    there = set(values(rows, name))
    return [each for each in known if each in there]


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each arm moved in right answers and in pass@k, and how far from unverified."""
    numbers = {}
    for refit in _in_order(rows, "refit", STYLE):
        finals = {}
        for verifier in _in_order(rows, "verifier", COLOR):
            arm = select(rows, verifier=verifier, refit=refit)
            name = f"{verifier}, {refit}"
            first, finals[verifier] = ends(arm, "exact")
            numbers[f"{name}: right, round 0"] = difference(first)
            numbers[f"{name}: right, last - round 0"] = difference(finals[verifier] - first)
            for where in SETS:
                tries = _tries(rows, where)
                for k in (tries[0], tries[-1]):
                    before, after = ends(arm, f"{where}_pass@{k}")
                    what = f"{name}: {where}, pass@{k}, last - round 0"
                    numbers[what] = difference(after - before)
        for verifier, final in finals.items():
            if verifier != "unverified" and "unverified" in finals:
                what = f"{refit}: right, {verifier} - unverified"
                numbers[what] = difference(final - finals["unverified"])
    return numbers
