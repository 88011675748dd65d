"""Where is the loop going, and what to do about it? Advice from the records of a few rounds.

An error by round is taken for what `veriloop.diagnose.contraction` expects. How often the intervals
hold the truth, and how the advice fared on runs whose end is known, stands in docs/advice.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from veriloop.core.key import Key
from veriloop.diagnose.arm import Scale, nothing_verified, pool_of, replaces
from veriloop.diagnose.conclusions import (
    CHANGE,
    SURE,
    WORTH,
    Basis,
    best_contraction,
    counted,
    settle,
)
from veriloop.diagnose.contraction import WITH_BIAS, WITHOUT_BIAS, Contraction
from veriloop.diagnose.fits import Fit
from veriloop.diagnose.series import TIE, Input, Series
from veriloop.metrics import Direction

AHEAD = 2  # a path is followed for so many times the rounds seen
FAR = 16  # beyond so many starts' errors the bias is too large for the formula
REACHED = 0.2  # a plateau is named where at most so much of the start is left at the end
LEVELS = (0.025, 0.975)
PARAMETERS = ("rho", "plateau", "noise", "bias")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; value is None where the records do not identify it.

    value: the best guess, or None.
    low: the lower end of the interval.
    high: its upper end.

    >>> print(Estimate(0.5, 0.4, 0.65))
    0.5 (0.4 to 0.65)
    >>> print(Estimate(None, 0.0, 1.0))
    not identified
    """

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.value is None:
            return "not identified"
        if self.low == np.inf:
            return "none in sight"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


NOT_IDENTIFIED = Estimate(None, 0.0, np.inf)


