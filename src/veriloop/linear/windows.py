r"""Verifiers of any shape on the block design: which labels pass, and what the loop then does.

The block design splits the loop into one scalar for each right singular vector :math:`v_j` of the
real design. A verifier then passes the labels in a window along each direction, and the loop is
known from these windows alone. Symbols and units are those of `veriloop.linear.theory`.

Source: our derivation. For the knowledge ball it agrees with `theory.one_round_mse`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core import Key
from veriloop.linear.problem import Problem
from veriloop.linear.simulation import simulate_between
from veriloop.linear.truncated import acceptance, positive, truncated_moments
from veriloop.linear.verifiers import Knowledge, KnowledgeHalfSpace, Soft
from veriloop.verifiers import Constant

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
_REACH = 9.0  # a label lies farther from its mean than this many standard deviations once in 10^18


class Accepted(NamedTuple):
    """What passes a window. share: of all labels. mean, variance: of the accepted ones."""

    share: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class Windows:
    r"""Which labels a verifier passes along each direction.

    lower, upper: bounds, shape (p,), in units of sigma from the truth; they may be infinite.
    temperature: tau, in units of sigma. At 0 a label passes if it lies between the bounds. Above 0
        a label at distance s inside the nearest bound passes with probability
        :math:`1/(1 + e^{-s/\tau})`.

    Raises:
        ValueError: if the shapes differ, a lower bound is not below its upper one, or the
            temperature is negative.

    >>> share, mean, variance = Windows(np.array([-1.0]), np.array([np.inf])).moments(0.0)
    >>> print(f"{share[0]:.4f} {mean[0]:.4f} {variance[0]:.4f}")
    0.8413 0.2876 0.6297
    """

    lower: np.ndarray
    upper: np.ndarray
    temperature: float = 0.0

    def __post_init__(self) -> None:
        shape = np.shape(self.lower)
        if len(shape) != 1 or np.shape(self.upper) != shape:
            shapes = f"{shape} and {np.shape(self.upper)}"
            raise ValueError(f"Windows: lower and upper must have one shape (p,), got {shapes}")
        if not np.all(self.lower < self.upper):
            bounds = f"{self.lower} and {self.upper}"
            raise ValueError(f"Windows: lower must be below upper, got {bounds}")
        if not self.temperature >= 0:
            raise ValueError(f"Windows.temperature must be at least 0, got {self.temperature}")

    def moments(self, offset: ArrayLike) -> Accepted:
        r"""Return share, mean T and variance V of the accepted ones of the labels N(offset, 1).

        Under any rule s(y) the accepted labels have a density proportional to
        :math:`e^{ay} s(y) \phi(y)`. So :math:`T'(a) = V(a)`: one round contracts by the variance of
        what passes.

        offset: a, shape (..., p) or one number, the model's place along each direction.

        Returns: three arrays, shape (..., p).
        """
        offset = np.asarray(offset, dtype=float)
        if self.temperature == 0:
            mean, variance, _ = truncated_moments(offset, 1.0, self.lower, self.upper)
            return Accepted(acceptance(offset, 1.0, self.lower, self.upper), mean, variance)
        middle = (self.lower + self.upper) / 2
        bend = np.clip(middle, offset - _REACH, offset + _REACH)  # the rule is not smooth there
        sums = np.zeros((3, *np.broadcast_shapes(offset.shape, middle.shape)))
        for low, high in ((offset - _REACH, bend), (bend, offset + _REACH)):
            for node, weight in zip(_NODES, _WEIGHTS, strict=True):
                y = (low + high) / 2 + (high - low) / 2 * node
                inside = np.minimum(y - self.lower, self.upper - y)
                passes = expit(inside / self.temperature)
                z = y - offset
                mass = weight * (high - low) / 2 * np.exp(-z * z / 2) * passes
                sums += mass * np.stack([np.ones_like(z), z, z * z])
        shift, square = sums[1:] / sums[0]
        return Accepted(sums[0] / np.sqrt(2 * np.pi), offset + shift, square - shift**2)


def windows_of(verifier: Any, problem: Problem) -> Windows:
    """Return what a verifier passes along the right singular vectors of the problem's real design.

    verifier: a `Knowledge` verifier, `Soft` of one, or None or `Constant` for no verifier. A shape
        of your own, which gives a `width` and leaves the rest to `Knowledge`, is one too.

    Raises:
        ValueError: for any other verifier, whose windows are not known.

    >>> problem = Problem.gaussian(bias=0.0, radius=1.0, dim=2)
    >>> windows_of(problem.verifier, problem).upper.round(4)
    array([1.7979, 1.7979])
    """
    if verifier is None or (isinstance(verifier, Constant) and verifier.score >= 0):
        infinite = np.full(len(problem.basis), np.inf)
        return Windows(-infinite, infinite)
    if isinstance(verifier, Soft):
        hard = windows_of(verifier.verifier, problem)
        return Windows(hard.lower, hard.upper, temperature=verifier.temperature / problem.noise)
    if not _known(verifier):
        raise ValueError(
            f"windows_of: verifier must be a Knowledge verifier, Soft of one, or Constant, "
            f"got {verifier!r:.200}; give Windows its bounds yourself"
        )
    shape: Any = verifier
    half = (shape.width(problem.basis) + shape.slack) / problem.noise
    center = problem.basis @ (shape.center - problem.truth) / problem.noise
    lower = center - half
    upper = center + half
    if isinstance(verifier, KnowledgeHalfSpace):
        above = problem.basis @ verifier.normal > 0
        lower = np.where(above, -np.inf, lower)
        upper = np.where(above, upper, np.inf)
    return Windows(lower, upper)


def _known(verifier: Any) -> TypeGuard[Knowledge]:
    """Tell whether a verifier scores by the distance to its centre, on both sides or on one."""
    rules = (Knowledge.__call__, KnowledgeHalfSpace.__call__)
    return isinstance(verifier, Knowledge) and type(verifier).__call__ in rules


def simulate_windows(
    singular_values: ArrayLike, windows: Windows, sizes: Sequence[int], replicates: int, key: Key
) -> np.ndarray:
    """Return the estimation error by round as `simulate` does, but between any two bounds.

    singular_values: mu, shape (p,), of the real design. windows: hard ones. sizes: kept rows per
        direction, one number a round. replicates: how many runs.

    Returns: shape (rounds + 1, replicates, p), in units of sigma; exact in distribution.

    Raises:
        ValueError: if the windows are soft, which has no fast path, or as in `simulate`.

    >>> above = Windows(np.zeros(2), np.full(2, np.inf))
    >>> simulate_windows([10.0, 10.0], above, [100] * 5, replicates=50, key=Key(0)).shape
    (6, 50, 2)
    """
    if windows.temperature > 0:
        raise ValueError(
            f"simulate_windows: windows must be hard, got temperature {windows.temperature}; "
            "run the loop with the filter Bernoulli instead"
        )
    return simulate_between(singular_values, windows.lower, windows.upper, sizes, replicates, key)


class ExpectedPath(NamedTuple):
    """What the loop is expected to do, by round and direction.

    mean, variance: of the estimation error, shape (rounds + 1, p), in units of sigma, round 0
    first. acceptance: kept rows over those drawn, shape (rounds, p).
    """

    mean: np.ndarray
    variance: np.ndarray
    acceptance: np.ndarray


def expected_path(
    singular_values: ArrayLike,
    windows: Windows,
    sizes: Sequence[int],
) -> ExpectedPath:
    r"""Return mean and variance of the estimation error by round, and the acceptance.

    .. math:: m_{k+1} = E\,T(a_k), \qquad v_{k+1} = \mathrm{Var}\,T(a_k) + E\,V(a_k)/n_k,

    with :math:`a_0 \sim N(0, \mu^{-2})`. It is exact in the first round. Later rounds carry the
    density of :math:`a_k` on a grid. They take the error of a mean of :math:`n_k` labels for
    normal. The acceptance is :math:`1/E[1/Z(a_k)]`, where Z is the share that passes.

    singular_values: mu, shape (p,), of the real design. windows: hard or soft. sizes: kept rows per
        direction, one number a round.

    Raises:
        ValueError: if a singular value or a size is not positive.

    >>> above = Windows(np.zeros(1), np.full(1, np.inf))
    >>> expected_path([10.0], above, [100, 100]).mean.round(4)
    array([[0.    ],
           [0.799 ],
           [1.1677]])
    """
    mu = np.atleast_1d(positive("expected_path: singular_values", singular_values))
    positive("expected_path: sizes", sizes)
    # In standard deviations; the trapezoidal rule has spectral accuracy here.
    grid = np.linspace(-_REACH, _REACH, 241)[:, None]
    means = [np.zeros(len(mu))]
    variances = [mu**-2.0]
    accepted: list[np.ndarray] = []
    place = grid * np.sqrt(variances[0])
    weights = np.repeat(np.exp(-(grid**2) / 2), len(mu), axis=1)
    for n in sizes:
        weights /= weights.sum(axis=0)
        share, mean, variance = windows.moments(place)
        accepted.append(1 / np.sum(weights / share, axis=0))
        means.append(np.sum(weights * mean, axis=0))
        spread = (mean - means[-1]) ** 2 + variance / n
        variances.append(np.sum(weights * spread, axis=0))
        place = means[-1] + grid * np.sqrt(variances[-1])
        z = (place[:, None] - mean) / np.sqrt(variance / n)
        weights = np.sum(weights * np.exp(-z * z / 2) / np.sqrt(variance), axis=1)
    return ExpectedPath(np.array(means), np.array(variances), np.array(accepted))
