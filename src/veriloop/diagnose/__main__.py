"""Print alarms and advice for every arm of a run: python -m veriloop.diagnose RUN [METRIC]."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

from veriloop.diagnose.advice import advise
from veriloop.diagnose.alarms import WATCHED, alarm
from veriloop.diagnose.series import arm_without_seed
from veriloop.metrics import KNOWN, Direction
from veriloop.records import Records
from veriloop.records.lines import from_json


def report(
    folder: Path,
    metric: str | None = None,
    alpha: float = 0.05,
    *,
    worse: Direction | None = None,
    floor: float | None = None,
    pool: str | None = None,
) -> Iterator[str]:
    """Yield the lines of each arm; a false alarm in an arm has at most the probability `alpha`.

    folder: of the run, with its records.jsonl.
    metric: what advice is about; None takes the first that is known.
    alpha: the rate of false alarms of an arm, which its metrics share.
    worse, floor, pool: see `advise`. The pools of a `Study` are read from its run.json.
    """
    records = Records.read(folder)
    pools = pools_of_study(folder)
    if pool is not None:
        pools = dict.fromkeys(records.arms, pool)
    yield from report_of(records, metric, alpha, worse=worse, floor=floor, pools=pools)


def pools_of_study(folder: Path) -> dict[str, str]:
    """Return the name of each arm's pool, from the run.json that a `Study` writes.

    An arm without a pool replaces. Other runs tell nothing: the answer is empty.
    """
    file = folder / "run.json"
    if not file.is_file():
        return {}
    try:
        about: object = from_json(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file} is damaged ({error}); delete it to go on without it") from None
    arms = _inside(_inside(about, "study"), "arms")
    pools: dict[str, str] = {}
    for arm in arms:
        pool = _inside(_inside(arms, arm), "pool")
        pools[arm] = _name(pool.get("is", "Replace"))
    return pools


def _inside(found: object, name: str) -> Mapping[str, object]:
    """Return a mapping within a mapping; an empty one where there is none."""
    inner: object = None
    if isinstance(found, Mapping):
        inner = cast("Mapping[str, object]", found).get(name)
    if isinstance(inner, Mapping):
        return cast("Mapping[str, object]", inner)
    return {}


def _name(part: object) -> str:
    """Return the last name of a part as run.json has it: text, or a mapping with `call`."""
    if isinstance(part, Mapping):
        part = cast("Mapping[str, object]", part).get("call", "")
    return str(part).rpartition(":")[2]


def report_of(
    records: Records,
    metric: str | None = None,
    alpha: float = 0.05,
    *,
    worse: Direction | None = None,
    floor: float | None = None,
    pools: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    """Yield the lines of each arm of records, see `report`.

    pools: the name of each arm's pool, where it is known.
    """
    rows = [row for row in records if "round" in row]
    if not rows:
        yield "no row has a round, so there is nothing to diagnose"
        return
    arms: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        arms.setdefault(arm_without_seed(row), []).append(row)
    if metric is not None and metric not in records.metrics:
        raise ValueError(
            f"no metric is called {metric!r}; pick one of {', '.join(records.metrics)}"
        )
    for arm, own in arms.items():
        yield _shown(arm)
        watched = [name for name in WATCHED if len(_rounds_with(own, name)) > 1]
        about = metric or _first_known(own)
        if metric is not None and metric not in watched and worse is not None:
            watched.append(metric)
        for name in watched:
            direction = None
            if name == metric:
                direction = worse
            found = _alarm_or_why_not(own, name, alpha / len(watched), direction)
            yield f"  {found}"
        if about is not None and len(_rounds_with(own, about)) > 4:
            pool = pools.get(arm)
            found = _advice_or_why_not(own, about, worse=worse, floor=floor, pool=pool)
            yield f"  {found}"
        elif not watched:
            yield "  no metric of a known direction in two rounds; name one, and --worse"


def _shown(name: str) -> str:
    """Return a name for a terminal, where control characters do something."""
    if name.isprintable():
        return name
    return repr(name)


def _alarm_or_why_not(
    rows: list[dict[str, object]], metric: str, alpha: float, worse: Direction | None
) -> str:
    try:
        return str(alarm(rows, metric, worse=worse, alpha=alpha))
    except ValueError as error:
        return f"{metric}: no alarm is possible: {error}"


def _advice_or_why_not(
    rows: list[dict[str, object]],
    metric: str,
    *,
    worse: Direction | None,
    floor: float | None,
    pool: str | None,
) -> str:
    try:
        advice = advise(rows, metric, worse=worse, floor=floor, pool=pool)
    except ValueError as error:
        return f"{metric}: no advice is possible: {error}"
    return f"{metric}: {advice}".replace("\n", "\n  ")


def _first_known(rows: list[dict[str, object]]) -> str | None:
    """Return the first metric of `KNOWN` that has a better direction and is in the rows."""
    for name, known in KNOWN.items():
        if known.better is not None and len(_rounds_with(rows, name)) > 4:
            return name
    return None


def _rounds_with(rows: list[dict[str, object]], metric: str) -> set[object]:
    """Return the rounds that have a number for the metric."""
    return {row["round"] for row in rows if row.get(metric) is not None}


def main(arguments: list[str]) -> None:
    """Print the report of a run."""
    parser = argparse.ArgumentParser(
        prog="python -m veriloop.diagnose",
        description="Print alarms and advice for every arm of a run.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a folder with records.jsonl")
    parser.add_argument("metric", metavar="METRIC", nargs="?", help="what advice is about")
    parser.add_argument("--worse", choices=["higher", "lower"], help="how METRIC gets worse")
    parser.add_argument("--floor", type=float, help="the best value that METRIC can have")
    parser.add_argument("--pool", help="how data are pooled, as in replace or accumulate")
    given = parser.parse_args(arguments)
    worse = cast("Direction | None", given.worse)
    try:
        lines = report(given.run, given.metric, worse=worse, floor=given.floor, pool=given.pool)
        print("\n".join(lines))
    except ValueError as error:
        sys.exit(f"{given.run}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
