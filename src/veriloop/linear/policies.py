r"""What data policies do without a verifier: the expected squared error by round, in closed form.

Round 0 is the fit to the real data, and round k the fit after k generations. All have equally many
rows. A path has shape (rounds + 1,) and is in units of the error of one fit. That error is
`one_fit(rows, dim)` in linear regression with standard normal rows, and 1 / rows for the mean of a
sample, times :math:`\sigma^2`.

Replacing is exact if every round draws a new design. The other paths are for one design that is
relabelled in every round. Sources: Shumailov et al. (2024, Nature 631), Gerstgrasser et al. (2024,
arXiv:2404.01413), Kazdan et al. (2024, arXiv:2410.16713), He, Xu and Cheng (2025,
arXiv:2502.18049). Where none is named, the form is our derivation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from scipy import special  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core.checks import check_count, check_fraction
from veriloop.linear.truncated import Array, numbers

_polygamma = cast(Callable[[int, float], float], special.polygamma)  # pyright: ignore

GOLDEN = (np.sqrt(5) - 1) / 2  # the weight of fresh real data with the lowest error in the limit
ACCUMULATED = np.pi**2 / 6  # what accumulating stays below
SUBSAMPLED = np.pi**2 / 2 - 2  # what accumulating with a subsample tends to, as rows go to infinity


def one_fit(rows: int, dim: int) -> float:
    r"""Return :math:`E\|\hat\theta - \theta_*\|^2/\sigma^2 = d/(T - d - 1)` of least squares.

    rows: T, standard normal ones, at least dim + 2.
    dim: d, the number of parameters.

    >>> one_fit(100, 8)
    0.08791208791208792
    """
    check_count("one_fit: rows", rows)
    check_count("one_fit: dim", dim)
    if rows < dim + 2:
        raise ValueError(
            f"one_fit: rows must be at least dim + 2 = {dim + 2}, got {rows}; "
            "with fewer the error is infinite"
        )
    return dim / (rows - dim - 1)


def replaced(rounds: int) -> Array:
    """Return the path of `Replace`, k + 1 (Gerstgrasser et al.).

    rounds: K, how many rounds.

    >>> replaced(3)
    array([1., 2., 3., 4.])
    """
    check_count("replaced: rounds", rounds, least=0)
    return np.arange(1.0, rounds + 2)


def accumulated(rounds: int) -> Array:
    r"""Return the path of `Accumulate`, :math:`\sum_{i=1}^{k+1} 1/i^2 < \pi^2/6`.

    Source: Gerstgrasser et al. (2024).

    rounds: K, how many rounds.

    >>> accumulated(20)[[1, 20]].round(4), ACCUMULATED
    (array([1.25  , 1.5984]), 1.64493...)
    """
    check_count("accumulated: rounds", rounds, least=0)
    return np.cumsum(replaced(rounds) ** -2)


def fixed_real(rounds: int, share: float) -> Array:
    r"""Return the path of `MixReal`, :math:`\sum_{j=0}^k (1 - f)^{2j} \to 1/(1 - (1 - f)^2)`.

    The estimate is :math:`f\hat\theta_0 + (1 - f)(\hat\theta_k + \xi)`, so it keeps the error of
    round 0 whole.

    rounds: K, how many rounds.
    share: f, the fraction of real rows.

    >>> fixed_real(20, 0.5)[[1, 20]].round(4)
    array([1.25  , 1.3333])
    """
    check_count("fixed_real: rounds", rounds, least=0)
    check_fraction("fixed_real: share", share, zero=True, one=True)
    return np.cumsum((1 - share) ** (2 * replaced(rounds) - 2))


def fresh_real(rounds: int, share: float) -> Array:
    r"""Return the path of `WeightedReal` or `FreshReal`.

    .. math:: v_{k+1} = w^2 + (1 - w)^2 (1 + v_k)

    Each round draws as many new real rows as it keeps (He, Xu and Cheng).

    rounds: K, how many rounds.
    share: w, the weight of the real rows.

    >>> fresh_real(20, 0.5)[[1, 20]].round(4)
    array([0.75  , 0.6667])
    """
    check_count("fresh_real: rounds", rounds, least=0)
    check_fraction("fresh_real: share", share, zero=True, one=True)
    path = [1.0]
    for _ in range(rounds):
        path.append(share**2 + (1 - share) ** 2 * (1 + path[-1]))
    return np.array(path)


def fresh_real_limit(share: Array | float) -> Array:
    r"""Return what `fresh_real` tends to, :math:`(w^2 + (1-w)^2)/(w(2-w))`.

    It is least at `GOLDEN`, where it equals w itself.

    share: w, the weight of the real rows, a number or an array.

    >>> fresh_real_limit(np.array([0.5, GOLDEN, 0.75])).round(4)
    array([0.6667, 0.618 , 0.6667])
    """
    share = _fractions("fresh_real_limit: share", share)
    if not np.all(share > 0):
        raise ValueError("fresh_real_limit: share must be in (0, 1], got 0, which has no limit")
    return (share**2 + (1 - share) ** 2) / (share * (2 - share))


def pooled_mean(
    rounds: int, rows: int, *, window: int | None = None, sample: int | None = None
) -> Array:
    r"""Return the path of a mean that is fitted to rows of several rounds; exact for any size.

    The real data are round 0. With all rows this is the path of `Window`, which in the end grows by
    :math:`4/(w + 1)^2` a round. Without a window it is the path of `AccumulateSubsample`, which
    tends to :math:`\pi^2/2 - 2` for many rows. With neither it is `accumulated`.

    A row is :math:`y = \hat\theta + \xi`. The samples of one batch are exchangeable. So the
    variance of one and the covariances of two, batch by batch, determine everything. A subset drawn
    at random takes their means:
    :math:`\mathrm{Var} = \overline{\mathrm{var}}/m + (1 - 1/m)\,\overline{\mathrm{cov}}`.

    rounds: K, how many rounds.
    rows: of each round.
    window: w, how many of the last rounds are used. None: all.
    sample: m, how many of their rows are drawn at random. None: all.

    >>> pooled_mean(3, 10, window=1), np.diff(pooled_mean(40, 10, window=3))[-2:].round(4)
    (array([1., 2., 3., 4.]), array([0.25, 0.25]))
    >>> pooled_mean(200, 10**6, sample=10**6)[[1, 20, 200]].round(3), SUBSAMPLED
    (array([1.75 , 2.795, 2.92 ]), 2.93480...)
    """
    check_count("pooled_mean: rounds", rounds, least=0)
    check_count("pooled_mean: rows", rows)
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
    r"""Return the variance of a Gaussian's rows in round k, when it is refitted to its own rows.

    It is in units of the variance :math:`\sigma^2` of the truth, here round 0, and contains the
    drift of the mean. With the unbiased variance it is :math:`1 + k/M` (Shumailov et al.). With
    that of maximum likelihood it is 1 in every round: its expectation loses :math:`1 - (1 -
    1/M)^k`, just what the mean drifts.

    rounds: K, how many rounds.
    sample: M, rows of each refit.
    unbiased: divide by M - 1, and not by M.

    >>> gaussian_variance(3, 10)
    array([1. , 1.1, 1.2, 1.3])
    """
    check_count("gaussian_variance: rounds", rounds, least=0)
    check_count("gaussian_variance: sample", sample, least=1 + unbiased)
    return 1 + unbiased * np.arange(rounds + 1) / sample


def gaussian_log_variance(
    rounds: int, sample: int, *, unbiased: bool = True
) -> tuple[Array, Array]:
    r"""Return mean and variance of the logarithm of that Gaussian's variance, by round.

    .. math:: E \log\frac{s_k^2}{\sigma^2} = k\,\big(\psi(\tfrac{M-1}{2}) - \log\tfrac{M-1}{2}\big),
        \qquad \mathrm{Var} = k\,\psi'(\tfrac{M-1}{2})

    For maximum likelihood, M replaces M - 1 in the logarithm. The terms are independent and have a
    negative mean. So :math:`s_k^2 \to 0` almost surely, although its expectation stays. Both
    results have shape (rounds + 1,).

    rounds: K, how many rounds.
    sample: M, rows of each refit, at least 2.
    unbiased: divide by M - 1, and not by M.

    >>> mean, variance = gaussian_log_variance(100, 10)
    >>> mean[[1, 100]].round(3), variance[[1, 100]].round(3)
    (array([ -0.115, -11.521]), array([ 0.249, 24.873]))
    """
    check_count("gaussian_log_variance: rounds", rounds, least=0)
    check_count("gaussian_log_variance: sample", sample)
    if sample < 2:
        raise ValueError(
            f"gaussian_log_variance: sample must be at least 2, got {sample}; "
            "one row has no variance"
        )
    half = (sample - 1) / 2
    k = np.arange(rounds + 1)
    divisor = half if unbiased else sample / 2
    drift = _polygamma(0, half) - float(np.log(divisor))
    scatter = _polygamma(1, half)
    return np.asarray(float(drift) * k, float), np.asarray(float(scatter) * k, float)


def _fractions(what: str, value: Array | float) -> Array:
    """Return numbers from 0 to 1 as an array, or refuse them by the name `what`."""
    array = numbers(what, value)
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        raise ValueError(f"{what} must be in [0, 1], got {array[wrong][0]}")
    return array
