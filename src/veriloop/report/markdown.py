"""A report as Markdown: the same sections and tables, without the pictures."""

from __future__ import annotations

from collections.abc import Sequence

from veriloop.report.parts import Lines, Part, Picture, Section, Table


def as_markdown(sections: Sequence[Section]) -> str:
    r"""Return the sections as Markdown; a picture is its caption alone.

    sections: what is to be written. Text in them that Markdown or HTML would take for its own is
        escaped.

    >>> print(as_markdown([Section("an arm", [Table("ends", ["a|b"], [["<i>"]])])]))
    ## an arm
    <BLANKLINE>
    ends
    <BLANKLINE>
    | a\|b |
    |---|
    | &lt;i> |
    <BLANKLINE>
    """
    blocks: list[str] = []
    for section in sections:
        blocks += _section(section, level=2)
    return "\n\n".join(blocks) + "\n"


def _section(section: Section, level: int) -> list[str]:
    title = _plain(section.title)
    if section.badge:
        title += f": {_plain(section.badge)}"
    blocks = [f"{'#' * level} {title}"]
    for part in section.parts:
        blocks += _part(part, level + 1)
    return blocks


def _part(part: Part, level: int) -> list[str]:
    if isinstance(part, Section):
        return _section(part, level)
    if isinstance(part, Table):
        return [_plain(part.caption), _table(part)]
    if isinstance(part, Picture):
        return [f"Picture: {_plain(part.caption)}"]
    if isinstance(part, Lines):
        lines = "\n".join(f"    {line}" for line in part.lines)
        return [_plain(part.caption), lines]
    return [_plain(part)]


def _table(table: Table) -> str:
    sides: list[str] = []
    for column in range(len(table.header)):
        sides.append("--:" if table.is_of_numbers(column) else "---")
    lines = [_row(table.header), f"|{'|'.join(sides)}|"]
    lines += [_row(row) for row in table.rows]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    plain = [_plain(cell).replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(plain)} |"


def _plain(text: str) -> str:
    """Return text on one line, in which no tag can begin."""
    return " ".join(text.split()).replace("<", "&lt;")
