r"""A Gaussian refitted to its own draws, with or without a verifier that prefers near rows.

Selection narrows the model and moves it to the verifier's centre. Fitting to few rows narrows it
too. Both effects are known exactly, so a verifier of your own can be checked against them.

Lengths are in standard deviations of the truth and variances in variances of the truth, unless a
docstring says otherwise. Sources are named in each function; where none is, it is our derivation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, cast, get_args

import numpy as np
from scipy import optimize, special  # pyright: ignore[reportMissingTypeStubs]
from scipy.special import (  # pyright: ignore[reportMissingTypeStubs]
    betaincinv,
    chdtr,
    chndtr,
    chndtrix,
)

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.exact._arguments import Array, at_least, numbers, probability

# SciPy names no types of these.
_digamma = cast(Callable[[Array], Array], special.digamma)  # pyright: ignore
_brentq = cast(Callable[..., float], optimize.brentq)  # pyright: ignore
Policy = Literal["replace", "accumulate", "subsample"]

_ROUNDING = 1e-8  # entries this far apart, as a fraction of the largest, are the same
_FARTHEST = 1000.0  # a bias beyond which the non-central chi-square loses its digits
_LEAST_VARIANCE = 1e-280  # of a model, below which its density overflows
_REACH = 9.0  # a normal draw lies farther out than this many standard deviations once in 10^18
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(256)


@dataclass(frozen=True)
class Gaussian:
    """A multivariate normal distribution: the model of this bench.

    mean: shape (d,).
    covariance: shape (d, d), symmetric, positive definite.

    >>> Gaussian.standard(2)
    Gaussian(mean=array([0., 0.]), covariance=array([[1., 0.], [0., 1.]]))

    Raises:
        ValueError: if the shapes disagree, a number is not finite, or the covariance is not
            symmetric.
    """

    mean: Array
    covariance: Array

    def __post_init__(self) -> None:
        mean = numbers("Gaussian.mean", self.mean, ndim=1)
        covariance = numbers("Gaussian.covariance", self.covariance, ndim=2)
        if covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"Gaussian.covariance must have shape {(len(mean), len(mean))}, "
                f"got {covariance.shape}"
            )
        apart = np.abs(covariance - covariance.T)
        if apart.max() > _ROUNDING * np.abs(covariance).max():
            at = np.unravel_index(apart.argmax(), apart.shape)
            raise ValueError(
                f"Gaussian.covariance must be symmetric, got {covariance[at]:g} and "
                f"{covariance.T[at]:g} in places {at[0]}, {at[1]} and {at[1]}, {at[0]}"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "covariance", covariance)

    @classmethod
    def standard(cls, dim: int) -> Self:
        """Return the standard normal distribution in `dim` dimensions."""
        check_count("Gaussian.standard: dim", dim)
        return cls(np.zeros(dim), np.eye(dim))


def draw_rows(key: Key, model: Gaussian, n: int) -> Array:
    """Draw n rows of the model, shape (n, d): a `generate` of `Loop`.

    key: the address of the random numbers.

    >>> draw_rows(Key(0), Gaussian.standard(3), 5).shape
    (5, 3)

    Raises:
        ValueError: if the covariance is not positive definite.
    """
    noise = key.numpy().standard_normal((n, len(model.mean)))
    try:
        root = np.linalg.cholesky(model.covariance)
    except np.linalg.LinAlgError:
        least = np.linalg.eigvalsh(model.covariance)[0]
        raise ValueError(
            "draw_rows: the covariance must be positive definite, got the least eigenvalue "
            f"{least:.3g}; keep more rows a round, or give MaximumLikelihood a ridge"
        ) from None
    return model.mean + noise @ root.T


@dataclass(frozen=True)
class MaximumLikelihood:
    """Refit from scratch: the mean of the rows and their covariance, divided by n.

    ridge: a variance that is added to the diagonal, so that the covariance stays positive definite.

    >>> MaximumLikelihood()(Key(0), Gaussian.standard(1), np.array([[1.0], [3.0]])).mean
    array([2.])
    """

    ridge: float = 0.0

    def __post_init__(self) -> None:
        at_least("MaximumLikelihood.ridge", self.ridge)

    def __call__(self, key: Key, model: Gaussian, rows: Array) -> Gaussian:
        covariance = np.atleast_2d(np.cov(rows, rowvar=False, bias=True))
        return Gaussian(rows.mean(axis=0), covariance + self.ridge * np.eye(rows.shape[1]))


@dataclass(frozen=True)
class NearCenter:
    r"""Score rows by :math:`-\|R^{-1}(x - c)\|^2`, so that the best rows are those near a centre.

    This is the negative squared Mahalanobis distance. No row scores above 0, so combine it with a
    filter that ranks, such as `TopFraction`.

    center: c, shape (d,).
    root: R, shape (d, d), a root of the covariance that measures distances. Any multiple of it
        ranks alike.

    >>> NearCenter(np.zeros(2), np.eye(2))(Key(0), np.array([[0.0, 0.0], [3.0, 4.0]]))
    array([ -0., -25.])
    """

    center: Array
    root: Array

    def __post_init__(self) -> None:
        center = numbers("NearCenter.center", self.center, ndim=1)
        root = numbers("NearCenter.root", self.root, ndim=2)
        if root.shape != (len(center), len(center)) or np.linalg.matrix_rank(root) < len(center):
            raise ValueError(
                f"NearCenter.root must have shape {(len(center), len(center))} and full rank, "
                f"got shape {root.shape}"
            )
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "root", root)

    def __call__(self, key: Key, rows: Array) -> Array:
        away = np.linalg.solve(self.root, (rows - self.center).T)
        return -np.sum(away**2, axis=0)


@dataclass(frozen=True)
class Drift:
    r"""Measure how far a model has moved from the truth.

    It reports three numbers: `trace` is :math:`\mathrm{tr}\,\hat\Sigma/\mathrm{tr}\,\Sigma`,
    `log_volume` is :math:`\log(|\hat\Sigma|/|\Sigma|)`, and `toward` is how far the mean has moved
    along a direction.

    truth: the Gaussian of round 0.
    readout: shape (d,); `toward` is its product with the move.

    >>> Drift(Gaussian.standard(2), np.array([1.0, 0.0]))(Key(0), Gaussian.standard(2))
    {'trace': 1.0, 'log_volume': 0.0, 'toward': 0.0}
    """

    truth: Gaussian
    readout: Array

    def __post_init__(self) -> None:
        readout = numbers("Drift.readout", self.readout, ndim=1)
        if readout.shape != self.truth.mean.shape:
            shapes = f"{self.truth.mean.shape}, got {readout.shape}"
            raise ValueError(f"Drift.readout must have the shape of the mean, {shapes}")
        object.__setattr__(self, "readout", readout)

    def __call__(self, key: Key, model: Gaussian) -> dict[str, float]:
        truth = self.truth
        trace = np.trace(model.covariance) / np.trace(truth.covariance)
        log_volume = _log_volume(model.covariance) - _log_volume(truth.covariance)
        toward = (model.mean - truth.mean) @ self.readout
        return {"trace": float(trace), "log_volume": float(log_volume), "toward": float(toward)}


def _log_volume(covariance: Array) -> float:
    return float(np.linalg.slogdet(covariance)[1])


def unverified_trace(policy: Policy, n: int, rounds: int, ridge: float = 0.0) -> Array:
    r"""Return the expected trace of the covariance by round, without a verifier, over the truth's.

    With the maximum-likelihood covariance it is, exactly,

    .. math:: \text{replace: } (1 - 1/n)^t, \qquad
        \text{accumulate: } \prod_{i=1}^t \Big(1 - \frac{1}{n i^2}\Big)
        \to \frac{\sin(\pi/\sqrt n)}{\pi/\sqrt n}.

    `subsample` fits to n of the accumulated rows, drawn again each round. Its recursion is that of
    accumulate with the sampling variance of the subsample.

    policy: what the model is fitted to.
    n: rows that are added each round, at least 2.
    rounds: how many.
    ridge: what the refit adds to the diagonal, over the mean variance of the truth.

    Returns: shape (rounds + 1,), the truth first.

    Raises:
        ValueError: if the policy is unknown, or n is below 2.

    Source: our derivation. Accumulate is the counterpart, for the variance, of the pi^2 / 6 of
    Gerstgrasser et al. (2024), arXiv:2404.01413.

    >>> unverified_trace("replace", 10, 2), unverified_trace("accumulate", 10, 2)
    (array([1.  , 0.9 , 0.81]), array([1.    , 0.9   , 0.8775]))
    """
    _check_policy("unverified_trace", policy)
    check_count("unverified_trace: n", n, least=2)  # one row has no spread
    check_count("unverified_trace: rounds", rounds, least=0)
    at_least("unverified_trace: ridge", ridge)
    pool = 1.0
    model = 1.0
    path = [model]
    for t in range(rounds):
        fresh = (1 - 1 / n) * model
        if policy == "replace":
            fitted = fresh
        else:
            offset = 0.0
            if policy == "subsample" and t > 0:
                offset = _offset_of_subsample(pool, n, t * n)
            between = t / (t + 1) * (model / n + offset)
            pool = (t * pool + fresh + between) / (t + 1)
            fitted = pool
            if policy == "subsample":
                rows = (t + 1) * n
                fitted = (1 - 1 / n) * rows / (rows - 1) * pool
        model = fitted + ridge
        path.append(model)
    return np.array(path)


def _offset_of_subsample(pool: float, n: int, rows: int) -> float:
    """Return the expected squared distance of the mean of n of the pool's rows to that of all."""
    return pool * (1 - n / rows) * rows / (rows - 1) / n


