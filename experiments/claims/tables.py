"""What all tables of docs/results share: samples by arm and round, quantities, and Markdown."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from veriloop.records import Records, interval
from veriloop.report.numbers import shown as shown
from veriloop.report.run import commits

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
COLUMNS = 100  # of a line of a page


class Quantity(NamedTuple):
    """One row of a table.

    what: the quantity, in words. value: its mean. half: half of its 95 % interval, None where it
        has none. n: how many independent units. expected: a closed form or a reference, None
        where there is none. text: what is shown in place of the value, such as a list of rounds.
        expected_error: the standard error of the reference; 0 for a closed form.
    """

    what: str
    value: float = math.nan
    half: float | None = None
    n: int | None = None
    expected: float | None = None
    text: str | None = None
    expected_error: float = 0.0


WORDS = {"quantity", "metric", "arm", "against", "verifier", "size", "policy", "verdict"}
Table = list[str]
Tables = Callable[[str], list[Table]]  # of the name of a run


@cache
def records(name: str) -> Records:
    """Return the committed records of a run."""
    return Records.read(RESULTS / name)


def sample(rows: Records, arm: str, metric: str, k: int) -> np.ndarray:
    """Return a metric of one arm in round k, one value a seed; k = -1 is the last round."""
    rows = rows.select(arm=arm)
    if k == -1:
        k = last_round(rows, arm)
    values = {row["seed"]: row[metric] for row in rows.select(round=k)}
    return np.array([values[seed] for seed in sorted(values)])


def last_round(rows: Records, arm: str) -> int:
    """Return the number of an arm's last round."""
    return max(row["round"] for row in rows.select(arm=arm))


def over(what: str, values: np.ndarray) -> Quantity:
    """Return the mean of a sample of independent units, with its interval."""
    middle, _, high = interval(values)
    return Quantity(what, middle, high - middle, len(values))


def apart(rows: Records, what: str, one: str, other: str, metric: str, k: int = -1) -> Quantity:
    """Return how far two arms are apart in round k, paired by seed."""
    if k == -1:
        k = last_round(rows, one)
    curve = rows.select(round=k).difference(one, other, metric)
    middle = float(curve.mean[0])
    half = float(curve.high[0]) - middle
    return Quantity(what, middle, half, int(curve.n[0]))


def moved(
    rows: Records, what: str, arm: str, metric: str, since: int = 0, to: int = -1
) -> Quantity:
    """Return how far an arm moved between two rounds, seed by seed."""
    return over(what, sample(rows, arm, metric, to) - sample(rows, arm, metric, since))


def since_best(rows: Records, arm: str, metric: str, *, lowest: bool) -> Quantity:
    """Return how far an arm ends from its best round.

    For each seed that is the best round of the other seeds. A round that is picked on all seeds
    makes this too large, and its interval too narrow.
    """
    each = range(last_round(rows, arm) + 1)
    values = np.array([sample(rows, arm, metric, k) for k in each])
    sign = 1 if lowest else -1
    ends = []
    for i in range(values.shape[1]):
        others = np.delete(values, i, axis=1)
        best = int(np.argmin(sign * others.mean(axis=1)))
        ends.append(values[-1, i] - values[best, i])
    side = "lowest" if lowest else "highest"
    return over(f"{arm}, {metric}: the end - the {side} round of the other seeds", np.array(ends))


def summary(name: str, n: Callable[[str], int | None]) -> list[Quantity]:
    """Return what the figure of a run prints at its end, computed from the records.

    n: of the name of a quantity, how many independent units it is the mean of; None where its
        standard error, if it has one, is not over replicates.
    """
    about = json.loads((RESULTS / name / "run.json").read_text())
    figure = importlib.import_module(f"figures.{about['experiment']}")
    stated = about["summary"]
    found = []
    for what, number in figure.summarise(list(records(name))).items():
        half = None
        if number.standard_error is not None:
            half = student(n(what) or 10**6) * number.standard_error
        found.append(Quantity(what, number.value, half, n(what), stated[what]["expected"]))
    return found


def whole(name: str) -> list[Table]:
    """Return all that a run's figure prints at its end, for a run without tables of its own."""
    about = json.loads((RESULTS / name / "run.json").read_text())
    replicates = about["config"]["replicates"]
    return [quantities(summary(name, lambda what: replicates))]


