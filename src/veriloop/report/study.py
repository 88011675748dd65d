"""What a report says of the arms of a study: curves, ends, differences, alarms and advice."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from veriloop.diagnose import advise, alarm
from veriloop.metrics import KNOWN, Direction, Known
from veriloop.records import Curve, Records
from veriloop.report.numbers import at
from veriloop.report.parts import Lines, Part, Section, Table
from veriloop.report.pictures import by_round

MOST_LINES = 6  # arms in one drawing
MOST_DRAWINGS = 8
MOST_ARMS = 40  # arms in a table
MOST_METRICS = 20
OF_VERIFIER = (
    "no_verdict",
    "groups_left_out",
    "disagreement",
    "false_accept",
    "false_reject",
    "acceptance",
    "shift_",
    "spread_",
    "candidates_",
    "kept_",
)


class Arms(NamedTuple):
    """The records of a study, and what its run.json says of the arms.

    records: the rows.
    own: those of each arm to be told of.
    pools, verifiers: of each arm where it is known, the name of its part.
    metrics: those of the model, best known first.
    worse: the direction in which metrics of one's own get worse, where it was said.
    """

    records: Records
    own: Mapping[str, Records]
    pools: Mapping[str, str]
    verifiers: Mapping[str, str]
    metrics: tuple[str, ...]
    worse: Mapping[str, Direction]

    @classmethod
    def of(
        cls,
        records: Records,
        pools: Mapping[str, str],
        verifiers: Mapping[str, str],
        worse: Mapping[str, Direction],
    ) -> Arms:
        """Choose arms and metrics, as many as a page has room for."""
        metrics = [name for name in records.metrics if not name.startswith(OF_VERIFIER)]
        metrics.sort(key=lambda name: known_of(name, worse).better is None)
        own = {arm: records.select(arm=arm) for arm in records.arms[:MOST_ARMS]}
        return cls(records, own, pools, verifiers, tuple(metrics[:MOST_METRICS]), worse)

    def known(self, metric: str) -> Known:
        """Return what is known of a metric, by its name or because it was said."""
        return known_of(metric, self.worse)

    @property
    def names(self) -> tuple[str, ...]:
        """The arms to be told of."""
        return tuple(self.own)


def known_of(metric: str, worse: Mapping[str, Direction]) -> Known:
    """Return what is known of a metric. A direction that was said goes before one of its name.

    metric: its name.
    worse: the direction in which metrics get worse, where it was said.

    >>> known_of("mistakes", {"mistakes": "higher"}).better
    'lower'
    """
    known = KNOWN.get(metric, Known())
    said = worse.get(metric)
    if said is None:
        return known
    better: Direction = "lower" if said == "higher" else "higher"
    return Known(known.unit, better, said)


def arms_parts(arms: Arms) -> Iterator[Part]:
    """Yield what is to be said of all arms and metrics together."""
    yield from _left_out(arms)
    for mark in arms.records.failed:
        yield (
            f"Arm {mark.get('arm')}, seed {mark.get('seed')} ended in round {mark.get('round')} "
            f"with an error, and its later rounds are missing: {mark['failed']:.200}"
        )
    lines = arms.names[:MOST_LINES]
    for metric in arms.metrics[:MOST_DRAWINGS]:
        drawn = [arm for arm in lines if curve_of(arms.own[arm], arm, metric) is not None]
        if drawn:
            yield by_round(metric, [arms.own[arm] for arm in drawn], arms.worse.get(metric))
    ends = _ends(arms)
    if not ends.rows:
        yield "No arm has a number by seed and round, so there is nothing to compare."
        return
    yield ends
    differences = _differences(arms)
    if differences.rows:
        yield differences
    yield Section("Alarms and advice", list(_diagnoses(arms)))


def _left_out(arms: Arms) -> Iterator[str]:
    everything = len(arms.records.arms)
    if everything > len(arms.names):
        yield f"The tables hold the first {len(arms.names)} of {everything} arms."
    if len(arms.names) > MOST_LINES:
        yield f"The drawings hold the first {MOST_LINES} of {everything} arms."
    if len(arms.metrics) == MOST_METRICS:
        yield f"The page holds {MOST_METRICS} metrics at most; the records may hold more."


def _ends(arms: Arms) -> Table:
    """Return each metric of each arm in its first round and its last, and the change."""
    header = ["metric", "better", "arm", "n", "first", "last", "change", "rounds"]
    rows: list[list[str]] = []
    for metric in arms.metrics:
        for arm in arms.names:
            curve = curve_of(arms.own[arm], arm, metric)
            if curve is None:
                continue
            change = change_of(arms.own[arm], arm, metric)
            moved = "" if change is None else at(change, -1)
            rounds = f"{curve.round[0]} to {curve.round[-1]}"
            better = arms.known(metric).better or ""
            cells = [metric, better, arm, str(curve.n[-1])]
            rows.append([*cells, at(curve, 0), at(curve, -1), moved, rounds])
    return Table(
        "Where each arm begins and ends, ± half of a 95 % interval over seeds", header, rows
    )


def _differences(arms: Arms) -> Table:
    """Return how far every arm ends from the one without a verifier, or else from the first."""
    base = reference(arms)
    header = ["metric", "better", "arm", f"minus {base}", "n", "round", "reading"]
    rows: list[list[str]] = []
    others = [arm for arm in arms.names if arm != base]
    for metric in arms.metrics:
        for arm in others:
            curve = difference_of(arms.own[arm], arms.own[base], arm, base, metric)
            if curve is None:
                continue
            better = arms.known(metric).better
            cells = [metric, better or "", arm, at(curve, -1), str(curve.n[-1])]
            rows.append([*cells, str(curve.round[-1]), _reading(curve, better)])
    return Table("Differences in the last common round, paired by seed", header, rows)


def reference(arms: Arms) -> str:
    """Return the arm that others are compared with."""
    for arm in arms.names:
        if arms.verifiers and arm not in arms.verifiers:
            return arm
    return arms.names[0]


def _reading(curve: Curve, better: Direction | None) -> str:
    """Say in words what the interval of a difference tells."""
    low = float(curve.low[-1])
    high = float(curve.high[-1])
    if math.isnan(low) or math.isnan(high):
        return "one seed tells no difference"
    if low == high == 0:
        return "the same"
    if low <= 0 <= high:
        return "no clear difference"
    direction = "higher" if low > 0 else "lower"
    if better is None:
        return direction
    return "better" if direction == better else "worse"


def _diagnoses(arms: Arms) -> Iterator[Part]:
    """Yield alarms and advice of each arm, in the words of `alarm` and `advise`."""
    yield (
        "An alarm says in which round a metric first became worse than at the start. Advice says "
        "what to expect of the next rounds, and what to do. It is given for one metric: the first "
        "that it can be given for."
    )
    for arm in arms.names:
        rows = list(arms.own[arm])
        lines = [*_alarms(arms, rows), *_advice(arms, rows, arms.pools.get(arm))]
        if lines:
            yield Lines(arm, lines)
        else:
            yield (
                f"{arm}: no metric has a known direction and two rounds. For a metric of your own "
                "say which way it gets worse, as in `--worse error=higher`."
            )


def _alarms(arms: Arms, rows: Sequence[Mapping[str, object]]) -> list[str]:
    watched = [name for name in arms.metrics if arms.known(name).worse is not None]
    lines: list[str] = []
    for metric in watched:
        numbered = [row for row in rows if row.get(metric) is not None]
        if len({row.get("round") for row in numbered}) < 2:
            continue
        try:
            alpha = 0.05 / len(watched)
            lines.append(str(alarm(numbered, metric, worse=arms.worse.get(metric), alpha=alpha)))
        except ValueError as error:
            lines.append(f"{metric}: no alarm is possible: {error}")
    return lines


def _advice(arms: Arms, rows: Sequence[Mapping[str, object]], pool: str | None) -> list[str]:
    refused: list[str] = []
    for metric in arms.metrics:
        if arms.known(metric).better is None:
            continue
        try:
            advice = advise(rows, metric, worse=arms.worse.get(metric), pool=pool)
        except ValueError as error:
            refused.append(f"{metric}: no advice is possible: {error}")
        else:
            return f"{metric}: {advice}".splitlines()
    return refused[:1]


def curve_of(records: Records, arm: str, metric: str) -> Curve | None:
    """Return the mean of a metric by round; None where an arm has no number of it."""
    try:
        return _column(metric, records).mean(arm, metric)
    except ValueError:
        return None


def difference_of(
    records: Records, others: Records, arm: str, base: str, metric: str
) -> Curve | None:
    """Return the paired difference of two arms by round; None where no seed has both."""
    try:
        return _column(metric, records, others).difference(arm, base, metric)
    except ValueError:
        return None


def change_of(records: Records, arm: str, metric: str) -> Curve | None:
    """Return by how much a metric of an arm's rows changed since the first round, by seed."""
    first = min((row["round"] for row in records if row.get("round") is not None), default=0)
    starts = {row.get("seed"): row.get(metric) for row in records if row.get("round") == first}
    both: list[dict[str, object]] = []
    for row in records:
        start = starts.get(row.get("seed"))
        value = row.get(metric)
        if start is not None and value is not None and row["round"] != first:
            place = {"arm": arm, "seed": row.get("seed"), "round": row["round"]}
            both.append({**place, metric: value - start})
    return curve_of(Records(both), arm, metric)


def _column(metric: str, *tables: Records) -> Records:
    """Return one metric of some rows, without the others, which take long to look at."""
    names = ("arm", "seed", "round", metric)
    rows: list[dict[str, object]] = []
    for records in tables:
        for row in records:
            rows.append({name: row[name] for name in names if name in row})
    return Records(rows)
