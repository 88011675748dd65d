"""A row as a line of JSON, and back."""

from __future__ import annotations

import codecs
import json
import math
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

Row = Mapping[str, Any]
FILE = "records.jsonl"
FAILED = "failed"  # the column in which a mark says what ended its arm
WHOLE = ("seed", "round")  # columns of whole numbers


def line(values: Row) -> str:
    """Return the row as one line of JSON; NaN, which JSON lacks, becomes null.

    An infinite number is written as 1e999: that is JSON, and reads back as infinite.

    >>> line({"round": 1, "error": float("nan")})
    '{"round": 1, "error": null}\\n'
    >>> json.loads(line({"error": float("inf")}))
    {'error': inf}

    Raises:
        TypeError: if a value is neither a number nor a string.
    """
    parts = [f"{json.dumps(str(name))}: {_written(name, value)}" for name, value in values.items()]
    return "{" + ", ".join(parts) + "}\n"


def _written(name: str, value: object) -> str:
    value = plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "1e999", -math.inf: "-1e999"}.get(value, "null")
    try:
        return json.dumps(value, allow_nan=False)
    except TypeError:
        raise TypeError(
            f"a record holds plain numbers and strings, got {value!r:.60} as {name!r}"
        ) from None


def plain(value: object) -> object:
    """Return a NumPy number as one of Python; anything else as it is."""
    if isinstance(value, np.generic):
        return cast("object", value.item())
    return value


def from_json(text: str | bytes) -> object:
    """Return what a JSON text of a file says.

    >>> from_json('{"round": 1}')
    {'round': 1}

    Raises:
        ValueError: if it is no JSON, no UTF-8, or nested deeper than Python reads.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep; it must be flat") from None


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; a last line that is cut is left out, with a warning.

    Raises:
        ValueError: if the file cannot be read, has no rows, or a line is not a row.
    """
    try:
        text = _utf8(file.read_bytes())
    except OSError as error:
        raise ValueError(
            f"cannot read {file} ({error.strerror}); name a run's folder, or its {FILE}"
        ) from None
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    rest = lines.pop()  # after the last newline: empty, or a line that is still being written
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(lines, 1):
        row = _parsed(text)
        if row is not None:
            rows.append(row)
        elif text.strip():
            raise ValueError(
                f"{file}, line {number}: must be a JSON object, got {_short(text)}; mend it"
            )
    last = _parsed(rest)
    if last is not None:
        rows.append(last)
    elif _is_json(rest):
        raise ValueError(
            f"{file}, line {len(lines) + 1}: must be a JSON object, got {_short(rest)}; mend it"
        )
    elif rest.strip() and rows:
        warnings.warn(
            f"{file}: the last line is cut and left out; the run may still write it",
            stacklevel=3,
        )
    if not rows:
        raise ValueError(f"{file} holds no rows yet; wait for the first, or name another run")
    return rows


def _utf8(data: bytes) -> bytes:
    """Return the text of a file in UTF-8, without a byte-order mark."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="ignore").encode()  # the end may be cut
    return data.removeprefix(codecs.BOM_UTF8)


def _parsed(text: bytes) -> dict[str, Any] | None:
    """Return the row that a line holds, or None where it holds none."""
    try:
        found = from_json(text)
    except ValueError:
        return None
    if isinstance(found, dict):
        return cast("dict[str, Any]", found)
    return None


def checked(place: int, row: object) -> dict[str, Any]:
    """Return a row as plain numbers and strings; None is a missing number.

    Raises:
        ValueError: naming the row and the column, if it holds something else.
    """
    if not isinstance(row, Mapping):
        raise ValueError(
            f"row {place} must be a mapping of names to numbers, got {row!r:.60}; see Records"
        )
    found: dict[str, Any] = {}
    for name, given in cast("Row", row).items():
        value = plain(given)
        if isinstance(value, float) and math.isnan(value):
            value = None
        if value is not None and not isinstance(value, str | bool | int | float):
            raise ValueError(
                f"row {place}: {name!r} must be a number or a string, got {value!r:.60}; flatten it"
            )
        if name in WHOLE:
            value = _whole(f"row {place}: {name!r}", value)
        elif isinstance(value, int) and abs(value) > sys.float_info.max:
            raise ValueError(
                f"row {place}: {name!r} must be a number that a float can hold, got one of "
                f"{value.bit_length()} bits; mend the row"
            )
        found[str(name)] = value
    return found


def _whole(what: str, value: str | float | None) -> str | float | None:
    """Return a seed or round as a whole number where it clearly is one; refuse true and false."""
    if isinstance(value, bool):
        raise ValueError(f"{what} must be a whole number, got {value}; mend the row")
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a table with gaps has floats alone
    if isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,99}", value):
        return int(value)  # a table of text has text alone
    return value


def _is_json(text: bytes) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def _short(text: bytes) -> str:
    shown = text[:60].decode(errors="replace")
    return repr(shown)
