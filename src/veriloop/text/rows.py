"""Rows of a task in words: what a model reads, what would be right, and what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from veriloop.core import Columns
from veriloop.core.checks import is_integer
from veriloop.text.lines import json_lines

Strings = Sequence[str] | np.ndarray  # str objects, shape (n,)


class Rows(Columns):
    """What every class of rows has that a language model is run on: `Texts`, `xsum.Summaries`.

    inputs: what the prompt is made of, str objects, shape (n,).
    targets: what would be right, str objects, shape (n,).
    outputs: what is judged or learnt, str objects, shape (n,).
    numbers: which input of its set a row belongs to, int, shape (n,).
    ended: whether an output came to its end, bool, shape (n,).
    """

    if TYPE_CHECKING:

        @property
        def inputs(self) -> np.ndarray: ...

        @property
        def targets(self) -> np.ndarray: ...

        @property
        def outputs(self) -> np.ndarray: ...

        @property
        def numbers(self) -> np.ndarray: ...

        @property
        def ended(self) -> np.ndarray: ...

    def answered(self, outputs: np.ndarray, ended: np.ndarray | None = None) -> Self:
        """Return the rows with other outputs.

        outputs: str objects, shape (n,).
        ended: whether each came to its end, bool, shape (n,). None: all have.
        """
        raise NotImplementedError

    def numbered(self, numbers: np.ndarray) -> Self:
        """Return the rows with other numbers of their inputs, int, shape (n,)."""
        raise NotImplementedError

    def _complete(self, numbers: str) -> None:
        """Fill in `ended` where it is None, and check both columns that are no texts.

        numbers: what the rows call the column of numbers, for the error.
        """
        name = type(self).__name__
        ended: np.ndarray | None = self.ended
        if ended is None:
            ended = np.ones(len(self.outputs), dtype=bool)
            object.__setattr__(self, "ended", ended)
        Columns.__post_init__(self)
        if ended.dtype != bool or ended.ndim != 1:
            raise ValueError(
                f"{name}.ended must be booleans of shape (n,), got {ended.dtype} of shape "
                f"{ended.shape}; write ended.astype(bool).reshape(-1)"
            )
        if self.numbers.dtype.kind not in "iu" or self.numbers.ndim != 1:
            raise ValueError(
                f"{name}.{numbers} must be integers of shape (n,), got {self.numbers.dtype} of "
                f"shape {self.numbers.shape}; number the inputs, or write {name}.of(...)"
            )


@dataclass(frozen=True)
class Texts(Rows):
    """Inputs, targets, and outputs to be judged or learnt; `Texts.of` makes them of lists.

    inputs: what the prompt is made of, str objects, shape (n,).
    targets: what would be right, str objects, shape (n,). An empty text where nobody knows.
    outputs: what a person or a model wrote, str objects, shape (n,).
    numbers: which input of its set a row belongs to, int, shape (n,). The candidates of one input
        share the number. Two inputs with the same text have different numbers.
    ended: whether an output came to its end, bool, shape (n,). False is one that was cut where the
        model had written the most tokens allowed. None: all have ended.

    Raises:
        ValueError: if `ended` are no booleans, or `numbers` no integers.

    >>> sums = Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"])
    >>> sums[[1]].targets[0], len(Texts.concatenate([sums, sums]))
    ('8', 4)
    """

    inputs: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    targets: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    outputs: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    numbers: np.ndarray  # pyright: ignore[reportIncompatibleMethodOverride]
    ended: np.ndarray = None  # pyright: ignore

    def __post_init__(self) -> None:
        self._complete("numbers")

    def answered(self, outputs: np.ndarray, ended: np.ndarray | None = None) -> Self:
        return replace(self, outputs=outputs, ended=ended)

    def numbered(self, numbers: np.ndarray) -> Self:
        return replace(self, numbers=numbers)

    @classmethod
    def of(
        cls,
        inputs: Strings,
        targets: Strings | None = None,
        outputs: Strings | None = None,
        numbers: Sequence[int] | np.ndarray | None = None,
        ended: Sequence[bool] | np.ndarray | None = None,
    ) -> Self:
        """Return rows made of plain lists.

        targets: None: nobody knows them, so they are empty.
        outputs: None takes the targets, as in real data.
        numbers: None numbers the inputs in order.
        ended: None: all outputs have ended.

        Raises:
            ValueError: with the row, if a text is no str, a number is no integer of at least 0, or
                two different inputs have one number.
        """
        texts = as_column("Texts.of: inputs", inputs)
        if targets is None:
            targets = [""] * len(texts)
        if outputs is None:
            outputs = targets
        if numbers is None:
            numbers = np.arange(len(texts))
        if ended is None:
            ended = np.ones(len(texts), dtype=bool)
        rows = cls(
            inputs=texts,
            targets=as_column("Texts.of: targets", targets),
            outputs=as_column("Texts.of: outputs", outputs),
            numbers=as_numbers("Texts.of: numbers", numbers, "inputs"),
            ended=np.atleast_1d(np.asarray(ended)),
        )
        check_numbers("Texts.of", rows, "input")
        return rows

    @classmethod
    def read(cls, path: str | Path, *, input: str, target: str | None = None) -> Self:
        """Return the rows of a file of JSON lines, in which each line is an object.

        Blank lines are skipped. A whole number counts as the text of its digits.

        path: a file in UTF-8; one that ends in .gz is unpacked.
        input: the name of the input in every object.
        target: that of the target, which may be an empty text. None: nobody knows the targets.

        Raises:
            ValueError: with file and line, if the file cannot be read, or a line is cut short, is
                no object, lacks a name, or has something else than a text there.

        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "sums.jsonl")
        >>> _ = file.write_text('{"question": "2 + 2 =", "answer": 4}')
        >>> Texts.read(file, input="question", target="answer").targets[0]
        '4'
        """
        names = [name for name in (input, target) if name is not None]
        columns: dict[str, list[str]] = {name: [] for name in names}
        for where, row in json_lines(Path(path).expanduser(), names):
            for name, column in columns.items():
                column.append(_text_or_digits(row[name], f"{where}: {name}"))
            if not columns[input][-1].strip():
                raise ValueError(f"{where} has an empty {input}; leave the row out or fill it in")
        if not columns[input]:
            raise ValueError(f"{path} has no line; give it at least one")
        if target is None:
            return cls.of(columns[input])
        return cls.of(columns[input], columns[target])


def text_of(value: object, where: str) -> str:
    """Return a value of a line that is a text, and refuse any other.

    where: file, line and name, for the error.

    Raises:
        ValueError: with the value.
    """
    wrong = flaw(value)
    if wrong is not None or not isinstance(value, str):
        raise ValueError(f"{where} {wrong}; leave the row out or fill it in")
    return value


def _text_or_digits(value: object, where: str) -> str:
    """Return a text as it is, and a whole number as its digits."""
    if is_integer(value):
        return str(value)
    return text_of(value, where)


def check_texts(what: str, texts: Strings) -> None:
    """Refuse a text that is no str, or that UTF-8 cannot hold.

    what: the name of the texts, for the error.

    >>> check_texts("outputs", ["Rain.", None])
    Traceback (most recent call last):
    ValueError: outputs, row 1: must be a text (str), got None; fill it in or leave the row out

    Raises:
        ValueError: with the first such row.
    """
    if isinstance(texts, str):
        raise ValueError(f"{what} must be a list of texts, got one text; write [text]")
    for row, text in enumerate(texts):
        wrong = flaw(text)
        if wrong is not None:
            raise ValueError(f"{what}, row {row}: {wrong}; fill it in or leave the row out")


def check_text(what: str, text: object) -> None:
    """Refuse what is no str, or what UTF-8 cannot hold.

    what: the name of the text, for the error.

    >>> check_text("Prompt.before", None)
    Traceback (most recent call last):
    ValueError: Prompt.before must be a text (str), got None

    Raises:
        ValueError: with what was got.
    """
    wrong = flaw(text)
    if wrong is not None:
        raise ValueError(f"{what} {wrong}")


def check_rows(what: str, rows: object) -> None:
    """Refuse what are no rows of texts.

    what: the name of the argument, for the error.

    Raises:
        TypeError: with the type that was got, and what to write.
    """
    if not isinstance(rows, Rows):
        raise TypeError(
            f"{what} must be Texts or Summaries, got {type(rows).__name__}; "
            "write Texts.of(inputs, targets, outputs)"
        )


def check_numbers(what: str, rows: Rows, one: str) -> None:
    """Refuse rows of which two have different inputs and one number.

    what: where the rows come from, for the error.
    one: what an input is called there.

    Raises:
        ValueError: with the two rows.
    """
    collision = two_of_one_number(rows)
    if collision is not None:
        first, other = collision
        raise ValueError(
            f"{what}: rows {first} and {other} have different {one}s and the number "
            f"{rows.numbers[first]}; give each {one} a number of its own"
        )


def flaw(text: object) -> str | None:
    """Return why a value is no text, or None where it is one."""
    if not isinstance(text, str):
        return f"must be a text (str), got {text!r:.40}"
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"must be whole characters, got half of one (a lone surrogate) in {text!r:.40}"
    return None


def two_of_one_number(rows: Rows) -> tuple[int, int] | None:
    """Return two rows that have different inputs and one number, or None if there are none."""
    if len(np.unique(rows.numbers)) == len(rows):
        return None
    first: dict[int, int] = {}
    for row, number in enumerate(rows.numbers.tolist()):
        before = first.setdefault(number, row)
        if rows.inputs[before] != rows.inputs[row]:
            return before, row
    return None


def as_column(what: str, texts: Strings) -> np.ndarray:
    """Return str objects as they are: NumPy's own text type would pad every row to the longest.

    what: the name of the texts, for the error.
    """
    shape = getattr(texts, "shape", (0,))  # of an array or a table
    single = isinstance(texts, str | bytes | dict)
    if single or len(shape) != 1 or not hasattr(texts, "__len__"):
        kind = type(texts).__name__
        raise ValueError(f"{what} must be a list of texts, one a row, got a {kind}; give a list")
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    check_texts(what, column)
    return column


def as_numbers(what: str, numbers: Sequence[int] | np.ndarray, whose: str) -> np.ndarray:
    """Return numbers of inputs as integers, and refuse what would have to be rounded.

    what: the name of the numbers, for the error.
    whose: what the inputs are called there.
    """
    found: list[int] = []
    for row, given in enumerate(np.atleast_1d(np.asarray(numbers, dtype=object)).tolist()):
        whole = is_integer(given) or (isinstance(given, float) and given.is_integer())
        if not whole or not 0 <= given < 2**63:
            name = what.rsplit(" ", 1)[-1]
            raise ValueError(
                f"{what}, row {row}: must be an integer of at least 0 and below 2^63, "
                f"got {given!r:.40}; number the {whose}, or leave {name} out"
            )
        found.append(int(given))
    return np.array(found, dtype=int)
