r"""Early warning and advice from the records of a run alone: has collapse set in, and where is the loop going?

The model of an error by round is that of verified retraining in linear regression. Near the verifier's centre
:math:`\theta_c` one round is :math:`\theta_{k+1} - \theta_c = \rho\,(\theta_k - \theta_c) + \eta`, so that, with
:math:`\beta^2 = \|\theta_c - \theta_*\|^2`, a start that is unbiased, and noise :math:`q/m_i` in round i
(:math:`m_i` the rows kept, over those of round 1),

.. math:: E\|\theta_k - \theta_*\|^2 = \underbrace{\rho^{2k} s + q \sum_{i \le k} \rho^{2(k-i)}/m_i}_{variance}
    + \underbrace{\beta^2 (1 - \rho^k)^2}_{bias}, \qquad
    E\|\theta_k - \theta_c\|^2 = \text{the same variance} + \beta^2 \rho^{2k}.

At a constant size the plateau is :math:`q/(1-\rho^2) + \beta^2`, and with :math:`\beta > 0` and a variance that falls
the error turns back up after round :math:`\log_\rho \beta^2/(\beta^2 + s - q/(1-\rho^2))`. At :math:`\rho = 1`
the error is a random walk. Source: our derivation from the paper's Theorem 4.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from veriloop.core.key import Key
from veriloop.core.loop import Record
from veriloop.core.store import row

Worse = Literal["higher", "lower"]

#: The metrics watched for collapse, and which way is worse.
WATCHED: Mapping[str, Worse] = {
    **dict.fromkeys(("error_truth", "nelbo", "mnist_fid", "fid", "perplexity", "repetition", "empty"), "higher"),
    **dict.fromkeys(("agreement", "diversity", "entropy", "precision", "recall", "coverage"), "lower"),
    **dict.fromkeys(("rouge1", "rouge2", "rougeL", "types", "distinct1", "distinct2"), "lower"),
    **dict.fromkeys(("nelbo_own", "perplexity_own", "spread"), "lower"),
}
WORTH = 0.05  # a gain below this share of the error is not worth a round
SURE = 0.8  # the share of resamples that must agree on a conclusion

HORIZON = 10  # a path is followed for so many times the rounds seen
_Subsets = Sequence[list[int]]
_SUBSETS: _Subsets = ([0, 1, 2], [0, 1], [0, 2], [0])  # of s, q and beta^2; those left out are zero
_GRID = 101


@dataclass(frozen=True)
class Alarm:
    """Whether, and from which round on, a metric is worse than at the start.

    round: the first round of the alarm, or None. rounds, change, p: by round after the start, the mean change in the
    bad direction and its one-sided p. spent: the level that p was held to.
    """

    metric: str
    worse: Worse
    round: int | None
    alpha: float
    rounds: tuple[int, ...]
    change: tuple[float, ...]
    p: tuple[float, ...]
    spent: tuple[float, ...]

    def __str__(self) -> str:
        if self.round is None:
            return f"{self.metric}: no alarm in {len(self.rounds)} rounds"
        i = self.rounds.index(self.round)
        sign = "+" if self.worse == "higher" else "-"
        return f"{self.metric}: worse since round {self.round} ({sign}{self.change[i]:.3g}, p = {self.p[i]:.1g})"


def alarm(
    records: Iterable[Any],
    metric: str,
    *,
    worse: Worse | None = None,
    alpha: float = 0.05,
    horizon: int | None = None,
    margin: float = 0.0,
) -> Alarm:
    r"""Say in which round a metric has become worse than at the start, with a false-alarm rate of at most `alpha`.

    .. math:: \text{alarm in the first round } k \text{ with}\quad
        P\Big(T_{S-1} > \frac{\bar d_k - margin}{s_k/\sqrt S}\Big) \le \alpha_k, \qquad \sum_k \alpha_k \le \alpha,

    where :math:`d_k` is the change since the start in the bad direction, paired by seed, of mean and standard deviation
    :math:`\bar d_k, s_k` over S seeds. A false alarm is one while the expected change has never been above `margin`;
    by the union bound its probability is at most `alpha`, however the rounds depend on one another, if changes are
    normal over seeds. Rows of one seed that bring a `METRIC_se` are tested by z, with the sum of the two
    standard errors, which bounds that of the change whatever their correlation.

    records: see `advise`. worse: by default as in `WATCHED`. horizon: spend alpha / horizon in each of so many rounds;
        None spends alpha / (k (k + 1)), which holds for any number of rounds, looked at one by one.

    >>> rows = [{"seed": s, "round": k, "recall": 0.9 - 0.1 * k + 0.01 * s**k} for s in range(4) for k in range(3)]
    >>> print(alarm(rows, "recall"))
    recall: worse since round 1 (-0.095, p = 0.0003)

    Raises:
        ValueError: if the direction is not known, seeds differ in their rounds, or there is no standard error.
    """
    from scipy.special import ndtr, stdtr

    direction = worse or WATCHED.get(metric)
    if direction not in ("higher", "lower"):
        raise ValueError(f"alarm: say worse='higher' or worse='lower' for {metric!r}, got {direction!r}")
    if not 0 < alpha < 1:
        raise ValueError(f"alarm: alpha must be in (0, 1), got {alpha}")
    table = _Table.of("alarm", records, metric)
    k = np.arange(1, len(table.rounds))
    if horizon is not None and horizon < len(k):
        raise ValueError(f"alarm: horizon must be at least the {len(k)} rounds given, got {horizon}")
    spent = alpha / (k * (k + 1)) if horizon is None else np.full(len(k), alpha / horizon)
    values = table.values[metric] * (1.0 if direction == "higher" else -1.0)
    changes = values[:, 1:] - values[:, :1]
    if table.errors is None:
        error = changes.std(axis=0, ddof=1) / np.sqrt(len(changes))
    else:
        error = table.errors[1:] + table.errors[0]
    change = changes.mean(axis=0)
    excess = change - margin
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, excess / error, np.where(excess > 0, np.inf, -np.inf))
    p = ndtr(-t) if table.errors is not None else stdtr(len(changes) - 1, -t)
    fired = np.flatnonzero(p <= spent)
    first = table.rounds[fired[0] + 1] if len(fired) else None
    numbers = (tuple(map(float, each)) for each in (change, p, spent))
    return Alarm(metric, direction, first, alpha, tuple(table.rounds[1:]), *numbers)


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95 % interval; value is None where the records do not identify it."""

    value: float | None
    low: float
    high: float

    def __str__(self) -> str:
        if self.value is None:
            return f"not identified, at least {self.low:.3g}" if self.low > 0 else "not identified"
        if self.low == np.inf:
            return "none in sight"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Advice:
    """What the first rounds say of the rest. Parts are those of the module's formula, at the last round's size.

    conclusion: keep going, stop now, loosen the filter, tighten the filter, add real data, get a better verifier, or
        undecided. reason: the numbers it rests on. support: the share of resamples that come to it.
    rho: the contraction factor. plateau: the limit of the error; noise and bias, its parts q / (1 - rho^2) and beta^2.
    reversal: the round of lowest expected error, after which it turns back up; 0 where it rises from the start,
        infinite where it does not turn within `HORIZON` times the rounds seen.
    misfit: the largest distance of a mean from the fitted model, in standard errors; fits: whether chance explains it.
    """

    conclusion: str
    reason: str
    support: float
    rho: Estimate
    plateau: Estimate
    noise: Estimate
    bias: Estimate
    reversal: Estimate
    misfit: float
    fits: bool

    def __str__(self) -> str:
        names = ("rho", "plateau", "noise", "bias", "reversal")
        lines = [f"{self.conclusion} ({self.support:.0%} of resamples): {self.reason}"]
        lines += [f"  {name:<8} {getattr(self, name)}" for name in names]
        if not self.fits:
            lines.append(
                f"  the model misses a round by {self.misfit:.1f} standard errors: numbers describe, no more"
            )
        return "\n".join(lines)


