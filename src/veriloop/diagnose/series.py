"""What alarms and advice read from records: one arm, one row for every seed and round."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, cast

import numpy as np

from veriloop.core.loop import Record
from veriloop.records import Records

Row = Mapping[str, object]
Input = Iterable[Row | Record | Sequence[Record]]
LARGEST = 1e100  # the square of a larger number may be beyond what a float holds
TIE = 1e-9  # values closer than this, as a fraction of the largest, are the same


@dataclass(frozen=True)
class Series:
    """What records say of some metrics by round.

    rounds: the rounds, in order.
    names: the metrics that are there.
    values: shape (seeds, columns), the rounds of one metric after those of the other.
    errors: known standard errors, where there is one row a round.
    kept, candidates: means over seeds by round, NaN where records lack them.
    rows: the rows that were read.
    """

    rounds: list[int]
    names: list[str]
    values: np.ndarray
    errors: np.ndarray | None
    kept: np.ndarray
    candidates: np.ndarray
    rows: list[dict[str, object]]

    @classmethod
    def of(cls, where: str, records: Input, metric: str, also: str | None = None) -> Series:
        """Read `metric`, and `also` where every row of several seeds has it."""
        everything = read(where, records)
        rows = [row for row in everything if row.get(metric) is not None and "round" in row]
        if not rows:
            _refuse_empty(where, everything, metric)
        arms = sorted({arm_without_seed(row) for row in rows})
        if len(arms) != 1:
            raise ValueError(
                f"{where} needs records of one arm with {metric!r}, got {', '.join(arms)}; "
                "pick one, as in records.select(arm=...)"
            )
        seeds, rounds = _seeds_and_rounds(where, rows, metric)
        cells = {(row.get("seed"), row["round"]): row for row in rows}
        grid: list[list[dict[str, object]]] = []
        for seed in seeds:
            grid.append([cells[seed, k] for k in rounds])
        names = [metric]
        values = _column(where, grid, metric)
        if not np.isfinite(values).all():
            raise ValueError(f"{where} needs a number for {metric!r} in every row, got infinity")
        largest = float(np.abs(values).max())
        if largest > LARGEST:
            raise ValueError(
                f"{where} needs {metric!r} below {LARGEST:g}, got {largest:.3g}; give it in a "
                "larger unit"
            )
        several = len(seeds) > 1
        if also is not None and also != metric and several:
            beside = _column(where, grid, also)
            if np.isfinite(beside).all():
                names.append(also)
                values = np.concatenate([values, beside], axis=1)
        errors = None
        if not several:
            errors = _column(where, grid, f"{metric}_se")[0]
            if not ((errors >= 0) & (errors < np.inf)).all():
                raise ValueError(
                    f"{where} needs two seeds or more, or a finite {metric}_se beside {metric!r}, "
                    "got one seed; run more seeds"
                )
        kept = _column(where, grid, "kept").mean(axis=0)
        candidates = _column(where, grid, "candidates").mean(axis=0)
        return cls(rounds, names, values, errors, kept, candidates, rows)


def read(where: str, records: Input) -> Records:
    """Return any kind of records as `Records`.

    Raises:
        TypeError: if it is no sequence of rows or of `Record`s.
    """
    wanted = "rows, as in Records.read(folder), or one sequence of Records a seed"
    kind = type(records).__name__
    if hasattr(records, "to_dict"):
        raise TypeError(
            f"{where} needs {wanted}, got a {kind}; give it .to_dict('records') of the data frame"
        )
    given = cast("object", records)
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{where} needs {wanted}, got a {kind}; pass such records")
    items = list(cast("Iterable[object]", given))
    for place, item in enumerate(items):
        if isinstance(item, Mapping | Record):
            continue
        parts: Sequence[object] = ()
        if isinstance(item, Sequence):
            parts = cast("Sequence[object]", item)
        if isinstance(item, str) or not parts:
            got = type(cast("object", item)).__name__
            raise TypeError(f"{where} needs {wanted}, got a {got} in place {place}; see Records")
        for part in parts:
            if not isinstance(part, Record):
                got = type(part).__name__
                raise TypeError(
                    f"{where} needs {wanted}, got a {got} in the sequence in place {place}; "
                    "see Records"
                )
    return Records.of(cast("list[Row | Record | Sequence[Record]]", items))


def arm_without_seed(row: Row) -> str:
    """Return the arm of a row, without the seed where its name holds that.

    >>> arm_without_seed({"arm": "filtered-seed11", "seed": 11})
    'filtered'
    """
    name = str(row.get("arm"))
    seed = row.get("seed")
    if seed is None:
        return name
    seed_at_its_place = rf"[-_ ,/]*(?<![A-Za-z])seed[-_ =]?{re.escape(str(seed))}(?!\d)"
    without = re.sub(seed_at_its_place, "", name)
    return without or name


def _refuse_empty(where: str, records: Records, metric: str) -> NoReturn:
    """Say why no row has a round and the metric."""
    if metric in records.metrics:
        raise ValueError(
            f"{where} needs a number for {metric!r} in every row, got NaN; leave such rows out"
        )
    if not records.metrics:
        raise ValueError(f"{where} needs rows with a round and {metric!r}, got none; pass records")
    raise ValueError(
        f"{where} needs a metric of the records, got {metric!r}; pick one of "
        f"{', '.join(records.metrics)}"
    )


def _seeds_and_rounds(
    where: str, rows: Sequence[Row], metric: str
) -> tuple[list[object], list[int]]:
    """Return the seeds and rounds, if every seed has every round once and none is left out."""
    seeds = sorted({row.get("seed") for row in rows}, key=str)
    rounds = sorted({_round(where, row) for row in rows})
    ascending = range(rounds[0], rounds[-1] + 1)
    counts = Counter((row.get("seed"), row["round"]) for row in rows)
    for seed in seeds:
        for number in ascending:
            count = counts[seed, number]
            if count != 1:
                raise ValueError(
                    f"{where} needs one row with {metric!r} for every seed and round, rounds going "
                    f"up by one, got {count} in round {number} {_of_seed(seed)}; select such rows, "
                    "each with its seed"
                )
    if len(rounds) < 2:
        raise ValueError(
            f"{where} needs {metric!r} in two rounds or more, got {len(rounds)}; run more rounds"
        )
    return seeds, rounds


def _of_seed(seed: object) -> str:
    return "without a seed" if seed is None else f"of seed {seed}"


def _round(where: str, row: Row) -> int:
    number = row["round"]
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValueError(f"{where} needs whole numbers as rounds, got {number!r}; number them so")
    return number


def _column(where: str, grid: Sequence[Sequence[Row]], name: str) -> np.ndarray:
    """Return one column, shape (seeds, rounds); NaN where a row has no number."""
    cells: list[list[object]] = []
    for line in grid:
        numbers = [row.get(name) for row in line]
        for cell in numbers:
            if isinstance(cell, str | bool):
                raise ValueError(f"{where} needs numbers for {name!r}, got {cell!r}; mend the row")
        cells.append(numbers)
    return np.array(cells, dtype=float)