@dataclass(frozen=True)
class Advice:
    """What the first rounds say about the next ones, at the size of the last round.

    The symbols are those of `veriloop.diagnose.contraction`.

    conclusion: keep going, stop now, loosen the filter, tighten the filter, add real data, get a
        better verifier, change the verifier or the filter, or undecided.
    reason: the numbers it rests on.
    support: the fraction of resamples that come to it.
    rho: the contraction factor.
    plateau: the limit of the metric.
    noise: the part P of its distance from the best value; bias is the other part.
    bias: the part beta^2.
    reversal: the round of the best expected value, after which it turns back; 0 where it gets worse
        from the start, infinite where it does not turn up to the round `until`. Rounds being whole,
        its interval holds the truth more often than in 95 of 100 runs.
    forecast: the metric expected in the round `until`.
    until: twice the rounds seen; nothing is said beyond.
    misfit: the largest distance of a mean from the fit, in standard errors.
    fits: whether chance explains it.
    notes: where the formula does not hold, a sentence each.

    >>> from veriloop.diagnose.contraction import Contraction
    >>> path = Contraction(np.ones(6)).path(np.array([[0.8, 1.0, 0.01, 0.0]]))[0]
    >>> rows = [{"round": k, "kept": 8, "candidates": 9, "error_truth": x, "error_truth_se": x / 99}
    ...         for k, x in enumerate(path)]
    >>> advice = advise(rows, pool="replace")
    >>> advice.conclusion, advice.until
    ('keep going', 12)
    """

    conclusion: str
    reason: str
    support: float
    rho: Estimate
    plateau: Estimate
    noise: Estimate
    bias: Estimate
    reversal: Estimate
    forecast: Estimate
    until: int
    misfit: float
    fits: bool
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        sure = "" if self.conclusion == "undecided" else f" ({self.support:.0%} of resamples)"
        lines = [f"{self.conclusion}{sure}: {self.reason}"]
        for name in (*PARAMETERS, "reversal"):
            lines.append(f"  {name:<8} {getattr(self, name)}")
        in_round = f"round {self.until}"
        lines.append(f"  {in_round:<8} {self.forecast}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def advise(
    records: Input,
    metric: str = "error_truth",
    *,
    worse: Direction | None = None,
    floor: float | None = None,
    center: str | None = "error_center",
    pool: str | None = None,
    verified: bool | None = None,
    resamples: int = 300,
    key: Key = Key(0),  # noqa: B008
) -> Advice:
    """Estimate from the first rounds where a metric goes, and say what to do about it.

    Fits `veriloop.diagnose.contraction` to the means over seeds by least squares with relative
    weights: rho in [0, 1], s, q and beta^2 not negative. Intervals are 95 % percentiles over means
    that could as well have been, see `veriloop.diagnose.fits.Fit.resample`; they hold those of the
    fit without bias where that explains the records too. How often they hold the truth stands in
    docs/advice.md.

    records: rows of one arm with `seed`, `round`, `kept`, `candidates` and the metric, as in
        records.jsonl; or one sequence of `Record`s a seed. Rounds go up by one; the first is the
        start. One seed needs a `METRIC_se` in its rows.
    metric: its name.
    worse: the direction in which it gets worse; by default that of `veriloop.metrics.KNOWN`.
    floor: the best value that the metric can have. Without it noise and bias are told apart for
        `error_truth` and fractions alone, since in others a floor counts as noise.
    center: the distance to the verifier's centre, fitted with the metric where seeds have it. It
        tells bias from noise and rho from rho^2, which the error alone seldom does.
    pool: the name of the pool, where rows have no column `pool`. The formula is that of "replace".
    verified: whether a verifier chose the kept rows; by default as the rows say.
    resamples: how many means are drawn for the intervals.
    key: the key that they are drawn with.

    >>> from veriloop.core import run
    >>> from veriloop.linear import Problem
    >>> problem = Problem.gaussian(bias=0.5, radius=0.5)
    >>> loop = problem.loop(verify=problem.verifier)
    >>> runs = []
    >>> for seed in range(10):
    ...     rounds = run(loop, Key(seed), problem.start(Key(seed)), [problem.size(100)] * 6)
    ...     runs.append([record for _, record in rounds])
    >>> print(advise(runs, pool="replace"))  # rho is 0.446, the plateau 0.295 = 0.045 + 0.25
    get a better verifier (100% of resamples): no round is expected to beat the start's 0.083 ...
      rho      0.46 (0.338 to 0.577)
      plateau  0.285 (0.257 to 0.319)
      noise    0.0471 (0.0372 to 0.0558)
      bias     0.238 (0.208 to 0.275)
      reversal 0 (0 to 0)
      round 12 0.285 (0.257 to 0.319)

    Raises:
        ValueError: if records are of several arms, seeds differ in their rounds or not at all,
            there are fewer than four rounds, a value is not worse than the best one, the direction
            is not known, or there is no standard error.
        TypeError: if the records are no rows.
    """
    scale = Scale.of(metric, worse, floor)
    center = center if metric == "error_truth" or center != "error_center" else None
    series = Series.of("advise", records, metric, center)
    series = _errors(series, metric, scale)
    rounds = len(series.rounds) - 1
    pool = pool or pool_of(series)
    if verified is None:
        verified = not nothing_verified(series)
    fits, model = _fits(series)
    last = fits[-1]
    basis = Basis(rounds, verified, scale.known)
    beyond = np.full((AHEAD - 1) * rounds, model.sizes[-1])
    further = Contraction(np.append(model.sizes, beyond))
    points = [further.path(fit.point) for fit in fits]
    drawn = [fit.resample(series, model, resamples, key) for fit in fits]
    paths = [further.path(parameters) for parameters in drawn]
    numbers = [_numbers(fit.point, path, further) for fit, path in zip(fits, points, strict=True)]
    samples = [_numbers(each, path, further) for each, path in zip(drawn, paths, strict=True)]
    estimates = _estimates(numbers[0], samples, rounds)
    far = last.point[0, 3] > FAR * last.point[0, 1]
    withheld: list[str] = []
    if far or (pool is not None and not replaces(pool)):
        withheld += PARAMETERS
    if not scale.known:
        withheld += ["noise", "bias"]
    estimates |= dict.fromkeys(withheld, NOT_IDENTIFIED)
    for name in ("plateau", "forecast"):
        estimates[name] = _in_metric(estimates[name], scale)
    first = series.rounds[0]
    estimates["reversal"] = _shifted(estimates["reversal"], first)
    until = first + AHEAD * rounds
    come_to = [basis.conclude(each, path) for each, path in zip(drawn, paths, strict=True)]
    conclusion = basis.conclude(fits[0].point, points[0])[0]
    conclusion, support = settle(come_to, conclusion)
    says = _Reason(scale, first, rounds, fits[0].point[0], points[0][0])
    reason = says.of(conclusion, f"{estimates['forecast']} in round {until}")
    if support < SURE:
        conclusion = "undecided"
        reason = f"{counted(come_to)}; run more rounds or seeds"
    notes = _notes(metric, pool, scale, last, far=bool(far))
    return Advice(
        conclusion,
        reason,
        support,
        **estimates,
        until=until,
        misfit=last.misfit,
        fits=last.explains,
        notes=tuple(notes),
    )


