"""The knowledge ball with verdicts that are flipped at random: the error after one round."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from veriloop.linear.truncated import acceptance, finite, positive, truncated_moments


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
    window and :math:`\psi` outside. This is a mixture of all labels, with weight :math:`\psi`, and
    those in the window, with weight :math:`(\varphi - \psi) P`. With its mean T(a) and variance
    V(a) the error is

    .. math:: E\|\hat\theta_1 - \theta^*\|^2/\sigma^2 = \sum_j E[T_j(a)^2] + E[V_j(a)] / n,
        \qquad a \sim N(0, \mu_j^{-2}).

    It is analytic in both error rates at every n, so a ball has no threshold. Without errors it is
    `theory.one_round_mse`. Source: our derivation.

    singular_values: mu, shape (p,), of the real design. center_offset: c, shape (p,). half_width:
        w, in units of sigma. kept: n, rows per direction. false_accept: psi, how often a label
        outside the window is accepted. false_reject: 1 - phi, how often one inside is refused.

    Raises:
        ValueError: if an error rate is not in [0, 1], or every label is refused.

    >>> errors = {"false_accept": 0.5, "false_reject": 0.5}
    >>> round(noisy_one_round_mse([10.0] * 8, [0.0] * 8, 1.0, 100, **errors), 9)  # no verifier
    0.16
    """
    phi = 1 - false_reject
    psi = false_accept
    for name, rate in (("false_accept", false_accept), ("false_reject", false_reject)):
        if not 0 <= rate <= 1:
            raise ValueError(f"noisy_one_round_mse: {name} must be in [0, 1], got {rate}")
    if phi == psi == 0:
        raise ValueError("noisy_one_round_mse: every label is refused, got false_reject 1")
    mu = positive("noisy_one_round_mse: singular_values", singular_values)
    center = finite("noisy_one_round_mse: center_offset", center_offset)
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    a = nodes[:, None] / mu
    lower = center - half_width
    upper = center + half_width
    inside = (phi - psi) * acceptance(a, 1.0, lower, upper)
    mean, variance, _ = truncated_moments(a, 1.0, lower, upper)
    first = (psi * a + inside * mean) / (psi + inside)
    second = (psi * (1 + a**2) + inside * (variance + mean**2)) / (psi + inside)
    spread = (second - first**2) / kept
    return float(weights @ (first**2 + spread).sum(axis=1) / weights.sum())
