"""What the figure of reward weighting compares: five ways to use scores, and the exact map of each.

On the block design every direction is a scalar. The score of a label is minus its distance u to the
centre, so all laws depend on the model's offset from the centre alone, and are tabulated over it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, chndtrix, gammaln, xlog1py, xlogy
from scipy.special import ndtri as normal_quantile

from veriloop import Boltzmann, KeepAll, Key, Loop, RandomFraction, Threshold, TopFraction, run
from veriloop.linear import KnowledgeBall, Problem, Samples, least_squares
from veriloop.linear.theory import acceptance, truncated_moments
from veriloop.study import Config, Positive, Rows, Seed, Whole, spread

RULES = ("no verifier", "threshold", "top fraction", "Boltzmann", "weights")
DESIGN = {"rows", "dim", "noise", "design_seed", "direction_seed"}
Law = Callable[[float], tuple[float, float]]  # offset of the model -> E, E^2 of the next offset
_REACH = 9.0  # a label lies farther from its mean than this many standard deviations once in 10^18
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
_STEP = 0.1  # in log t, where the trapezoidal rule is exact to rounding
_QUANTILES, _MASSES = np.polynomial.legendre.leggauss(32)


class OneDesign(Config):
    """One real design, and how much is run on it."""

    rows: Whole  # real rows
    dim: Whole
    noise: Positive
    candidates: Whole  # a round, in each direction
    rounds: Whole
    replicates: Whole
    design_seed: Seed
    direction_seed: Seed


@dataclass(frozen=True)
class Rule:
    """One way to use the scores, at one acceptance.

    name: of RULES. fraction: the acceptance, or the effective size of weights, of labels that the
    truth writes about its own place. candidates: N, labels in each direction.
    """

    name: str
    fraction: float
    candidates: int

    @property
    def kept(self) -> int:
        """Return the rows of a direction that a fraction keeps."""
        return int(np.floor(self.fraction * self.candidates + 0.5))

    @property
    def width(self) -> float:
        """Return the half width at which a centred window accepts the fraction."""
        return float(normal_quantile(0.5 + 0.5 * self.fraction))

    @property
    def temperature(self) -> float:
        """Return T at which the weights e^(-|u|/T) of centred labels have the effective size."""

        line = _line(0.0)

        def excess(log_temperature: float) -> float:
            w = np.exp(-line.r * np.exp(-log_temperature))
            return float((line.both @ w) ** 2 / (line.both @ w**2)) - self.fraction

        return float(np.exp(cast(float, brentq(excess, -6.0, 6.0, xtol=1e-12))))

    @property
    def law(self) -> Law:
        """Return the exact law of one round, at any number of candidates."""
        n = self.candidates
        laws: dict[str, Law] = {
            "no verifier": lambda offset: (offset, offset**2 + 1 / self.kept),
            "threshold": partial(_threshold, width=self.width, n=n),
            "top fraction": partial(_ranked, at=_nearest, kept=self.kept, n=n),
            "weights": partial(_weighted, temperature=self.temperature, n=n),
        }
        at = partial(_drawn, temperature=self.temperature)
        laws["Boltzmann"] = partial(_ranked, at=at, kept=self.kept, n=n)
        return laws[self.name]

    def loop(self, problem: Problem) -> Loop[np.ndarray, Samples]:
        """Return the loop of this rule; labels and lots are those of every other rule."""
        noise = problem.noise
        verify = KnowledgeBall(problem.center, radius=self.width * noise)
        temperature = self.temperature * noise
        filters: dict[str, Any] = {
            "no verifier": RandomFraction(self.fraction),
            "threshold": Threshold(),
            "top fraction": TopFraction(self.fraction),
            "Boltzmann": Boltzmann(temperature, self.fraction),
            "weights": KeepAll(),
        }
        loop = problem.loop(verify=verify, filter=filters[self.name])
        if self.name == "weights":
            loop = replace(loop, refit=WeightedFit(verify, temperature))
        return loop


@dataclass(frozen=True)
class WeightedFit:
    """Fit by least squares, a row's weight being e^(score / T): reward-weighted regression."""

    verify: KnowledgeBall
    temperature: float

    def __call__(self, key: Key, model: np.ndarray, data: Samples) -> np.ndarray:
        scores = self.verify(key, data)
        root = np.exp(0.5 * (scores - scores.max()) / self.temperature)
        return least_squares(key, model, Samples(root[:, None] * data.x, root * data.y))


