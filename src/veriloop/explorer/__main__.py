"""Write the explorer: python -m veriloop.explorer [--out explorer.html]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from veriloop.explorer import page


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page to the file that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m veriloop.explorer",
        description="Write a page with sliders that shows when a verifier helps.",
    )
    out = parser.add_argument("--out", type=Path, default=Path("explorer.html"), metavar="FILE")
    out.help = "the file to write (default: explorer.html)"
    file: Path = parser.parse_args(arguments).out
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page(), encoding="utf-8")
    except OSError as error:
        sys.exit(f"--out: cannot write {file} ({error.strerror}); name another file")
    print(file)


if __name__ == "__main__":
    main()
