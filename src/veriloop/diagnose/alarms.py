"""Has collapse set in? A sequential test on a metric, with a stated rate of false alarms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from veriloop.diagnose.arm import check_worse
from veriloop.diagnose.series import TIE, Input, Series
from veriloop.metrics import KNOWN, Direction

_WORSE: Mapping[str, Direction | None] = {name: known.worse for name, known in KNOWN.items()}
WATCHED: Mapping[str, Direction] = {name: way for name, way in _WORSE.items() if way is not None}
TINY = 1e-99  # no smaller p is printed
Now = Literal["worse", "better", "neither"]


@dataclass(frozen=True)
class Alarm:
    """Whether a metric has become worse than at the start, when first, and how it stands now.

    metric: its name.
    worse: the direction in which it gets worse.
    round: the first round of the alarm, or None.
    rounds: the rounds after the start.
    change: the mean change since the start in the bad direction, by round.
    p: the one-sided p of that change, by round.
    spent: the level that p was held to, by round.
    now: how the last round compares with the start, in a test of its own at the level `alpha`.
    since: the first of the last rounds that all compare as `now` does.

    >>> rows = [{"seed": s, "round": k, "recall": 0.9 - 0.1 * k + 0.01 * s**k}
    ...         for s in range(4) for k in range(3)]
    >>> raised = alarm(rows, "recall")
    >>> raised.round, raised.now, raised.since
    (1, 'worse', 1)
    """

    metric: str
    worse: Direction
    round: int | None
    rounds: tuple[int, ...]
    change: tuple[float, ...]
    p: tuple[float, ...]
    spent: tuple[float, ...]
    now: Now
    since: int

    def __str__(self) -> str:
        if self.round is None:
            count = len(self.rounds)
            none = f"{self.metric}: no alarm in {count} rounds"
            if count == 1:
                none = f"{self.metric}: no alarm in 1 round"
            if self.now == "worse":
                return f"{none}; worse now {self._numbers(-1)}, which more seeds may confirm"
            return none
        numbers = self._numbers(self.rounds.index(self.round))
        if self.now == "worse":
            return f"{self.metric}: worse since round {self.round} {numbers}{self._in_between()}"
        first = f"{self.metric}: first worse in round {self.round} {numbers}"
        if self.now == "better":
            return f"{first}; better than at the start since round {self.since}, {self._signed(-1)}"
        return f"{first}; since round {self.since} not told from the start, {self._signed(-1)}"

    def _numbers(self, at: int) -> str:
        chance = f"p < {TINY:.0g}"
        if self.p[at] > TINY:
            chance = f"p = {self.p[at]:.1g}"
        return f"({self._signed(at)}, {chance})"

    def _signed(self, at: int) -> str:
        sign = 1 if self.worse == "higher" else -1
        return f"{sign * self.change[at]:+.3g}"

    def _in_between(self) -> str:
        """Say that a metric was not worse all the time since the alarm."""
        if self.round is None or self.since <= self.round:
            return ""
        return f", again since round {self.since}, {self._signed(-1)}"


def alarm(
    records: Input,
    metric: str,
    *,
    worse: Direction | None = None,
    alpha: float = 0.05,
    horizon: int | None = None,
    margin: float = 0.0,
) -> Alarm:
    r"""Say in which round a metric first became worse than at the start, and how it stands now.

    The rate of false alarms is at most `alpha`.

    .. math:: \text{alarm in the first round } k \text{ with}\quad
        P\Big(T_{S-1} > \frac{\bar d_k - margin}{s_k/\sqrt S}\Big) \le \alpha_k,
        \qquad \sum_k \alpha_k \le \alpha,

    where :math:`d_k` is the change since the start in the bad direction, paired by seed, of mean
    :math:`\bar d_k` over S seeds. :math:`s_k` is the larger of two standard deviations: that of
    round k, and the root mean square of those up to round k. Where all seeds change alike, p is
    not below :math:`2^{-S}`, that of a sign test.

    An alarm is false while the expected change has never been above `margin`. By the union bound
    that has at most the probability `alpha`, however rounds depend on one another, if changes are
    independent between seeds and about symmetric. Noise that all seeds share, as that of one small
    test set, is not seen and raises the rate. So do rare large changes for the better. Measured
    rates are in docs/advice.md.

    Rows of one seed that bring a `METRIC_se` are tested by z, with the sum of the two standard
    errors, which bounds that of the change whatever their correlation.

    records: as in `advise`.
    metric: its name.
    worse: the direction in which it gets worse; by default that of `veriloop.metrics.KNOWN`.
    alpha: the rate of false alarms, in (0, 1).
    horizon: spend alpha / horizon in each of so many rounds; None spends alpha / (k (k + 1)), which
        holds for any number of rounds, looked at one by one.
    margin: the change that does not count, in units of the metric.

    >>> rows = [{"seed": s, "round": k, "recall": 0.9 - 0.1 * k + 0.01 * s**k}
    ...         for s in range(4) for k in range(3)]
    >>> print(alarm(rows, "recall"))
    recall: worse since round 1 (-0.095, p = 0.0003)

    Raises:
        ValueError: if the direction is not known or not the known one, there are more rounds than
            the horizon has, seeds differ in their rounds, or there is no standard error.
        TypeError: if the records are no rows.
    """
    series = Series.of("alarm", records, metric)
    check_worse("alarm", metric, worse)
    direction = worse or WATCHED.get(metric)
    if direction not in ("higher", "lower"):
        raise ValueError(
            f"alarm: {metric!r} needs worse='higher' or worse='lower', got {direction!r}"
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alarm: alpha must be in (0, 1), got {alpha}")
    if not np.isfinite(margin):
        raise ValueError(f"alarm: margin must be a finite number, got {margin}")
    count = len(series.rounds) - 1
    if horizon is not None and horizon < count:
        raise ValueError(f"alarm: horizon must be at least the {count} rounds given, got {horizon}")
    change, p_worse, p_better = _test(series, direction, margin)
    spent = levels(alpha, count, horizon)
    fired = np.flatnonzero(p_worse <= spent)
    first = None
    if len(fired):
        first = series.rounds[int(fired[0]) + 1]
    stands = np.select([p_worse <= alpha, p_better <= alpha], ["worse", "better"], "neither")
    now: Now = stands.tolist()[-1]
    others = np.flatnonzero(stands != now)
    since = series.rounds[1]
    if len(others):
        since = series.rounds[int(others[-1]) + 2]
    return Alarm(
        metric,
        direction,
        first,
        tuple(series.rounds[1:]),
        change=tuple(map(float, change)),
        p=tuple(map(float, p_worse)),
        spent=tuple(map(float, spent)),
        now=now,
        since=since,
    )


def levels(alpha: float, rounds: int, horizon: int | None) -> np.ndarray:
    """Return the level of each round."""
    if horizon is not None:
        return np.full(rounds, alpha / horizon)
    k = np.arange(1, rounds + 1)
    return alpha / (k * (k + 1))


def _test(
    series: Series, direction: Direction, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean change by round, and its p against being at most margin, and at least 0."""
    from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

    sign = 1 if direction == "higher" else -1
    changes = sign * (series.values[:, 1:] - series.values[:, :1])
    same = TIE * float(np.abs(series.values).max())
    if series.errors is None:
        return paired(changes, margin, same)
    change = changes.mean(axis=0)
    error = series.errors[1:] + series.errors[0]
    p_worse = ndtr(-_ratio(change - margin, error))
    p_better = ndtr(_ratio(change, error))
    return change, p_worse, p_better