def advise(
    records: Iterable[Any],
    metric: str = "error_truth",
    *,
    center: str | None = "error_center",
    resamples: int = 300,
    key: Key = Key(0),  # noqa: B008
) -> Advice:
    """Estimate from the first rounds where an error goes, and say what to do about it.

    Fits the module's formula to the means over seeds by least squares with relative weights, rho in [0, 1] and s, q,
    beta^2 not negative; intervals are 95 % percentiles over resampled seeds, widened as by Student's t for few
    seeds (Hesterberg, 2015). Rows of one seed with a `METRIC_se` are resampled as normal, with the model's
    own correlation rho^|j - k| between rounds. The model is that of a pool that replaces; a floor that no
    model gets below (NELBO, FID) counts as noise.

    records: rows of one arm with `seed`, `round`, `kept`, `candidates` and the metric, as in records.jsonl; or one
        sequence of `Record`s a seed. Rounds go up by one; the first is the start.
    metric: an error, lower is better. center: the distance to the verifier's centre, fitted with it where seeds have
        it. It tells bias from noise, which the error alone hardly does before it has levelled off.

    >>> from veriloop.core import run
    >>> from veriloop.linear import Problem
    >>> problem, runs = Problem.gaussian(bias=0.25, radius=0.5), []
    >>> for seed in range(10):
    ...     start, loop = problem.real_estimate(Key(seed)), problem.loop()
    ...     first = Record(0, 0, 0, loop.measure(Key(seed), start.model))
    ...     rounds = run(loop, Key(seed), start, [problem.quota(100)] * 6)
    ...     runs.append([first] + [record for _, record in rounds])
    >>> advice = advise(runs)  # rho is 0.446, the plateau 0.107 = noise 0.045 + bias 0.0625
    >>> print(advice)

    Raises:
        ValueError: if records are of several arms, seeds differ in their rounds, there are fewer than four rounds, a
            value is not positive, or there is no standard error.
    """
    table = _Table.of("advise", records, metric, center)
    rounds = len(table.rounds) - 1
    if rounds < 4:
        raise ValueError(f"advise needs a start and at least four rounds, got {rounds} rounds of {metric!r}")
    if not (table.stacked > 0).all():
        raise ValueError(f"advise: {metric!r} must be a positive error, lower is better; got {table.stacked.min()}")
    plain, full = (_Fitted.of(table, subsets) for subsets in (_SUBSETS[1::2], _SUBSETS))
    # What the records cannot tell from the truth counts: so noise is not taken for bias, nor rho^2 for rho.
    able = [plain, full] if plain.explains or plain.closest < WORTH else [full]
    further = np.append(table.sizes, np.full((HORIZON - 1) * rounds, table.sizes[-1]))
    numbers: list[Mapping[str, np.ndarray]] = []
    conclusions: list[list[str]] = []
    for each in able:
        parameters = np.concatenate([each.point, each.resample(table, resamples, key)])
        path = _path(parameters, further)
        numbers.append(_numbers(parameters, path, table.sizes[-1]))
        conclusions.append(_conclude(parameters, path, rounds, table.unfiltered))
    first = conclusions[0][0]
    support = min(each[1:].count(first) / resamples for each in conclusions)
    if support >= SURE:
        reason = _reason(first, able[0].point[0], _path(able[0].point, further)[0], rounds)
    else:
        counted = Counter(chain.from_iterable(each[1:] for each in conclusions)).most_common()
        reason = ", ".join(f"{name} {n / resamples / len(able):.0%}" for name, n in counted)
        first, reason = "undecided", f"{reason}; run more rounds or seeds"
    return Advice(first, reason, support, **_estimates(numbers, table.level, rounds), misfit=full.misfit, fits=full.explains)


