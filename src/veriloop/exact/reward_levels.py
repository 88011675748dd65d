r"""A distribution over reward levels, refitted to samples that a reward has picked.

Each round draws sets of K samples, picks one of each set by its reward, and refits the model to the
picked ones by counting. The law of a picked sample is known exactly for every K.

Shapes: L is the number of levels; a model is an array of L probabilities; a batch is an array of
integers below L. Source: Ferbach et al. (2024), arXiv:2407.09499. The integral at finite K is our
derivation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.exact._arguments import Array, at_least, numbers, same_length

Levels = NDArray[np.int64]
_APART = 700.0  # e to the power of minus this is still a number


@dataclass(frozen=True)
class LevelReward:
    """Score a sample by the reward of its level.

    rewards: shape (L,), one reward a level.

    >>> LevelReward(np.array([0.0, 0.5, 2.0]))(Key(0), np.array([2, 0]))
    array([2., 0.])
    """

    rewards: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "rewards", numbers("LevelReward.rewards", self.rewards, ndim=1))

    def __call__(self, key: Key, batch: Levels) -> Array:
        return self.rewards[batch]


def draw_levels(key: Key, model: Array, n: int) -> Levels:
    """Draw n levels with the probabilities of the model: a `generate` of `Loop`.

    key: the address of the random numbers.
    model: shape (L,).

    >>> draw_levels(Key(0), np.array([0.0, 1.0]), 3)
    array([1, 1, 1])
    """
    return key.numpy().choice(len(model), n, p=model)


def frequencies(key: Key, model: Array, batch: Levels) -> Array:
    """Refit from scratch: the share of each level in the batch, shape (L,).

    key: not used.
    model: shape (L,); only its length is used.
    batch: levels, shape (n,).

    >>> frequencies(Key(0), np.zeros(3), np.array([0, 2, 2, 2]))
    array([0.25, 0.  , 0.75])
    """
    return np.bincount(batch, minlength=len(model)) / len(batch)


def picked_by_luce(model: Array, rewards: Array, k: float) -> Array:
    r"""Return the law of one of k samples, picked with probabilities proportional to e^reward.

    `Alternatives(k, Luce())` keeps rows of this law:

    .. math:: p(x) H_K(x), \qquad
        H_K(x) = E\,\frac{K e^{r(x)}}{e^{r(x)} + \sum_{i<K} e^{r(x_i)}}
        = K e^{r(x)} \int_0^\infty e^{-t e^{r(x)}} M(t)^{K-1} dt, \qquad M(t) = E\,e^{-t e^{r(x_i)}}

    as :math:`1/a = \int_0^\infty e^{-ta} dt`. At k = inf it is :math:`p e^r / E[e^r]`.

    model, rewards: shape (L,).
    k: samples in a set, at least 1; may be `inf`.

    Returns: shape (L,), exact to rounding.

    Raises:
        ValueError: if k is below 1, or rewards that the model draws are more than 700 apart at
            a finite k.

    >>> picked_by_luce(np.array([0.5, 0.5]), np.array([0.0, np.log(3.0)]), 2).round(6)
    array([0.375, 0.625])
    """
    model, rewards = _model_and_rewards("picked_by_luce", model, rewards)
    if k != np.inf:
        at_least("picked_by_luce: k", k, 1)
    drawn = (model > 0) | (np.ptp(rewards) <= _APART)
    law = np.zeros(len(model))
    law[drawn] = _luce(model[drawn], rewards[drawn], k)
    return law


def _luce(model: Array, rewards: Array, k: float) -> Array:
    """Return the law of levels that are drawn, or have rewards close to one another."""
    weight = np.exp(rewards - rewards.max())
    if k == np.inf:
        return model * weight / (model @ weight)
    apart = float(rewards.max() - rewards.min())
    if apart > _APART:
        raise ValueError(
            f"picked_by_luce: rewards must lie within {_APART:g} of one another, got {apart:g}; "
            "divide them by a temperature"
        )
    # In log t the integrand is analytic for |Im log t| < pi / 2 and falls off at both ends. So the
    # trapezoidal rule with this step is exact to rounding.
    step = 0.1
    t = np.exp(np.arange(-40, np.log(60 / weight.min()), step))
    decay = np.exp(-np.outer(weight, t))
    law = model * k * weight * step * (decay @ ((model @ decay) ** (k - 1) * t))
    return law / law.sum()  # a total off by rounding would grow as its k-th power when iterated


def picked_as_best(model: Array, rewards: Array, k: int) -> Array:
    """Return the law of the best of k samples: F(x)^k - F(x-)^k, shape (L,).

    `Alternatives(k, BestOf())` keeps rows of this law.

    model, rewards: shape (L,); no two rewards may be equal.
    k: samples in a set, at least 1.

    Raises:
        ValueError: if two rewards are equal, where the law depends on how ties are broken.

    >>> picked_as_best(np.array([0.5, 0.5]), np.array([0.0, 1.0]), 2)
    array([0.25, 0.75])
    """
    model, rewards = _model_and_rewards("picked_as_best", model, rewards)
    check_count("picked_as_best: k", k)
    if len(np.unique(rewards)) < len(rewards):
        raise ValueError(f"picked_as_best: no two rewards may be equal, got {rewards}")
    order = np.argsort(rewards)
    law = np.empty(len(model))
    law[order] = np.diff(np.cumsum(model[order]) ** k, prepend=0.0)
    return law / law.sum()


@dataclass(frozen=True)
class CurationLaw:
    r"""Measure a model's reward, and what the law says about the reward of the next model.

    The next model is fitted to `size` picked samples and `fresh` samples of real data. Given this
    model, its mean reward has an exact expectation, `reward_next`, and variance, `variance_next`.
    `reward` and `variance` are mean and variance of the reward under this model.

    rewards: shape (L,).
    real: the distribution of real data, shape (L,).
    picked: model -> law of a picked sample, shape (L,), such as `picked_by_luce`.
    size: picked samples a round.
    fresh: real samples a round, drawn again each time; 0 is none.

    >>> rewards = np.array([0.0, 1.0])
    >>> half = np.array([0.5, 0.5])
    >>> law = CurationLaw(rewards, half, lambda model: picked_as_best(model, rewards, 2), size=10)
    >>> law(Key(0), half)
    {'reward': 0.5, 'variance': 0.25, 'reward_next': 0.75, 'variance_next': 0.01875}
    """

    rewards: Array
    real: Array
    picked: Callable[[Array], Array]
    size: int
    fresh: int = 0

    def __post_init__(self) -> None:
        real, rewards = _model_and_rewards("CurationLaw", self.real, self.rewards)
        object.__setattr__(self, "real", real)
        object.__setattr__(self, "rewards", rewards)
        check_count("CurationLaw.size", self.size)
        check_count("CurationLaw.fresh", self.fresh, least=0)

    def expected(self, model: Array) -> Array:
        """Return the next model in expectation, shape (L,): the exact map of one round."""
        total = self.size * self.picked(model) + self.fresh * self.real
        return total / (self.size + self.fresh)

    def path(self, rounds: int) -> Array:
        """Return the map iterated from the real distribution, shape (rounds + 1, L).

        It is the loop in the limit of many samples. At a finite size the mean of many runs differs
        from it by O(1 / size), as the map is not linear.
        """
        check_count("CurationLaw.path: rounds", rounds, least=0)
        models = [self.real]
        for _ in range(rounds):
            models.append(self.expected(models[-1]))
        return np.array(models)

    def __call__(self, key: Key, model: Array) -> dict[str, float]:
        mean, variance = reward_moments(model, self.rewards)
        of_picked = reward_moments(self.picked(model), self.rewards)[1]
        of_real = reward_moments(self.real, self.rewards)[1]
        total = self.size * of_picked + self.fresh * of_real
        return {
            "reward": mean,
            "variance": variance,
            "reward_next": reward_moments(self.expected(model), self.rewards)[0],
            "variance_next": total / (self.size + self.fresh) ** 2,
        }


def reward_moments(model: Array, rewards: Array) -> tuple[float, float]:
    """Return mean and variance of the reward under a model.

    model, rewards: shape (L,).

    >>> reward_moments(np.array([0.5, 0.5]), np.array([0.0, 2.0]))
    (1.0, 1.0)
    """
    model, rewards = _model_and_rewards("reward_moments", model, rewards)
    mean = float(model @ rewards)
    return mean, float(model @ (rewards - mean) ** 2)


def _model_and_rewards(where: str, model: object, rewards: object) -> tuple[Array, Array]:
    """Return a distribution over levels and their rewards, or refuse them."""
    law = numbers(f"{where}: model", model, ndim=1)
    levels = numbers(f"{where}: rewards", rewards, ndim=1)
    same_length(where, model=law, rewards=levels)
    if law.min() < 0 or abs(law.sum() - 1) > 1e-6:
        raise ValueError(
            f"{where}: model must be probabilities that sum to 1, got the sum {law.sum():.6g} "
            f"and the least {law.min():.3g}"
        )
    return law, levels
