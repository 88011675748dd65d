"""Records: the rows of records.jsonl, read, selected, averaged over seeds, compared in pairs."""

from __future__ import annotations

import difflib
import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from veriloop.core.loop import Record

if TYPE_CHECKING:
    from pandas import DataFrame

Row = Mapping[str, Any]
FILE = "records.jsonl"
WHERE = (
    "arm",
    "seed",
    "round",
    "candidates",
    "kept",
)  # what says which row it is; all other numbers are metrics


@dataclass(frozen=True, eq=False)
class Curve:
    """A mean over seeds by round, with its 95 % interval. All fields are arrays of shape (rounds,).

    round: the rounds that have a value.
    mean: the mean over the seeds used; of a difference, the mean of the paired differences.
    low, high: the ends of Student's t interval. They are NaN for one seed. Where all seeds agree to
        the last digit, both equal the mean: the seeds show no spread.
    n: how many seeds, or pairs, were used.
    left_out: how many seeds were not used, because they have no value there or no partner.
    """

    round: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    left_out: np.ndarray

    def __len__(self) -> int:
        return len(self.round)

    def __str__(self) -> str:
        lines = []
        for k, mean, low, high, n in zip(
            self.round, self.mean, self.low, self.high, self.n, strict=True
        ):
            lines.append(f"round {k}: {mean:.4g} ({low:.4g} to {high:.4g}, n = {n})")
        return "\n".join(lines)


