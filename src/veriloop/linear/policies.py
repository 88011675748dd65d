r"""What data policies do without a verifier: the expected squared error by round, in closed form.

Round 0 is the fit to the real data, round k the fit after k generations, all of equally many rows. Paths have shape
(rounds + 1,) and are in units of the error of one fit, which is `one_fit(rows, dim)` in linear regression with
standard normal rows and 1 / rows for the mean of a sample, times :math:`\sigma^2`.

Replacing is exact for designs drawn anew; the other paths are for one design relabelled every round. Sources:
Shumailov et al. (2024, Nature 631), Gerstgrasser et al. (2024, arXiv:2404.01413), Kazdan et al. (2024,
arXiv:2410.16713), He, Xu and Cheng (2025, arXiv:2502.18049); where none is named the form is our derivation.
"""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, polygamma  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core.checks import check_count
from veriloop.linear.truncated import Array

GOLDEN = (np.sqrt(5) - 1) / 2  # the share of fresh real data with the lowest error in the limit
ACCUMULATED = np.pi**2 / 6  # what accumulating stays below
SUBSAMPLED = np.pi**2 / 2 - 2  # what accumulating with a subsample tends to, as rows go to infinity


def one_fit(rows: int, dim: int) -> float:
    r"""Return :math:`E\|\hat\theta - \theta_*\|^2/\sigma^2 = d/(T - d - 1)` of least squares on T normal rows.

    >>> one_fit(100, 8)
    0.08791208791208792
    """
    if rows < dim + 2:
        raise ValueError(
            f"one_fit: rows must be at least dim + 2 = {dim + 2}, or the error is infinite, got {rows}"
        )
    return dim / (rows - dim - 1)


def replaced(rounds: int) -> Array:
    """Return the path of `Replace`, k + 1 (Gerstgrasser et al.).

    >>> replaced(3)
    array([1., 2., 3., 4.])
    """
    return np.arange(1.0, rounds + 2)


def accumulated(rounds: int) -> Array:
    r"""Return the path of `Accumulate`, :math:`\sum_{i=1}^{k+1} 1/i^2 < \pi^2/6` (Gerstgrasser et al.).

    >>> accumulated(20)[[1, 20]].round(4), ACCUMULATED
    (array([1.25  , 1.5984]), 1.64493...)
    """
    return np.cumsum(replaced(rounds) ** -2)


def fixed_real(rounds: int, share: float) -> Array:
    r"""Return the path of `MixReal` with the share f, :math:`\sum_{j=0}^k (1 - f)^{2j} \to 1/(1 - (1 - f)^2)`.

    The estimate is :math:`f\hat\theta_0 + (1 - f)(\hat\theta_k + \xi)`, so it keeps the error of round 0 whole.

    >>> fixed_real(20, 0.5)[[1, 20]].round(4)
    array([1.25  , 1.3333])
    """
    return np.cumsum((1 - share) ** (2 * replaced(rounds) - 2))


def fresh_real(rounds: int, share: float) -> Array:
    r"""Return the path of `WeightedReal`, or `FreshReal`, :math:`v_{k+1} = w^2 + (1 - w)^2 (1 + v_k)`, w the share.

    As many real rows as kept ones are drawn anew each round (He, Xu and Cheng).

    >>> fresh_real(20, 0.5)[[1, 20]].round(4)
    array([0.75  , 0.6667])
    """
    path = [1.0]
    for _ in range(rounds):
        path.append(share**2 + (1 - share) ** 2 * (1 + path[-1]))
    return np.array(path)


def fresh_real_limit(share: Array | float) -> Array:
    r"""Return what `fresh_real` tends to, :math:`(w^2 + (1-w)^2)/(w(2-w))`: least, and w itself, at `GOLDEN`.

    >>> fresh_real_limit(np.array([0.5, GOLDEN, 0.75])).round(4)
    array([0.6667, 0.618 , 0.6667])
    """
    share = np.asarray(share)
    return (share**2 + (1 - share) ** 2) / (share * (2 - share))


