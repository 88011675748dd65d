"""Has collapse set in? A sequential test on a metric, with a stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriloop.metrics import KNOWN, Direction
from veriloop.records import Records

WATCHED: Mapping[str, Direction] = {
    name: known.worse for name, known in KNOWN.items() if known.worse is not None
}


@dataclass(frozen=True)
class Alarm:
    """Whether, and from which round on, a metric is worse than at the start.

    round: the first round of the alarm, or None. rounds, change, p: by round after the start, the
    mean change in the bad direction and its one-sided p. spent: the level that p was held to.
    """

    metric: str
    worse: Direction
    round: int | None
    rounds: tuple[int, ...]
    change: tuple[float, ...]
    p: tuple[float, ...]
    spent: tuple[float, ...]

    def __str__(self) -> str:
        if self.round is None:
            return f"{self.metric}: no alarm in {len(self.rounds)} rounds"
        i, sign = self.rounds.index(self.round), "+" if self.worse == "higher" else "-"
        change = f"{sign}{self.change[i]:.3g}, p = {self.p[i]:.1g}"
        return f"{self.metric}: worse since round {self.round} ({change})"


def alarm(
    records: Iterable[Any],
    metric: str,
    *,
    worse: Direction | None = None,
    alpha: float = 0.05,
    horizon: int | None = None,
    margin: float = 0.0,
) -> Alarm:
    r"""Say in which round a metric has become worse than at the start.

    The rate of false alarms is at most `alpha`.

    .. math:: \text{alarm in the first round } k \text{ with}\quad
        P\Big(T_{S-1} > \frac{\bar d_k - margin}{s_k/\sqrt S}\Big) \le \alpha_k,
        \qquad \sum_k \alpha_k \le \alpha,

    where :math:`d_k` is the change since the start in the bad direction, paired by seed, of mean
    and standard deviation :math:`\bar d_k, s_k` over S seeds. An alarm is false while the expected
    change has never been above `margin`; by the union bound that has at most the probability
    `alpha`, however rounds depend on one another, if changes are normal over seeds. Rows of one
    seed that bring a `METRIC_se` are tested by z, with the sum of the two standard errors, which
    bounds that of the change whatever their correlation.

    records: as in `advise`. worse: by default as in `WATCHED`. horizon: spend alpha / horizon in
        each of so many rounds; None spends alpha / (k (k + 1)), which holds for any number of
        rounds, looked at one by one.

    >>> rows = [{"seed": s, "round": k, "recall": 0.9 - 0.1 * k + 0.01 * s**k}
    ...         for s in range(4) for k in range(3)]
    >>> print(alarm(rows, "recall"))
    recall: worse since round 1 (-0.095, p = 0.0003)

    Raises: ValueError: if the direction is not known, there are more rounds than the horizon has,
        seeds differ in their rounds, or there is no standard error.
    """
    from scipy.special import ndtr, stdtr

    direction = worse or WATCHED.get(metric)
    if direction not in ("higher", "lower"):
        raise ValueError(
            f"alarm: {metric!r} needs worse='higher' or worse='lower', got {direction!r}"
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alarm: alpha must be in (0, 1), got {alpha}")
    series = Series.of("alarm", records, metric)
    k = np.arange(1, len(series.rounds))
    if horizon is not None and horizon < len(k):
        raise ValueError(
            f"alarm: horizon must be at least the {len(k)} rounds given, got {horizon}"
        )
    spent = alpha / (k * (k + 1))
    if horizon is not None:
        spent = np.full(len(k), alpha / horizon)
    sign = 1 if direction == "higher" else -1
    changes = sign * (series.values[:, 1:] - series.values[:, :1])
    change = changes.mean(axis=0)
    seeds = len(changes)
    if series.errors is None:
        error = changes.std(axis=0, ddof=1) / np.sqrt(seeds)
    else:
        error = series.errors[1:] + series.errors[0]
    excess = change - margin
    certain = np.where(excess > 0, np.inf, -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, excess / error, certain)
    p = stdtr(seeds - 1, -t) if series.errors is None else ndtr(-t)
    fired = np.flatnonzero(p <= spent)
    first = None
    if len(fired):
        first = series.rounds[fired[0] + 1]
    numbers = [tuple(map(float, each)) for each in (change, p, spent)]
    return Alarm(metric, direction, first, tuple(series.rounds[1:]), *numbers)


@dataclass(frozen=True)
class Series:
    """What records say of some metrics by round.

    values: shape (seeds, rounds), one metric beside the other in the second axis; names: those
    there. errors: known standard errors, where there is one row a round. kept, candidates: their
    means, NaN where records lack them.
    """

    rounds: list[int]
    names: list[str]
    values: np.ndarray
    errors: np.ndarray | None
    kept: np.ndarray
    candidates: np.ndarray

    @classmethod
    def of(cls, where: str, records: Iterable[Any], metric: str, also: str | None = None) -> Series:
        """Read `metric`, and `also` where every row of several seeds has it."""
        everything = Records.of(records)
        rows = [each for each in everything if each.get(metric) is not None]
        if not rows and metric in everything.metrics:
            raise ValueError(
                f"{where} needs a number for {metric!r} in every row, got NaN; leave such rows out"
            )
        arms = sorted({str(each.get("arm")) for each in rows})
        if len(arms) != 1:
            got = ", ".join(arms) or "none"
            raise ValueError(
                f"{where} needs records of one arm with {metric!r}, got {got}; pick one"
            )
        cells = {(each.get("seed"), each["round"]): each for each in rows}
        seeds, rounds = sorted({seed for seed, _ in cells}, key=str), sorted({k for _, k in cells})
        if len(rows) != len(seeds) * len(rounds) or rounds != list(
            range(rounds[0], rounds[0] + len(rounds))
        ):
            raise ValueError(
                f"{where} needs one row with {metric!r} for every seed and round, rounds going "
                "up by one, "
                f"got {len(rows)} rows of {len(seeds)} seeds and rounds {rounds[0]} to {rounds[-1]}"
            )
        if len(rounds) < 2:
            raise ValueError(f"{where} needs {metric!r} in two rounds or more, got {len(rounds)}")
        grid = [[cells[seed, k] for k in rounds] for seed in seeds]

        def column(name: str) -> np.ndarray:
            return np.array([[cell.get(name) for cell in line] for line in grid], dtype=float)

        several = len(seeds) > 1
        names = [
            name
            for name in (metric, also if several else None)
            if name and np.isfinite(column(name)).all()
        ]
        if metric not in names:
            raise ValueError(f"{where} needs a number for {metric!r} in every row, got infinity")
        errors = None if several else column(f"{metric}_se")[0]
        if errors is not None and not (errors >= 0).all():
            raise ValueError(
                f"{where} needs two seeds or more, or {metric}_se beside {metric!r}, got one seed"
            )
        values = np.concatenate([column(name) for name in names], axis=1)
        return cls(
            rounds,
            names,
            values,
            errors,
            column("kept").mean(axis=0),
            column("candidates").mean(axis=0),
        )
