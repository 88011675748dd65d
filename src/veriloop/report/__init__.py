"""A report of finished runs, as one HTML page that holds all that it needs, or as Markdown.

`python -m veriloop.report RUN... --out report.html` writes it. A run is a folder that a `Study`
or a script of experiments has written, or one with a records.jsonl.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from veriloop.metrics import KNOWN, Direction, Known
from veriloop.report.html import as_html
from veriloop.report.markdown import as_markdown
from veriloop.report.parts import Lines, Part, Picture, Section, Table
from veriloop.report.run import section

__all__ = [
    "Lines",
    "Part",
    "Picture",
    "Section",
    "Table",
    "as_html",
    "as_markdown",
    "section",
    "write",
]


def write(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    title: str = "Report",
    before: Sequence[Section] = (),
    worse: Mapping[str, Direction] = MappingProxyType({}),
) -> Path:
    """Write a report of runs into one file, and return its path.

    runs: folders of finished runs; of a study that still goes on, what it holds so far.
    out: the file. Its ending says the format: `.html`, or `.md` for Markdown without pictures.
    title: the heading of the page.
    before: sections of your own that stand before those of the runs.
    worse: for metrics of your own, the direction in which each gets worse, `higher` or `lower`.
        Alarms and advice need it.

    >>> from tempfile import TemporaryDirectory
    >>> from veriloop import Records
    >>> rows = [{"arm": arm, "seed": s, "round": k, "recall": 0.9 - 0.1 * k + 0.01 * s}
    ...         for arm in ("plain", "verified") for s in range(3) for k in range(3)]
    >>> with TemporaryDirectory() as folder:
    ...     Records(rows).write(Path(folder, "records.jsonl"))
    ...     text = write([folder], Path(folder, "report.md")).read_text()
    >>> "| recall | higher | verified | 0 | 3 | 2 | the same |" in text
    True

    Raises:
        ValueError: if the file's ending is another, a folder holds no run that can be told of, or
            `worse` names a metric that a study lacks, no direction, or another than the known one.
        OSError: if the file cannot be written.
    """
    file = Path(out)
    if file.suffix not in (".html", ".md"):
        raise ValueError(f"report: out must end in .html or .md, got {file.name!r}")
    for metric, way in worse.items():
        if way not in ("higher", "lower"):
            raise ValueError(f"report: worse[{metric!r}] must be 'higher' or 'lower', got {way!r}")
        known = KNOWN.get(metric, Known()).worse
        if known not in (None, way):
            raise ValueError(
                f"report: {metric!r} is known to get worse {known}, got worse={way!r}; leave it "
                "out, or give your metric another name"
            )
    sections = [section(Path(run), worse) for run in runs]
    if not before:  # the runs are what the page is read for
        sections = [replace(each, folded=False) for each in sections]
    sections = [*before, *sections]
    text = as_markdown(sections)
    if file.suffix == ".html":
        text = as_html(title, sections)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file
