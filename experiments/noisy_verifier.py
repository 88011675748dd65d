"""A verifier that errs at random: a classifier's phase transition, the ball's smooth error, a loop of two fates.

Classes +1 and -1 have means of that sign, `separation` from 0, and unit covariance. A right label is kept with
probability phi, a wrong one with psi; below p* = 1 / (1 + psi / phi) wrong labels the kept ones are mostly right.
Source: Feng et al. (2025), arXiv:2406.07515; the expectations at finite size are our derivation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy import special

from _labels import Accuracy, Classify, Flip, accuracy_moments, accuracy_path, averaging, noisy_oracle
from figures.noisy_verifier import draw, summarise
from veriloop import Key, Loop, Noisy, Quota, State, Threshold
from veriloop.linear import Problem, theory
from veriloop.study import (
    BadInput,
    Config,
    NotNegative,
    NotNegatives,
    Positive,
    Rows,
    Shares,
    Unit,
    Whole,
    follow,
    main,
    spread,
)

Rate = Annotated[float, Field(gt=0, le=1)]
Counts = Annotated[list[Whole], Field(min_length=1)]
Levels = Annotated[Shares, Field(min_length=1)]


class NoisyVerifier(Config):
    """Three parts: accuracy against the share of wrong labels, one round of the ball verifier, and rounds."""

    dim: Annotated[int, Field(ge=2)]
    separation: Positive  # the length of a class's mean; the best accuracy is Phi(separation)
    verifiers: Annotated[list[tuple[Rate, Rate]], Field(min_length=1)]  # (phi, psi); the first is the loop's
    wrong: Levels  # wrong labels among the candidates
    near: NotNegatives  # and these distances on both sides of p*, each verifier's threshold
    sizes: Counts  # kept rows
    replicates: Whole
    ball_dim: Whole
    ball_rows: Whole  # real rows
    ball_sizes: Counts  # kept rows per direction
    ball_error: NotNegatives  # share of the ball's verdicts that are flipped, of either kind
    bias: NotNegatives
    radius: NotNegative
    starts: Levels  # wrong labels of the first classifier
    loop_size: Whole
    rounds: Whole


def one_round_mse(problem: Problem, n: int, phi: float, psi: float) -> float:
    r"""Return the error after one round of a ball verifier with noisy verdicts; without, `theory.one_round_mse`.

    Accepted labels have a density proportional to N(a, 1) times phi inside the ball's window and psi outside: a
    mixture of all labels, weight psi, and accepted ones, weight (phi - psi) P. Their mean T(a) and variance V(a)
    give :math:`\sum_j E[T_j(a)^2] + E[V_j(a)] / n`, analytic in phi and psi at every n: no threshold.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    a, c, width = nodes[:, None] / problem.singular_values, problem.center_offset, problem.half_width
    inside = (phi - psi) * theory.acceptance(a, 1.0, c - width, c + width)
    mean, variance, _ = theory.truncated_moments(a, 1.0, c - width, c + width)
    first = (psi * a + inside * mean) / (psi + inside)
    second = (psi * (1 + a**2) + inside * (variance + mean**2)) / (psi + inside)
    return float(weights @ (first**2 + (second - first**2) / n).sum(axis=1) / weights.sum())


def transition(config: NoisyVerifier, phi: float, psi: float, n: int) -> Rows:
    """Fit the classifier to `n` kept labels for every share of wrong ones; cells are independent of one another."""
    mean, rows = _mean(config), []
    star = 1 / (1 + psi / phi)
    loop = Loop(generate=Flip(mean, 0.0), verify=noisy_oracle(phi, psi), filter=Threshold(0.0), refit=averaging)
    near = {star + side * distance for side in (-1, 1) for distance in config.near}
    for wrong in sorted(each for each in {*config.wrong, *near} if 0 < each < 1):
        key = Key(config.seed).fold("transition", f"{phi:g}-{psi:g}-{wrong:g}", n)
        here = replace(loop, generate=Flip(mean, wrong), measure=Accuracy(mean, phi, psi))
        steps = [here.step(key.fold(i), State(mean), Quota(n))[1] for i in range(config.replicates)]
        row = {"part": "transition", "seed": config.seed, "replicates": config.replicates, "kept": n}
        row |= {"phi": phi, "psi": psi, "star": star, "wrong": wrong}
        row |= spread("accuracy", np.array([step.metrics["accuracy"] for step in steps]))
        share = wrong * psi / (wrong * psi + (1 - wrong) * phi)  # of wrong labels among the kept
        exact, variance = accuracy_moments(share, n, config.dim, config.separation)
        rows.append(row | {"exact": exact, "exact_se": (variance / config.replicates) ** 0.5})
    return rows


