r"""The expected error by round of a loop that a verifier pulls towards its centre, fitted to what was measured.

It is that of verified retraining in linear regression. Near the verifier's centre :math:`\theta_c` a round is
:math:`\theta_{k+1} - \theta_c = \rho\,(\theta_k - \theta_c) + \eta`, so that, with
:math:`\beta^2 = \|\theta_c - \theta_*\|^2`, a start that is unbiased, and noise :math:`q/m_i` in round i
(:math:`m_i` the rows kept, over those of round 1),

.. math:: E\|\theta_k - \theta_*\|^2 = \underbrace{\rho^{2k} s + q \sum_{i \le k} \rho^{2(k-i)}/m_i}_{variance}
    + \underbrace{\beta^2 (1 - \rho^k)^2}_{bias}, \qquad
    E\|\theta_k - \theta_c\|^2 = \text{the same variance} + \beta^2 \rho^{2k}.

At a constant size the plateau is :math:`P + \beta^2` with :math:`P = q/(1-\rho^2)`, and with :math:`\beta > 0` and
:math:`s > P` the error turns back up after round :math:`\log_\rho \beta^2/(\beta^2 + s - P)`, however small the
bias. At :math:`\rho = 1` it is a random walk. Source: our derivation from the paper's Theorem 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from veriloop.core.key import Key
from veriloop.diagnose.alarms import Series

NOISE, BOTH = ([0, 1], [0]), ([0, 1, 2], [0, 1], [0, 2], [0])  # which of s, q and beta^2 may differ from zero
GRID = 101  # values of rho that a fit tries


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
        bias = [(1 - power) ** 2, power**2] if self.both else [(1 - power) ** 2]
        return np.concatenate([np.stack([power**2, noise, each], axis=2) for each in bias], axis=1)

    def path(self, parameters: np.ndarray) -> np.ndarray:
        """Return the expected errors by round, shape (n, rounds)."""
        return np.einsum("nrc,nc->nr", self.columns(parameters[:, 0]), parameters[:, 1:])

    def fit(self, means: np.ndarray, scale: np.ndarray, parts: Sequence[list[int]]) -> np.ndarray:
        """Fit means, shape (n, rounds), with weights 1 / scale^2: on a grid over rho, then on a finer one.

        Given rho the model is linear, and its non-negative fit the best of those of `parts` that come out so.
        """
        y, rows, found, low, high = means / scale, np.arange(len(means)), np.zeros((len(means), 4)), 0.0, 1.0
        for _ in range(2):
            best, rho = np.full(len(means), -np.inf), np.linspace(low, high, GRID)
            x = self.columns(rho) / scale[:, None]
            for part in parts:
                solve, back = np.linalg.pinv(x[:, :, part]), np.swapaxes(x[:, :, part], 1, 2)
                shape = (len(y), GRID, len(part))
                values, products = ((y @ each.reshape(-1, len(scale)).T).reshape(shape) for each in (solve, back))
                explained = np.where((values >= 0).all(axis=2), (values * products).sum(axis=2), -np.inf)
                at = explained.argmax(axis=1)
                better = explained[rows, at] > best
                best = np.where(better, explained[rows, at], best)
                found[better] = 0
                found[better, 0] = rho[at][better]
                found[np.ix_(better, np.array(part) + 1)] = values[rows, at][better]
            step = (high - low) / (GRID - 1)
            low, high = max(0.0, found[:, 0].min() - step), min(1.0, found[:, 0].max() + step)
        return found


@dataclass(frozen=True)
class Fit:
    """A fit to the means: its parameters, shape (1, 4), the means it was weighted by, and how far off it is."""

    parts: Sequence[list[int]]
    point: np.ndarray
    scale: np.ndarray
    misfit: float
    explains: bool

    @classmethod
    def to(cls, series: Series, model: Contraction, parts: Sequence[list[int]]) -> Fit:
        from scipy.special import ndtri, stdtrit

        mean, seeds = series.values.mean(axis=0), len(series.values)
        # Weights from the means themselves would favour the rounds that came out low by chance.
        scale = model.path(model.fit(mean[None], mean, parts))[0]
        point = model.fit(mean[None], scale, parts)
        error = series.values.std(axis=0, ddof=1) / np.sqrt(seeds) if series.errors is None else series.errors
        gap, level = np.abs(mean - model.path(point)[0]), 1 - 0.025 / len(mean)
        worst = stdtrit(seeds - 1, level) if series.errors is None else ndtri(level)
        misfit = float((gap / error).max())
        return cls(parts, point, scale, misfit, misfit <= worst)

    def resample(self, series: Series, model: Contraction, count: int, key: Key) -> np.ndarray:
        """Fit means over resampled seeds, or normal ones where standard errors are all there is."""
        generator, mean, seeds = key.fold("advise").numpy(), series.values.mean(axis=0), len(series.values)
        if series.errors is None:
            means = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=count) @ series.values / seeds
        else:
            apart = np.abs(np.subtract.outer(np.arange(len(mean)), np.arange(len(mean))))
            covariance = self.point[0, 0] ** apart * np.outer(series.errors, series.errors)
            means = generator.multivariate_normal(mean, covariance, size=count, method="eigh")
        return model.fit(means, self.scale, self.parts)
