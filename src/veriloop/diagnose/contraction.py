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

import numpy as np

from veriloop.core.key import Key
from veriloop.diagnose.alarms import Series

# Which of s, q and beta^2, by number, may differ from zero. A fit is the best of these supports.
WITHOUT_BIAS = ([0, 1], [0])
WITH_BIAS = ([0, 1, 2], [0, 1], [0, 2], [0])
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
        own = np.stack([power**2, noise, (1 - power) ** 2], axis=2)
        if not self.both:
            return own
        to_center = np.stack([power**2, noise, power**2], axis=2)
        return np.concatenate([own, to_center], axis=1)

    def path(self, parameters: np.ndarray) -> np.ndarray:
        """Return the expected errors by round, shape (n, rounds)."""
        return np.einsum("nrc,nc->nr", self.columns(parameters[:, 0]), parameters[:, 1:])

    def fit(
        self, means: np.ndarray, scale: np.ndarray, supports: Sequence[list[int]]
    ) -> np.ndarray:
        """Fit means by least squares, weighted by 1 / scale^2, on a grid of rho and a finer one.

        means: shape (n, rounds), each row a fit of its own. scale: shape (rounds,).
        supports: which parameters may differ from zero, see `WITH_BIAS`.

        Returns the parameters, shape (n, 4).
        """
        y = means / scale
        found = np.zeros((len(means), 4))
        low = 0.0
        high = 1.0
        for _ in range(2):
            rho = np.linspace(low, high, GRID)
            x = self.columns(rho) / scale[:, None]
            best = np.full(len(means), -np.inf)
            for support in supports:
                values, explained = _non_negative(x[:, :, support], y)
                at = explained.argmax(axis=1)
                rows = np.arange(len(y))
                better = explained[rows, at] > best
                best = np.where(better, explained[rows, at], best)
                found[better] = 0
                found[better, 0] = rho[at][better]
                found[np.ix_(better, np.array(support) + 1)] = values[rows, at][better]
            step = (high - low) / (GRID - 1)
            low = max(0.0, found[:, 0].min() - step)
            high = min(1.0, found[:, 0].max() + step)
        return found


def _non_negative(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least-squares coefficients for each rho, and how much of y they explain.

    x: shape (grid, rounds, c). y: shape (n, rounds). Coefficients have shape (n, grid, c); where
    one of them is negative the fit does not count, and explains minus infinity.
    """
    shape = (len(y), len(x), x.shape[2])
    rounds = x.shape[1]
    solve = np.linalg.pinv(x)
    back = np.swapaxes(x, 1, 2)
    values = (y @ solve.reshape(-1, rounds).T).reshape(shape)
    products = (y @ back.reshape(-1, rounds).T).reshape(shape)
    explained = (values * products).sum(axis=2)
    return values, np.where((values >= 0).all(axis=2), explained, -np.inf)


@dataclass(frozen=True)
class Fit:
    """A fit to the means over seeds.

    supports: which parameters might differ from zero. point: the parameters, shape (1, 4).
    scale: what the means were weighted by, shape (rounds,).
    misfit: the largest distance of a mean from the fit, in standard errors.
    explains: whether chance explains that.
    """

    supports: Sequence[list[int]]
    point: np.ndarray
    scale: np.ndarray
    misfit: float
    explains: bool

    @classmethod
    def to(cls, series: Series, model: Contraction, supports: Sequence[list[int]]) -> Fit:
        """Fit the means of a series."""
        mean = series.values.mean(axis=0)
        # Weights from the means themselves would favour the rounds that came out low by chance.
        scale = model.path(model.fit(mean[None], mean, supports))[0]
        point = model.fit(mean[None], scale, supports)
        gap = np.abs(mean - model.path(point)[0])
        error, worst = _noise_of_means(series)
        misfit = float((gap / error).max())
        return cls(supports, point, scale, misfit, misfit <= worst)

    def resample(self, series: Series, model: Contraction, count: int, key: Key) -> np.ndarray:
        """Fit means over resampled seeds, or normal ones where standard errors are all there is."""
        generator = key.fold("advise").numpy()
        if series.errors is None:
            seeds = len(series.values)
            picked = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
            means = picked @ series.values / seeds
        else:
            mean = series.values.mean(axis=0)
            rounds = np.arange(len(mean))
            apart = np.abs(np.subtract.outer(rounds, rounds))
            covariance = self.point[0, 0] ** apart * np.outer(series.errors, series.errors)
            means = generator.multivariate_normal(mean, covariance, size=count, method="eigh")
        return model.fit(means, self.scale, self.supports)


def _noise_of_means(series: Series) -> tuple[np.ndarray, float]:
    """Return the standard error of each mean, and how many chance explains in the worst round."""
    from scipy.special import ndtri, stdtrit

    level = 1 - 0.025 / series.values.shape[1]
    if series.errors is not None:
        return series.errors, float(ndtri(level))
    seeds = len(series.values)
    error = series.values.std(axis=0, ddof=1) / np.sqrt(seeds)
    return error, float(stdtrit(seeds - 1, level))
