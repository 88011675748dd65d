"""Files of JSON lines, read line by line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that files in it begin with


def json_lines(path: Path, names: Sequence[str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield where each line of a file stands, in words, and its object; blank lines are skipped.

    path: a file in UTF-8, with or without a byte-order mark; one that ends in .gz is unpacked.
    names: what every line must have.

    Raises:
        ValueError: with file and line, if the file is no UTF-8 or cannot be read, or a line is cut
            short, is no JSON object, or lacks a name.
    """
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        row = _parsed(line, names, where)
        for name in names:
            if name not in row:
                raise ValueError(f"{where} lacks {name!r}; {_needs(names)}")
        yield where, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers, from 1."""
    try:
        with _opened(path) as stream:
            mark = stream.read(2)
        if mark in UTF_16:
            raise ValueError(f"{path} is written in UTF-16; save it as UTF-8")
        with _opened(path) as stream, TextIOWrapper(stream, encoding="utf-8-sig") as text:
            for number, line in enumerate(text, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}); save it as such") from None
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(f"cannot read {path} ({error.strerror}); name a file") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read {path} ({reason}); download the file again") from None


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return path.open("rb")


def _parsed(line: str, names: Sequence[str], where: str) -> dict[str, object]:
    """Return the object of a line, in which no name stands twice."""
    no_object = f"{where} is no JSON object; {_needs(names)}"
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except _Twice as error:
        raise ValueError(f"{where} names {error} twice; leave one of them out") from None
    except json.JSONDecodeError as error:
        whole = line.endswith("\n") or error.msg == "Extra data"
        if line.startswith("{") and not whole:
            raise ValueError(
                f"{where}, the last, is cut short; remove it, or download the file again"
            ) from None
        raise ValueError(no_object) from None
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        raise ValueError(no_object) from None
    if not isinstance(row, dict):
        raise ValueError(no_object)
    return row


class _Twice(Exception):
    """An object names something twice, of which a reader would keep the last."""


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Twice(repr(twice))
    return row


def _needs(names: Sequence[str]) -> str:
    return f"every line needs {' and '.join(names)}"
