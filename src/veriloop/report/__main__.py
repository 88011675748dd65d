"""Write a report of runs: python -m veriloop.report RUN [RUN ...] [--out report.html]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from veriloop.metrics import Direction
from veriloop.report import write


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the report of the runs that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m veriloop.report",
        description="Write a report of runs as one page, or as Markdown.",
    )
    parser.add_argument("run", nargs="+", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out",
        default="report.html",
        metavar="FILE",
        help="the file to write, .html or .md (default: report.html)",
    )
    parser.add_argument("--title", default="Report", help="the heading of the page")
    parser.add_argument(
        "--worse",
        action="append",
        type=_direction,
        default=[],
        metavar="METRIC=higher",
        help="which way a metric of your own gets worse: METRIC=higher or METRIC=lower; repeatable",
    )
    given = parser.parse_args(arguments)
    out = Path(given.out)
    try:
        print(write(given.run, out, title=given.title, worse=dict(given.worse)))
    except ValueError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(f"--out: cannot write {out} ({error.strerror}); name another file")


def _direction(text: str) -> tuple[str, Direction]:
    """Read METRIC=higher or METRIC=lower."""
    metric, _, way = text.rpartition("=")
    if metric and way == "higher":
        return metric, "higher"
    if metric and way == "lower":
        return metric, "lower"
    raise argparse.ArgumentTypeError(f"give METRIC=higher or METRIC=lower, got {text!r}")


if __name__ == "__main__":
    main()