class Records(Sequence[dict[str, Any]]):
    """Flat rows: `arm`, `seed`, `round`, `candidates`, `kept`, then metrics. It never changes.

    A row is a dict of numbers and strings. A missing number is None in a row, null in JSON, and NaN
    in a column.

    rows: the rows, in order; mappings of names to numbers, strings, or None.

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

    __slots__ = ("_columns", "_rows")

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = [_checked(place, row) for place, row in enumerate(rows)]
        self._columns = list(dict.fromkeys(name for row in self._rows for name in row))

    @classmethod
    def read(cls, path: str | Path) -> Records:
        """Read records.jsonl, of a run that has ended or of one that still goes on.

        path: the file, or the folder that holds it. A last line that is cut is left out, with a
            warning.

        Raises:
            ValueError: if there is no such file, it has no rows, or a line is not a row.
        """
        file = Path(path)
        if file.is_dir():
            file = file / FILE
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as error:
            raise ValueError(
                f"cannot read {file} ({error.strerror}); name a run's folder, or its {FILE}"
            ) from None
        rest = lines.pop()  # after the last newline: empty, or a line that is still being written
        rows = []
        for number, text in enumerate(lines, 1):
            row = _parsed(text)
            if row is None:
                raise ValueError(
                    f"{file}, line {number}: must be a JSON object, got {_short(text)}; mend it"
                )
            rows.append(row)
        last = _parsed(rest)
        if last is not None:
            rows.append(last)
        elif rest and rows:
            warnings.warn(
                f"{file}: the last line is cut and left out; the run may still write it",
                stacklevel=2,
            )
        if not rows:
            raise ValueError(f"{file} holds no rows yet; wait for the first, or name another run")
        try:
            return cls(rows)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    @classmethod
    def of(cls, records: Iterable[Any]) -> Records:
        """Return records of rows, of one seed's `Record`s, or of a sequence of `Record`s a seed."""
        if isinstance(records, Records):
            return records
        rows: list[Row] = []
        for seed, item in enumerate(records):
            if isinstance(item, Mapping):
                rows.append(item)
            elif isinstance(item, Record):
                rows.append(item.row())
            else:
                rows.extend({**record.row(), "seed": seed} for record in item)
        return cls(rows)

    def write(self, path: str | Path) -> None:
        """Write the rows to a file, one JSON object a line. The file is whole or not there."""
        file = Path(path)
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_text("".join(map(line, self._rows)))
        os.replace(temporary, file)

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
        return Records([*self._rows, *other])

    def __eq__(self, other: object) -> bool:
        """Tell whether the other records give the same lines of JSON."""
        if not isinstance(other, Records):
            return NotImplemented
        return list(map(line, self._rows)) == list(map(line, other._rows))

    __hash__ = None  # type: ignore[assignment]  # equal by content, of any length

    def __repr__(self) -> str:
        parts = [f"{len(self)} rows"]
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
        return tuple(dict.fromkeys(row["arm"] for row in self._rows if row.get("arm") is not None))

    @property
    def seeds(self) -> tuple[Any, ...]:
        """The seeds, in the order in which they come."""
        return tuple(
            dict.fromkeys(row["seed"] for row in self._rows if row.get("seed") is not None)
        )

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all columns of numbers beside arm, seed, round, candidates and kept."""
        return tuple(name for name in self._columns if name not in WHERE and self._is_numeric(name))

    def select(self, **equal: Any) -> Records:
        """Return the rows whose columns equal the values given; None is a missing value.

        Raises:
            ValueError: if no row has such a column, or no row is of such an arm.
        """
        for name, value in equal.items():
            self._known("column", name, self._columns)
            if name == "arm" and value is not None:
                self._known("arm", value, self.arms)
        rows = [
            row
            for row in self._rows
            if all(row.get(name) == value for name, value in equal.items())
        ]
        return self._with(rows)

    def column(self, name: str) -> np.ndarray:
        """Return one column as floats, shape (rows,); NaN where a row has no number.

        Raises:
            ValueError: if there is no such column, or it holds text.
        """
        self._known("metric", name, self._columns, self.metrics)
        if not self._is_numeric(name):
            raise ValueError(
                f"column {name!r} must hold numbers, got text; pick one of {_listed(self.metrics)}"
            )
        return np.array([_number(row.get(name)) for row in self._rows], dtype=float)

    def mean(self, arm: str, metric: str) -> Curve:
        """Return the mean over the seeds of an arm, by round, and its 95 % interval (Student's t).

        A seed without a number in a round is left out there, and counted in `left_out`.

        Raises:
            ValueError: if the arm or the metric is not known, no row has a number, or a seed has a
                round twice.
        """
        cells = self._cells(arm, metric)
        samples: dict[int, list[float]] = {}
        for (_, k), value in cells.items():
            samples.setdefault(k, []).append(value)
        return _curve(f"arm {arm!r}, {metric!r}", samples)

    def difference(self, a: str, b: str, metric: str) -> Curve:
        """Return the mean of a - b by round, paired by seed, with its 95 % interval (Student's t).

        A seed that only one of the arms has in a round is left out there, and counted in
        `left_out`.

        Raises:
            ValueError: if an arm or the metric is not known, or no seed has a number in both arms.
        """
        first = self._cells(a, metric)
        second = self._cells(b, metric)
        samples: dict[int, list[float]] = {}
        for seed, k in dict.fromkeys([*first, *second]):
            gap = first.get((seed, k), math.nan) - second.get((seed, k), math.nan)
            samples.setdefault(k, []).append(gap)
        return _curve(f"arms {a!r} and {b!r}, {metric!r}, paired by seed", samples)

    def to_pandas(self) -> DataFrame:
        """Return a data frame with one row a row, its metrics as floats; a missing number is NaN.

        Raises:
            ImportError: if pandas is not installed; it says how to install it.
        """
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ImportError(
                f"to_pandas needs {error.name!r}; install it with: pip install 'veriloop[study]'"
            ) from error
        frame = pandas.DataFrame(self._rows, columns=self._columns)
        for name in self.metrics:
            frame[name] = self.column(name)
        return frame

    def _with(self, rows: list[dict[str, Any]]) -> Records:
        """Return some of these rows, which need no check."""
        part = Records(())
        part._rows = rows
        part._columns = self._columns
        return part

    def _is_numeric(self, name: str) -> bool:
        """Tell whether a column holds numbers, or nothing at all."""
        return all(row.get(name) is None or _is_number(row[name]) for row in self._rows)

    def _cells(self, arm: str, metric: str) -> dict[tuple[Any, int], float]:
        """Return the metric of one arm by seed and round; NaN where it is missing."""
        self._known("metric", metric, self.metrics)
        self._known("arm", arm, self.arms)
        cells: dict[tuple[Any, int], float] = {}
        for row in self._rows:
            if row.get("arm") != arm:
                continue
            if "seed" not in row or "round" not in row:
                raise ValueError(
                    f"arm {arm!r} has a row without seed or round; select the rows of rounds first"
                )
            place = (row["seed"], row["round"])
            if place in cells:
                raise ValueError(
                    f"arm {arm!r} has two rows of seed {place[0]}, round {place[1]}; select "
                    "one kind of row first"
                )
            cells[place] = _number(row.get(metric))
        return cells

    def _known(
        self, what: str, name: str, known: Iterable[str], shown: Iterable[str] | None = None
    ) -> None:
        names = list(map(str, known))
        if str(name) in names or not self._rows:
            return
        close = difflib.get_close_matches(str(name), names, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        listed = _listed(names if shown is None else list(shown))
        raise ValueError(f"no {what} is called {name!r}; {meant}there are: {listed}")


def interval(sample: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Return the mean of a sample over seeds and the ends of its 95 % interval (Student's t).

    The ends are NaN for one value. They equal the mean where all values are the same.

    >>> interval([1.0, 2.0, 3.0])
    (2.0, -0.484..., 4.484...)
    >>> interval([1.5])
    (1.5, nan, nan)

    Raises:
        ValueError: if the sample is empty.
    """
    from scipy.special import stdtrit

    values = np.asarray(sample, dtype=float)
    n = len(values)
    if n == 0:
        raise ValueError("interval: needs at least one value, got none; give one a seed")
    mean = float(values.mean())
    if n == 1:
        return mean, math.nan, math.nan
    if np.all(values == values[0]):
        same = float(values[0])
        return same, same, same
    half = float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _curve(where: str, samples: Mapping[int, list[float]]) -> Curve:
    rounds = []
    points = []
    counts = []
    left_out = []
    for k in sorted(samples):
        values = np.array(samples[k])
        used = values[~np.isnan(values)]
        if len(used):
            rounds.append(k)
            points.append(interval(used))
            counts.append(len(used))
            left_out.append(len(values) - len(used))
    if not rounds:
        raise ValueError(
            f"{where}: no round has a number; pick another metric, or wait for more rounds"
        )
    mean, low, high = np.array(points).T
    return Curve(np.array(rounds), mean, low, high, np.array(counts), np.array(left_out))


def line(values: Row) -> str:
    """Return the row as one line of JSON; NaN, which JSON lacks, becomes null.

    >>> line({"round": 1, "error": float("nan")})
    '{"round": 1, "error": null}\\n'

    Raises:
        ValueError: if a number is infinite.
        TypeError: if a value is neither a number nor a string.
    """
    clean = {name: _finite(name, value) for name, value in values.items()}
    return json.dumps(clean, allow_nan=False, default=_plain) + "\n"


def _finite(name: str, value: Any) -> Any:
    if not isinstance(value, float | np.floating) or np.isfinite(value):
        return value
    if np.isnan(value):
        return None
    raise ValueError(f"the number {name!r} of a record must be finite or NaN, got {value}")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a record holds plain numbers and strings, got {value!r}")


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return the row that a line holds, or None where it holds none."""
    try:
        found = json.loads(text)
    except ValueError:  # not JSON, or not UTF-8
        return None
    return found if isinstance(found, dict) else None


def _checked(place: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, Mapping):
        raise ValueError(
            f"row {place} must be a mapping of names to numbers, got {row!r:.60}; see Records"
        )
    plain = {}
    for name, value in row.items():
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, float) and math.isnan(value):
            value = None
        if value is not None and not isinstance(value, str | bool | int | float):
            raise ValueError(
                f"row {place}: {name!r} must be a number or a string, got {value!r:.60}; flatten it"
            )
        plain[str(name)] = value
    return plain


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _listed(names: Sequence[str], most: int = 12) -> str:
    if not names:
        return "none"
    shown = ", ".join(map(str, names[:most]))
    if len(names) > most:
        return f"{shown} and {len(names) - most} more"
    return shown


def _short(text: bytes) -> str:
    shown = text[:60].decode(errors="replace")
    return repr(shown)
