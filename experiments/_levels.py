"""A distribution over reward levels as the model, choices among K samples, and the exact law of what they pick.

Source: Ferbach et al. (2024), arXiv:2407.09499; the integral at finite K is our derivation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from veriloop import Key


@dataclass(frozen=True)
class Reward:
    """Score a level by its reward; `levels` has shape (L,), a batch is integers below L."""

    levels: np.ndarray

    def __call__(self, key: Key, batch: np.ndarray) -> np.ndarray:
        return self.levels[batch]


def sample(key: Key, model: np.ndarray, n: int) -> np.ndarray:
    """Draw `n` levels with the probabilities `model`, shape (L,)."""
    return key.numpy().choice(len(model), n, p=model)


def frequencies(key: Key, model: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Refit from scratch: the maximum-likelihood probabilities, shape (L,)."""
    return np.bincount(batch, minlength=len(model)) / len(batch)


def picked_by_luce(model: np.ndarray, rewards: np.ndarray, k: float) -> np.ndarray:
    r"""Return the law of one of k independent samples of `model`, picked with probabilities proportional to e^r.

    .. math:: p(x) H_K(x), \qquad H_K(x) = E\,\frac{K e^{r(x)}}{e^{r(x)} + \sum_{i<K} e^{r(x_i)}}
        = K e^{r(x)} \int_0^\infty e^{-t e^{r(x)}} M(t)^{K-1} dt, \qquad M(t) = E\,e^{-t e^{r(x_i)}}

    as :math:`1/a = \int_0^\infty e^{-ta} dt`. k = inf: :math:`p e^r / E[e^r]`. In :math:`s = \log t` the integrand
    is analytic for :math:`|\mathrm{Im}\, s| < \pi/2` and falls off at both ends: the trapezoidal rule is exact to
    rounding. Shapes (L,).
    """
    weight = np.exp(rewards - rewards.max())
    if k == np.inf:
        return model * weight / (model @ weight)
    t = np.exp(np.arange(-40, np.log(60 / weight.min()), 0.1))
    decay = np.exp(-np.outer(weight, t))
    law = model * k * weight * 0.1 * (decay @ ((model @ decay) ** (k - 1) * t))
    return law / law.sum()  # iterated, a total off by rounding would grow as its k-th power


def picked_as_best(model: np.ndarray, rewards: np.ndarray, k: int) -> np.ndarray:
    """Return the law of the best of k independent samples, F(x)^k - F(x-)^k; no two levels are equal."""
    order = np.argsort(rewards)
    law = np.empty(len(model))
    law[order] = np.diff(np.cumsum(model[order]) ** k, prepend=0.0)
    return law / law.sum()


@dataclass(frozen=True)
class Round:
    """Measure mean and variance of the reward, and mean and variance of what the next model's mean reward is to be.

    picked: model -> law of the picked one; `size` of them and `fresh` rows of `real` are what is fitted to.
    """

    rewards: np.ndarray
    real: np.ndarray
    picked: Callable[[np.ndarray], np.ndarray]
    size: int
    fresh: int

    def expected(self, model: np.ndarray) -> np.ndarray:
        """Return the exact map, the next model in expectation: (1 - share) picked + share real."""
        return (self.size * self.picked(model) + self.fresh * self.real) / (self.size + self.fresh)

    def __call__(self, key: Key, model: np.ndarray) -> dict[str, float]:
        mean, variance = moments(model, self.rewards)
        spreads = [moments(law, self.rewards)[1] for law in (self.picked(model), self.real)]
        return {
            "reward": mean,
            "variance": variance,
            "reward_next": moments(self.expected(model), self.rewards)[0],
            "variance_next": (self.size * spreads[0] + self.fresh * spreads[1]) / (self.size + self.fresh) ** 2,
        }


def moments(model: np.ndarray, rewards: np.ndarray) -> tuple[float, float]:
    """Return mean and variance of the reward."""
    mean = float(model @ rewards)
    return mean, float(model @ (rewards - mean) ** 2)
