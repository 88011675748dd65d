"""Print finished runs as Markdown: expected and measured numbers, machine and command.

python -m veriloop.study.report DIR [DIR ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def section(folder: Path) -> str:
    """Return the section of one run, from its run.json."""
    try:
        run = json.loads((folder / "run.json").read_text())
        finished = run["finished"]
    except (OSError, ValueError, TypeError, KeyError):
        raise SystemExit(f"{folder}: no readable run.json; name the folder of a run") from None
    if not finished:
        raise SystemExit(f"{folder}: the run is not finished; go on with --resume")
    numbers = run.get("summary")
    if numbers is None:
        raise SystemExit(f"{folder}: the run has no summary; name the folder of a script's run")
    name = run["experiment"]
    device = run["device"]
    commit = "of no commit"
    if run["commit"] is not None:
        commit = f"commit {run['commit'][:10]}"
    changes = " with changes" if run["dirty"] else ""
    lines = [
        f"## {name}",
        "",
        f"`python {name}.py --preset {run['preset']}{_engine(run)}`, seed {run['config']['seed']}: "
        f"{run['seconds']['work']:.0f} s on {device['cpus']} cores "
        f"({device.get('processor', device['machine'])}), "
        f"{commit}{changes}.",
        "",
    ]
    if any(number["expected"] is not None for number in numbers.values()):
        lines += [
            "| quantity | expected | measured | standard error | z |",
            "|---|--:|--:|--:|--:|",
        ]
        for quantity, number in numbers.items():
            lines.append(_row(quantity, number))
        return "\n".join([*lines, ""])
    lines += ["| quantity | measured | standard error |", "|---|--:|--:|"]
    for quantity, number in numbers.items():
        error = _cell(number["standard_error"], ".2g")  # None where there is one seed
        lines.append(f"| {quantity} | {number['value']:.4g} | {error} |")
    return "\n".join([*lines, ""])


def _engine(run: dict[str, Any]) -> str:
    engine = run["config"]["engine"]
    return "" if engine == "processes" else f" --engine {engine}"


def _row(name: str, number: dict[str, Any]) -> str:
    value = number["value"]
    error = number["standard_error"]
    expected = number["expected"]
    z = ""
    if error and expected is not None:
        z = f"{(value - expected) / error:+.1f}"
    cells = [_cell(each, ".4g") for each in (expected, value, error)]
    return f"| {name} | {' | '.join(cells)} | {z} |"


def _cell(number: float | None, form: str) -> str:
    if number is None:
        return ""
    return format(number, form)


if __name__ == "__main__":
    print("\n".join(section(Path(folder)) for folder in sys.argv[1:]))