def pooled_mean(
    rounds: int, rows: int, *, window: int | None = None, sample: int | None = None
) -> Array:
    r"""Return the path of a mean fitted to `sample` of the rows of the last `window` rounds, the real data round 0.

    With all rows it is the path of `Window`, and grows by :math:`4/(w + 1)^2` a round in the end; without a window,
    that of `AccumulateSubsample`, which tends to :math:`\pi^2/2 - 2` for many rows. Both None: `accumulated`.

    A row is :math:`y = \hat\theta + \xi`. Samples of one batch are exchangeable, so the variance of one and the
    covariances of two, batch by batch, are all there is; a subset drawn at random takes their means:
    :math:`\mathrm{Var} = \overline{\mathrm{var}}/m + (1 - 1/m)\,\overline{\mathrm{cov}}`. Exact for any size.

    >>> pooled_mean(3, 10, window=1), np.diff(pooled_mean(40, 10, window=3))[-2:].round(4)
    (array([1., 2., 3., 4.]), array([0.25, 0.25]))
    >>> pooled_mean(200, 10**6, sample=10**6)[[1, 20, 200]].round(3), SUBSAMPLED
    (array([1.75 , 2.795, 2.92 ]), 2.93480...)
    """
    for name, n in (("rows", rows), ("window", window), ("sample", sample)):
        if n is not None:
            check_count(f"pooled_mean: {name}", n)
    variance = np.ones(rounds + 1)  # of one row of each batch
    covariance = np.zeros((rounds + 1, rounds + 1))  # of two rows, batch by batch
    path: list[float] = []
    for k in range(rounds + 1):
        oldest = 0 if window is None else k + 1 - window
        held = np.arange(k + 1) >= oldest
        count = rows * int(held.sum())
        m = count if sample is None else min(sample, count)
        own = variance[: k + 1]
        apart = covariance[: k + 1, : k + 1]
        # The covariance of one row of each batch with the mean of all rows held.
        with_mean = (rows * apart[held].sum(axis=0) + held * (own - np.diag(apart))) / count
        single = own[held].mean()
        pair = (with_mean[held].mean() * count - single) / max(count - 1, 1)
        path.append(single / m + (1 - 1 / m) * pair)
        if k < rounds:
            covariance[k + 1, : k + 1] = with_mean
            covariance[: k + 1, k + 1] = with_mean
            covariance[k + 1, k + 1] = path[-1]
            variance[k + 1] = path[-1] + 1
    return rows * np.array(path)


def gaussian_variance(rounds: int, sample: int, *, unbiased: bool = True) -> Array:
    r"""Return the variance of what a Gaussian writes in round k, its mean and variance refitted to M of its rows.

    Over :math:`\sigma^2` of the truth, here round 0, and with the drift of the mean in it: :math:`1 + k/M` with the
    unbiased variance (Shumailov et al.), and 1 in every round with that of maximum likelihood, whose expectation
    loses :math:`1 - (1 - 1/M)^k`, just what the mean drifts.

    >>> gaussian_variance(3, 10)
    array([1. , 1.1, 1.2, 1.3])
    """
    return 1 + unbiased * np.arange(rounds + 1) / sample


def gaussian_log_variance(
    rounds: int, sample: int, *, unbiased: bool = True
) -> tuple[Array, Array]:
    r"""Return mean and variance of :math:`\log s_k^2/\sigma^2`, that Gaussian's variance, shape (rounds + 1,) each.

    .. math:: k\,\big(\psi(\tfrac{M-1}{2}) - \log\tfrac{M-1}{2}\big), \qquad k\,\psi'(\tfrac{M-1}{2})

    with M in place of M - 1 in the logarithm for maximum likelihood. A sum of independent terms of negative mean:
    :math:`s_k^2 \to 0` almost surely, however its expectation stays.

    >>> mean, variance = gaussian_log_variance(100, 10)
    >>> mean[[1, 100]].round(3), variance[[1, 100]].round(3)
    (array([ -0.115, -11.521]), array([ 0.249, 24.873]))
    """
    if sample < 2:
        raise ValueError(
            f"gaussian_log_variance: sample must be at least 2, or there is no variance, got {sample}"
        )
    half = (sample - 1) / 2
    k = np.arange(rounds + 1)
    divisor = half if unbiased else sample / 2
    drift = float(digamma(half)) - np.log(divisor)
    scatter = float(polygamma(1, half))
    return k * drift, k * scatter
