"""Fits of the expected errors to the means over seeds, and to means that could as well have been.

The means have two kinds of noise. That of each seed shows in how seeds differ. That which all seeds
share, as the noise of one test set, shows only in how the means miss the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from veriloop.core.key import Key
from veriloop.diagnose.contraction import Contraction
from veriloop.diagnose.series import TIE, Series

FAR = 8  # beyond so many starts' errors the bias is too large for the formula
RULED_OUT = 0.025  # no more of the resampled fits may be beyond it
LEAST_SCALE = 0.01  # a weight is that of an error no smaller than this fraction of its mean


@dataclass(frozen=True)
class Fit:
    """A fit to the means over seeds.

    supports: which parameters might differ from zero.
    point: the parameters, shape (1, 4).
    scale: what the means were weighted by, shape (columns,).
    misfit: the largest distance of a mean from the fit, in standard errors between seeds.
    missed: the column of that mean.
    explains: whether chance explains that.
    """

    supports: Sequence[list[int]]
    point: np.ndarray
    scale: np.ndarray
    misfit: float
    missed: int
    explains: bool

    @classmethod
    def to(cls, series: Series, model: Contraction, supports: Sequence[list[int]]) -> Fit:
        """Fit the means of a series, whose values are errors above zero."""
        mean = series.values.mean(axis=0)
        # Weights from the means themselves would favour the rounds that came out low by chance.
        first = model.fit(mean[None], mean, supports)
        scale = np.maximum(model.path(first)[0], LEAST_SCALE * mean)
        point = model.fit(mean[None], scale, supports)
        gap = np.abs(mean - model.path(point)[0])
        error, worst = _noise_of_means(series)
        spread = error > TIE * mean  # seeds that share their first model do not differ in round 0
        apart = np.zeros_like(gap)
        apart[spread] = gap[spread] / error[spread]
        missed = int(apart.argmax())
        misfit = float(apart[missed])
        return cls(supports, point, scale, misfit, missed, misfit <= worst)

    def resample(self, series: Series, model: Contraction, count: int, key: Key) -> np.ndarray:
        r"""Fit means that could as well have been, and return the parameters, shape (count, 4).

        .. math:: \bar y^* = \bar y + \frac{\sum_s z_s (y_s - \bar y)}
            {\sqrt{S (S - 1)\, \chi^2_{S-1}/(S-1)}} + \tau^* \zeta,

        with normal z and one :math:`\zeta` a round, in units of `scale`. The first part makes the
        percentiles of a linear function of the means its Student's t interval. :math:`\tau^2` is
        how much the squared distance from the fit is above what the noise of seeds explains; it is
        drawn as :math:`\tau^{*2} = \tau^2 d/\chi^2_d`, with d rounds more than parameters.
        """
        generator = key.fold("advise").numpy()
        mean = series.values.mean(axis=0)
        rest = _rest(model, self.point[0], self.scale)
        if series.errors is None:
            seeds = len(series.values)
            apart = (series.values - mean) / self.scale
            within = ((apart @ rest) * apart).sum() / (seeds * (seeds - 1))
            weights = generator.standard_normal((count, seeds))
            weights -= weights.mean(axis=1, keepdims=True)
            freedom = generator.chisquare(seeds - 1, count) / (seeds - 1)
            drawn = (weights @ apart) / np.sqrt(seeds * (seeds - 1) * freedom)[:, None]
        else:
            covariance = self._covariance(series.errors / self.scale)
            within = (rest * covariance).sum()
            drawn = generator.multivariate_normal(
                np.zeros(len(mean)), covariance, size=count, method="eigh"
            )
        rounds = len(series.rounds)
        shared = np.concatenate([np.eye(rounds)] * len(series.names))
        free = max(1, rounds - 1 - int((self.point[0, 1:] > 0).sum()))
        gap = (mean - model.path(self.point)[0]) / self.scale
        seen = max(np.trace(shared.T @ rest @ shared), TIE)
        excess = max(0.0, gap @ gap - within) / seen
        tau = np.sqrt(excess * free / generator.chisquare(free, count))
        drawn += (generator.standard_normal((count, rounds)) * tau[:, None]) @ shared.T
        return model.fit(mean + drawn * self.scale, self.scale, self.supports)

    def _covariance(self, errors: np.ndarray) -> np.ndarray:
        """Return that of means with known standard errors, correlated by rho a round."""
        rounds = np.arange(len(errors))
        apart = np.abs(np.subtract.outer(rounds, rounds))
        return self.point[0, 0] ** apart * np.outer(errors, errors)


def may_be_far(parameters: np.ndarray) -> bool:
    """Tell whether the verifier's centre may be so far off that rho does not hold on the way.

    parameters: of fits that could as well have been, shape (n, 4).
    """
    _, start, _, bias = parameters.T
    far = bias > FAR * start
    return bool(far.sum() > RULED_OUT * len(far))


def _rest(model: Contraction, point: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the projection on what the parameters cannot fit, shape (columns, columns)."""
    basis, _ = np.linalg.qr(model.tangents(point) / scale[:, None])
    return np.eye(len(scale)) - basis @ basis.T


def _noise_of_means(series: Series) -> tuple[np.ndarray, float]:
    """Return the standard error of each mean, and how many chance explains in the worst round."""
    from scipy.special import ndtri, stdtrit  # pyright: ignore[reportMissingTypeStubs]

    level = 1 - 0.025 / series.values.shape[1]
    if series.errors is not None:
        return series.errors, float(ndtri(level))
    seeds = len(series.values)
    error = series.values.std(axis=0, ddof=1) / np.sqrt(seeds)
    return error, float(stdtrit(seeds - 1, level))