def paired(
    changes: np.ndarray, margin: float = 0.0, same: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean change by round, and its p against being at most margin, and at least 0.

    changes: in the bad direction, shape (..., seeds, rounds).
    same: changes and spreads up to this count as none.
    """
    from scipy.special import stdtr  # pyright: ignore[reportMissingTypeStubs]

    seeds: int = changes.shape[-2]
    rounds: int = changes.shape[-1]
    changes = np.where(np.abs(changes) <= same, 0.0, changes)
    change = changes.mean(axis=-2)
    spread = changes.std(axis=-2, ddof=1)
    own = np.where(spread <= same, 0.0, spread)
    counted = np.arange(1, rounds + 1)
    so_far: np.ndarray = np.sqrt(np.cumsum(own**2, axis=-1) / counted)
    error = np.maximum(own, so_far) / np.sqrt(seeds)
    least = np.where(own == 0, 0.5**seeds, 0.0)
    p_worse = stdtr(seeds - 1, -_ratio(change - margin, error))
    p_better = stdtr(seeds - 1, _ratio(change, error))
    return change, np.maximum(p_worse, least), np.maximum(p_better, least)


def _ratio(excess: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the excess over its standard error, in standard errors; a change of none is none."""
    sure = np.where(excess > 0, np.inf, -np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0, excess / error, sure)
    return np.where((error == 0) & (excess == 0), 0.0, ratio)
