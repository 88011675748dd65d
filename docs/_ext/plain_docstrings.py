"""Docstrings in the library's plain style, made into what Sphinx reads.

A docstring is sentences, lines `name: what it is` with their continuation indented, a part
`Raises:`, and examples that begin with `>>>`. A word in single backticks is code.
"""

import re

from sphinx.application import Sphinx

NAMED = re.compile(r"^(\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*): +(\S.*)")
CODE_OR_ROLE = re.compile(r"(:\w+:`[^`]*`|``[^`]+``|`[^`]+`)")
HEADED = {"Raises:": "Raises", "Returns:": "Returns", "Yields:": "Yields"}


def rendered(lines: list[str]) -> list[str]:
    r"""Return the lines of a docstring as reStructuredText.

    >>> lines = ["Return n * x, as `f` does.", "", "n: how often.", "    Or not."]
    >>> print("\n".join(rendered(lines)))
    Return n \* x, as ``f`` does.
    <BLANKLINE>
    .. rubric:: Arguments
    <BLANKLINE>
    ``n``
        how often.
        Or not.
    <BLANKLINE>
    """
    written: list[str] = []
    headed = False
    for block in blocks(lines):
        first = block[0].strip()
        if first.startswith((">>>", ".. ")) or is_formula(block, written):
            written += block
        elif all(line.startswith("    ") for line in block):
            written += ["::", "", *block]
        elif first in HEADED:
            inner = [line.removeprefix("    ") for line in block[1:]]
            body = paragraph(inner)
            if NAMED.match(inner[0]):
                body = named(inner)
            written += [f".. rubric:: {HEADED[first]}", "", *body]
        elif is_list_of_names(block):
            if not headed:
                written += [".. rubric:: Arguments", ""]
            headed = True
            written += named(block)
        else:
            written += paragraph(block)
        written.append("")
    return written


def blocks(lines: list[str]) -> list[list[str]]:
    """Return what blank lines separate."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def is_formula(block: list[str], written: list[str]) -> bool:
    """Tell whether an indented block goes on with a directive, which stands before it."""
    before = [line for line in written if line.strip() and not line.startswith(" ")]
    return block[0].startswith(" ") and bool(before) and before[-1].startswith(".. math")


def is_list_of_names(block: list[str]) -> bool:
    """Tell whether every line is `name: text`, or goes on with the line before."""
    starts = [line for line in block if not line.startswith(" ")]
    return bool(starts) and all(NAMED.match(line) for line in starts)


def paragraph(block: list[str]) -> list[str]:
    """Return a paragraph, or a list."""
    lines = block
    if not block[0].startswith(("- ", "* ")):
        lines = [line.strip() for line in block]
    return in_line("\n".join(lines)).split("\n")


def named(block: list[str]) -> list[str]:
    """Return a list of definitions."""
    entries: list[list[str]] = []
    for line in block:
        found = NAMED.match(line)
        if found:
            names = ", ".join(f"``{name}``" for name in found[1].split(", "))
            entries.append([names, found[2]])
        else:
            entries[-1].append(line.strip())
    written: list[str] = []
    for name, *text in entries:
        inside = in_line("\n".join(text)).split("\n")
        written += [name, *(f"    {line}" for line in inside)]
    return written


def in_line(text: str) -> str:
    """Return prose with code as literals, and signs that mean something to Sphinx escaped."""
    parts = CODE_OR_ROLE.split(text)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            parts[i] = re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part)
        elif part.startswith("`") and not part.startswith("``"):
            parts[i] = f"`{part}`"
            if parts[i + 1][:1].isalnum():
                parts[i + 1] = "\\ " + parts[i + 1]
    return "".join(parts)


def process(
    app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]
) -> None:
    """Change the lines in place, as autodoc asks for."""
    lines[:] = rendered(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to autodoc."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