def _errors(series: Series, metric: str, scale: Scale) -> Series:
    """Return the series of errors above 0, or refuse what the formula cannot be fitted to."""
    rounds = len(series.rounds) - 1
    if rounds < 4:
        raise ValueError(
            f"advise needs a start and at least four rounds, got {rounds} rounds of {metric!r}; "
            "run more rounds"
        )
    own = series.values[:, : rounds + 1]
    errors = scale.errors(own)
    if np.ptp(own) <= TIE * np.abs(own).max():
        raise ValueError(
            f"advise needs a metric that changes, got {metric!r} of {own[0, 0]:.3g} in all rows; "
            "pick another"
        )
    if len(own) > 1 and (np.ptp(own, axis=0) <= TIE * np.abs(own).max()).all():
        raise ValueError(
            f"advise needs seeds that differ, got {len(own)} seeds with the same {metric!r}; "
            "give each a key of its own"
        )
    if not (errors > 0).all():
        worst = own.flat[errors.argmin()]
        raise ValueError(
            f"advise needs values worse than the best one, {scale.best:g}, got {metric!r} of "
            f"{worst}; give the best value as floor="
        )
    kept = series.kept[1:]
    if not ((kept > 0) & (series.candidates[1:] >= kept)).all():
        raise ValueError(
            "advise needs the candidates and the kept rows of every round after the start, got "
            "none; add the columns"
        )
    values = np.concatenate([errors, series.values[:, rounds + 1 :]], axis=1)
    if not (values > 0).all():
        return replace(series, values=errors, names=[metric])
    return replace(series, values=values)


def _fits(series: Series) -> tuple[list[Fit], Contraction]:
    """Return the fits that explain the series, the simplest first, and what was fitted."""
    kept = series.kept[1:]
    model = Contraction(kept / kept[0], both=len(series.names) > 1)
    without, last = (Fit.to(series, model, supports) for supports in (WITHOUT_BIAS, WITH_BIAS))
    # Where the fit without bias does as well, noise and bias cannot be told apart.
    if not without.explains and without.misfit >= 1.1 * last.misfit:
        return [last], model
    return [without, last], model


def _numbers(
    parameters: np.ndarray, path: np.ndarray, further: Contraction
) -> dict[str, np.ndarray]:
    """Return every fit's numbers by their name in `Advice`."""
    rho, start, noise, bias = parameters.T
    still = np.where(noise > 0, np.inf, start)  # at rho = 1 nothing is forgotten
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.where(rho < 1, noise / further.sizes[-1] / (1 - rho**2), still)
    bias = np.where(rho < 1, bias, 0.0)
    turns = path[:, -1] > path.min(axis=1) * (1 + TIE)
    reversal = np.where(turns, path.argmin(axis=1), np.inf)
    return {
        "rho": rho,
        "plateau": noise + bias,
        "noise": noise,
        "bias": bias,
        "reversal": reversal,
        "forecast": path[:, -1],
    }