def replaced_log_volume(dim: int, n: int, rounds: int) -> Array:
    r"""Return the expected log volume by round, under replace, without a verifier.

    .. math:: E \log\frac{|\hat\Sigma_t|}{|\Sigma|}
        = t \sum_{i=1}^{d} \Big(\psi\Big(\frac{n-i}{2}\Big) + \log\frac 2n\Big)

    since :math:`n\hat\Sigma_{t+1}` is Wishart with n - 1 degrees of freedom, given
    :math:`\hat\Sigma_t`. There is no ridge.

    dim: d.
    n: rows a round, more than d.
    rounds: how many.

    Returns: shape (rounds + 1,), the truth first.

    Raises:
        ValueError: if n is at most dim, where the volume is 0.

    >>> replaced_log_volume(2, 10, 2)[1:].round(4)
    array([-0.5739, -1.1478])
    """
    check_count("replaced_log_volume: dim", dim)
    check_count("replaced_log_volume: n", n)
    check_count("replaced_log_volume: rounds", rounds, least=0)
    if n <= dim:
        raise ValueError(f"replaced_log_volume: n must be more than dim = {dim}, got {n}")
    halves: Array = (n - np.arange(1, dim + 1)) / 2
    a_round = np.sum(_digamma(halves) + np.log(2 / n))
    return np.arange(rounds + 1) * a_round