@dataclass(frozen=True)
class _Table:
    """What records say of some metrics: name -> values, shape (seeds, rounds); all but `values` is by round."""

    rounds: list[int]
    values: Mapping[str, np.ndarray]
    errors: np.ndarray | None  # standard errors of the first metric where there is one row a round
    kept: np.ndarray
    candidates: np.ndarray

    @classmethod
    def of(cls, where: str, records: Iterable[Any], metric: str, *also: str | None) -> _Table:
        rows = [each for each in _rows(records) if each.get(metric) is not None]
        arms = sorted({str(each.get("arm")) for each in rows})
        if len(arms) != 1:
            raise ValueError(
                f"{where}: records must be of one arm with {metric!r}, got {len(arms)}: {', '.join(arms)}"
            )
        seeds = {each.get("seed") for each in rows}
        rounds = sorted({each["round"] for each in rows})
        cells = {(each.get("seed"), each["round"]): each for each in rows}
        if not len(rows) == len(cells) == len(seeds) * len(rounds) or rounds != list(
            range(rounds[0], rounds[-1] + 1)
        ):
            raise ValueError(
                f"{where}: every seed needs one row in each of the rounds {rounds[0]} to {rounds[-1]} with {metric!r}, "
                f"got {len(rows)} rows of {len(seeds)} seeds"
            )
        if len(rounds) < 2:
            raise ValueError(f"{where}: {metric!r} must be there in two rounds or more, got {len(rounds)}")
        grid = [[cells[seed, k] for k in rounds] for seed in sorted(seeds, key=str)]

        def column(name: str) -> np.ndarray:
            return np.array([[cell.get(name, np.nan) for cell in line] for line in grid], dtype=float)

        errors = None
        if len(grid) == 1:
            if any(cell.get(f"{metric}_se") is None for cell in grid[0]):
                raise ValueError(f"{where} needs two seeds or more, or {metric}_se beside {metric!r} in every row")
            errors = column(f"{metric}_se")[0]
        names = [metric]
        if errors is None:
            names += [name for name in also if name and all(name in cell for line in grid for cell in line)]
        values = {name: column(name) for name in names}
        if not all(np.isfinite(each).all() for each in values.values()):
            raise ValueError(f"{where}: {' and '.join(names)} must be numbers in every row, got NaN")
        return cls(rounds, values, errors, column("kept").mean(axis=0), column("candidates").mean(axis=0))

    @property
    def stacked(self) -> np.ndarray:
        return np.concatenate(list(self.values.values()), axis=1)

    @property
    def sizes(self) -> np.ndarray:
        """Rows kept in each round after the start, over those of the first."""
        if not ((self.kept > 0) & (self.candidates >= self.kept))[1:].all():
            raise ValueError("advise needs the candidates and the rows kept of every round, got some without")
        return self.kept[1:] / self.kept[1]

    @property
    def unfiltered(self) -> bool:
        return bool((self.kept == self.candidates)[1:].all())

    @property
    def spread(self) -> np.ndarray:
        """Return the standard errors of the stacked means."""
        if self.errors is not None:
            return self.errors
        return self.stacked.std(axis=0, ddof=1) / np.sqrt(len(self.stacked))

    @property
    def worst(self) -> float:
        """Return how many standard errors the worst of the means may be off, at 5 %."""
        from scipy.special import ndtri, stdtrit

        level = 1 - 0.025 / self.stacked.shape[1]
        return float(ndtri(level) if self.errors is not None else stdtrit(len(self.stacked) - 1, level))

    @property
    def level(self) -> float:
        """Return the lower percentile that makes a 95 % interval of resampled means, widened for few seeds."""
        from scipy.special import ndtr, stdtrit

        n = len(self.stacked)
        return 0.025 if self.errors is not None else float(ndtr(np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.025)))


