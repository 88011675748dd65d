"""Verifiers of several shapes that accept equally often, and the loop under each, one direction at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from veriloop import Constant, Key
from veriloop.linear import (
    KnowledgeBall,
    KnowledgeBox,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    KnowledgeL1,
    Problem,
    Soft,
    theory,
    truncated_means,
)

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_REACH = 9.0  # a label lies farther from its mean than this many standard deviations once in 10^18


@dataclass(frozen=True)
class Windows:
    """Which labels pass along each direction: those in [lower, upper], or each with a probability.

    lower, upper: shape (p,), in units of sigma from the truth; may be infinite.
    temperature: 0 is hard; else a label at distance s inside the nearest bound passes with 1 / (1 + exp(-s / tau)).
    """

    lower: np.ndarray
    upper: np.ndarray
    temperature: float = 0.0

    def moments(self, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        r"""Return acceptance, mean T and variance V of the accepted labels of N(offset, 1), each (..., p).

        Whatever the rule s(y) is, the accepted labels have the density :math:`e^{ay} s(y) \phi(y)` up to a factor,
        so that :math:`T'(a) = V(a)`: the contraction of one round is the variance of what passes.
        """
        if not self.temperature:
            mean, variance, _ = theory.truncated_moments(offset, 1.0, self.lower, self.upper)
            return theory.acceptance(offset, 1.0, self.lower, self.upper), mean, variance
        middle = (self.lower + self.upper) / 2
        sums = np.zeros((3, *np.broadcast_shapes(np.shape(offset), middle.shape)))
        bend = np.clip(middle, offset - _REACH, offset + _REACH)  # where the rule is not smooth
        for low, high in ((offset - _REACH, bend), (bend, offset + _REACH)):
            for node, weight in zip(_NODES, _WEIGHTS, strict=True):
                y = (low + high) / 2 + (high - low) / 2 * node
                inside = np.minimum(y - self.lower, self.upper - y)
                z = y - offset
                mass = weight * (high - low) / 2 * np.exp(-z * z / 2) * expit(inside / self.temperature)
                sums += mass * np.stack([np.ones_like(z), z, z * z])
        shift, square = sums[1:] / sums[0]
        return sums[0] / np.sqrt(2 * np.pi), offset + shift, square - shift**2


def windows(verifier: Any, problem: Problem) -> Windows:
    """Return what a verifier lets pass along the right singular vectors of the problem's real design."""
    if isinstance(verifier, Constant):
        return Windows(np.full(len(problem.basis), -np.inf), np.full(len(problem.basis), np.inf))
    if isinstance(verifier, Soft):
        return Windows(*_bounds(verifier.verifier, problem), temperature=verifier.temperature / problem.noise)
    return Windows(*_bounds(verifier, problem))


def _bounds(verifier: Any, problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    half = (verifier.width(problem.basis) + verifier.slack) / problem.noise
    lower, upper = problem.center_offset - half, problem.center_offset + half
    if isinstance(verifier, KnowledgeHalfSpace):
        above = problem.basis @ verifier.normal > 0
        return np.where(above, -np.inf, lower), np.where(above, upper, np.inf)
    return lower, upper


def matched_verifier(name: str, problem: Problem, normal: np.ndarray, aspect: float, temperature: float) -> Any:
    """Return a verifier of one shape about the problem's centre, as often right about the truth's own rows as any.

    Each shape is scaled until, were it unbiased, it would accept the same share of the truth's labels as the
    problem's ball, on average over the singular directions: acceptance is what a verifier costs, and the one width
    that all shapes have. The slack is the same for all.

    normal: of the half-space. aspect: the longest over the shortest axis of the ellipsoid, whose axes are the
    singular vectors, in geometric progression. temperature: of the soft ball.
    """
    unbiased = Problem(problem.real_x, problem.truth, problem.truth, problem.radius, problem.noise, problem.slack)
    axes = unbiased.basis.T * np.geomspace(aspect**-0.5, aspect**0.5, len(unbiased.basis))
    slack = cast(float, problem.slack)
    families: dict[str, Callable[[np.ndarray, float], Any]] = {
        "l1 ball": lambda center, r: KnowledgeL1(center, r, slack),
        "box": lambda center, r: KnowledgeBox(center, r, slack),
        "ellipsoid": lambda center, r: KnowledgeEllipsoid(center, r * axes, slack),
        "half-space": lambda center, r: KnowledgeHalfSpace(center, normal, r, slack),
        "soft ball": lambda center, r: Soft(KnowledgeBall(center, r, slack), temperature),
    }
    if name == "none":
        return Constant()
    if name == "ball":
        return problem.verifier
    wanted = right(unbiased.verifier, unbiased)
    return families[name](problem.center, _matched(families[name], unbiased, wanted))


def _matched(family: Callable[[np.ndarray, float], Any], unbiased: Problem, wanted: float) -> float:
    def excess(log_radius: float) -> float:
        return right(family(unbiased.truth, float(np.exp(log_radius))), unbiased) - wanted

    return float(np.exp(cast(float, brentq(excess, -12.0, 6.0, xtol=1e-12))))


def right(verifier: Any, problem: Problem) -> float:
    """Return the share of the truth's labels that a verifier accepts, on average over the singular directions."""
    return float(np.mean(windows(verifier, problem).moments(np.zeros(len(problem.basis)))[0]))


def simulated(
    singular_values: np.ndarray, bounds: Windows, sizes: Sequence[int], replicates: int, key: Key
) -> np.ndarray:
    """Return what `veriloop.linear.simulate` does, (rounds + 1, replicates, p), between any two bounds."""
    start = key.fold(0, "real").numpy().standard_normal((replicates, len(singular_values))) / singular_values
    errors = [start]
    for k, n in enumerate(sizes):
        errors.append(truncated_means(key.fold(k + 1, "labels"), errors[-1], bounds.lower, bounds.upper, n))
    return np.array(errors)


def expected(
    singular_values: np.ndarray, bounds: Windows, sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return the estimate's mean and variance by round, (rounds + 1, p), and the acceptance, (rounds, p).

    .. math:: m_{k+1} = E\,T(a_k), \qquad v_{k+1} = \mathrm{Var}\,T(a_k) + E\,V(a_k)/n_k,

    with :math:`a_0 \sim N(0, \mu^{-2})`. Exact in the first round; later ones carry the density of :math:`a_k` on a
    grid and take its error about T, that of a mean of :math:`n_k` labels, for normal. The acceptance is
    :math:`1/E[1/Z(a_k)]`, kept rows over those drawn until n are.
    """
    grid = np.linspace(-_REACH, _REACH, 241)[:, None]  # in standard deviations: the trapezoid rule is spectral here
    means, variances, accepted = [np.zeros(len(singular_values))], [np.asarray(singular_values) ** -2.0], []
    place = grid * np.sqrt(variances[0])
    weights = np.repeat(np.exp(-(grid**2) / 2), len(singular_values), axis=1)
    for n in sizes:
        weights /= weights.sum(axis=0)
        passed, mean, spread = bounds.moments(place)
        accepted.append(1 / np.sum(weights / passed, axis=0))
        means.append(np.sum(weights * mean, axis=0))
        variances.append(np.sum(weights * ((mean - means[-1]) ** 2 + spread / n), axis=0))
        place = means[-1] + grid * np.sqrt(variances[-1])
        z = (place[:, None] - mean) / np.sqrt(spread / n)
        weights = np.sum(weights * np.exp(-z * z / 2) / np.sqrt(spread), axis=1)
    return np.array(means), np.array(variances), np.array(accepted)
