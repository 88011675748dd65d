"""The verified loop on the block design, many replicates at once, exact in distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import (  # pyright: ignore[reportMissingTypeStubs]
    log_ndtr,
    ndtr,
    ndtri,
    ndtri_exp,
)

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.linear.truncated import Array, Mask, counts, finite, interval, positive

_SEGMENT = 65_536  # draws summed at once; a constant, so that sums never depend on `chunk`
_BELOW_ONE = 1 - 2**-53
_TAIL = -5.0  # a window that ends below this is drawn in logarithms


def simulate(
    singular_values: ArrayLike,
    center_offset: ArrayLike,
    half_width: ArrayLike,
    sizes: Sequence[int],
    replicates: int,
    key: Key,
    *,
    chunk: int = 131_072,
) -> Array:
    r"""Return the estimation error by round.

    .. math:: a_k = v_j^\top(\hat\theta_k - \theta_*)/\sigma

    The real-data estimate has :math:`a_0 \sim N(0, 1/\mu_j^2)`. In round k each direction keeps
    exactly :math:`n_k` labels, independent draws of :math:`N(a_{k-1}, 1)` truncated to :math:`[c_j
    - w, c_j + w]`, and :math:`a_k` is their mean. Labels are drawn by inverting the truncated
    distribution function, so no candidate is ever thrown away and arms that share a key are coupled
    monotonically.

    singular_values: mu, shape (p,), of the real design.
    center_offset: c, shape (p,).
    half_width: w, a number or shape (p,); `inf` is no verifier.
    sizes: kept rows per direction, one a round.
    chunk: the most draws held in memory, to within one direction's; the result does not depend on
        it.

    Returns: shape (rounds + 1, replicates, p), in units of sigma.

    >>> from veriloop import Key
    >>> errors = simulate([10.0, 10.0], [0.0, 0.0], 1.3, [100] * 5, replicates=50, key=Key(0))
    >>> errors.shape
    (6, 50, 2)

    Raises:
        ValueError: if shapes disagree, or a singular value, half width, size or count is not
        positive.
    """
    mu = positive("simulate: singular_values", singular_values, infinite=True)
    center = finite("simulate: center_offset", center_offset)
    width = positive("simulate: half_width", half_width, infinite=True)
    if width.shape not in ((), mu.shape):
        raise ValueError(
            f"simulate: half_width must be one number or have shape {mu.shape}, got {width.shape}"
        )
    width = np.broadcast_to(width, mu.shape)
    if mu.ndim != 1 or center.shape != mu.shape:
        shapes = f"{mu.shape} and {center.shape}"
        raise ValueError(f"simulate needs mu and center_offset of one shape, got {shapes}")
    return simulate_between(mu, center - width, center + width, sizes, replicates, key, chunk=chunk)


def simulate_between(
    singular_values: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    sizes: Sequence[int],
    replicates: int,
    key: Key,
    *,
    chunk: int = 131_072,
) -> Array:
    """Return what `simulate` does, for labels that pass between any two bounds.

    lower, upper: shape (p,), in units of sigma from the truth; they may be infinite. The other
        arguments, and what is returned, are those of `simulate`.

    >>> simulate_between([10.0], [0.0], [np.inf], [100], replicates=50, key=Key(0)).shape
    (2, 50, 1)

    Raises:
        ValueError: if shapes disagree, or a singular value, size or count is not positive.
    """
    mu = positive("simulate: singular_values", singular_values, infinite=True)
    if not mu.shape == np.shape(lower) == np.shape(upper) or mu.ndim != 1 or not mu.size:
        shapes = f"{mu.shape}, {np.shape(lower)} and {np.shape(upper)}"
        raise ValueError(f"simulate needs mu, lower and upper of one shape (p,), got {shapes}")
    sizes = counts("simulate: sizes", sizes)
    check_count("simulate: replicates", replicates)
    check_count("simulate: chunk", chunk)
    errors = np.empty((len(sizes) + 1, replicates, len(mu)))
    errors[0] = key.fold(0, "real").numpy().standard_normal((replicates, len(mu))) / mu
    for k, n in enumerate(sizes):
        labels = key.fold(k + 1, "labels")
        errors[k + 1] = truncated_means(labels, errors[k], lower, upper, n, chunk=chunk)
    return errors


def truncated_means(
    key: Key, mean: ArrayLike, lower: ArrayLike, upper: ArrayLike, n: int, *, chunk: int = 131_072
) -> Array:
    """Return means of independent draws of N(mean, 1) truncated to [lower, upper].

    They are exact in distribution.

    key: the address of the draws.
    mean, lower, upper: they broadcast, and the result has their common shape. Bounds may be
        infinite.
    n: draws of each mean.
    chunk: the most draws held in memory; the result does not depend on it.

    >>> from veriloop import Key
    >>> truncated_means(Key(0), 0.0, [-0.5, 40.0], [0.5, 41.0], n=100_000).round(2)
    array([ 0.  , 40.02])

    Raises:
        ValueError: if a mean is not finite, a lower bound not below its upper one, or n below 1.
    """
    check_count("truncated_means: n", n)
    check_count("truncated_means: chunk", chunk)
    arguments = interval("truncated_means", mean, 1.0, lower, upper)
    mean, _, lower, upper = np.broadcast_arrays(*arguments)
    a = (lower - mean).ravel()
    b = (upper - mean).ravel()
    generator = key.numpy()
    # If the middle of the window lies left of 0, the distribution function is small and keeps
    # its digits. Other windows are reflected.
    flip = b > -a
    near = np.where(flip, -b, a)
    far = np.where(flip, -a, b)
    means = np.empty(mean.size)
    lanes = max(1, chunk // n)
    for start in range(0, mean.size, lanes):
        lane = slice(start, start + lanes)
        means[lane] = _lane_means(generator, near[lane], far[lane], flip[lane], n)
    return mean + np.where(flip, -means, means).reshape(mean.shape)


def _lane_means(generator: np.random.Generator, a: Array, b: Array, rising: Mask, n: int) -> Array:
    """Means of `n` standard normals truncated to [a, b], for a few lanes at a time."""
    if n <= _SEGMENT:
        return _draw(generator, a, b, rising, n).mean(axis=1)
    means = np.empty(len(a))
    for i in range(len(a)):
        lane = slice(i, i + 1)
        total = 0.0
        for start in range(0, n, _SEGMENT):
            size = min(_SEGMENT, n - start)
            total += _draw(generator, a[lane], b[lane], rising[lane], size).sum()
        means[i] = total / n
    return means


def _draw(generator: np.random.Generator, a: Array, b: Array, rising: Mask, n: int) -> Array:
    """Standard normals truncated to [a, b], shape (lanes, n), by inversion.

    The middle of [a, b] is at most 0. Draws fall as the uniforms rise. Where `rising`, they rise
    with them; after reflection they then fall as the others do.
    """
    u: Array = generator.random((len(a), n))
    # The factor keeps high - span above 0, and high below 1: no draw is infinite.
    low: Array = ndtr(a)
    high: Array = np.minimum(ndtr(b), _BELOW_ONE)
    span: Array = (high - low) * _BELOW_ONE
    tail = b < _TAIL
    falling = np.where(rising[tail, None], _BELOW_ONE - u[tail], u[tail])
    tails = _draw_in_logs(falling, a[tail, None], b[tail, None])
    slope: Array = np.where(rising, span, -span)
    start: Array = np.where(rising, high - span, high)
    u *= slope[:, None]
    u += start[:, None]
    ndtri(u, out=u)
    u[tail] = tails
    return u


def _draw_in_logs(u: Array, a: Array, b: Array) -> Array:
    log_high: Array = log_ndtr(b)
    log_low: Array = log_ndtr(a)
    return ndtri_exp(log_high + np.log1p(u * np.expm1(log_low - log_high)))
