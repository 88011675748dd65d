r"""Exact theory of verified retraining in linear regression, one direction at a time.

The block design splits the loop into independent scalars, one per right singular vector :math:`v_j`
of the real design :math:`X^0`. All quantities are in units of the noise :math:`\sigma`:

===================  ======================  =========================================
name                 symbol                  meaning
===================  ======================  =========================================
``singular_values``  :math:`\mu_j`           of the real design, shape (p,)
``center_offset``    :math:`c_j`             :math:`v_j^T(\theta_c - \theta^*)/\sigma`, (..., p)
``half_width``       :math:`w`               :math:`(r + \sigma_c)/\sigma`; inf: no verifier
``kept``, ``sizes``  :math:`n`, :math:`n_k`  kept rows per direction: in one round, in each round
``offset``           :math:`a`               :math:`v_j^T(\hat\theta - \theta^*)/\sigma`
``dim``              :math:`p`               number of directions
..                   :math:`T(a), V(a)`      mean, variance of :math:`N(a, 1)` in :math:`c \pm w`
===================  ======================  =========================================

If the real rows span only p < d directions, every error here is the one inside their span. Outside
it no round changes anything: add `Problem.unseen_truth`, or `unseen_center` for distances to the
centre.

"The paper" is Yi, Liu, Cheng, Xu (2025), arXiv:2510.16657. The text of its theorems was not
available: which formula here is which theorem's is inferred. Bad input raises `ValueError`
everywhere.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf, roots_hermitenorm  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core.checks import check_count
from veriloop.linear.truncated import (
    EDGE,
    Array,
    Mask,
    acceptance,
    common_shape,
    density,
    finite,
    moments,
    one,
    positive,
    truncated_moments,
)

Method = Literal["exact", "expansion"]

__all__ = [
    "acceptance",
    "break_even_bias",
    "contraction_factor",
    "error_bound",
    "log_improvement",
    "mean_map",
    "mean_path",
    "one_round_mse",
    "plateau",
    "smallest_size",
    "truncated_moments",
    "unfiltered_mse",
]

_ZERO = np.zeros(())
_ONE = np.ones(())
_FINEST = 0.01  # Gauss-Hermite needs some 1 / mu^2 nodes; this singular value needs 240,000
_PLACES = 512  # biases tried by break_even_bias
_ROUNDING = 1e-12  # an improvement below this share of the baseline cannot be told from rounding


def contraction_factor(half_width: ArrayLike) -> Array:
    r"""Return the factor by which a noise-free round at least contracts towards the centre.

    .. math:: \rho(w) = \sup_a T'(a) = \sup_a V(a) = 1 - \frac{2 w \phi(w)}{2\Phi(w) - 1}

    Attained at :math:`a = c`; :math:`w^2/3` for small w, 1 at infinity.
    Source: the constant of the paper's Theorem 4.1; this closed form is our derivation.

    half_width: w, in units of sigma, any shape; inf is no verifier.

    >>> contraction_factor([0.01 + np.sqrt(2 / np.pi), 1 + np.sqrt(2 / np.pi), np.inf]).round(4)
    array([0.1992, 0.6929, 1.    ])
    """
    width = positive("contraction_factor: half_width", half_width, infinite=True)
    return moments(_ZERO, _ONE, -width, width)[1]


def mean_map(offset: ArrayLike, center_offset: ArrayLike, half_width: ArrayLike) -> Array:
    r"""Return where one noise-free round takes the estimate, the mean of the accepted labels.

    .. math:: T(a) = a + \frac{\phi(c-w-a) - \phi(c+w-a)}{\Phi(c+w-a) - \Phi(c-w-a)}

    Arguments broadcast element by element. The only fixed point is :math:`a = c`; an infinite half
    width gives the identity. Source: the map of the paper's Theorem 4.1; this form is our
    derivation.

    offset: a.
    center_offset: c.
    half_width: w; inf is no verifier. They broadcast.

    >>> mean_map([0.0, 0.5, 2.0], 0.5, 1.0).round(4)
    array([0.3563, 0.5   , 0.8935])
    """
    offset = finite("mean_map: offset", offset)
    center = finite("mean_map: center_offset", center_offset)
    width = positive("mean_map: half_width", half_width, infinite=True)
    common_shape("mean_map", offset, center, width)
    return moments(offset, _ONE, center - width, center + width)[0]


def mean_path(
    offset: ArrayLike, center_offset: ArrayLike, half_width: ArrayLike, rounds: int
) -> Array:
    r"""Iterate `mean_map`, :math:`a_{k+1} = T(a_k)`: the path of the loop at infinite sizes.

    It obeys :math:`|a_k - c| \le \rho^k |a_0 - c|`. Returns shape (rounds + 1, ...), `offset`
    first. Source: the drift in the paper's Theorem 4.1.

    offset: a_0.
    center_offset: c.
    half_width: w; inf is no verifier. They broadcast.
    rounds: how many rounds.

    >>> mean_path(0.0, 0.5, 1.0, 4).round(4)
    array([0.    , 0.3563, 0.4582, 0.4878, 0.4965])
    """
    check_count("mean_path: rounds", rounds, least=0)
    offset = finite("mean_path: offset", offset)
    center = finite("mean_path: center_offset", center_offset)
    width = positive("mean_path: half_width", half_width, infinite=True)
    common_shape("mean_path", offset, center, width)
    path = [np.broadcast_arrays(offset, center, width)[0]]
    for _ in range(rounds):
        path.append(mean_map(path[-1], center, width))
    return np.stack(path)


def one_round_mse(
    singular_values: ArrayLike,
    center_offset: ArrayLike,
    half_width: ArrayLike,
    kept: ArrayLike,
    method: Method = "exact",
) -> Array:
    r"""Return :math:`E\|\hat\theta_1 - \theta^*\|^2/\sigma^2`, the error after one verified round.

    .. math:: \text{exact:}\quad \sum_j E[T_j(a)^2] + \frac{E[V_j(a)]}{n},
        \quad a \sim N(0, \mu_j^{-2}), \qquad \text{expansion:}\quad
        \sum_j m_{1j}^2 + \frac{m_{2j}^2 + m_{1j}m_{3j}}{\mu_j^2} + \frac{m_{2j}}{n}

    Here :math:`m_1, m_2, m_3` are :math:`T, T', T''` at 0: mean, variance and third central moment
    of the accepted labels. The expansion drops terms of order :math:`\mu^{-4}` and
    :math:`\mu^{-2}/n`. The exact value is by Gauss-Hermite quadrature: relative error below 1e-10,
    for singular values of at least 0.01.

    `center_offset` is (..., p), or one number for all directions; `half_width` and `kept` broadcast
    with its leading axes, shape the result, and may be infinite. Source: the paper's Theorem 3.1 is
    the expansion; the exact form is our derivation.

    singular_values: mu, shape (p,).
    center_offset: c, shape (..., p), or one number for all directions.
    half_width: w; inf is no verifier.
    kept: n, may be infinite. Both broadcast with the leading axes of `center_offset`, and give the
        result its shape.
    method: "exact" or "expansion".

    >>> one_round_mse([10.0] * 8, 0.0, [1.0, 1.8, np.inf], kept=100).round(5)
    array([0.03001, 0.09367, 0.16   ])
    """
    kept = positive("one_round_mse: kept", kept, infinite=True)
    error, spread, _ = _round("one_round_mse", singular_values, center_offset, half_width, method)
    common_shape("one_round_mse", error, kept)
    return error + spread / kept


def log_improvement(
    singular_values: ArrayLike,
    center_offset: ArrayLike,
    half_width: ArrayLike,
    kept: ArrayLike,
    method: Method = "exact",
    *,
    unseen: float = 0.0,
) -> Array:
    r"""Return the log ratio of errors before and after one round; positive if it helps.

    The errors are root mean squares.

    .. math:: \tfrac12 \log
        \frac{\sum_j \mu_j^{-2} + u}{E\|\hat\theta_1 - \theta^*\|^2/\sigma^2 + u}

    Arguments as in `one_round_mse`. Source: the colour of the paper's one-round heat maps (section
    5.1).

    singular_values, center_offset, half_width, kept, method: as in `one_round_mse`.
    unseen: u, the error outside the span of the real rows, which is `Problem.unseen_truth`.

    >>> print(f"{log_improvement([10.0] * 8, 0.0, 1.0, kept=100):.4f}")
    0.4902
    """
    baseline = np.sum(_vector("log_improvement: singular_values", singular_values) ** -2.0)
    outside = positive("log_improvement: unseen", unseen, zero=True)
    after = one_round_mse(singular_values, center_offset, half_width, kept, method)
    return 0.5 * np.log((baseline + outside) / (after + outside))


def smallest_size(
    singular_values: ArrayLike,
    center_offset: ArrayLike,
    half_width: ArrayLike,
    method: Method = "exact",
) -> Array:
    r"""Return the kept rows per direction at which one round begins to help.

    .. math:: n^* = \frac{\sum_j E[V_j]}{\sum_j \mu_j^{-2} - E[T_j^2]},
        \qquad \text{expansion:}\quad
        \frac{\sum_j m_{2j}}{\sum_j (1 - m_{2j}^2 - m_{1j}m_{3j})/\mu_j^2 - m_{1j}^2}

    A real number, `inf` where no size is enough. Arguments and symbols as in `one_round_mse`.
    Unbiased in one direction, the expansion is :math:`\rho\mu^2/(1-\rho^2)`. Source: our derivation
    from the paper's Theorem 3.1.

    singular_values, center_offset, half_width, method: as in `one_round_mse`.

    >>> print(f"{smallest_size([10.0], 0.0, 1 + np.sqrt(2 / np.pi), method='expansion'):.1f}")
    133.3
    """
    error, spread, baseline = _round(
        "smallest_size", singular_values, center_offset, half_width, method
    )
    gain = baseline - error
    pays = gain > _ROUNDING * baseline
    return np.where(pays, spread / np.where(pays, gain, 1.0), np.inf)[()]


def break_even_bias(
    singular_values: ArrayLike, direction: ArrayLike, half_width: ArrayLike, kept: ArrayLike
) -> Array:
    r"""Return the largest bias at which one round helps: the boundary of the paper's heat maps.

    .. math:: \Delta > 0: \quad E\|\hat\theta_1 - \theta^*\|^2/\sigma^2 = \sum_j \mu_j^{-2}
        \quad\text{at}\quad c_j = \Delta\, d_j

    `direction` holds :math:`d_j = v_j^T u` of a unit vector u, shape (p,); `half_width` and `kept`
    broadcast and shape the result, in units of sigma; 0 where no bias helps. Where a wide window
    accepts nearly all labels, a verifier that is somewhat biased may help although an unbiased one
    does not. So smaller biases than this one need not help. Biases are tried at 512 places and the
    last crossing is then found to rounding. Source: our derivation.

    singular_values: mu, shape (p,).
    direction: d, shape (p,), of length 1, or less where u leaves the span of the real rows.
    half_width: w, at most 40, or inf for no verifier.
    kept: n. They broadcast.

    >>> break_even_bias([10.0] * 8, [1.0] + [0.0] * 7, [1.0, 1.3, np.inf], kept=100).round(3)
    array([0.315, 0.303, 0.   ])
    """
    mu = _vector("break_even_bias: singular_values", singular_values)
    unit = finite("break_even_bias: direction", direction)
    if unit.shape != mu.shape or not 0 < np.linalg.norm(unit) < 1 + 1e-6:
        raise ValueError(
            f"break_even_bias: direction must be part of a unit vector, of shape {mu.shape} and "
            f"not 0, got {direction!r}"
        )
    widths = positive("break_even_bias: half_width", half_width, infinite=True)
    wide = (widths > EDGE) & (widths < np.inf)
    if wide.any():
        raise ValueError(
            f"break_even_bias: half_width must be at most {EDGE:g}, or inf, got {widths[wide][0]}"
        )
    sizes = positive("break_even_bias: kept", kept, infinite=True)
    width, size = np.broadcast_arrays(widths, sizes)
    baseline = (1 - _ROUNDING) * np.sum(mu**-2.0)

    def pays(bias: Array) -> Mask:
        rest = (1,) * (bias.ndim - width.ndim)
        shape = (*width.shape, *rest)
        error = one_round_mse(mu, bias[..., None] * unit, width.reshape(shape), size.reshape(shape))
        return error < baseline

    # From here on the window lies so far off that any accepted label is worse than the baseline.
    reach: Array = (np.minimum(width, EDGE) + np.sqrt(baseline)) / np.abs(unit).max()
    steps: Array = np.arange(_PLACES + 1) / _PLACES
    paid = pays(reach[..., None] * steps)
    last = _PLACES - np.argmax(paid[..., ::-1], axis=-1)
    some = paid.any(axis=-1)
    low: Array = reach * steps[np.where(some, last, 0)]
    high: Array = reach * steps[np.where(some, np.minimum(last + 1, _PLACES), 0)]
    for _ in range(52):
        middle: Array = 0.5 * (low + high)
        inside = pays(middle)
        low = np.where(inside, middle, low)
        high = np.where(inside, high, middle)
    return (0.5 * (low + high))[()]


def error_bound(initial: float, half_width: float, sizes: ArrayLike, dim: int) -> Array:
    r"""Bound the squared distance to the centre, by round.

    .. math:: E_k = E\|\hat\theta_k - \theta_c\|^2/\sigma^2
        \le \rho^{2k} E_0 + p \sum_{j<k} \frac{\rho^{2(k-j)-1}}{n_j}, \qquad\text{from}\quad
        E_{k+1} \le \rho^2 E_k + \frac{p\rho}{n_k}

    `initial` is :math:`E_0`; returns shape (len(sizes) + 1,), `initial` first.
    Source: the paper's Theorem 4.1, with `contraction_factor` for its constant.

    initial: E_0.
    half_width: w; inf is no verifier.
    sizes: n_k, one a round.
    dim: p.

    >>> error_bound(1.08, 1.8, [100, 100, 1000], dim=8).round(4)
    array([1.08  , 0.5753, 0.3324, 0.1656])
    """
    check_count("error_bound: dim", dim)
    rho = float(contraction_factor(one("error_bound: half_width", half_width)))
    bound = [one("error_bound: initial", initial, infinite=False, zero=True)]
    for size in _vector("error_bound: sizes", sizes, infinite=True):
        bound.append(rho**2 * bound[-1] + dim * rho / size)
    return np.array(bound)


def plateau(half_width: ArrayLike, size: ArrayLike, dim: int) -> Array:
    r"""Return where verified retraining levels off: the fixed point of `error_bound`.

    .. math:: \frac{p\,\rho}{n\,(1 - \rho^2)}

    Arguments broadcast; `inf` without a verifier. Source: our derivation from the paper's Theorem
    4.1.

    half_width: w; inf is no verifier.
    size: n.
    dim: p.

    >>> plateau([0.5 + np.sqrt(2 / np.pi), 1 + np.sqrt(2 / np.pi)], 100, dim=8).round(4)
    array([0.0446, 0.1066])
    """
    check_count("plateau: dim", dim)
    size = positive("plateau: size", size)
    half_width = positive("plateau: half_width", half_width, infinite=True)
    common_shape("plateau", half_width, size)
    rho = contraction_factor(half_width)
    width = np.minimum(half_width, EDGE)
    gap = (
        2 * width * density(width) / erf(width / np.sqrt(2))
    )  # 1 - rho, which rounds to 0 from w = 8.5 on
    with np.errstate(divide="ignore"):
        return dim * rho / (size * (1 + rho)) / gap


def unfiltered_mse(singular_values: ArrayLike, sizes: ArrayLike) -> Array:
    r"""Error by round without a verifier, exactly: a random walk.

    .. math:: E\|\hat\theta_k - \theta^*\|^2/\sigma^2
        = \sum_j \mu_j^{-2} + p \sum_{i<k} \frac{1}{n_i}

    Returns shape (len(sizes) + 1,). Source: our derivation for the paper's unverified arm.

    singular_values: mu, shape (p,).
    sizes: n_k, one a round; they may be infinite.

    >>> unfiltered_mse([10.0] * 8, [100, 100, 400])
    array([0.08, 0.16, 0.24, 0.26])
    """
    mu = _vector("unfiltered_mse: singular_values", singular_values)
    steps = mu.size / _vector("unfiltered_mse: sizes", sizes, infinite=True)
    return np.sum(mu**-2.0) + np.cumsum([0.0, *steps])


def _round(
    where: str,
    singular_values: ArrayLike,
    center_offset: ArrayLike,
    half_width: ArrayLike,
    method: str,
) -> tuple[Array, Array, np.float64]:
    """Return the error at infinite size, the spread that the size divides, and the baseline.

    All are summed over j.
    """
    mu = _vector(f"{where}: singular_values", singular_values)
    center = finite(f"{where}: center_offset", center_offset)
    if center.shape and center.shape[-1] != mu.size:
        raise ValueError(
            f"{where}: center_offset must be one number or have last axis {mu.size}, "
            f"got shape {center.shape}"
        )
    if method not in ("exact", "expansion"):
        raise ValueError(f"{where}: method must be 'exact' or 'expansion', got {method!r}")
    if method == "exact" and mu.min() < _FINEST:
        raise ValueError(
            f"{where}: singular_values must be at least {_FINEST} when exact, got {mu.min()}"
        )
    width = positive(f"{where}: half_width", half_width, infinite=True)[..., None]
    common_shape(where, center, width)
    law = _exact if method == "exact" else _expansion
    error, spread = law(mu, center - width, center + width)
    return error, spread, np.sum(mu**-2.0)


def _expansion(mu: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    m1, m2, m3 = moments(np.zeros(mu.shape), _ONE, lower, upper, order=3)
    return (m1**2 + (m2**2 + m1 * m3) / mu**2).sum(-1), m2.sum(-1)


def _exact(mu: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    error = _ZERO
    spread = _ZERO
    # T and V are analytic within 2.8 of the real axis, so the nodes needed grow with 1 / mu^2.
    count = int(8 + 16 / mu.min() + 24 / mu.min() ** 2)
    for node, weight in zip(*_hermite(count), strict=True):
        mean, variance = moments(node / mu, _ONE, lower, upper)
        error = error + weight * (mean * mean).sum(-1)
        spread = spread + weight * variance.sum(-1)
    return error, spread


@lru_cache(maxsize=8)
def _hermite(count: int) -> tuple[Array, Array]:
    """Nodes and weights for N(0, 1), without those whose weight is below rounding."""
    nodes, weights = roots_hermitenorm(count)
    weights /= weights.sum()
    large = weights > 1e-20
    return nodes[large], weights[large]


def _vector(what: str, value: ArrayLike, *, infinite: bool = False) -> Array:
    array = np.atleast_1d(positive(what, value, infinite=infinite))
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{what} must be a list of at least one number, got shape {array.shape}")
    return array
