"""A Gaussian refitted to its own draws, a verifier with a centre of its own, and what is exact about both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincinv, chdtr, chndtr, chndtrix, digamma

from veriloop import Key


@dataclass(frozen=True)
class Gaussian:
    """The model. mean: shape (d,); covariance: shape (d, d)."""

    mean: np.ndarray
    covariance: np.ndarray


def draw_rows(key: Key, model: Gaussian, n: int) -> np.ndarray:
    """Return n draws of the model, shape (n, d)."""
    noise = key.numpy().standard_normal((n, len(model.mean)))
    return model.mean + noise @ np.linalg.cholesky(model.covariance).T


@dataclass(frozen=True)
class Fit:
    """Refit from scratch: mean and covariance of the rows, divided by n, and `ridge` on the diagonal."""

    ridge: float

    def __call__(self, key: Key, model: Gaussian, rows: np.ndarray) -> Gaussian:
        covariance = np.cov(rows, rowvar=False, bias=True)
        return Gaussian(rows.mean(axis=0), covariance + self.ridge * np.eye(rows.shape[1]))


@dataclass(frozen=True)
class Near:
    r"""Score rows by :math:`-\|R^{-1}(x - c)\|^2`, the negative squared Mahalanobis distance to a centre.

    center: c, shape (d,). root: R, shape (d, d), of the covariance that distances are measured in; any multiple of
        it ranks alike.
    """

    center: np.ndarray
    root: np.ndarray

    def __call__(self, key: Key, rows: np.ndarray) -> np.ndarray:
        return -np.sum(np.linalg.solve(self.root, (rows - self.center).T) ** 2, axis=0)


def unverified_trace(policy: str, n: int, rounds: int, ridge: float = 0.0) -> np.ndarray:
    r"""Return :math:`E\,\mathrm{tr}\,\hat\Sigma_t/\mathrm{tr}\,\Sigma` of a Gaussian refitted without a verifier.

    n draws are added a round, from the truth on. Exactly, with the maximum-likelihood covariance,

    .. math:: \text{replace: } (1 - 1/n)^t, \qquad \text{accumulate: } \prod_{i=1}^t \Big(1 - \frac{1}{n i^2}\Big)
        \to \frac{\sin(\pi/\sqrt n)}{\pi/\sqrt n},

    and for n of the accumulated rows, drawn anew each round, the same recursion with the sampling variance of the
    subsample. ridge: what the refit adds to the diagonal, over the mean variance of the truth.
    Source: our derivation; accumulate is the variance's counterpart of the pi^2 / 6 of Gerstgrasser et al. (2024).

    >>> unverified_trace("replace", 10, 2), unverified_trace("accumulate", 10, 2)
    (array([1.  , 0.9 , 0.81]), array([1.    , 0.9   , 0.8775]))
    """
    pool, model, path = 1.0, 1.0, [1.0]
    for t in range(rounds):
        fresh = (1 - 1 / n) * model
        if policy == "replace":
            pool, model = fresh, fresh + ridge
        else:
            rows = t * n  # in the pool, before this round
            # The squared distance of the model's mean to the pool's: zero where the model is fitted to all of it.
            away = pool * (1 - n / rows) * rows / (rows - 1) / n if policy == "subsample" and t else 0.0
            pool = (t * pool + fresh + t / (t + 1) * (model / n + away)) / (t + 1)
            rows += n
            fitted = (1 - 1 / n) * rows / (rows - 1) * pool if policy == "subsample" else pool
            model = fitted + ridge
        path.append(model)
    return np.array(path)


def replace_log_volume(dim: int, n: int, rounds: int) -> np.ndarray:
    r"""Return :math:`E \log(|\hat\Sigma_t|/|\Sigma|)` under replace without a verifier; the ridge is left out.

    .. math:: t \sum_{i=1}^{d} \psi\Big(\frac{n-i}{2}\Big) + \log\frac 2n

    since :math:`n\hat\Sigma_{t+1}` is Wishart with n - 1 degrees of freedom, given :math:`\hat\Sigma_t`.
    """
    return np.arange(rounds + 1) * np.sum(digamma((n - np.arange(1, dim + 1)) / 2) + np.log(2 / n))


def selected_round(dim: int, bias: float, n: int, candidates: int) -> tuple[float, float, float]:
    r"""Return what one refit to the n nearest of N standard normal rows is expected to be, exactly.

    The centre lies at distance `bias` from the mean. Given the (n+1)-th squared distance t, the n nearest are
    independent, and with :math:`G_i` the share :math:`P(\chi^2_{d+i} \le t)/P(\chi^2_d \le t)`, non-central by
    :math:`\delta^2` = bias^2,

    .. math:: \text{shift: } \delta(1 - G_2), \qquad \text{variance across: } G_2, \qquad
        \text{along: } G_2 + \delta^2 (G_4 - G_2^2),

    the variances times 1 - 1/n. They are averaged over t, whose quantile is Beta(n + 1, N - n).

    Returns: the shift of the mean towards the centre, and the fitted variances along that direction and across it.

    >>> print("{:.4f} {:.4f} {:.4f}".format(*selected_round(10, 0.0, 300, 3000)))
    0.0000 0.3757 0.3757
    """
    if candidates == n:
        return 0.0, 1 - 1 / n, 1 - 1 / n
    nodes, weights = np.polynomial.legendre.leggauss(64)
    quantile = betaincinv(n + 1, candidates - n, (nodes + 1) / 2)
    t = chndtrix(quantile, dim, bias**2)
    second, fourth = (chndtr(t, dim + i, bias**2) / quantile for i in (2, 4))
    terms = (bias * (1 - second), second + bias**2 * (fourth - second**2), second)
    shift, along, across = (float(weights @ term) / 2 for term in terms)
    return shift, (1 - 1 / n) * along, (1 - 1 / n) * across


def selected_path(
    policy: str, dim: int, bias: float, fraction: float, rounds: int, ridge: float = 0.0
) -> np.ndarray:
    """Return the loop under selection as n goes to infinity: shift, variance along, across; (rounds + 1, 3).

    The truth is standard normal and the verifier's centre at distance `bias`, so the model stays symmetric about
    the line between them: N(shift, along) on it and N(0, across) in the other directions. Accumulating and
    subsampling have the same limit. Centred, each round multiplies the variance by :math:`G_2`, which makes replace
    geometric and accumulate a power law, :math:`t^{-(1 - G_2)}`.
    """
    state, pool = np.array([0.0, 1.0, 1.0]), np.zeros(3)
    path = [state]
    for t in range(rounds):
        fresh = _nearest(dim, bias, fraction, *state)
        if policy == "replace":
            pool = fresh
        else:
            gap = t / (t + 1) ** 2 * (fresh[0] - pool[0]) ** 2
            pool = (t * pool + fresh) / (t + 1) + np.array([0.0, gap, 0.0])
        state = pool + np.array([0.0, ridge, ridge])
        path.append(state)
    return np.array(path)


def _nearest(dim: int, bias: float, fraction: float, mean: float, along: float, across: float) -> np.ndarray:
    """Return mean, variance along and variance across of the nearest share of a model that is not round."""
    nodes, weights = np.polynomial.legendre.leggauss(256)
    scale = np.sqrt(along)

    def within(radius: float) -> tuple[np.ndarray, np.ndarray, Callable[[int], np.ndarray]]:
        """Places along the line inside the ball, their weights, and the share of the others' square that fits."""
        low, high = max(mean - 9 * scale, bias - radius), min(mean + 9 * scale, bias + radius)
        x = (low + high) / 2 + (high - low) / 2 * nodes
        density = np.exp(-((x - mean) ** 2) / (2 * along)) / np.sqrt(2 * np.pi * along)
        room = (radius - np.abs(x - bias)) * (radius + np.abs(x - bias)) / across
        return x, (high - low) / 2 * weights * density, lambda freedom: chdtr(freedom, np.maximum(room, 0.0))

    def missing(radius: float) -> float:
        _, mass, fits = within(radius)
        return float(mass @ fits(dim - 1)) - fraction

    least = max(0.0, abs(mean - bias) - 9 * scale)
    most = abs(mean - bias) + 9 * scale + np.sqrt(across) * (9 + np.sqrt(dim))
    x, mass, fits = within(cast(float, brentq(missing, least + 1e-12, most, xtol=1e-13)))
    kept = mass * fits(dim - 1) / fraction
    shift = float(kept @ x)
    return np.array([shift, kept @ (x - shift) ** 2, across * float(mass @ fits(dim + 1)) / fraction])