def _rows(records: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    for seed, item in enumerate(records):
        if isinstance(item, Mapping):
            yield item
        elif isinstance(item, Record):
            yield row(item)
        else:
            yield from ({**row(record), "seed": seed} for record in item)


@dataclass(frozen=True)
class _Fitted:
    """The model fitted to the means. point: rho, s, q, beta^2, shape (1, 4). scale: the expected means."""

    point: np.ndarray
    scale: np.ndarray
    subsets: _Subsets
    misfit: float
    closest: float  # the largest distance of a mean from the fit, as a share of it
    explains: bool

    @classmethod
    def of(cls, table: _Table, subsets: _Subsets) -> _Fitted:
        mean, both = table.stacked.mean(axis=0), len(table.values) > 1
        # Weights from the means themselves would favour the rounds that came out low by chance.
        scale = _path(_fit(mean[None], mean, table.sizes, subsets), table.sizes, both)[0]
        point = _fit(mean[None], scale, table.sizes, subsets)
        apart = np.abs(mean - _path(point, table.sizes, both)[0])
        misfit = float(np.max(apart / table.spread))
        return cls(point, scale, subsets, misfit, float(np.max(apart / mean)), misfit < table.worst)

    def resample(self, table: _Table, count: int, key: Key) -> np.ndarray:
        """Fit means over resampled seeds, or normal ones about the means where there are no seeds."""
        generator, mean, seeds = key.fold("advise").numpy(), table.stacked.mean(axis=0), len(table.stacked)
        if table.errors is None:
            draws = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) @ table.stacked / seeds
        else:
            apart = np.abs(np.subtract.outer(np.arange(len(mean)), np.arange(len(mean))))
            covariance = self.point[0, 0] ** apart * np.outer(table.errors, table.errors)
            draws = generator.multivariate_normal(mean, covariance, size=count, method="eigh")
        return _fit(draws, self.scale, table.sizes, self.subsets)


