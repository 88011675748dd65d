"""The knowledge ball with verdicts that are flipped at random: the error after one round."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from veriloop.core.checks import check_fraction
from veriloop.linear.truncated import Array, acceptance, finite, one, positive, truncated_moments

_LEAST = 0.01  # the least singular value whose offsets a grid can hold
_REACH = 9.5  # standard deviations, beyond which a normal density is below rounding


def noisy_one_round_mse(
    singular_values: ArrayLike,
    center_offset: ArrayLike,
    half_width: float,
    kept: float,
    *,
    false_accept: float,
    false_reject: float,
) -> float:
    r"""Return the error after one round of a knowledge ball whose verdicts are flipped at random.

    Accepted labels have a density proportional to N(a, 1) times :math:`\varphi` inside the ball's
    window and :math:`\psi` outside. Where :math:`\varphi \ge \psi` this is a mixture of all labels,
    with weight :math:`\psi`, and those in the window, with weight :math:`(\varphi - \psi) P`; else
    one of the labels below, in and above the window. With its mean T(a) and variance V(a) the error
    is

    .. math:: E\|\hat\theta_1 - \theta^*\|^2/\sigma^2 = \sum_j E[T_j(a)^2] + E[V_j(a)] / n,
        \qquad a \sim N(0, \mu_j^{-2}).

    It is analytic in both error rates at every n, so a ball has no threshold. Without errors it is
    `theory.one_round_mse`. Source: our derivation.

    singular_values: mu, shape (p,), of the real design.
    center_offset: c, shape (p,).
    half_width: w, in units of sigma.
    kept: n, rows per direction.
    false_accept: psi, how often a label outside the window is accepted.
    false_reject: 1 - phi, how often one inside is refused.

    Raises:
        ValueError: if an error rate is not in [0, 1], or every label is refused.

    >>> errors = {"false_accept": 0.5, "false_reject": 0.5}
    >>> round(noisy_one_round_mse([10.0] * 8, [0.0] * 8, 1.0, 100, **errors), 9)  # no verifier
    0.16
    """
    for name, rate in (("false_accept", false_accept), ("false_reject", false_reject)):
        check_fraction(f"noisy_one_round_mse: {name}", rate, zero=True, one=True)
    phi = 1 - false_reject
    psi = false_accept
    if phi == psi == 0:
        raise ValueError("noisy_one_round_mse: every label is refused, got false_reject 1")
    mu = positive("noisy_one_round_mse: singular_values", singular_values)
    center = finite("noisy_one_round_mse: center_offset", center_offset)
    if mu.ndim != 1 or not mu.size or center.shape not in ((), mu.shape) or mu.min() < _LEAST:
        raise ValueError(
            f"noisy_one_round_mse: singular_values must be numbers of at least {_LEAST}, as many "
            f"as center_offset has, got shapes {mu.shape} and {center.shape}"
        )
    width = one("noisy_one_round_mse: half_width", half_width)
    size = one("noisy_one_round_mse: kept", kept)
    nodes, weights = _nodes(float(mu.min()))
    a = nodes[:, None] / mu
    lower = center - width
    upper = center + width
    # Positive parts alone: a difference would cancel.
    parts = [(-np.inf, np.inf, psi), (lower, upper, phi - psi)]
    if phi < psi:
        parts = [(-np.inf, lower, psi), (lower, upper, phi), (upper, np.inf, psi)]
    total = np.zeros(a.shape)
    first = np.zeros(a.shape)
    second = np.zeros(a.shape)
    for low, high, rate in parts:
        if rate == 0 or not np.all(low < high):
            continue
        share = rate * acceptance(a, 1.0, low, high)
        if psi == 0:  # what is inside is all there is, however rare
            share = np.maximum(share, 1e-300)
        mean, variance, _ = truncated_moments(a, 1.0, low, high)
        total += share
        first += share * mean
        second += share * (variance + mean**2)
    if not np.all(total > 0):
        raise ValueError(
            "noisy_one_round_mse: some label must be accepted, got a half_width of "
            f"{width:g} outside of which none lies, and false_reject {false_reject:g}"
        )
    first /= total
    spread = (second / total - first**2) / size
    return float(weights @ (first**2 + spread).sum(axis=1) / weights.sum())


def _nodes(finest: float) -> tuple[Array, Array]:
    """Return nodes and weights for N(0, 1), more of them where offsets are wide."""
    if finest > 1:
        return np.polynomial.hermite_e.hermegauss(64)
    nodes = np.linspace(-_REACH, _REACH, 2 * int(np.ceil(_REACH / 0.2 / finest)) + 1)
    return nodes, np.exp(-0.5 * nodes**2)
