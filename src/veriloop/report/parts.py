"""What a report is made of: sections of paragraphs, tables, lines as they are, and pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

NUMBERS = re.compile(r"([-+±.,%\d\s]|e[-+]?\d|\(n = \d+\)|nan|inf)*")


@dataclass(frozen=True)
class Table:
    """Cells of text under a header.

    caption: what the table is of, in a few words.
    header: the names of the columns.
    rows: the cells, as many in each row as the header has.

    >>> table = Table("ends", ["arm", "error"], [["verified", "0.2 ± 0.1"]])
    >>> table.is_of_numbers(1)
    True
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def is_of_numbers(self, column: int) -> bool:
        """Tell whether all cells of a column are numbers or empty, and so stand to the right."""
        return all(NUMBERS.fullmatch(row[column]) for row in self.rows)


@dataclass(frozen=True)
class Picture:
    """A picture that the page holds.

    caption: what it shows.
    png: a bitmap, drawn on white.
    svg: a drawing, in the colours of the page. One is given.

    >>> Picture("nothing", svg="<svg></svg>").png is None
    True
    """

    caption: str
    png: bytes | None = None
    svg: str | None = None


@dataclass(frozen=True)
class Lines:
    """Text that keeps its line breaks.

    caption: what it is of.
    lines: the text, a line each.

    >>> Lines("advice", ("keep going", "  rho 0.5")).lines[0]
    'keep going'
    """

    caption: str
    lines: Sequence[str]


Part: TypeAlias = "str | Table | Picture | Lines | Section"


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    title: the heading.
    parts: paragraphs as text, tables, pictures, lines, and sections of a smaller heading. Text
        between two `backticks` is code.
    folded: whether a page shows the heading alone until it is opened.
    badge: a word beside the heading, such as a verdict.

    >>> Section("an arm", ["It ends well."]).folded
    False
    """

    title: str
    parts: Sequence[Part] = field(default_factory=tuple[Part, ...])
    folded: bool = False
    badge: str = ""
