"""The table of all rows: read, selected, averaged over seeds, compared in pairs."""

from __future__ import annotations

import difflib
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

import numpy as np
from numpy.typing import NDArray

from veriloop.core.checks import check_path
from veriloop.core.loop import Record
from veriloop.records.curve import Curve, curve
from veriloop.records.lines import FAILED, FILE, Row, checked, line, read_rows

if TYPE_CHECKING:
    from pandas import DataFrame  # pyright: ignore[reportMissingTypeStubs]

# What says which row it is; all other numbers are metrics.
WHERE = ("arm", "seed", "round", "candidates", "kept")
Cells = dict[tuple[Any, int], float]  # seed and round -> number
T = TypeVar("T")


class Records(Sequence[dict[str, Any]]):
    """Flat rows: `arm`, `seed`, `round`, `candidates`, `kept`, then metrics. It never changes.

    A row is a dict of numbers and strings. A missing number is None in a row, null in JSON, and NaN
    in a column. An arm that ended with an error has its finished rounds, and a mark in `failed`.

    rows: the rows, in order; mappings of names to numbers, strings, or None. One whose `failed`
        is text is a mark: it says which arm, seed and round ended with that error.

    Raises:
        ValueError: if a row is no mapping, or holds something else than numbers and strings.

    >>> rows = [{"arm": arm, "seed": s, "round": 1, "error": e + 0.1 * s} for arm, e in
    ...         (("plain", 2.0), ("verified", 1.0)) for s in range(3)]
    >>> records = Records(rows)
    >>> records
    Records(6 rows; arms: plain, verified; 3 seeds; rounds: 1; metrics: error)
    >>> print(records.mean("plain", "error"))
    round 1: 2.1 (1.852 to 2.348, n = 3)
    >>> records.difference("verified", "plain", "error").mean
    array([-1.])
    """

    __slots__ = ("_columns", "_failed", "_rows")

    def __init__(self, rows: Iterable[Row]) -> None:
        plain = [checked(place, row) for place, row in enumerate(rows)]
        self._rows = [row for row in plain if not _is_mark(row)]
        self._failed = [row for row in plain if _is_mark(row)]
        self._columns = _columns(self._rows)

    @classmethod
    def read(cls, path: str | Path) -> Records:
        """Read records.jsonl, of a run that has ended or of one that still goes on.

        path: the file, or the folder that holds it. A last line that is cut is left out, with a
            warning.

        Raises:
            ValueError: if there is no such file, it has no rows, or a line is not a row.
        """
        file = check_path("Records.read", path)
        if file.is_dir():
            file = file / FILE
        rows = read_rows(file)
        try:
            return cls(rows)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    @classmethod
    def of(cls, records: Iterable[Row | Record | Iterable[Record]]) -> Records:
        """Return records of rows, of one seed's `Record`s, or of a sequence of `Record`s a seed.

        A data frame of pandas is its rows.

        Raises:
            TypeError: if it is something else; the message says what to write.
        """
        if isinstance(records, Records):
            return records
        given: object = records
        if hasattr(given, "to_dict") and not isinstance(given, Mapping):
            frame: Any = given
            return cls(frame.to_dict("records"))
        if isinstance(given, str | Path):
            raise TypeError(f"records must be rows, got {given!r:.60}; write Records.read(...)")
        if isinstance(given, Mapping) or not hasattr(given, "__iter__"):
            kind = type(records).__name__
            raise TypeError(f"records must be rows, got one {kind}; give a list of mappings")
        rows: list[Row] = []
        for seed, item in enumerate(records):
            if isinstance(item, Mapping):
                rows.append(cast("Row", item))
            elif isinstance(item, Record):
                rows.append(item.row())
            else:
                rows.extend({**record.row(), "seed": seed} for record in item)
        return cls(rows)

    def write(self, path: str | Path) -> None:
        """Write the rows to a file, one JSON object a line. The file is whole or not there."""
        file = Path(path)
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_text("".join(self._lines()))
        os.replace(temporary, file)

    def _lines(self) -> list[str]:
        return [line(row) for row in (*self._rows, *self._failed)]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(row) for row in self._rows)

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> Records: ...
    def __getitem__(self, place: int | slice) -> dict[str, Any] | Records:
        if isinstance(place, slice):
            return self._with(self._rows[place])
        return dict(self._rows[place])

    def __add__(self, other: Records) -> Records:
        """Return the rows of both, these first."""
        return Records([*self._rows, *other, *self._failed, *other._failed])

    def __eq__(self, other: object) -> bool:
        """Tell whether the other records give the same lines of JSON."""
        if not isinstance(other, Records):
            return NotImplemented
        return self._lines() == other._lines()

    __hash__ = None  # type: ignore[assignment]  # equal by content, of any length

    def __repr__(self) -> str:
        parts = [f"{len(self)} rows"]
        if self.failed:
            failed = [_unit(mark) for mark in self.failed]
            parts.append(f"failed: {_listed(failed)}")
        if self.arms:
            parts.append(f"arms: {_listed(self.arms)}")
        if self.seeds:
            parts.append(f"{len(self.seeds)} seeds")
        rounds = sorted({row["round"] for row in self._rows if "round" in row})
        if rounds:
            ends = dict.fromkeys([rounds[0], rounds[-1]])
            parts.append(f"rounds: {' to '.join(map(str, ends))}")
        if self.metrics:
            parts.append(f"metrics: {_listed(self.metrics)}")
        return f"Records({'; '.join(parts)})"

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms, in the order in which they come."""
        arms: list[str] = _distinct(row.get("arm") for row in self._rows)
        return tuple(arms)

    @property
    def seeds(self) -> tuple[Any, ...]:
        """The seeds, in the order in which they come."""
        return tuple(_distinct(row.get("seed") for row in self._rows))

    @property
    def failed(self) -> tuple[dict[str, Any], ...]:
        """The marks of the arms that ended with an error: `arm`, `seed`, `round`, `failed`.

        The rounds before it are among the rows.
        """
        return tuple(dict(mark) for mark in self._failed)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all columns of numbers beside arm, seed, round, candidates and kept."""
        return tuple(name for name in self._columns if name not in WHERE and self._is_numeric(name))

    def select(self, **equal: float | str | None) -> Records:
        """Return the rows whose columns equal the values given; None is a missing value.

        Raises:
            ValueError: if no row has such a column, no row is of such an arm or seed, or the value
                is text and the column has numbers.
        """
        for name, value in equal.items():
            self._known("column", name, self._columns)
            if value is not None:
                self._comparable(name, value)
        rows = [row for row in self._rows if _matches(row, equal)]
        place = {name: value for name, value in equal.items() if name in ("arm", "seed")}
        return self._with(rows, [mark for mark in self._failed if _matches(mark, place)])

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column as floats, shape (rows,); NaN where a row has no number.

        Raises:
            ValueError: if there is no such column, or it holds text.
        """
        self._known("metric", name, self._columns, self.metrics)
        self._numeric(name)
        return np.array([_number(row.get(name)) for row in self._rows], dtype=np.float64)

    def mean(self, arm: str, metric: str) -> Curve:
        """Return the mean over the seeds of an arm, by round, and its 95 % interval (Student's t).

        A seed without a number in a round is left out there, and counted in `left_out`. A warning
        names the seeds that are left out because they failed.

        Raises:
            ValueError: if the arm or the metric is not known, no row has a number, or a seed has a
                round twice.
        """
        cells = self._cells(arm, metric)
        where = f"arm {arm!r}, {metric!r}"
        return self._curve(where, (arm,), cells)

    def difference(self, a: str, b: str, metric: str) -> Curve:
        """Return the mean of a - b by round, paired by seed, with its 95 % interval (Student's t).

        A seed that only one of the arms has in a round is left out there, and counted in
        `left_out`. A warning names the seeds that are left out because they failed.

        Raises:
            ValueError: if an arm or the metric is not known, or no seed has a number in both arms.
        """
        first = self._cells(a, metric)
        second = self._cells(b, metric)
        gaps: Cells = {}
        for place in _distinct([*first, *second]):
            gaps[place] = first.get(place, math.nan) - second.get(place, math.nan)
        where = f"arms {a!r} and {b!r}, {metric!r}, paired by seed"
        return self._curve(where, (a, b), gaps)

    def _curve(self, where: str, arms: tuple[str, ...], cells: Cells) -> Curve:
        """Return the curve of some arms; warn of seeds that failed."""
        failed = [mark for mark in self._failed if mark.get("arm") in arms]
        seeds = {seed for seed, _ in cells} | {mark.get("seed") for mark in failed}
        samples: dict[int, list[float]] = {}
        for (_, k), value in cells.items():
            samples.setdefault(k, []).append(value)
        found = curve(where, samples, len(seeds))
        if failed and found.left_out.any():
            named = _listed([_told(mark) for mark in failed])
            warnings.warn(
                f"{where}: some seeds failed, and later rounds are over the others; {named}",
                stacklevel=3,
            )
        return found

    def to_pandas(self) -> DataFrame:
        """Return a data frame with one row a row, its metrics as floats; a missing number is NaN.

        Raises:
            ImportError: if pandas is not installed; it says how to install it.
        """
        try:
            import pandas  # pyright: ignore[reportMissingTypeStubs]
        except ModuleNotFoundError as error:
            raise ImportError(
                f"to_pandas needs {error.name!r}; install it with: pip install 'veriloop[study]'"
            ) from error
        frame = pandas.DataFrame(self._rows, columns=self._columns)
        for name in self.metrics:
            frame[name] = self.column(name)
        return frame

    def _with(
        self, rows: list[dict[str, Any]], failed: list[dict[str, Any]] | None = None
    ) -> Records:
        """Return some of these rows, which need no check."""
        if failed is None:
            failed = self._failed
        part = Records(())
        part._rows = rows
        part._columns = self._columns
        part._failed = failed
        return part

    def _is_numeric(self, name: str) -> bool:
        """Tell whether a column holds numbers, or nothing at all."""
        return all(row.get(name) is None or _is_number(row[name]) for row in self._rows)

    def _numeric(self, name: str) -> None:
        """Refuse a column that holds something else than numbers."""
        if self._is_numeric(name):
            return
        for row in self._rows:
            value = row.get(name)
            if value is not None and not _is_number(value):
                place = ", ".join(f"{each} {row[each]}" for each in WHERE[:3] if each in row)
                raise ValueError(
                    f"column {name!r} must hold numbers, got {value!r:.60} in the row of {place}; "
                    f"mend it, or pick one of {_listed(self.metrics)}"
                )

    def _cells(self, arm: str, metric: str) -> Cells:
        """Return the metric of one arm by seed and round; NaN where it is missing."""
        if metric in self._columns and metric not in WHERE:
            self._numeric(metric)
        self._known("metric", metric, self.metrics)
        self._known("arm", arm, self.arms)
        cells: Cells = {}
        for row in self._rows:
            if row.get("arm") != arm:
                continue
            seed = row.get("seed")
            k = row.get("round")
            if seed is None or not isinstance(k, int):
                raise ValueError(
                    f"arm {arm!r} has a row without seed or round; select the rows of rounds first"
                )
            if (seed, k) in cells:
                raise ValueError(
                    f"arm {arm!r} has two rows of seed {seed}, round {k}; select one kind of row "
                    "first"
                )
            cells[seed, k] = _number(row.get(metric))
        return cells

    def _comparable(self, column: str, value: object) -> None:
        """Refuse a value that no row can have: an unknown arm or seed, or text for a number."""
        present = _distinct(row.get(column) for row in (*self._rows, *self._failed))
        if column == "arm":
            self._known("arm", value, present)
        elif column == "seed" and present and value not in present:
            raise ValueError(f"no seed is {value!r}; there are: {_listed(list(map(str, present)))}")
        elif isinstance(value, str) and present and self._is_numeric(column):
            raise ValueError(f"column {column!r} has numbers, got the text {value!r:.60}")

    def _known(
        self, what: str, name: object, known: Iterable[str], shown: Iterable[str] | None = None
    ) -> None:
        names = list(map(str, known))
        if str(name) in names or not self._rows:
            return
        close = difflib.get_close_matches(str(name), names, n=1)
        meant = ""
        if close:
            meant = f"did you mean {close[0]!r}? "
        if shown is None:
            shown = names
        raise ValueError(f"no {what} is called {name!r}; {meant}there are: {_listed(list(shown))}")


def _is_mark(row: Row) -> bool:
    return isinstance(row.get(FAILED), str)


def _unit(mark: Row) -> str:
    """Name the arm and seed of a mark."""
    if mark.get("seed") is None:
        return str(mark.get("arm"))
    return f"{mark.get('arm')}-seed{mark['seed']}"


def _told(mark: Row) -> str:
    """Say where an arm failed, and why."""
    return f"{_unit(mark)} in round {mark.get('round')}: {mark[FAILED]:.80}"


def _columns(rows: Iterable[Row]) -> list[str]:
    return _distinct(chain.from_iterable(rows))


def _distinct(values: Iterable[T | None]) -> list[T]:
    """Return the values but None, each once, in the order in which they come."""
    return [value for value in dict.fromkeys(values) if value is not None]


def _matches(row: Row, equal: Row) -> bool:
    return all(row.get(name) == value for name, value in equal.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _listed(names: Sequence[str], most: int = 12) -> str:
    if not names:
        return "none"
    shown = ", ".join(map(str, names[:most]))
    if len(names) > most:
        return f"{shown} and {len(names) - most} more"
    return shown