def _columns(rho: np.ndarray, sizes: np.ndarray, center: bool) -> np.ndarray:
    """What s, q and beta^2 are multiplied by in the error, and below it in the distance; (n, rounds, 3)."""
    power = rho[:, None] ** np.arange(len(sizes) + 1)
    noise = np.zeros_like(power)
    for k, size in enumerate(sizes):
        noise[:, k + 1] = rho**2 * noise[:, k] + 1 / size
    parts = np.stack([power**2, noise, (1 - power) ** 2], axis=2)
    return np.concatenate([parts, np.stack([power**2, noise, power**2], axis=2)], axis=1) if center else parts


def _fit(means: np.ndarray, scale: np.ndarray, sizes: np.ndarray, subsets: _Subsets) -> np.ndarray:
    """Fit rho, s, q and beta^2, shape (n, 4), to means, shape (n, rounds): a grid over rho, then a finer one.

    Given rho the model is linear, and the non-negative fit is the best of those on subsets that come out positive.
    """
    y, rows = means / scale, np.arange(len(means))
    low, high, step = 0.0, 1.0, 1.0
    found = np.zeros((len(means), 4))
    for _ in range(2):
        best = np.full(len(means), -np.inf)
        rho = np.linspace(low, high, _GRID)
        x = _columns(rho, sizes, len(scale) > len(sizes) + 1) / scale[:, None]
        for subset in subsets:
            part = x[:, :, subset]
            solve = np.linalg.pinv(part).reshape(-1, len(scale))
            coefficients = (y @ solve.T).reshape(len(y), _GRID, len(subset))
            against = (y @ np.swapaxes(part, 1, 2).reshape(-1, len(scale)).T).reshape(coefficients.shape)
            explained = np.where((coefficients >= 0).all(axis=2), (coefficients * against).sum(axis=2), -np.inf)
            at = explained.argmax(axis=1)
            better = explained[rows, at] > best
            best = np.where(better, explained[rows, at], best)
            found[better] = 0
            found[better, 0] = rho[at][better]
            found[np.ix_(better, np.array(subset) + 1)] = coefficients[rows, at][better]
        step = (high - low) / (_GRID - 1)
        low, high = max(0.0, found[:, 0].min() - step), min(1.0, found[:, 0].max() + step)
    return found


def _path(parameters: np.ndarray, sizes: np.ndarray, center: bool = False) -> np.ndarray:
    """Return the expected errors by round, shape (n, rounds)."""
    return np.einsum("nrc,nc->nr", _columns(parameters[:, 0], sizes, center), parameters[:, 1:])


