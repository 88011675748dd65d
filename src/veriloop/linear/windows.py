r"""Verifiers of any shape on the block design: which labels pass, and what the loop then does.

The block design splits the loop into one scalar for each right singular vector :math:`v_j` of the
real design. A verifier then passes the labels in a window along each direction, and the loop is
known from these windows alone. Symbols and units are those of `veriloop.linear.theory`.

Source: our derivation. For the knowledge ball it agrees with `theory.one_round_mse`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core import Key
from veriloop.core.checks import check_positive
from veriloop.linear.problem import Problem
from veriloop.linear.simulation import simulate_between
from veriloop.linear.truncated import (
    Array,
    Mask,
    acceptance,
    counts,
    finite,
    numbers,
    positive,
    truncated_moments,
)
from veriloop.linear.verifiers import Knowledge, KnowledgeHalfSpace, Soft
from veriloop.verifiers import Constant

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_NORMAL, _HERMITE = np.polynomial.hermite_e.hermegauss(24)
_NORMAL_WEIGHTS = _HERMITE / _HERMITE.sum()
_DROP = 40.0  # a density that has fallen by exp(-40) = 4e-18 is 0
_FALL = 9.0  # standard deviations within which a normal density falls by as much
_FINEST = 0.01  # the least singular value whose offsets a grid can hold
_LONGEST = 150.0  # sigma; at most this wide may an estimate spread
_HARD = 1e-12  # sigma; a lower temperature changes no digit, and bisection cannot follow it
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
        for name in ("lower", "upper"):
            object.__setattr__(self, name, numbers(f"Windows.{name}", getattr(self, name)))
        shape = self.lower.shape
        if len(shape) != 1 or not shape[0] or self.upper.shape != shape:
            shapes = f"{shape} and {np.shape(self.upper)}"
            raise ValueError(f"Windows: lower and upper must have one shape (p,), got {shapes}")
        if not np.all(self.lower < self.upper):
            bounds = f"{self.lower} and {self.upper}"
            raise ValueError(f"Windows: lower must be below upper, got {bounds}")
        check_positive("Windows.temperature", self.temperature, zero=True)

    def moments(self, offset: ArrayLike) -> Accepted:
        r"""Return share, mean T and variance V of the accepted ones of the labels N(offset, 1).

        Under any rule s(y) the accepted labels have a density proportional to
        :math:`e^{ay} s(y) \phi(y)`. So :math:`T'(a) = V(a)`: one round contracts by the variance of
        what passes.

        offset: a, shape (..., p) or one number, the model's place along each direction.

        Returns: three arrays, shape (..., p).
        """
        offset = finite("Windows.moments: offset", offset)
        if offset.shape and offset.shape[-1] not in (1, len(self.lower)):
            raise ValueError(
                f"Windows.moments: offset must be one number or have last axis {len(self.lower)}, "
                f"got shape {offset.shape}"
            )
        if self.temperature < _HARD:
            mean, variance, _ = truncated_moments(offset, 1.0, self.lower, self.upper)
            return Accepted(acceptance(offset, 1.0, self.lower, self.upper), mean, variance)
        offset, lower, upper = np.broadcast_arrays(offset, self.lower, self.upper)
        return _soft_moments(offset, lower, upper, self.temperature)


def _soft_moments(offset: Array, lower: Array, upper: Array, temperature: float) -> Accepted:
    """Return the moments under a soft rule.

    The logarithm of the accepted density is concave and bends at least as a normal one. So its
    mode and the ends of the part that counts are found by bisection. The rule is not analytic
    close to the bounds and to the middle between them, where the quadrature is split.
    """

    def log_density(y: Array) -> Array:
        inside = np.minimum(y - lower, upper - y)
        return -0.5 * (y - offset) ** 2 + log_expit(inside / temperature)

    def rises(y: Array) -> Mask:
        toward = np.where(y - lower < upper - y, 1.0, -1.0)
        inside = np.minimum(y - lower, upper - y)
        return offset - y + toward * expit(-inside / temperature) / temperature > 0

    steepest = 1 / temperature
    mode = _bisected(rises, offset - steepest, offset + steepest)
    peak = log_density(mode)

    def negligible(y: Array) -> Mask:
        return log_density(y) < peak - _DROP

    left = _bisected(negligible, mode - _FALL, mode)
    right = _bisected(negligible, mode + _FALL, mode)
    bounded = np.isfinite(lower) & np.isfinite(upper)
    middle = np.where(bounded, 0.5 * (np.maximum(lower, -1e300) + np.minimum(upper, 1e300)), mode)
    reach = _DROP * temperature  # farther from a bound the rule is 0 or 1
    splits = [left, right, mode, middle]
    for bound in (lower, upper):
        splits += [bound - reach, bound, bound + reach]
    edges = np.sort(np.clip(splits, left, right), axis=0)
    total = np.zeros((3, *mode.shape))
    for low, high in pairwise(edges):
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            z = 0.5 * (low + high) + 0.5 * (high - low) * node - mode
            mass = 0.5 * weight * (high - low) * np.exp(log_density(mode + z) - peak)
            total += mass * np.stack([np.ones_like(z), z, z * z])
    shift, square = total[1:] / total[0]
    share = total[0] * np.exp(peak) / np.sqrt(2 * np.pi)
    return Accepted(share, mode + shift, square - shift**2)


def _bisected(near: Callable[[Array], Mask], low: Array, high: Array) -> Array:
    """Return where `near` stops to hold on the way from `low` to `high`."""
    for _ in range(70):
        middle = 0.5 * (low + high)
        holds = near(middle)
        low = np.where(holds, middle, low)
        high = np.where(holds, high, middle)
    return 0.5 * (low + high)


def windows_of(verifier: object, problem: Problem) -> Windows:
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
    shape = verifier
    half = (shape.width(problem.basis) + shape.slack) / problem.noise
    center = problem.basis @ (shape.center - problem.truth) / problem.noise
    lower = center - half
    upper = center + half
    if isinstance(verifier, KnowledgeHalfSpace):
        above = problem.basis @ verifier.normal > 0
        lower = np.where(above, -np.inf, lower)
        upper = np.where(above, upper, np.inf)
    return Windows(lower, upper)


def _known(verifier: object) -> TypeGuard[Knowledge]:
    """Tell whether a verifier scores by the distance to its centre, on both sides or on one."""
    rules = (Knowledge.__call__, KnowledgeHalfSpace.__call__)
    return isinstance(verifier, Knowledge) and type(verifier).__call__ in rules


def simulate_windows(
    singular_values: ArrayLike, windows: Windows, sizes: Sequence[int], replicates: int, key: Key
) -> np.ndarray:
    """Return the estimation error by round as `simulate` does, but between any two bounds.

    singular_values: mu, shape (p,), of the real design.
    windows: hard ones.
    sizes: kept rows per direction, one number a round.
    replicates: how many runs.

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
        first.
    acceptance: kept rows over those drawn, shape (rounds, p).
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

    with :math:`a_0 \sim N(0, \mu^{-2})`. It is exact in the first round. Later rounds carry the law
    of :math:`a_k`, as weights at Chebyshev nodes. They take the error of a mean of :math:`n_k`
    labels for normal. The acceptance is :math:`1/E[1/Z(a_k)]`, where Z is the share that passes.

    singular_values: mu, shape (p,), of the real design, at least 0.01.
    windows: hard or soft.
    sizes: kept rows per direction, one number a round.

    Raises:
        ValueError: if a singular value or a size is not positive, if there are not as many windows
            as singular values, or if an estimate spreads over more than 150 sigma, where
            `simulate_windows` still works.

    >>> above = Windows(np.zeros(1), np.full(1, np.inf))
    >>> expected_path([10.0], above, [100, 100]).mean.round(4)
    array([[0.    ],
           [0.799 ],
           [1.1677]])
    """
    mu = np.atleast_1d(positive("expected_path: singular_values", singular_values))
    if mu.shape != windows.lower.shape or mu.min() < _FINEST:
        raise ValueError(
            f"expected_path: singular_values must be {len(windows.lower)} numbers of at least "
            f"{_FINEST}, one for each window, got {singular_values!r:.60}"
        )
    means = [np.zeros(len(mu))]
    variances = [mu**-2.0]
    accepted: list[Array] = []
    # Between grid points the offset moves by 0.6 sigma at the most, where all is analytic.
    count = 2 * max(120, int(np.ceil(_REACH / 0.6 / mu.min()))) + 1
    grid = np.linspace(-_REACH, _REACH, count)[:, None]
    weights = np.repeat(np.exp(-0.5 * grid**2), len(mu), axis=1)
    weights /= weights.sum(axis=0)
    nodes = grid / mu
    bent = np.isfinite(windows.lower) | np.isfinite(windows.upper)  # elsewhere all pass
    for n in counts("expected_path: sizes", sizes):
        share, mean, variance = windows.moments(nodes)
        with np.errstate(over="ignore", divide="ignore"):
            accepted.append(1 / np.sum(weights / share, axis=0))
        means.append(np.sum(weights * mean, axis=0))
        spread = (mean - means[-1]) ** 2 + variance / n
        variances.append(np.sum(weights * spread, axis=0))
        points = mean[:, None] + np.sqrt(variance / n)[:, None] * _NORMAL[:, None]
        masses = weights[:, None] * _NORMAL_WEIGHTS[:, None]
        deviation = np.sqrt(variances[-1])
        low = means[-1] - _REACH * deviation
        high = means[-1] + _REACH * deviation
        nodes, weights = _as_chebyshev(np.clip(points, low, high), masses, bent)
    return ExpectedPath(np.array(means), np.array(variances), np.array(accepted))


def _as_chebyshev(points: Array, masses: Array, bent: Mask) -> tuple[Array, Array]:
    """Return nodes and weights, shape (count, p), that sum smooth functions as many points do.

    points, masses: shape (..., p).
    bent: where the functions are more than quadratic, shape (p,).
    """
    axes = tuple(range(points.ndim - 1))
    low = points.min(axis=axes)
    high = points.max(axis=axes)
    length = float(np.max(bent * (high - low)))
    if length > _LONGEST:
        raise ValueError(
            f"expected_path: an estimate spreads over {length:.0f} sigma, at most {_LONGEST:.0f} "
            "can be followed; use simulate_windows"
        )
    count = 32 + int(6 * length)
    x = (2 * points - low - high) / (high - low)
    order = np.arange(count)
    angle = np.pi * (order + 0.5) / count
    moments = np.array([np.sum(masses * each, axis=axes) for each in _polynomials(x, count)])
    moments[1:] *= 2
    weights = np.cos(np.outer(angle, order)) @ moments / count
    nodes = 0.5 * (low + high) + 0.5 * (high - low) * np.cos(angle)[:, None]
    return nodes, weights


def _polynomials(x: Array, count: int) -> Iterator[Array]:
    """Yield the first Chebyshev polynomials of x."""
    before = x
    now = np.ones_like(x)
    for _ in range(count):
        yield now
        before, now = now, 2 * x * now - before
