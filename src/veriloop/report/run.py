"""The section of one run: how it was made, and what it found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from veriloop.metrics import Direction
from veriloop.records import FILE, Records
from veriloop.report.numbers import optional
from veriloop.report.parts import Part, Picture, Section, Table
from veriloop.report.study import Arms, arms_parts
from veriloop.report.verifiers import cards

MOST_BYTES = 2_000_000  # of a picture that a page takes in
MOST_ROWS = 30  # of a summary that is not folded
SUMMARY = "What the run ended with"
About = Mapping[str, Any]


def section(folder: Path, worse: Mapping[str, Direction] = MappingProxyType({})) -> Section:
    """Return the section of a run: of a `Study`, of a script with a summary, or of records alone.

    folder: with run.json, records.jsonl or both.
    worse: for metrics of your own, the direction in which each gets worse.

    Raises:
        ValueError: if the folder holds neither, one of them cannot be read, the run is of a script
            and is not finished, or `worse` names a metric that a study lacks.
    """
    about = about_of(folder)
    if about is not None and "summary" in about:
        return _of_script(folder, about)
    if about is not None and "study" not in about and not about.get("finished", True):
        raise ValueError(f"{folder}: the run is not finished; go on with --resume")
    return _of_study(folder, about, worse)


def about_of(folder: Path) -> About | None:
    """Return what run.json says, or None where there is none.

    Raises:
        ValueError: if it cannot be read, or is not that of a run.
    """
    file = folder / "run.json"
    if not file.exists() and (folder / FILE).exists():
        return None
    try:
        found: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or "finished" not in found:
        raise ValueError(f"{folder}: no readable run.json; name the folder of a run")
    return cast("dict[str, Any]", found)


def _of_script(folder: Path, about: About) -> Section:
    if not about["finished"]:
        raise ValueError(f"{folder}: the run is not finished; go on with --resume")
    parts: list[Part] = [made(about)]
    for what, fact in about.get("measures", {}).items():
        parts.append(f"{what}: {fact}")
    figure = folder / "figure.png"
    if figure.exists() and figure.stat().st_size <= MOST_BYTES:
        parts.append(Picture(f"The figure of {about['experiment']}", png=figure.read_bytes()))
    elif figure.exists():
        parts.append(f"The figure is too large for this page: {figure}")
    parts.append(_summary(about["summary"]))
    return Section(about["experiment"], parts, folded=True)


def _of_study(folder: Path, about: About | None, worse: Mapping[str, Direction]) -> Section:
    records = Records.read(folder)
    unknown = [name for name in worse if name not in records.metrics]
    if unknown:
        there = ", ".join(records.metrics)
        raise ValueError(f"{folder}: worse: no metric is called {unknown[0]!r}; pick from {there}")
    parts: list[Part] = []
    described: About = {}
    if about is not None:
        parts.append(made(about))
        described = about.get("study", {}).get("arms", {})
        if not about["finished"]:
            parts.append("The run is not finished: this is what its records hold so far.")
    seeds = ", ".join(map(str, records.seeds[:20]))
    if len(records.seeds) > 20:
        seeds += f" and {len(records.seeds) - 20} more"
    parts.append(f"{len(records)} rows; {len(records.arms)} arms; seeds: {seeds}.")
    if not records.arms:
        parts.append("No row names its arm, so nothing can be compared.")
        return Section(folder.resolve().name, parts)
    pools = {arm: _name(of.get("pool", {}), "Replace") for arm, of in described.items()}
    verifiers: dict[str, str] = {}
    for arm, of in described.items():
        if "verify" in of:
            verifiers[arm] = _name(of["verify"], "")
    arms = Arms.of(records, pools, verifiers, worse)
    parts += [*arms_parts(arms), *cards(arms)]
    return Section(folder.resolve().name, parts)


def _name(part: About, otherwise: str) -> str:
    """Return the last name of a part as run.json describes it."""
    spec: object = part.get("is", otherwise)
    if isinstance(spec, Mapping):
        spec = cast("About", spec).get("call", otherwise)
    return str(spec).rpartition(":")[2]


def made(about: About) -> str:
    """Return a paragraph on how a run was made: command, seed, time, machine, commit."""
    said: list[str] = []
    config: About = about.get("config", {})
    if about.get("preset") is not None:
        name = about["experiment"]
        command = f"python {name}.py --preset {about['preset']}{_engine(config)}"
        said.append(f"`{command}`, seed {config['seed']}")
    seconds: Mapping[str, float] = about.get("seconds", {})
    if seconds:
        time = seconds.get("work", sum(seconds.values()))
        calls = len(about.get("earlier", ())) + 1
        took = f"{time:.0f} s"
        if calls > 1:
            took = f"the last of {calls} calls took {took}"
        said.append(f"{took}{_machine(about)}")
    said.append(commits(about))
    return f"{': '.join(said[:2])}, {said[-1]}." if len(said) > 2 else f"{', '.join(said)}."


def _engine(config: About) -> str:
    engine = config.get("engine", "processes")
    return "" if engine == "processes" else f" --engine {engine}"


def _machine(about: About) -> str:
    device: About = about.get("device", {})
    if not device:
        return ""
    return f" on {device['cpus']} cores ({device.get('processor', device['machine'])})"


def commits(about: About) -> str:
    """Return at which commit a run was made, and at which others it was begun or went on.

    >>> commits({"commit": "0123456789abcdef", "earlier": [{"commit": "f" * 40, "dirty": True}]})
    'commit 0123456789, before that commit ffffffffff with changes'
    """
    last = _commit(about)
    others = [_commit(call) for call in about.get("earlier", ())]
    different = [each for each in dict.fromkeys(others) if each != last]
    return ", before that ".join([last, *different])


def _commit(about: About) -> str:
    commit = about.get("commit")
    if commit is None:
        return "commit not known"
    changes = " with changes" if about.get("dirty") else ""
    return f"commit {commit[:10]}{changes}"


def _summary(numbers: Mapping[str, About]) -> Part:
    """Return the table that a script prints at its end, folded if it is long."""
    compared = any(number["expected"] is not None for number in numbers.values())
    rows: list[list[str]] = []
    for quantity, number in numbers.items():
        value = optional(number["value"], ".4g")
        error = optional(number["standard_error"], ".2g")  # None where there is one seed
        if compared:
            expected = optional(number["expected"], ".4g")
            error = optional(number["standard_error"], ".4g")
            rows.append([quantity, expected, value, error, _z(number)])
        else:
            rows.append([quantity, value, error])
    header = ["quantity", "measured", "standard error"]
    if compared:
        header = ["quantity", "expected", "measured", "standard error", "z"]
    table = Table(SUMMARY, header, rows)
    if len(rows) > MOST_ROWS:
        return Section(f"{SUMMARY}: {len(rows)} numbers", [table], folded=True)
    return table


def _z(number: About) -> str:
    error = number["standard_error"]
    expected = number["expected"]
    if not error or expected is None:
        return ""
    return f"{(number['value'] - expected) / error:+.1f}"