def _numbers(parameters: np.ndarray, path: np.ndarray, size: float) -> Mapping[str, np.ndarray]:
    """Return each fit's numbers by their name in `Advice`."""
    rho, start, noise, bias = parameters.T
    still = np.where(noise > 0, np.inf, start)  # at rho = 1 nothing is forgotten
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.where(rho < 1, noise / size / (1 - rho**2), still)
    bias = np.where(rho < 1, bias, 0.0)
    turns = path[:, -1] > path.min(axis=1) * (1 + 1e-9)
    reversal = np.where(turns, path.argmin(axis=1), np.inf)
    return {"rho": rho, "plateau": noise + bias, "noise": noise, "bias": bias, "reversal": reversal}


def _estimates(fits: list[Mapping[str, np.ndarray]], level: float, rounds: int) -> dict[str, Estimate]:
    """Return the first fit's values, with intervals that hold those of all fits."""
    ends = {
        name: np.array([np.quantile(fit[name][1:], [level, 1 - level], method="inverted_cdf") for fit in fits])
        for name in fits[0]
    }
    found = {}
    for name, both in ends.items():
        low, high = float(both[:, 0].min()), float(both[:, 1].max())
        known = high < np.inf or low == np.inf
        if name == "rho":
            known = low > 0.01 or high < 0.99
        elif name != "reversal":  # a plateau that is not come near in ten times the rounds is not seen in these
            known &= ends["rho"][:, 1].max() ** (HORIZON * rounds) < WORTH
        found[name] = Estimate(float(fits[0][name][0]) if known else None, low, high)
    return found


def _conclude(parameters: np.ndarray, path: np.ndarray, rounds: int, unfiltered: bool) -> list[str]:
    """Return each fit's conclusion: go on while it pays, stop where it has paid, else say what stands in the way."""
    rho, start, _, _ = parameters.T
    keep = path[:, rounds + 1 :].min(axis=1) < (1 - WORTH) * path[:, rounds]
    gained = path[:, : rounds + 1].min(axis=1) < (1 - WORTH) * path[:, 0]
    best, error = _best_contraction(parameters)
    helps = error < (1 - WORTH) * start
    cases = {
        "keep going": keep,
        "stop now": gained,
        "add real data": np.full(len(rho), unfiltered),
        "tighten the filter": helps & (best < rho),
        "loosen the filter": helps,
    }
    return np.select(list(cases.values()), list(cases), "get a better verifier").tolist()


def _best_contraction(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rho at which one round from the start would end lowest, with noise in proportion to rho, and where."""
    rho, start, noise, bias = parameters.T
    slope = noise / np.maximum(rho, 0.01)
    best = np.clip((bias - slope / 2) / (start + bias), 0, 1)
    return best, best**2 * start + slope * best + bias * (1 - best) ** 2


def _reason(conclusion: str, parameters: np.ndarray, path: np.ndarray, rounds: int) -> str:
    low, best = int(path.argmin()), int(path[: rounds + 1].argmin())
    aim, error = (float(each[0]) for each in _best_contraction(parameters[None]))
    rho, start, noise, bias = parameters
    first = f"no round is expected to beat the start's {path[0]:.3g} by {WORTH:.0%}"
    return {
        "keep going": f"from {path[rounds]:.3g} now to {path[low]:.3g}, expected in round {low}",
        "stop now": f"lowest in round {best}: {path[best]:.3g}, from {path[0]:.3g}; expected now {path[rounds]:.3g}, "
        f"and no less than {path[rounds:].min():.3g} to come",
        "add real data": f"{first}, all candidates are kept, and each round adds {noise:.2g}",
        "tighten the filter": f"{first}; noise of {noise:.2g} a round adds up at rho {rho:.2g}, and less at a smaller "
        f"rho, down to {aim:.2g}",
        "loosen the filter": f"{first}; at rho {aim:.2g} in place of {rho:.2g} one round would reach {error:.3g}",
        "get a better verifier": f"{first}, at any rho: the verifier's own error is {bias:.3g}, the start's {start:.3g}",
    }[conclusion]
