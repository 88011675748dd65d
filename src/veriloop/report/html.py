"""A report as one HTML page that holds all that it needs."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from veriloop.report.parts import Lines, Part, Picture, Section, Table

HEADINGS = 6  # HTML has no smaller one
LONG = 24  # letters of a cell that is given room
CODE = re.compile(r"`([^`]+)`")


def as_html(title: str, sections: Sequence[Section]) -> str:
    """Return a page with a heading, a list of its sections, and the sections.

    title: the heading of the page.
    sections: what stands under it. All text in them is escaped.

    >>> "<script>" in as_html("mine", [Section("an arm called <script>")])
    False
    """
    style = (files("veriloop.report") / "style.css").read_text(encoding="utf-8")
    body: list[str] = []
    links: list[str] = []
    for place, section in enumerate(sections, 1):
        links.append(f'<li><a href="#section-{place}">{escape(section.title)}</a></li>')
        body.append(_section(section, level=2, name=f' id="section-{place}"'))
    if len(links) < 2:
        links = []
    listed = f'<nav aria-label="Sections"><ul>{"".join(links)}</ul></nav>' if links else ""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{escape(title)}</h1>",
            listed,
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _section(section: Section, level: int, name: str = "") -> str:
    size = min(level, HEADINGS)
    heading = f"<h{size}>{escape(section.title)}{_badge(section.badge)}</h{size}>"
    inner = _parts(section.parts, level + 1)
    if section.folded:
        return f"<details{name}><summary>{heading}</summary>\n{inner}\n</details>"
    return f"<section{name}>{heading}\n{inner}\n</section>"


def _badge(word: str) -> str:
    if not word:
        return ""
    kind = re.sub(r"[^a-z]+", "-", word.lower())
    return f' <span class="badge {kind}">{escape(word)}</span>'


def _parts(parts: Sequence[Part], level: int) -> str:
    """Return the parts in order; drawings that follow one another stand side by side."""
    done: list[str] = []
    drawings: list[str] = []
    for part in parts:
        drawn = isinstance(part, Picture) and part.svg is not None
        if not drawn and drawings:
            done.append(f'<div class="drawings">{"".join(drawings)}</div>')
            drawings = []
        if drawn:
            drawings.append(_part(part, level))
        else:
            done.append(_part(part, level))
    if drawings:
        done.append(f'<div class="drawings">{"".join(drawings)}</div>')
    return "\n".join(done)


def _part(part: Part, level: int) -> str:
    if isinstance(part, Section):
        return _section(part, level)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Picture):
        return _picture(part)
    if isinstance(part, Lines):
        text = escape("\n".join(part.lines))
        return f"<figure><figcaption>{escape(part.caption)}</figcaption><pre>{text}</pre></figure>"
    return f"<p>{_text(part)}</p>"


def _text(text: str) -> str:
    return CODE.sub(r"<code>\1</code>", escape(text))


def _table(table: Table) -> str:
    kinds = [_kind(table, column) for column in range(len(table.header))]
    header: list[str] = []
    for name, kind in zip(table.header, kinds, strict=True):
        header.append(f'<th scope="col"{kind}>{_text(name)}</th>')
    rows: list[str] = []
    for row in table.rows:
        cells: list[str] = []
        for cell, kind in zip(row, kinds, strict=True):
            cells.append(f"<td{kind}>{_text(cell)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    caption = escape(table.caption)
    head = f"<thead><tr>{''.join(header)}</tr></thead>"
    body = f"<tbody>{''.join(rows)}</tbody>"
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<div class="wide" role="region" tabindex="0" aria-label="{caption}">'
        f"<table>{head}{body}</table></div></figure>"
    )


def _kind(table: Table, column: int) -> str:
    """Return the class of a column: of numbers, or of text that needs room on a phone."""
    if table.is_of_numbers(column):
        return ' class="number"'
    if any(len(row[column]) > LONG for row in table.rows):
        return ' class="long"'
    return ""


def _picture(picture: Picture) -> str:
    caption = escape(picture.caption)
    if picture.svg is not None:
        drawing = f'<div class="drawing" role="img" aria-label="{caption}">{picture.svg}</div>'
        return f"<figure><figcaption>{caption}</figcaption>{drawing}</figure>"
    data = base64.b64encode(picture.png or b"").decode()
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return (
        f"<figure><figcaption>{caption}</figcaption>"
        f'<div class="wide bitmap" role="region" tabindex="0" aria-label="{caption}">{image}</div>'
        "</figure>"
    )
