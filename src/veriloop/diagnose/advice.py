"""Where is the loop going, and what to do about it? Advice from the records of a few rounds.

An error by round is taken for what `veriloop.diagnose.contraction` expects. How often the intervals
hold the truth, and how the advice fared on runs whose end is known, stands in docs/advice.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from veriloop.core.checks import check_count
from veriloop.core.key import Key, check_key
from veriloop.diagnose.arm import Scale, nothing_verified, pool_of, replaces
from veriloop.diagnose.conclusions import SURE, Basis, counted, settle
from veriloop.diagnose.contraction import WITH_BIAS, WITHOUT_BIAS, Contraction
from veriloop.diagnose.estimates import (
    AHEAD,
    NOT_IDENTIFIED,
    Estimate,
    estimates,
    in_metric,
    shifted,
)
from veriloop.diagnose.fits import Fit, may_be_far
from veriloop.diagnose.series import LARGEST, TIE, Input, Series
from veriloop.diagnose.wording import Reason, notes
from veriloop.metrics import Direction

LEAST_RESAMPLES = 40  # a percentile of 2.5 % is then one of the values drawn
FEWEST = 5  # seeds below which noise and bias were told apart wrongly too often
PARAMETERS = ("rho", "plateau", "noise", "bias")


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
        sure = ""
        if self.conclusion != "undecided":
            sure = f" ({self.support:.0%} of resamples)"
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
    worse: the direction in which it gets worse, for a metric that `veriloop.metrics.KNOWN` lacks.
    floor: the best value that the metric can have, be it the lowest or the highest. With it a
        change of 5 % of the distance to it counts; without it one of 5 % of the whole path.
    center: the distance to the verifier's centre, fitted with the metric where seeds have it. It
        tells bias from noise and rho from rho^2, which the error alone seldom does; without it, or
        with fewer than five seeds, no plateau, noise or bias is given.
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
            is not known or not the known one, or there is no standard error.
        TypeError: if the records are no rows, the pool is no name, or verified is no bool.
    """
    check_count("advise: resamples", resamples)
    check_key("advise: key", key)
    if resamples < LEAST_RESAMPLES:
        raise ValueError(
            f"advise: resamples must be at least {LEAST_RESAMPLES}, got {resamples}; draw more"
        )
    if pool is not None and not isinstance(cast("object", pool), str):
        raise TypeError(
            f"advise: pool must be a name, as in 'replace', got {pool!r}; give its name"
        )
    if verified is not None and not isinstance(cast("object", verified), bool):
        raise TypeError(f"advise: verified must be True, False or None, got {verified!r}")
    if metric != "error_truth" and center == "error_center":
        center = None
    series = Series.of("advise", records, metric, center)
    scale = Scale.of(metric, worse, floor)
    series = _errors(series, metric, scale)
    rounds = len(series.rounds) - 1
    pool = pool or pool_of(series)
    if verified is None:
        verified = not nothing_verified(series)
    fits, model = _fits(series)
    last = fits[-1]
    ahead = np.full((AHEAD - 1) * rounds, model.sizes[-1])
    further = Contraction(np.append(model.sizes, ahead))
    drawn = [fit.resample(series, model, resamples, key) for fit in fits]
    found = estimates(fits[0].point, drawn, further, rounds)
    far = _may_be_far(last, drawn[-1], model)
    outside = far or (pool is not None and not replaces(pool))
    apart = model.both and not outside and len(series.values) >= FEWEST
    if outside:
        found |= dict.fromkeys(PARAMETERS, NOT_IDENTIFIED)
    if not apart:
        found |= dict.fromkeys(("plateau", "noise", "bias"), NOT_IDENTIFIED)
    for name in ("plateau", "forecast"):
        found[name] = in_metric(found[name], scale)
    first = series.rounds[0]
    found["reversal"] = shifted(found["reversal"], first)
    until = first + AHEAD * rounds
    basis = Basis(rounds, verified, scale.known, apart)
    point = fits[0].point
    path = further.path(point)
    come_to = [basis.conclude(each, further.path(each)) for each in drawn]
    best_guess = basis.conclude(point, path)[0]
    conclusion, support = settle(come_to, best_guess)
    says = Reason(scale, first, rounds, point[0], path[0])
    reason = says.of(conclusion, f"{found['forecast']} in round {until}")
    if support < SURE:
        conclusion = "undecided"
        reason = f"{counted(come_to)}; run more rounds or seeds"
    missed = _missed(series, last, model, scale)
    return Advice(
        conclusion,
        reason,
        support,
        **found,
        until=until,
        misfit=last.misfit,
        fits=last.explains,
        notes=tuple(notes(pool, last, missed, far=far, apart=apart)),
    )


