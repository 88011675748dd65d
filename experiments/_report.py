"""Write results/report.html of finished runs, a verdict on each claim, and results/explorer.html.

python experiments/_report.py RUN [RUN ...] [--out results]

Every verdict is computed from the records of the runs that are named, and from nothing else.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from claims.verdicts import CLAIMS, UNTESTED, Claim, Finding, Run, told, verdict
from veriloop import explorer
from veriloop.records import Records
from veriloop.report import Part, Picture, Section, Table, write
from veriloop.report.pictures import HEIGHT, WIDTH, by_round, page_style, picture
from veriloop.report.run import about_of, made

PUBLISHED = Path(__file__).parent / "published" / "mnist.csv"
MOST_LINES = 6  # arms in one drawing
READING = (
    "Each claim is held to numbers of the runs below. A number has an interval of 95 % over n "
    "independent units, and the column `wanted` says what the claim asks of it. A claim holds if "
    "all its numbers with an interval are as wanted. It holds partly if some are, and not if none "
    "is.",
    "The verdict `not` means that the claim was not shown here. The table of its numbers tells "
    "whether they point the other way or are too uncertain. A claim without a number that could "
    "have failed is not tested here.",
    "Each interval stands alone: of twenty true changes of zero, one interval misses zero by "
    "chance. Most runs are of substitutes for the paper's models and data. The text of the paper's "
    "theorems was not available to us, so their form is inferred.",
)


def main() -> None:
    """Write both pages for the runs that the command line names."""
    parser = argparse.ArgumentParser(
        prog="_report", description="Write the report and the explorer of finished runs."
    )
    parser.add_argument("run", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="where to write (default: results)"
    )
    arguments = parser.parse_args()
    try:
        for file in written(arguments.run, arguments.out):
            print(file)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def written(folders: Sequence[Path], out: Path) -> list[Path]:
    """Write the report, as a page and as Markdown, and the explorer; return the files."""
    runs = {}
    for folder in folders:
        about = about_of(folder)
        if about is None or "summary" not in about:
            raise ValueError(f"{folder}: must be the folder of a figure's finished run")
        runs.setdefault(about["experiment"], Run(folder, about, Records.read(folder)))
    before = [Section("How to read this page", READING), claims_section(runs)]
    files = []
    for name in ("report.html", "report.md"):
        title = "What the runs say of each claim"
        files.append(write(folders, out / name, title=title, before=before))
    page = out / "explorer.html"
    page.write_text(explorer.page(), encoding="utf-8")
    return [*files, page]


def claims_section(runs: Mapping[str, Run]) -> Section:
    """Return all claims: a table of verdicts, then each with its numbers."""
    rows = []
    parts: list[Part] = []
    for claim in CLAIMS:
        run = runs.get(claim.run)
        findings, why = found(claim, run)
        word = verdict(findings)
        rows.append([claim.text, word, *_first(findings), claim.run])
        details: list[Part] = [f"Tested on: {claim.ours}."]
        if run is not None:
            details += _details(claim, run, findings)
        if why:
            details.append(why)
        parts.append(Section(claim.text, details, badge=word))
    header = ["claim", "verdict", "our first number", "n", "run"]
    return Section("The claims", [Table("Verdicts", header, rows), *parts])


def found(claim: Claim, run: Run | None) -> tuple[Sequence[Finding], str]:
    """Return the findings of a claim; where there are none, also why."""
    if run is None:
        return [], f"No finished run of `{claim.run}` is among those of this page."
    if run.about["preset"] == "smoke":
        return [], "The preset `smoke` only shows that the code runs. It says nothing of the claim."
    try:
        findings = claim.find(run)
    except (ValueError, KeyError, IndexError) as error:  # a run with arms or rounds of its own
        return [], f"The arms and rounds of this run are not those that the test needs: {error}"
    if verdict(findings) == UNTESTED:
        return findings, "This run has no number that could have failed."
    return findings, ""


def _first(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return ["", ""]
    what, number, n, _, _ = told(findings[0])
    return [f"{what}: {number}", n]


def _details(claim: Claim, run: Run, findings: Sequence[Finding]) -> Iterator[Part]:
    yield made(run.about)
    measures = run.about.get("measures", {})
    yield from (f"{what}: {measures[what]}" for what in ("data", "model") if what in measures)
    if findings:
        header = ["number", "measured", "n", "wanted", "as wanted"]
        yield Table("What was measured", header, [told(finding) for finding in findings])
    if claim.metric is None:
        yield f"The figure is that of `{claim.run}`, below."
        return
    arms = _drawn(run, claim.metric)
    if arms:
        yield by_round(claim.metric, arms)
    yield from published(claim)


def _drawn(run: Run, metric: str) -> list[Records]:
    """Return the rows of the arms that have the metric in more than one round."""
    arms = []
    for arm in run.records.arms:
        own = run.records.select(arm=arm)
        if len({row["round"] for row in own if row.get(metric) is not None}) > 1:
            arms.append(own)
    return arms[:MOST_LINES]


def published(claim: Claim) -> Iterator[Picture]:
    """Yield the authors' curves, in a drawing of their own."""
    theirs = claim.theirs
    if theirs is None:
        return
    lines: dict[str, list[tuple[int, float]]] = {}
    with open(PUBLISHED) as stream:
        for row in csv.DictReader(stream):
            place = (row["experiment"], row["metric"])
            if place != (claim.run, theirs.metric) or row["line"] not in theirs.lines:
                continue
            if row["verified"] in theirs.verified:
                kind = "verified" if row["verified"] == "true" else "unverified"
                own = lines.setdefault(f"{row['line']}, {kind}", [])
                own.append((int(row["round"]), float(row["value"])))
    with page_style():
        figure = Figure(figsize=(WIDTH, HEIGHT + 0.21 * len(lines)))
        axes = figure.subplots()
        for label, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=label, linewidth=0.9)
        axes.set_xlabel("round")
        figure.legend(loc="outside lower left")
        caption = f"Published by the authors, one seed: {theirs.metric}. No verdict uses it."
        yield picture(figure, caption)


if __name__ == "__main__":
    main()