def rounds(chosen: Sequence[int]) -> str:
    """Return rounds in words.

    >>> rounds([1, 2, 3, 5]), rounds([])
    ('1 to 3, 5', 'none')
    """
    runs: list[list[int]] = []
    for k in sorted(chosen):
        if runs and runs[-1][-1] == k - 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    named = []
    for run in runs:
        ends = dict.fromkeys([run[0], run[-1]])
        named.append(" to ".join(map(str, ends)))
    return ", ".join(named) or "none"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a Markdown table; columns of numbers, all but those named, are to the right."""
    sides = dict.fromkeys(header, "--:") | dict.fromkeys(WORDS.intersection(header), "---")
    return [_line(cells) for cells in (header, list(sides.values()), *rows)]


def quantities(rows: Sequence[Quantity]) -> Table:
    """Return a table of quantities; with what was expected, and z, where any row has it."""
    compared = any(row.expected is not None for row in rows)
    header = ["quantity", "n", "measured"]
    if compared:
        header = ["quantity", "n", "expected", "measured", "z"]
    lines = []
    for row in rows:
        value = row.text or shown(row.value, row.half)
        cells = [row.what, counted(row.n), value]
        if compared:
            cells = [row.what, counted(row.n), plain(row.expected), value, z(row)]
        lines.append(cells)
    return table(header, lines)


def arms(rows: Records, compared: Mapping[str, str | None], metrics: Sequence[str]) -> Table:
    """Return a table of arms: each metric at round 0 and at the end, its change, and a difference.

    compared: for each arm the one that it is compared with at the end, None for none.
    """
    k = max(last_round(rows, arm) for arm in compared)
    header = ["metric", "arm", "n", "round 0", f"round {k}", "change", "against", "difference"]
    lines = []
    for metric in metrics:
        for arm, other in compared.items():
            first = over("", sample(rows, arm, metric, 0))
            final = over("", sample(rows, arm, metric, -1))
            change = moved(rows, "", arm, metric)
            against = ["", ""]
            if other is not None:
                gap = apart(rows, "", arm, other, metric)
                against = [other, shown(gap.value, gap.half)]
            cells = [metric, arm, counted(first.n)]
            cells += [shown(each.value, each.half) for each in (first, final, change)]
            lines.append(cells + against)
    return table(header, lines)


def plain(value: float | None) -> str:
    """Return a number without an interval; nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}"


def counted(n: int | None) -> str:
    """Return how many; nothing for None."""
    if n is None:
        return ""
    return f"{n:,}"


def z(row: Quantity) -> str:
    """Return how many standard errors a quantity is from what was expected; nothing if unknown."""
    if row.expected is None or not row.half or row.n is None:
        return ""
    error = math.hypot(row.half / student(row.n), row.expected_error)
    distance = (row.value - row.expected) / error
    if abs(distance) < 0.05:
        return "0.0"
    return f"{distance:+.1f}"


def printed(name: str, tables: Tables) -> str:
    """Return the Markdown of one run: how it was made, and its tables."""
    lines = [_made(name), f"Printed by `python experiments/_claims.py {name}`.", ""]
    for table in tables(name):
        lines += [*table, ""]
    return "\n".join(lines[:-1]) + "\n"


def _made(name: str) -> str:
    run = json.loads((RESULTS / name / "run.json").read_text())
    seeds = sorted({row["seed"] for row in records(name)})
    counted = f"seed {seeds[0]}"
    if len(seeds) > 1:
        counted = f"seeds {seeds[0]} to {seeds[-1]}"
    device = run["device"]
    machine = device.get("processor", device["machine"])
    time = f"{run['seconds']['work']:.0f} s on {device['cpus']} cores ({machine})"
    preset = f"preset `{run['preset']}` of `{run['experiment']}`"
    what = "It"
    if "earlier" in run:
        what = f"The last of {len(run['earlier']) + 1} calls"
    first = f"Run: {preset}, {counted}, {commits(run)}."
    if len(first) > COLUMNS:
        first = f"Run: {preset}, {counted},\n{commits(run)}."
    return f"{first}\n{what} took {time}."


def p_value(values: np.ndarray) -> float:
    """Return the two-sided p of a mean of zero (Student's t), to three digits.

    >>> p_value(np.array([1.0, 2.0, 3.0]))
    0.0742
    """
    n = len(values)
    t = values.mean() / (values.std(ddof=1) / np.sqrt(n))
    return float(f"{2 * stdtr(n - 1, -abs(t)):.3g}")


def student(n: int) -> float:
    """Return how many standard errors half of a 95 % interval is, for n units.

    >>> round(student(4_000), 3), round(student(3), 2)
    (1.961, 4.3)
    """
    return float(stdtrit(n - 1, 0.975))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