class _Line(NamedTuple):
    """Where the law of u ~ N(offset, 1) is summed: distances r from 0, and masses there.

    both: of u = r and u = -r. odd: of the first less the second, for sums of u.
    """

    r: np.ndarray
    both: np.ndarray
    odd: np.ndarray


def _line(offset: float) -> _Line:
    end = abs(offset) + _REACH
    r = np.concatenate([0.5 * (_NODES + 1), 1 + 0.5 * (end - 1) * (_NODES + 1)])
    weights = np.concatenate([0.5 * _WEIGHTS, 0.5 * (end - 1) * _WEIGHTS]) / np.sqrt(2 * np.pi)
    ahead = weights * np.exp(-0.5 * (r - offset) ** 2)
    behind = weights * np.exp(-0.5 * (r + offset) ** 2)
    return _Line(r, ahead + behind, ahead - behind)


def _window(offset: float, width: float) -> tuple[float, float]:
    """Return mean and variance of u ~ N(offset, 1) within `width` of 0."""
    mean, variance, _ = truncated_moments(offset, 1.0, -width, width)
    return float(mean), float(variance)


def _threshold(offset: float, width: float, n: int) -> tuple[float, float]:
    """A window keeps a binomial number of n labels, one or more."""
    mean, variance = _window(offset, width)
    share = float(acceptance(offset, 1.0, -width, width))
    k = np.arange(1, n + 1)
    log = (
        gammaln(n + 1)
        - gammaln(k + 1)
        - gammaln(n - k + 1)
        + xlogy(k, share)
        + xlog1py(n - k, -share)
    )
    chance = np.exp(log)
    return mean, mean**2 + variance * float(chance @ (1 / k)) / float(chance.sum())


def _ranked(
    offset: float, at: Callable[[float, float], tuple[float, float]], kept: int, n: int
) -> tuple[float, float]:
    """Given the first label that is not kept, the kept ones are independent.

    at: offset, share -> mean and variance of a label where this share is kept. The share of the
    first label that is not kept is Beta(kept + 1, n - kept).
    """
    if kept == n:
        return offset, offset**2 + 1 / n
    first = 0.0
    second = 0.0
    for quantile, mass in zip(_QUANTILES, _MASSES, strict=True):
        share = float(betaincinv(kept + 1, n - kept, (quantile + 1) / 2))
        mean, variance = at(offset, share)
        first += mass / 2 * mean
        second += mass / 2 * (mean**2 + variance / kept)
    return first, second


def _nearest(offset: float, share: float) -> tuple[float, float]:
    """Keep the nearest to 0, so many that the share is met."""
    return _window(offset, float(np.sqrt(chndtrix(share, 1, offset**2))))


def _drawn(offset: float, share: float, temperature: float) -> tuple[float, float]:
    """Keep with probability 1 - exp(-lambda e^(-|u|/T)), lambda such that the share is met."""
    line = _line(offset)

    def kept(log_rate: float) -> np.ndarray:
        return -np.expm1(-np.exp(log_rate - line.r / temperature))

    most = (abs(offset) + _REACH) / temperature + 5.0

    def excess(log_rate: float) -> float:
        return float(line.both @ kept(log_rate)) - share

    passes = kept(cast(float, brentq(excess, -most, most, xtol=1e-13))) / share
    mean = float(line.odd @ (line.r * passes))
    return mean, float(line.both @ (line.r**2 * passes)) - mean**2