class SelectedMoments(NamedTuple):
    """What a model is expected to be after selection.

    shift: of the mean, towards the verifier's centre.
    along: variance in the direction of the centre.
    across: variance in every other direction.
    """

    shift: float
    along: float
    across: float


def selected_round(dim: int, bias: float, kept: int, candidates: int) -> SelectedMoments:
    r"""Return the expected model after one round that keeps the rows nearest to a centre.

    The truth is standard normal. Given the squared distance t of the first row that is not kept,
    the n kept rows are independent. With :math:`\delta` for the bias and :math:`G_i` for the share
    :math:`P(\chi^2_{d+i} \le t)/P(\chi^2_d \le t)`, non-central by :math:`\delta^2`,

    .. math:: \text{shift: } \delta(1 - G_2), \qquad \text{across: } G_2, \qquad
        \text{along: } G_2 + \delta^2 (G_4 - G_2^2),

    the variances times 1 - 1/n. These are averaged over t, whose quantile is Beta(n + 1, N - n).
    Exact for every n and N. Source: our derivation.

    dim: d.
    bias: distance of the verifier's centre from the mean of the truth, at most 1000.
    kept: n.
    candidates: N, at least n.

    Raises:
        ValueError: if more rows are kept than drawn, or the bias is above 1000.

    >>> law = selected_round(dim=10, bias=0.0, kept=300, candidates=3000)
    >>> print(f"{law.shift:.4f} {law.along:.4f} {law.across:.4f}")
    0.0000 0.3757 0.3757
    """
    check_count("selected_round: dim", dim)
    check_count("selected_round: kept", kept)
    check_count("selected_round: candidates", candidates)
    at_least("selected_round: bias", bias)
    if bias > _FARTHEST:
        raise ValueError(
            f"selected_round: bias must be at most {_FARTHEST:g}, got {bias:g}; farther away the "
            "law changes no more"
        )
    if kept > candidates:
        allowed = f"from 1 to candidates = {candidates}"
        raise ValueError(f"selected_round: kept must be {allowed}, got {kept}")
    if candidates == kept:
        return SelectedMoments(0.0, 1 - 1 / kept, 1 - 1 / kept)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    quantile = betaincinv(kept + 1, candidates - kept, (nodes + 1) / 2)
    t = chndtrix(quantile, dim, bias**2)
    second = chndtr(t, dim + 2, bias**2) / quantile
    fourth = chndtr(t, dim + 4, bias**2) / quantile
    shift = float(weights @ (bias * (1 - second))) / 2
    along = float(weights @ (second + bias**2 * (fourth - second**2))) / 2
    across = float(weights @ second) / 2
    return SelectedMoments(shift, (1 - 1 / kept) * along, (1 - 1 / kept) * across)


