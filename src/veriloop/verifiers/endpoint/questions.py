"""Questions about rows: a template filled row by row, or a function's texts or messages."""

from __future__ import annotations

import json
import math
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, cast

import numpy as np

from veriloop.core.batch import Batch
from veriloop.core.scores import is_masked

Message = Mapping[str, object]  # role and content, as in {"role": "user", "content": "Hello."}
Question = str | Sequence[Message]
Ask = str | Callable[[Any], Iterable[Question]]

_BRACES = "write {{ and }} for braces that are text"


def check_question(question: object) -> None:
    """Refuse a question that is neither a function nor a template with names of columns.

    question: as in `Endpoint`.

    >>> check_question("Rate it from 0 to 10.")
    Traceback (most recent call last):
    ValueError: Endpoint.question must name a column of the batch in braces, as in {texts}, got
    'Rate it from 0 to 10.'

    Raises:
        ValueError: with what is wrong, and what to write.
        TypeError: if it is of another type.
    """
    if isinstance(question, str):
        names = _names(question)
        if not names:
            raise ValueError(
                "Endpoint.question must name a column of the batch in braces, as in {texts}, "
                f"got {question!r}"
            )
    elif not callable(question):
        raise TypeError(
            "Endpoint.question must be a text with names of columns in braces, or a function of "
            f"the batch, got {type(question).__name__}"
        )


def _names(template: str) -> list[str]:
    """Return the columns that a template names, each once, in order."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"Endpoint.question: {error} in {template!r}; {_BRACES}") from None
    names: dict[str, None] = {}
    for _, name, layout, conversion in parts:
        if name is None:
            continue
        if not name.isidentifier():
            raise ValueError(
                f"Endpoint.question has {{{name}}}, which is no name of a column; {_BRACES}"
            )
        if layout and "{" in layout:
            raise ValueError(
                f"Endpoint.question has braces inside {{{name}:{layout}}}; give a plain format, "
                "as in {x:.2f}"
            )
        if conversion is not None:
            raise ValueError(
                f"Endpoint.question has {{{name}!{conversion}}}; write {{{name}}} without the "
                f"conversion, or {_BRACES}"
            )
        names[name] = None
    return list(names)


def messages_of(question: Ask, system: str | None, batch: Batch) -> list[list[Message]]:
    """Return the messages that ask about each row, in order.

    question: a template or a function, as in `Endpoint`.
    system: the text of a first message with the role system, or None.
    batch: the rows.

    >>> messages_of(lambda rows: [f"Is {row} even?" for row in rows], None, np.array([2]))
    [[{'role': 'user', 'content': 'Is 2 even?'}]]

    Raises:
        ValueError: with the row or the column that makes no question.
    """
    asked: Sequence[object]
    if isinstance(question, str):
        asked = _filled(question, batch)
    else:
        asked = _called(question, batch)
    first: list[Message] = []
    if system is not None:
        first = [{"role": "system", "content": system}]
    return [[*first, *_messages(row, each)] for row, each in enumerate(asked)]


def _called(question: Callable[[Any], Iterable[Question]], batch: Batch) -> list[object]:
    """Return what a function gives for each row."""
    given: object = cast("Callable[[Batch], object]", question)(batch)
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        kind = type(cast("object", given)).__name__
        raise ValueError(
            f"Endpoint.question must give one text a row, got one {kind} for {len(batch)} rows"
        )
    asked = list(cast("Iterable[object]", given))
    if len(asked) != len(batch):
        raise ValueError(
            f"Endpoint.question must give one text a row, got {len(asked)} for {len(batch)} rows"
        )
    return asked


def _messages(row: int, asked: object) -> list[Message]:
    """Return the messages of one row: a text is one message of the user."""
    if isinstance(asked, str):
        if not asked.strip():
            raise ValueError(
                f"Endpoint.question must give one text a row, got an empty one for row {row}"
            )
        return [{"role": "user", "content": str(asked)}]
    messages = cast("list[Message]", asked)
    if not isinstance(asked, list) or not messages or not all(map(_is_message, messages)):
        raise ValueError(
            "Endpoint.question must give one text a row, or a list of messages such as "
            f"{{'role': 'user', 'content': '...'}}, got {asked!r:.80} for row {row}"
        )
    try:
        json.dumps(messages, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Endpoint.question gave messages that are no JSON for row {row}: {error}; "
            "put texts into them"
        ) from None
    return messages


def _is_message(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    message = cast("dict[str, object]", value)
    return isinstance(message.get("role"), str) and isinstance(message.get("content"), str | list)


def _filled(template: str, batch: Batch) -> list[str]:
    """Return a template filled with the columns of each row."""
    names = _names(template)
    columns = {name: _column(name, batch) for name in names}
    questions: list[str] = []
    for row in range(len(batch)):
        values = {name: _value(name, row, column[row]) for name, column in columns.items()}
        try:
            questions.append(template.format_map(values))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Endpoint.question does not fit row {row}: {error}; change what follows the "
                f"colon in {template!r:.80}"
            ) from None
    return questions


def _column(name: str, batch: Batch) -> Sequence[object]:
    """Return a column of a batch, or say which columns it has."""
    if not is_dataclass(batch):
        raise ValueError(
            f"Endpoint.question names the column {{{name}}}, and the batch, a "
            f"{type(batch).__name__}, has no columns; give a function of the batch"
        )
    known = [each.name for each in fields(batch)]
    if name not in known:
        raise ValueError(
            f"Endpoint.question names the column {{{name}}}, and the batch has only "
            f"{', '.join(known)}; name one of these"
        )
    return getattr(batch, name)


def _value(name: str, row: int, cell: object) -> object:
    """Return a cell as a text or a number; refuse one that is missing or has no plain text."""
    value = cell
    if is_masked(cell):  # its number would be 0
        value = None
    elif getattr(cell, "shape", None) == ():  # a number of NumPy or of torch
        value = cast("np.generic", cell).item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(
            f"Endpoint.question: the column {name!r} is missing in row {row}, got {cell}; "
            "leave such rows out, or fill them in"
        )
    if not isinstance(value, str | bool | int | float):
        raise ValueError(
            f"Endpoint.question: the column {name!r} must hold texts or numbers, got a "
            f"{type(value).__name__} in row {row}; give a function of the batch"
        )
    return value