def _weighted(offset: float, temperature: float, n: int) -> tuple[float, float]:
    """A mean with weights w is a ratio of sums, and 1 / a is the integral of e^(-ta) over t > 0."""
    line = _line(offset)
    w = np.exp(-line.r / temperature)
    t = np.exp(np.arange(-40.0, 12.0, _STEP))
    decay = np.exp(-np.outer(t, w))
    rest = decay @ line.both
    one = decay @ (line.odd * line.r * w)
    square = decay @ (line.both * (line.r * w) ** 2)
    mean = _STEP * n * float(np.sum(t * one * rest ** (n - 1)))
    pairs = n * square * rest ** (n - 1) + n * (n - 1) * one**2 * rest ** (n - 2)
    return mean, _STEP * float(np.sum(t**2 * pairs))


def tabulated(law: Law, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the law at many offsets, from a Chebyshev series through 33 of them."""
    reach = float(np.abs(offsets).max()) + 1e-9
    places = reach * np.cos(np.pi * (np.arange(33) + 0.5) / 33)
    known = np.array([law(float(place)) for place in places])
    series = np.polynomial.chebyshev.chebfit(places / reach, known, 32)
    return tuple(np.polynomial.chebyshev.chebval(offsets / reach, series))  # type: ignore[return-value]


def rule_arms(config: OneDesign, bias: float, fraction: float) -> Rows:
    """Run all rules on the same keys, so that differences are paired."""
    problem = Problem.gaussian(bias=bias, radius=0.0, **config.model_dump(include=DESIGN))
    keys = [Key(config.seed).fold(i) for i in range(config.replicates)]
    rules = [Rule(name, fraction, config.candidates) for name in RULES]
    runs = [run_rule(rule, problem, config.rounds, keys) for rule in rules]
    rows = []
    for rule, (errors, kept) in zip(rules, runs, strict=True):
        about = {"arm": f"{rule.name}-fraction{fraction:g}-bias{bias:g}".replace(" ", "-")}
        about |= {"rule": rule.name, "fraction": fraction, "bias": bias, "seed": config.seed}
        about |= {"replicates": config.replicates, "temperature": rule.temperature}
        found = measured(rule, problem, errors, kept, runs[0][0])
        rows += [about | row for row in found]
    return rows


def run_rule(
    rule: Rule, problem: Problem, rounds: int, keys: list[Key]
) -> tuple[np.ndarray, np.ndarray]:
    """Return errors by round, shape (rounds + 1, replicates, p), and kept rows by round."""
    loop = rule.loop(problem)
    size = rule.candidates * len(problem.basis)
    models = []
    kept = []
    for key in keys:
        states = list(run(loop, key, problem.start(key), [size] * rounds))
        models.append([state.model for state, _ in states])
        kept.append([record.kept for _, record in states])
    errors = (np.array(models) - problem.truth) @ problem.basis.T / problem.noise
    return errors.swapaxes(0, 1), np.mean(kept, axis=0)


def measured(
    rule: Rule, problem: Problem, errors: np.ndarray, kept: np.ndarray, other: np.ndarray
) -> Rows:
    """Return errors by round, the gain over no verifier, and what the round before lets expect."""
    center = problem.center_offset
    first, second = tabulated(rule.law, errors[:-1] - center)
    rows: Rows = []
    for k, own in enumerate(errors):
        row: dict[str, Any] = {"round": k, "kept": float(kept[k])}
        row["candidates"] = rule.candidates * len(center) if k else 0
        squares = {"error_truth": np.sum(own**2, axis=1)}
        squares["error_center"] = np.sum((own - center) ** 2, axis=1)
        for name, square in squares.items():
            row |= spread(name, square)
        row |= spread("gain_truth", np.sum(other[k] ** 2, axis=1) - squares["error_truth"])
        for name, square in squares.items():
            row |= {f"expected_{name}": None, f"{name}_z": None}
            if k:
                ahead = second[k - 1] + 2 * center * first[k - 1] + center**2
                law = np.sum(second[k - 1] if name == "error_center" else ahead, axis=1)
                row[f"expected_{name}"] = float(law.mean())
                row[f"{name}_z"] = _z(square - law)
        rows.append(row)
    return rows


def _z(gaps: np.ndarray) -> float | None:
    """Return how many of its own standard errors the mean of gaps is from 0."""
    if len(gaps) < 2:
        return None
    return float(gaps.mean() / (gaps.std(ddof=1) / np.sqrt(len(gaps))))
