"""The tables of docs/results/linear.md: every closed form beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from claims.tables import (
    Quantity,
    Table,
    Tables,
    counted,
    plain,
    quantities,
    records,
    rounds,
    shown,
    student,
    summary,
    table,
    z,
)
from figures.style import column, select, values

REFERENCE = 400  # replicates of the reference simulation of 60 rounds


def landscape(name: str) -> list[Table]:
    """The summary, where the simulation itself crosses zero, and how far theory and cells agree."""
    rows = list(records(name))
    found = summary(name, lambda what: None)
    for radius in (0.01, 0.5):
        cells = sorted(select(rows, radius=radius), key=lambda row: row["bias"])
        gain = np.log(column(cells, "baseline") / column(cells, "mean")) / 2
        crossing = float(np.interp(0, -gain, column(cells, "bias")))
        what = f"simulation: zero-improvement bias, radius {radius:g}"
        found.append(Quantity(what, crossing, n=cells[0]["replicates"]))
    scores = (column(rows, "mean") - column(rows, "exact")) / column(rows, "standard_error")
    size = float(np.sqrt(np.mean(scores**2)))
    found.append(Quantity(f"rms z of {len(rows):,} cells, simulation - exact", size, expected=1))
    apart = np.log(column(rows, "expansion") / column(rows, "exact")) / 2
    what = "largest distance of expansion and exact theory, log improvement"
    found.append(Quantity(what, float(np.abs(apart).max())))
    return [quantities(found)]


def sixty_rounds(name: str) -> list[Table]:
    """Every arm by its errors and its gain, then what is expected of some."""
    rows = list(records(name))
    header = ["size", "bias", "verifier", "n", "round 0", "round 1", "round 60"]
    header += ["gain over no verifier, round 60", "rounds surely worse than no verifier"]
    lines = []
    for size in ("constant", "growing"):
        for bias in values(rows, "bias"):
            for radius in (*values(rows, "radius"), None):
                arm = select(rows, size=size, bias=bias, radius=radius)
                verifier = "none" if radius is None else f"radius {radius:g}"
                cells = [size, f"{bias:g}", verifier, counted(arm[0]["replicates"])]
                errors = [_quantity(arm[k], "error_truth") for k in (0, 1, 60)]
                cells += [shown(error.value, error.half) for error in errors]
                lines.append(cells + _compared(arm))
    expected = []
    for row in summary(name, lambda what: rows[0]["replicates"]):
        if row.expected:
            expected.append(_beside_reference(row))
    return [table(header, lines), quantities(expected)]


def _beside_reference(row: Quantity) -> Quantity:
    """Count the standard error of the reference too; the unverified arm has a closed form."""
    if row.half is None or row.n is None or "unverified" in row.what:
        return row
    error = row.half / student(row.n)
    return row._replace(expected_error=error * (row.n / REFERENCE) ** 0.5)


def _compared(arm: list[dict[str, float]]) -> list[str]:
    """Return the gain of an arm in its last round, and the rounds in which it surely lost."""
    if arm[0]["radius"] is None:
        return ["", ""]
    gain = _quantity(arm[-1], "gain_truth")
    lost = []
    for row in arm[1:]:
        one = _quantity(row, "gain_truth")
        if one.half is not None and one.value + one.half < 0:
            lost.append(int(row["round"]))
    return [shown(gain.value, gain.half), rounds(lost)]


def _quantity(row: Mapping[str, float], metric: str, what: str = "", unit: float = 1) -> Quantity:
    """Return a metric of a row over replicates, in a unit."""
    n = int(row["replicates"])
    half = student(n) * row[f"{metric}_se"] / unit
    return Quantity(what, row[metric] / unit, half, n)


def designs(name: str) -> list[Table]:
    """The last round of every design, and that Gaussian rows still fall."""
    rows = select(records(name), part="rounds")
    replicates = rows[0]["replicates"]
    found = []
    for row in summary(name, lambda what: replicates):
        if "map" in row.what:
            row = row._replace(n=None)
        found.append(row)
    for k in (10, 15, 19):
        row = select(rows, arm="Gaussian rows", round=k)[0]
        found.append(_quantity(row, "error_center", f"Gaussian rows: error to centre, round {k}"))
    return [quantities(found)]


def data_policies(name: str) -> list[Table]:
    """The last round of every policy and of every weight of fresh real data."""
    rows = list(records(name))
    unit = select(rows, policy="replace", verified=False, round=0)[0]["closed_form"]
    last = select(rows, round=20)
    header = ["policy", "n", "expected, unverified", "unverified", "z", "verified"]
    header += ["paired gain of verifying"]
    lines = []
    for without in select(last, verified=False):
        weight = without["weight"]
        same = select(last, policy=without["policy"], weight=weight, verified=True)[0]
        named = without["policy"]
        if weight is not None:
            named = f"weight {weight:g} of fresh real data"
        known = without["closed_form"]
        expected = None
        if known is not None:
            expected = known / unit
        unverified = _quantity(without, "error_truth", unit=unit)._replace(expected=expected)
        verified = _quantity(same, "error_truth", unit=unit)
        gain = _quantity(same, "gain_truth", unit=unit)
        cells = [named, counted(unverified.n), plain(expected)]
        cells += [shown(unverified.value, unverified.half), z(unverified)]
        cells += [shown(each.value, each.half) for each in (verified, gain)]
        lines.append(cells)
    return [table(header, lines)]


def spectrum(name: str) -> list[Table]:
    """The flattest and the most spread design, then medians over designs of few and many rows."""
    rows = list(records(name))
    found = []
    for bias in values(rows, "bias"):
        for spread in (1, 32):
            arm = select(rows, part="spread", bias=bias, spread=spread, verified=True)
            for k in (1, 10):
                row = select(arm, round=k)[0]
                unit = row["baseline"]
                what = f"bias {bias:g}, singular values up to {spread} times the least, round {k}"
                one = _quantity(row, "error_truth", what, unit)
                found.append(one._replace(expected=row["expected_error_truth"] / unit))
    header = ["real rows of 16 parameters", "designs", "real data", "unverified", "verified"]
    header += ["verified, expected"]
    lines = []
    for count in sorted(set(column(select(rows, part="rows"), "real_rows").astype(int))):
        start, without, verified = (
            select(rows, part="rows", real_rows=count, verified=checked, round=k)[0]
            for checked, k in ((True, 0), (False, 10), (True, 10))
        )
        cells = [str(count), counted(verified["designs"])]
        cells += [shown(row["error_truth"], None) for row in (start, without, verified)]
        lines.append([*cells, shown(verified["expected_error_truth"], None)])
    return [quantities(found), table(header, lines)]


def weighting(name: str) -> list[Table]:
    """The last round of every rule at every acceptance and bias."""
    rows = select(records(name), round=12)
    header = ["bias", "acceptance", "rule", "n", "error to centre", "error to truth", "paired gain"]
    lines = []
    for bias in values(rows, "bias"):
        for fraction in values(rows, "fraction"):
            for row in select(rows, bias=bias, fraction=fraction):
                cells = [f"{bias:g}", f"{fraction:g}", row["rule"], counted(row["replicates"])]
                for metric in ("error_center", "error_truth", "gain_truth"):
                    one = _quantity(row, metric)
                    cells.append(shown(one.value, one.half))
                lines.append(cells)
    return [table(header, lines)]


RUNS: dict[str, Tables] = {
    "linear_landscape": landscape,
    "linear_rounds": sixty_rounds,
    "linear_designs": designs,
    "linear_policies": data_policies,
    "linear_spectrum": spectrum,
    "reward_weighting": weighting,
}
