"""The tables of docs/results/literature.md: every closed form beside what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import numpy as np

from claims.tables import Quantity, Table, Tables, quantities, records, student, summary
from figures.style import select


def noisy_verifier(name: str) -> list[Table]:
    """The summary without the accuracies that a loop ends at, which show no spread."""
    found = summary(name, _units(400))
    return [quantities([row for row in found if ": accuracy, round" not in row.what])]


def curation(name: str) -> list[Table]:
    """The summary of one of two by Luce's rule, and the fit of all rounds."""
    found = summary(name, _units(50))
    return [quantities([row for row in found if row.what.startswith(("luce2", "rms"))])]


def selection_bias(name: str) -> list[Table]:
    """The summary, and the dispersion in round 10 beside its closed form."""
    rows = list(records(name))
    found = summary(name, _units(rows[0]["replicates"]))
    known = {row.what for row in found}
    for row in select(rows, verified=False, round=10):
        what = f"{row['arm']}: trace / truth's, round 10"
        if what not in known:
            found.append(_quantity(row, "trace", what)._replace(expected=row["expected_trace"]))
    return [quantities([row for row in found if "log volume" not in row.what])]


def verifier_shape(name: str) -> list[Table]:
    """The summary, and how far each shape ends from the ball on either design."""
    found = summary(name, lambda what: None)
    rows = select(records(name), round=20)
    compared = []
    for one in rows:
        ball = select(rows, shape="ball", design=one["design"], bias=one["bias"])[0]
        if one["shape"] in ("ball", "none") or one["bias"]:
            continue
        what = f"{one['shape']} - ball, {one['design']}, bias 0: error to truth, round 20"
        error = float(np.hypot(one["error_center_se"], ball["error_center_se"]))
        n = min(one["replicates"], ball["replicates"])
        gap = one["error_center"] - ball["error_center"]
        compared.append(Quantity(what, gap, student(n) * error, n))
    unbiased = [row for row in _counted(found, rows) if "bias 0" in row.what]
    return [quantities(unbiased), quantities(compared)]


def _counted(found: list[Quantity], rows: list[dict[str, float]]) -> list[Quantity]:
    """Return the quantities with the replicates of their own arm."""
    counted = []
    for row in found:
        shape, design, rest = row.what.split(", ", 2)
        bias = float(rest.removeprefix("bias ").split(":")[0])
        n = int(select(rows, shape=shape, design=design, bias=bias)[0]["replicates"])
        half = row.half
        if half is not None:
            half *= student(n) / student(10**6)
        counted.append(row._replace(n=n, half=half))
    return counted


def _units(replicates: int) -> Callable[[str], int]:
    """Return what tells how many units a quantity is the mean of: cells, rounds, or replicates."""

    def count(what: str) -> int:
        fit = re.search(r"of (\d+) (cells|rounds)", what)
        if fit is None:
            return replicates
        return int(fit[1])

    return count


def _quantity(row: Mapping[str, float], metric: str, what: str) -> Quantity:
    n = int(row["replicates"])
    return Quantity(what, row[metric], student(n) * row[f"{metric}_se"], n)


RUNS: dict[str, Tables] = {
    "noisy_verifier": noisy_verifier,
    "curation": curation,
    "selection_bias": selection_bias,
    "selection_bias-10": selection_bias,
    "verifier_shape": verifier_shape,
}