def ball(config: NoisyVerifier, bias: float, n: int) -> Rows:
    """Do one round of the ball verifier for every share of flipped verdicts; cells are independent."""
    size: dict[str, Any] = {"dim": config.ball_dim, "rows": config.ball_rows}
    problem = Problem.gaussian(bias=bias, radius=config.radius, **size)
    rows = []
    for error in config.ball_error:
        loop = replace(problem.loop(), verify=Noisy(problem.verifier, false_accept=error, false_reject=error))
        errors = []
        for i in range(config.replicates):
            key = Key(config.seed).fold("ball", f"{bias:g}-{error:g}", n, i)
            _, record = loop.step(key, problem.real_estimate(key), problem.quota(n))
            errors.append(record.metrics["error_truth"])
        row = {"part": "ball", "seed": config.seed, "replicates": config.replicates, "kept": n}
        row |= {"bias": bias, "error": error, "real": float(np.sum(problem.singular_values**-2.0))}
        rows.append(row | spread("mse", np.array(errors)) | {"exact": one_round_mse(problem, n, 1 - error, error)})
    return rows


def rounds(config: NoisyVerifier, wrong: float) -> Rows:
    """Let the classifier label the next one's data, the first with `wrong` wrong labels."""
    (phi, psi), mean = config.verifiers[0], _mean(config)
    across = np.eye(config.dim)[1]
    cosine = float(special.ndtri(1 - wrong)) / config.separation
    start = State(cosine * np.eye(config.dim)[0] + np.sqrt(1 - cosine**2) * across)
    loop = Loop(
        generate=Classify(mean),
        verify=noisy_oracle(phi, psi),
        filter=Threshold(0.0),
        refit=averaging,
        measure=Accuracy(mean, phi, psi),
    )
    sizes = [Quota(config.loop_size)] * config.rounds
    runs = [
        follow(loop, Key(config.seed).fold("rounds", f"{wrong:g}", i), start, sizes)
        for i in range(config.replicates)
    ]
    path = accuracy_path(wrong, config.separation, phi, psi, config.rounds)
    rows = []
    for k in range(config.rounds + 1):
        own = {name: np.array([run[k][name] for run in runs]) for name in ("accuracy", "signal", "candidates")}
        row = {"part": "rounds", "arm": f"start{wrong:g}", "seed": config.seed, "replicates": config.replicates}
        row |= {"phi": phi, "psi": psi, "star": 1 / (1 + psi / phi), "start": wrong, "round": k}
        row |= {"candidates": float(own["candidates"].mean()), "kept": config.loop_size * (k > 0), "path": path[k]}
        row |= spread("accuracy", own["accuracy"]) | {"risen": float(np.mean(own["accuracy"] > 0.5))}
        if k:
            row |= spread("gap", own["signal"] - [run[k - 1]["signal_next"] for run in runs])
        rows.append(row)
    return rows


def _mean(config: NoisyVerifier) -> np.ndarray:
    return config.separation * np.eye(config.dim)[0]


def units(config: NoisyVerifier) -> list[Unit]:
    """One unit a verifier and size, one a bias and size, and one a start of the loop."""
    for error in config.ball_error:
        if error > 1:
            raise BadInput(f"ball_error: got {error:g}, must be a share between 0 and 1")
    low, high = special.ndtr(-config.separation), special.ndtr(config.separation)
    for wrong in config.starts:
        if not low < wrong < high:
            raise BadInput(
                f"starts: got {wrong:g}, must be between {low:.3g} and {high:.3g}, what a linear classifier can do"
            )
    return [
        *(
            Unit(f"phi{phi:g}-psi{psi:g}-n{n}", 1, transition, (phi, psi, n))
            for phi, psi in config.verifiers
            for n in config.sizes
        ),
        *(Unit(f"ball-bias{bias:g}-n{n}", 1, ball, (bias, n)) for bias in config.bias for n in config.ball_sizes),
        *(Unit(f"start{wrong:g}", config.rounds, rounds, (wrong,)) for wrong in config.starts),
    ]


if __name__ == "__main__":
    main(NoisyVerifier, units, draw, summarise)
