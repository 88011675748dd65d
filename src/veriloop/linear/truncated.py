"""Moments of the truncated normal distribution, accurate in both tails."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

EDGE = 40.0  # the normal density is zero in double precision beyond this
# Below either, the closed form cancels and quadrature takes over.
_MASS = 0.05
_WIDTH = 0.5
_DROP = 46.0  # quadrature stops where the density has fallen by exp(-46) = 1e-20
_SLICE = 1024  # elements per quadrature pass: the passes stay in cache and memory stays bounded
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(56)


def truncated_moments(
    mean: ArrayLike, scale: ArrayLike, lower: ArrayLike, upper: ArrayLike
) -> tuple[Array, Array, Array]:
    r"""Mean, variance and third central moment of :math:`N(m, s^2)` truncated to :math:`[l, u]`.

    With :math:`A = (l-m)/s`, :math:`B = (u-m)/s`, :math:`Z = \Phi(B)-\Phi(A)`, :math:`C =
    (\phi(B)-\phi(A))/Z` and :math:`G = (B\phi(B)-A\phi(A))/Z`,

    .. math:: m - sC, \qquad s^2(1 - G - C^2), \qquad
        s^3\Big(\frac{(A^2-1)\phi(A) - (B^2-1)\phi(B)}{Z} - 3CG - 2C^3\Big).

    Arguments broadcast; bounds may be infinite; `scale > 0`, `lower < upper`. In tails and narrow
    intervals, where
    these expressions cancel, quadrature replaces them: relative error below 1e-9 with both bounds
        38 scales out. Source: Johnson, Kotz and Balakrishnan (1994), section 10.1.

    >>> mean, variance, third = truncated_moments(0.0, 1.0, 38.0, np.inf)
    >>> print(f"{mean:.10f} {variance:.8e} {third:.8e}")
    38.0262794666 6.89659753e-04 3.61481633e-05
    """
    first, second, third = moments(
        *interval("truncated_moments", mean, scale, lower, upper), order=3
    )
    return first, second, third


def acceptance(mean: ArrayLike, scale: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Array:
    r"""Probability that :math:`N(m, s^2)` falls in :math:`[l, u]`, accurate in both tails.

    .. math:: Z = \Phi\Big(\frac{u-m}{s}\Big) - \Phi\Big(\frac{l-m}{s}\Big)

    mean, scale, lower, upper: as in `truncated_moments`. With mean :math:`a` and bounds :math:`c
        \pm w` it is the share of labels along one direction that the verifier accepts (paper, Eq.
        1).

    >>> print(f"{acceptance(0.0, 1.0, -1.0, 1.0):.6f} {acceptance(0.0, 1.0, 37.0, 38.0):.4e}")
    0.682689 5.7256e-300
    """
    _, _, near, width, mass, hard = _canonical(*interval("acceptance", mean, scale, lower, upper))
    if hard.any():
        mass[hard] = density(near[hard]) * _from_near_bound(-near[hard], width[hard])[0]
    return mass[()]


def moments(mean: Array, scale: Array, lower: Array, upper: Array, order: int = 2) -> list[Array]:
    """Return the first `order` moments of `truncated_moments`; arguments are trusted."""
    flip, far, near, width, mass, hard = _canonical(mean, scale, lower, upper)
    anchor = mean
    moments = _closed_form(far, near, np.maximum(mass, _MASS), order)
    if hard.any():
        bound = np.where(flip, lower, upper)
        anchor = np.where(hard, bound, mean)
        distance = _from_near_bound(-near[hard], width[hard])[1:]
        for moment, value, sign in zip(moments, distance, (-1, 1, -1), strict=False):
            moment[hard] = sign * value
    unit = np.where(flip, -1.0, 1.0) * scale
    scaled = [anchor + moments[0] * unit]
    for k, moment in enumerate(moments[1:], 2):
        scaled.append(moment * unit**k)
    return scaled


def _canonical(
    mean: Array, scale: Array, lower: Array, upper: Array
) -> tuple[Mask, Array, Array, Array, Array, Mask]:
    """Standardise, and reflect so that the midpoint is not positive.

    Phi(near) - Phi(far) then keeps its digits.
    """
    alpha = (lower - mean) / scale
    beta = (upper - mean) / scale
    flip = alpha > -beta
    far = np.where(flip, -beta, alpha)
    near = np.where(flip, -alpha, beta)
    width = np.broadcast_to((upper - lower) / scale, near.shape)
    mass = np.asarray(ndtr(near) - ndtr(far))
    return flip, far, near, width, mass, (mass < _MASS) | (width < _WIDTH)


def _closed_form(a: Array, b: Array, mass: Array, order: int) -> list[Array]:
    """Return mean, variance (and third central moment) of N(0, 1) truncated to [a, b]."""
    a = np.clip(a, -EDGE, EDGE)
    b = np.clip(b, -EDGE, EDGE)
    pa = density(a) / mass
    pb = density(b) / mass
    c = pb - pa
    g = b * pb - a * pa
    moments = [-c, 1 - g - c * c]
    if order == 3:
        moments.append((a * a - 1) * pa - (b * b - 1) * pb - c * (3 * g + 2 * c * c))
    return [np.asarray(moment) for moment in moments]


def _from_near_bound(rate: Array, width: Array) -> Array:
    """Return mass, mean, variance and third central moment of exp(-rate s - s^2 / 2).

    On [0, width]; the result has shape (4, n).
    """
    result = np.empty((4, rate.size))
    for start in range(0, rate.size, _SLICE):
        part = slice(start, start + _SLICE)
        faded = 2 * _DROP / (rate[part] + np.hypot(rate[part], np.sqrt(2 * _DROP)))
        reach = np.minimum(width[part], faded)
        s = reach * 0.5 * (1 + _NODES[:, None])
        density = 0.5 * _WEIGHTS[:, None] * np.exp(-s * (rate[part] + 0.5 * s))
        total = density.sum(0)
        density /= total
        mean = (density * s).sum(0)
        s -= mean
        second = density * s * s
        result[0, part] = reach * total
        result[1, part] = mean
        result[2, part] = second.sum(0)
        result[3, part] = (second * s).sum(0)
    return result


def density(z: Array) -> Array:
    """Return the standard normal density."""
    return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


def interval(
    where: str, mean: ArrayLike, scale: ArrayLike, lower: ArrayLike, upper: ArrayLike
) -> list[Array]:
    """Return the arguments of `truncated_moments` as arrays, or refuse them by the name `where`."""
    mean = finite(f"{where}: mean", mean)
    scale = positive(f"{where}: scale", scale)
    lower = numbers(f"{where}: lower", lower)
    upper = numbers(f"{where}: upper", upper)
    common_shape(where, mean, scale, lower, upper)
    wrong = np.asarray(~(lower < upper))
    if wrong.any():
        low = np.broadcast_to(lower, wrong.shape)[wrong][0]
        high = np.broadcast_to(upper, wrong.shape)[wrong][0]
        raise ValueError(f"{where}: lower must be below upper, got {low} and {high}")
    return [mean, scale, lower, upper]


def common_shape(where: str, *arrays: Array) -> None:
    """Refuse arrays that do not broadcast."""
    try:
        np.broadcast_shapes(*(each.shape for each in arrays))
    except ValueError:
        shapes = ", ".join(str(each.shape) for each in arrays)
        raise ValueError(f"{where}: arguments must broadcast, got shapes {shapes}") from None


def numbers(what: str, value: object) -> Array:
    """Return the value as an array of real numbers, or refuse it by the name `what`."""
    if value is None:  # NumPy takes it for NaN
        raise ValueError(f"{what} must be a number or a list of numbers, got None")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf":
            raise TypeError
        return array.astype(float, copy=False)
    except (TypeError, ValueError):
        raise ValueError(
            f"{what} must be a number or a list of numbers, got {value!r:.60}"
        ) from None


def counts(what: str, value: object) -> list[int]:
    """Return whole numbers of at least 1, one a round, or refuse them by the name `what`."""
    array = numbers(what, value)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{what} must be a list of at least one number, got shape {array.shape}")
    allowed = (array >= 1) & (array < np.inf) & (array == np.floor(array))
    if not allowed.all():
        raise ValueError(
            f"{what} must be whole numbers of at least 1, got {array[~allowed][0]:g} "
            f"in round {np.flatnonzero(~allowed)[0] + 1}"
        )
    return [int(each) for each in array]


def one(what: str, value: object, *, infinite: bool = True, zero: bool = False) -> float:
    """Return one number as `positive` does, or refuse it by the name `what`."""
    array = positive(what, value, infinite=infinite, zero=zero)
    if array.shape:
        raise ValueError(f"{what} must be one number, got shape {array.shape}")
    return float(array)


def finite(what: str, value: object) -> Array:
    """Return the value as an array, or refuse it by the name `what`."""
    array = numbers(what, value)
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def positive(what: str, value: object, *, infinite: bool = False, zero: bool = False) -> Array:
    """Return the value as an array, or refuse it by the name `what`.

    zero, infinite: allow 0, allow infinity.
    """
    array = numbers(what, value)
    allowed = ((array > 0) | (zero & (array == 0))) & (infinite | (array < np.inf))
    if not allowed.all():
        kind = "at least 0" if zero else "positive"
        if not infinite:
            kind += " and finite"
        raise ValueError(f"{what} must be {kind}, got {array[~allowed][0]}")
    return array