def _may_be_far(fit: Fit, drawn: np.ndarray, model: Contraction) -> bool:
    """Tell whether the centre may be far, by the resampled fits where they tell of the bias.

    Of the error alone they tell so little that they would rule out nothing.
    """
    if model.both:
        return may_be_far(drawn)
    return may_be_far(fit.point)


def _missed(series: Series, fit: Fit, model: Contraction, scale: Scale) -> str:
    """Name the round that a fit misses most, and what it expects in place of the mean there."""
    name, at = divmod(fit.missed, len(series.rounds))
    mean = float(series.values.mean(axis=0)[fit.missed])
    expected = float(model.path(fit.point)[0, fit.missed])
    if name == 0:
        mean = scale.value(mean)
        expected = scale.value(expected)
    where = f"round {series.rounds[at]}, where {series.names[name]}"
    return f"{where} is {mean:.3g} and not {expected:.3g},"


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
    same = TIE * np.abs(own).max()
    if np.ptp(own) <= same:
        raise ValueError(
            f"advise needs a metric that changes, got {metric!r} of {own[0, 0]:.3g} in all rows; "
            "pick another"
        )
    if len(own) > 1 and (np.ptp(own, axis=0) <= same).all():
        raise ValueError(
            f"advise needs seeds that differ, got {len(own)} seeds with the same {metric!r}; "
            "give each a key of its own"
        )
    if not (errors > 0).all():
        _refuse_best(series.rounds, own, errors, metric, scale)
    if errors.min() < 1 / LARGEST:
        raise ValueError(
            f"advise needs {metric!r} at least {1 / LARGEST:g} from its best value, got "
            f"{errors.min():.3g}; give it in a smaller unit"
        )
    _check_counts(series)
    values = np.concatenate([errors, series.values[:, rounds + 1 :]], axis=1)
    if not (values > 0).all():
        return replace(series, values=errors, names=[metric])
    return replace(series, values=values)


def _refuse_best(
    rounds: Sequence[int], values: np.ndarray, errors: np.ndarray, metric: str, scale: Scale
) -> None:
    """Say that a value is better than the best one, or that it is the best one."""
    at = np.unravel_index(errors.argmin(), errors.shape)
    where = f"{metric!r} of {values[at]:.6g} in round {rounds[int(at[1])]}"
    if errors[at] < 0:
        raise ValueError(
            f"advise needs values worse than the best one, {scale.best:g}, got {where}; give the "
            "best value as floor="
        )
    raise ValueError(
        f"advise needs values worse than the best one, {scale.best:g}, got {where}, where nothing "
        "is left to gain; pick another metric, or fewer rounds"
    )


def _check_counts(series: Series) -> None:
    """Refuse rounds after the start in which nothing was kept, or of unknown counts."""
    for at, number in list(enumerate(series.rounds))[1:]:
        kept = series.kept[at]
        candidates = series.candidates[at]
        if np.isnan(kept) or np.isnan(candidates):
            raise ValueError(
                "advise needs the candidates and the kept rows of every round after the start, got "
                f"none in round {number}; add the columns"
            )
        if not 0 < kept <= candidates:
            raise ValueError(
                "advise needs kept rows in every round after the start, and no more than "
                f"candidates, got {kept:g} of {candidates:g} in round {number}; leave such rounds "
                "out"
            )


def _fits(series: Series) -> tuple[list[Fit], Contraction]:
    """Return the fits that explain the series, the simplest first, and what was fitted."""
    kept = series.kept[1:]
    model = Contraction(kept / kept[0], both=len(series.names) > 1)
    without = Fit.to(series, model, WITHOUT_BIAS)
    last = Fit.to(series, model, WITH_BIAS)
    # Where the fit without bias does as well, noise and bias cannot be told apart.
    if not without.explains and without.misfit >= 1.1 * last.misfit:
        return [last], model
    return [without, last], model
