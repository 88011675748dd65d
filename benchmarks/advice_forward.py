"""Judge `veriloop.advise` forward: python benchmarks/advice_forward.py [RESULTS].

Prints the tables of docs/advice.md. Advice comes from rounds 1 to 4 of every arm of every committed
run that has more rounds, for every metric of known direction, and is held against what came.

keep going: right if the metric is better in the last round compared than in round 4.
stop now: right if no later round is better than the best of rounds 1 to 4.
any other: right if no later round is better than the start, by the 5 % that the advice says where
the best value of the metric is known; strictly, if none is better at all.
forecast: right if its interval holds the mean that was recorded in that round. It is that of a loop
that goes on at the size of round 4, so arms of growing size are left out.

Means over seeds are compared. No later round is looked at beyond round 8, where the forecast ends.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from veriloop import Advice, Records, advise
from veriloop.diagnose.arm import Scale
from veriloop.diagnose.conclusions import WORTH
from veriloop.diagnose.series import arm_without_seed
from veriloop.metrics import KNOWN

RESULTS = Path(__file__).parents[1] / "docs" / "results"
SEEN = 4
LAST = 8
STRICT = "other, strictly"
COLUMNS = ("keep going", "stop now", "other", STRICT, "forecast")
Row = dict[str, object]


@dataclass(frozen=True)
class Case:
    """Advice on a metric of an arm, and the means over seeds by round, up to round 8."""

    run: str
    arm: str
    metric: str
    advice: Advice
    means: np.ndarray
    grows: bool

    @property
    def kind(self) -> str:
        conclusion = self.advice.conclusion
        return conclusion if conclusion in ("keep going", "stop now", "undecided") else "other"

    def is_right(self, *, strictly: bool = False) -> bool:
        """Tell whether what came is what the conclusion said."""
        scale = Scale.of(self.metric, None, None)
        errors = scale.errors(self.means)
        later = errors[SEEN + 1 :]
        if self.kind == "keep going":
            return bool(later[-1] < errors[SEEN])
        if self.kind == "stop now":
            return bool(later.min() >= errors[1 : SEEN + 1].min())
        worth = WORTH if scale.known and not strictly else 0.0
        return bool(later.min() >= (1 - worth) * errors[0])

    def holds(self) -> bool | None:
        """Tell whether the forecast's interval holds what came; None where nothing came."""
        if self.grows or len(self.means) <= LAST or self.advice.forecast.value is None:
            return None
        forecast = self.advice.forecast
        return bool(forecast.low <= self.means[LAST] <= forecast.high)

    def __str__(self) -> str:
        by_round = ", ".join(f"{mean:.3g}" for mean in self.means)
        return (
            f"| {self.run} | {self.arm} | {self.metric} | {self.advice.conclusion} | {by_round} |"
        )


def cases(folder: Path) -> Iterator[Case]:
    """Yield the cases of a run."""
    arms: dict[str, list[Row]] = {}
    for row in Records.read(folder):
        if "round" in row:
            arms.setdefault(arm_without_seed(row), []).append(row)
    for arm, rows in arms.items():
        for metric in KNOWN:
            case = _case(folder.name, arm, metric, rows)
            if case is not None:
                yield case


def _case(run: str, arm: str, metric: str, rows: list[Row]) -> Case | None:
    """Return a case, or None where the arm has too few rounds or no advice is possible."""
    values: dict[int, list[float]] = {}
    for row in rows:
        k = row["round"]
        value = row.get(metric)
        if isinstance(k, int) and isinstance(value, int | float) and k <= LAST:
            values.setdefault(k, []).append(value)
    if min(values, default=1) > 0 or max(values) <= SEEN:
        return None
    seen = [row for row in rows if isinstance(row["round"], int) and row["round"] <= SEEN]
    try:
        advice = advise(seen, metric)
    except ValueError:
        return None
    means = np.array([np.mean(values[k]) for k in sorted(values)])
    return Case(run, arm, metric, advice, means, _grows(rows))


def _grows(rows: list[Row]) -> bool:
    """Tell whether later rounds keep more rows than round 4, by more than 5 %."""
    kept: dict[object, list[float]] = {}
    for row in rows:
        count = row.get("kept")
        if isinstance(count, int | float):
            kept.setdefault(row["round"], []).append(count)
    after = [np.mean(kept[k]) for k in range(SEEN + 1, LAST + 1) if k in kept]
    return bool(max(after) > 1.05 * np.mean(kept[SEEN]))


def _row(names: list[str], own: list[Case]) -> str:
    said: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for case in own:
        said[case.kind] += 1
        right[case.kind] += case.kind != "undecided" and case.is_right()
        right[STRICT] += case.kind == "other" and case.is_right(strictly=True)
        held = case.holds()
        if held is not None:
            said["forecast"] += 1
            right["forecast"] += held
    said[STRICT] = said["other"]
    shown = [f"{right[kind]} of {said[kind]}" if said[kind] else "-" for kind in COLUMNS]
    cells = [*names, str(len(own)), *shown, str(said["undecided"])]
    return f"| {' | '.join(cells)} |"


def main(results: Path) -> None:
    """Print how often the advice was right, by run and metric, then all that it got wrong."""
    found: list[Case] = []
    for file in sorted(results.glob("*/records.jsonl")):
        found += cases(file.parent)
    columns = ["run", "metric", "arms", *COLUMNS, "undecided"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for run, metric in dict.fromkeys((case.run, case.metric) for case in found):
        own = [case for case in found if (case.run, case.metric) == (run, metric)]
        print(_row([run, metric], own))
    for metric in dict.fromkeys(case.metric for case in found):
        own = [case for case in found if case.metric == metric]
        print(_row(["**all**", metric], own))
    print(_row(["**all**", "**all**"], found))
    print("\n| run | arm | metric | advice | means by round |\n|---|---|---|---|---|")
    for case in found:
        if case.kind != "undecided" and not case.is_right(strictly=True):
            print(case)

    print("\n| run | arm | metric | forecast of round 8 | what came |\n|---|---|---|---|---|")
    for case in found:
        if case.holds() is False:
            forecast = case.advice.forecast
            came = f"{case.means[LAST]:.3g}"
            print(f"| {case.run} | {case.arm} | {case.metric} | {forecast} | {came} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS)