def _estimates(
    values: dict[str, np.ndarray], samples: list[dict[str, np.ndarray]], rounds: int
) -> dict[str, Estimate]:
    """Return the values with intervals that hold those of all samples."""
    found: dict[str, Estimate] = {}
    for name, value in values.items():
        ends = [np.quantile(each[name], LEVELS, method="inverted_cdf") for each in samples]
        low = float(min(low for low, _ in ends))
        high = float(max(high for _, high in ends))
        known = high < np.inf
        if name == "rho":
            known = low > 0.01 or high < 0.99
        elif name == "reversal":
            known = low == high or high < np.inf
        elif name != "forecast":
            known = known and found["rho"].high ** (AHEAD * rounds) < REACHED
        middle = float(np.clip(value[0], low, high)) if known else None
        found[name] = Estimate(middle, low, high)
    return found


def _in_metric(estimate: Estimate, scale: Scale) -> Estimate:
    """Return an error's estimate as one of the metric."""
    low, high = scale.interval(estimate.low, estimate.high)
    if estimate.value is None:
        return Estimate(None, low, high)
    return Estimate(scale.value(estimate.value), low, high)


def _shifted(reversal: Estimate, first: int) -> Estimate:
    """Return the round of an estimate that counts from the first round of the records."""
    value = None if reversal.value is None else reversal.value + first
    return Estimate(value, reversal.low + first, reversal.high + first)


@dataclass(frozen=True)
class _Reason:
    """The numbers that a conclusion rests on, in units of the metric."""

    scale: Scale
    first: int
    rounds: int
    parameters: np.ndarray
    path: np.ndarray

    def of(self, conclusion: str, forecast: str) -> str:
        path = self.path
        best = int(path[: self.rounds + 1].argmin())
        aim, error = (float(each[0]) for each in best_contraction(self.parameters[None]))
        rho, _, noise, bias = self.parameters
        start = self._value(0)
        now = self._value(self.rounds)
        beats = f" by {WORTH:.0%}" if self.scale.known else ""
        none = f"no round is expected to beat the start's {start}{beats}"
        reached = f"{self.scale.value(error):.3g}"
        return {
            "keep going": f"from {now} now to {forecast}",
            "stop now": f"expected best in round {self.first + best}, {self._value(best)} from "
            f"{start}; {now} now, and {forecast}",
            "add real data": f"{none}, no verifier chooses the rows, and {forecast}",
            CHANGE: f"{none}, and whether noise or the verifier's bias is the cause is not known; "
            f"{forecast}",
            "tighten the filter": f"{none}; noise of {noise:.2g} a round adds up at rho {rho:.2g}, "
            f"and less at a smaller rho, down to {aim:.2g}",
            "loosen the filter": f"{none}; at rho {aim:.2g} in place of {rho:.2g} "
            f"one round would reach {reached}",
            "get a better verifier": f"{none}, at any rho: the verifier's own error is {bias:.3g}",
        }[conclusion]

    def _value(self, place: int) -> str:
        return f"{self.scale.value(float(self.path[place])):.3g}"


def _notes(metric: str, pool: str | None, scale: Scale, fit: Fit, *, far: bool) -> list[str]:
    """Return a sentence for each way in which the formula does not hold, or may not."""
    notes: list[str] = []
    if pool is None:
        notes.append(
            "the formula is that of a pool that replaces: if yours does not, name it with pool="
        )
    elif not replaces(pool):
        notes.append(
            f"the formula is that of a pool that replaces, and this is {pool!r}: take this as a "
            "sketch"
        )
    if far:
        notes.append(
            f"the verifier's centre is far: a bias of more than {FAR} starts' errors, where the "
            "pull is stronger than rho"
        )
    if not scale.known:
        notes.append(
            f"the best value of {metric!r} is not known, so noise and bias are not told apart: "
            "give it as floor="
        )
    if not fit.explains:
        notes.append(
            f"the formula misses a round by {fit.misfit:.1f} standard errors: take this as a sketch"
        )
    return notes
