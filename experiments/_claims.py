"""Print the tables of docs/results, computed from the committed records.

python experiments/_claims.py [RUN ...] [--write]

RUN is a folder of docs/results; without one, all are printed. `--write` puts the tables into the
pages instead, between the two comments that name the run. Every ± is half of a 95 % interval
(Student's t) over independent units; n says how many.
"""

from __future__ import annotations

import argparse
import re
from functools import cache

from claims import linear, literature, mnist, self_training, smollm2, xsum
from claims.tables import RESULTS, printed, whole

PAGES = {
    "linear": linear,
    "literature": literature,
    "mnist": mnist,
    "self_training": self_training,
    "smollm2": smollm2,
    "xsum": xsum,
}
FOLDERS = sorted(file.parent.name for file in RESULTS.glob("*/records.jsonl"))
RUNS = dict.fromkeys(FOLDERS, whole)
for page in PAGES.values():
    RUNS |= page.RUNS
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def main() -> None:
    """Print the tables that the command line names, or write all pages."""
    parser = argparse.ArgumentParser(
        prog="_claims", description="Print the tables of docs/results."
    )
    parser.add_argument("run", nargs="*", metavar="RUN", help="folders of docs/results; else all")
    parser.add_argument("--write", action="store_true", help="put the tables into the pages")
    arguments = parser.parse_args()
    for name in arguments.run:
        if name not in RUNS:
            parser.error(f"no table is of {name!r}; there are: {', '.join(RUNS)}")
    if arguments.write:
        for name in PAGES:
            file = RESULTS / f"{name}.md"
            file.write_text(filled(file.read_text()))
        return
    for name in arguments.run or RUNS:
        print(f"# {name}\n\n{block(name)}")


@cache
def block(name: str) -> str:
    """Return everything that is printed of one run: how it was made, and its tables."""
    return printed(name, RUNS[name])


def filled(page: str) -> str:
    """Return the page with every table computed again."""
    return BLOCK.sub(lambda found: found[1] + block(found[2]) + found[3], page)


if __name__ == "__main__":
    main()
