r"""The expected error by round of a loop that a verifier pulls towards its centre.

It is that of verified retraining in linear regression. Near the verifier's centre :math:`\theta_c`
a round is :math:`\theta_{k+1} - \theta_c = \rho\,(\theta_k - \theta_c) + \eta`. Let
:math:`\beta^2 = \|\theta_c - \theta_*\|^2`, let the start be unbiased, and let the noise of round i
be :math:`q/m_i`, with :math:`m_i` the rows kept over those of round 1. Then

.. math:: E\|\theta_k - \theta_*\|^2 =
    \underbrace{\rho^{2k} s + q \sum_{i \le k} \rho^{2(k-i)}/m_i}_{variance}
    + \underbrace{\beta^2 (1 - \rho^k)^2}_{bias}, \qquad
    E\|\theta_k - \theta_c\|^2 = \text{the same variance} + \beta^2 \rho^{2k}.

At a constant size the plateau is :math:`P + \beta^2` with :math:`P = q/(1-\rho^2)`. With
:math:`\beta > 0` and :math:`s > P` the error turns back up after round
:math:`\log_\rho \beta^2/(\beta^2 + s - P)`, however small the bias. At :math:`\rho = 1` it is a
random walk. Source: our derivation from the paper's Theorem 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

# Which of s, q and beta^2, by number, may differ from zero. A fit is the best of these supports.
WITHOUT_BIAS = ([0, 1], [0])
WITH_BIAS = ([0, 1, 2], [0, 1], [0, 2], [0])
GRID = 51  # values of rho that a fit tries at a time
FINEST = 1e-4  # no grid of rho is finer than that which has this step
RIDGE = 1e-11  # keeps the normal equations solvable where two columns are the same


@dataclass(frozen=True)
class Contraction:
    """The expected errors for given sizes; parameters are rho, s, q and beta^2, shape (n, 4).

    both: the distance to the centre follows the error in the axis of rounds.
    """

    sizes: np.ndarray
    both: bool = False

    def columns(self, rho: np.ndarray) -> np.ndarray:
        """Return what s, q and beta^2 are multiplied by, shape (n, rounds, 3)."""
        power = rho[:, None] ** np.arange(len(self.sizes) + 1)
        noise = np.zeros_like(power)
        for k, size in enumerate(self.sizes):
            noise[:, k + 1] = rho**2 * noise[:, k] + 1 / size
        own = np.stack([power**2, noise, (1 - power) ** 2], axis=2)
        if not self.both:
            return own
        to_center = np.stack([power**2, noise, power**2], axis=2)
        return np.concatenate([own, to_center], axis=1)

    def path(self, parameters: np.ndarray) -> np.ndarray:
        """Return the expected errors by round, shape (n, rounds)."""
        return np.einsum("nrc,nc->nr", self.columns(parameters[:, 0]), parameters[:, 1:])

    def tangents(self, parameters: np.ndarray) -> np.ndarray:
        """Return how the errors move with rho and with what differs from zero, shape (rounds, c).

        parameters: of one fit, shape (4,).
        """
        rho = parameters[:1]
        above = np.minimum(rho + 1e-5, 1)
        below = np.maximum(rho - 1e-5, 0)
        slope = (self.columns(above) - self.columns(below))[0] / (above - below)
        moved = self.columns(rho)[0][:, parameters[1:] > 0]
        return np.column_stack([moved, slope @ parameters[1:]])

    def fit(
        self, means: np.ndarray, scale: np.ndarray, supports: Sequence[list[int]]
    ) -> np.ndarray:
        """Fit means by least squares, weighted by 1 / scale^2, on ever finer grids of rho.

        A finer grid covers what the one before found, as long as that halves its width.

        means: shape (n, rounds), each row a fit of its own.
        scale: shape (rounds,).
        supports: which parameters may differ from zero, see `WITH_BIAS`.

        Returns the parameters, shape (n, 4).
        """
        y = means / scale
        low = 0.0
        high = 1.0
        while True:
            found = self._fit(y, scale, supports, np.linspace(low, high, GRID))
            width = high - low
            step = width / (GRID - 1)
            low = max(0.0, found[:, 0].min() - step)
            high = min(1.0, found[:, 0].max() + step)
            if step < FINEST or high - low > 0.5 * width:
                return found

    def _fit(
        self, y: np.ndarray, scale: np.ndarray, supports: Sequence[list[int]], rho: np.ndarray
    ) -> np.ndarray:
        x = self.columns(rho) / scale[:, None]
        rows = np.arange(len(y))
        found = np.zeros((len(y), 4))
        best = np.full(len(y), -np.inf)
        for support in supports:
            values, explained = _non_negative(x[:, :, support], y)
            at = explained.argmax(axis=1)
            better = explained[rows, at] > best
            best = np.where(better, explained[rows, at], best)
            found[better] = 0
            found[better, 0] = rho[at][better]
            found[np.ix_(better, np.array(support) + 1)] = values[rows, at][better]
        return found


def _non_negative(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least-squares coefficients for each rho, and how much of y they explain.

    x: shape (grid, rounds, c).
    y: shape (n, rounds). Coefficients have shape (n, grid, c); where one of them is negative the
        fit does not count, and explains minus infinity.
    """
    shape = (len(y), len(x), x.shape[2])
    rounds = x.shape[1]
    back = np.swapaxes(x, 1, 2)
    normal = back @ x
    ridge = RIDGE * np.trace(normal, axis1=1, axis2=2)
    regular = normal + ridge[:, None, None] * np.eye(x.shape[2])
    solve = cast("np.ndarray", np.linalg.solve(regular, back))
    values = (y @ solve.reshape(-1, rounds).T).reshape(shape)
    products = (y @ back.reshape(-1, rounds).T).reshape(shape)
    explained = (values * products).sum(axis=2)
    return values, np.where((values >= 0).all(axis=2), explained, -np.inf)