def limit_path(
    policy: Policy, dim: int, bias: float, fraction: float, rounds: int, ridge: float = 0.0
) -> Array:
    """Return shift, variance along and variance across by round, as the kept rows go to infinity.

    The truth is standard normal and the centre lies at distance `bias`. So the model stays
    symmetric about the line between them: N(shift, along) on it, N(0, across) in every other
    direction. Accumulate and subsample have the same limit. With bias 0, each round multiplies the
    variance by a constant G: replace is geometric, accumulate falls like t^-(1 - G).

    policy: what the model is fitted to.
    dim: at least 2.
    bias: of the verifier's centre.
    fraction: the share of the candidates that is kept, in (0, 1].
    rounds: how many.
    ridge: what the refit adds to the diagonal.

    Returns: shape (rounds + 1, 3), the truth first.

    Raises:
        ValueError: if the policy is unknown, dim below 2, the fraction not in (0, 1], or a variance
            falls below 1e-280.

    Source: our derivation.

    >>> limit_path("replace", dim=10, bias=2.0, fraction=0.1, rounds=2).round(3)
    array([[0.   , 1.   , 1.   ],
           [1.065, 0.38 , 0.468],
           [1.557, 0.161, 0.196]])
    """
    _check_policy("limit_path", policy)
    check_count("limit_path: dim", dim, least=2)
    at_least("limit_path: bias", bias)
    probability("limit_path: fraction", fraction, zero=False)
    check_count("limit_path: rounds", rounds, least=0)
    at_least("limit_path: ridge", ridge)
    # Distances to the centre keep their digits however close to it the model comes.
    state = np.array([bias, 1.0, 1.0])
    pool = np.zeros(3)
    path = [state]
    for t in range(rounds):
        if state[1:].min() < _LEAST_VARIANCE:
            raise ValueError(
                f"limit_path: the variance falls below {_LEAST_VARIANCE:g} in round {t}, got "
                f"{rounds} rounds; give at most {t}, or a ridge"
            )
        fresh = _nearest(dim, fraction, _Model(*state))
        if policy == "replace":
            pool = fresh
        else:
            between = t / (t + 1) ** 2 * (fresh[0] - pool[0]) ** 2
            pool = (t * pool + fresh) / (t + 1) + np.array([0.0, between, 0.0])
        state = pool + np.array([0.0, ridge, ridge])
        path.append(state)
    distances, along, across = np.array(path).T
    return np.column_stack([bias - distances, along, across])


class _Model(NamedTuple):
    """A model on the line through the verifier's centre: its distance from that, and variances."""

    distance: float
    along: float
    across: float


def _nearest(dim: int, fraction: float, model: _Model) -> Array:
    """Return distance, variance along and across of the share of the model nearest to the centre.

    Lengths are in units of the model's scale across, and from its mean. So a narrow model and one
    far away keep their digits.
    """
    unit = np.sqrt(model.across)
    side = np.copysign(1.0, model.distance)
    scaled = _Model(abs(model.distance) / unit, model.along / model.across, 1.0)
    scale = _REACH * np.sqrt(scaled.along)
    least = max(1e-12 - scaled.distance, -scale)
    most = scale + _REACH + np.sqrt(dim)

    def excess(beyond: float) -> float:
        section = _section(beyond, scaled)
        return float(section.mass @ chdtr(dim - 1, section.room)) - fraction

    section = _section(_brentq(excess, least, most, xtol=1e-20), scaled)
    kept = section.mass * chdtr(dim - 1, section.room) / fraction
    shift = float(kept @ section.place)
    along = kept @ (section.place - shift) ** 2
    across = float(section.mass @ chdtr(dim + 1, section.room)) / fraction
    distance = side * (scaled.distance + shift)
    return np.array([distance * unit, along * unit**2, across * unit**2])


class _Section(NamedTuple):
    """Where a ball cuts the line through its centre and the model's mean, at nodes of quadrature.

    place: on the line, from the model's mean away from the centre.
    mass: probability there.
    room: squared length that the other coordinates may have and still be inside the ball.
    """

    place: Array
    mass: Array
    room: Array


def _section(beyond: float, model: _Model) -> _Section:
    """Return the section by a ball that ends so far beyond the model's mean."""
    scale = np.sqrt(model.along)
    low = max(-_REACH * scale, -2 * model.distance - beyond)
    high = min(_REACH * scale, beyond)
    place = (low + high) / 2 + (high - low) / 2 * _NODES
    density = np.exp(-(place**2) / (2 * model.along)) / np.sqrt(2 * np.pi * model.along)
    room = (beyond - place) * (2 * model.distance + beyond + place)
    return _Section(place, (high - low) / 2 * _WEIGHTS * density, np.maximum(room, 0.0))


def _check_policy(where: str, policy: str) -> None:
    known = get_args(Policy)
    if policy not in known:
        raise ValueError(f"{where}: policy must be one of {', '.join(known)}, got {policy!r}")
