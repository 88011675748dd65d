"""A verifier that errs at random: a phase transition, the ball's smooth error, a loop of two fates.

Classes +1 and -1 have means of that sign, `separation` from 0, and unit covariance. A right label
is kept with probability phi, a wrong one with psi. Below p* = 1 / (1 + psi / phi) wrong labels the
kept ones are mostly right. Source: Feng et al. (2025), arXiv:2406.07515; the expectations at finite
size are our derivation, in `veriloop.exact.noisy_labels`.
"""

from __future__ import annotations

from _noisy_verifier import Ball, Rounds, Transition, ball, rounds, transition
from figures.noisy_verifier import draw, summarise
from veriloop.exact.noisy_labels import classifier_with_errors
from veriloop.study import BadInput, Unit, main


class NoisyVerifier(Transition, Ball, Rounds):
    """Three parts: accuracy against wrong labels, one round of the ball, and rounds."""


def units(config: NoisyVerifier) -> list[Unit]:
    """One unit a verifier and size, one a bias and size, and one a start of the loop."""
    for error in config.ball_error:
        if error > 1:
            raise BadInput(f"ball_error: got {error:g}, must be a share between 0 and 1")
    work = []
    for phi, psi in config.verifiers:
        for n in config.sizes:
            work.append(Unit(f"phi{phi:g}-psi{psi:g}-n{n}", 1, transition, (phi, psi, n)))
    for bias in config.bias:
        for n in config.ball_sizes:
            work.append(Unit(f"ball-bias{bias:g}-n{n}", 1, ball, (bias, n)))
    for wrong in config.starts:
        try:
            classifier_with_errors(config.mean, wrong)
        except ValueError as error:
            raise BadInput(f"starts: {error}") from None
        work.append(Unit(f"start{wrong:g}", config.rounds, rounds, (wrong,)))
    return work


if __name__ == "__main__":
    main(NoisyVerifier, units, draw, summarise)
