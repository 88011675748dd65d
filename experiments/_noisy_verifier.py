"""The three parts of the figure about a verifier that errs at random, each with its settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from veriloop import Key, Loop, Noisy, Quota, State, Threshold
from veriloop.exact.noisy_labels import (
    Accuracy,
    DrawMislabelled,
    DrawSelfLabelled,
    accuracy_moments,
    classifier_with_errors,
    limit_path,
    mean_classifier,
    noisy_oracle,
    threshold,
    wrong_when_kept,
)
from veriloop.linear import Problem, noisy_one_round_mse
from veriloop.study import (
    Config,
    NotNegative,
    NotNegatives,
    Positive,
    Rows,
    Shares,
    Whole,
    follow,
    mean,
    over_replicates,
    same,
    spread,
)

Rate = Annotated[float, Field(gt=0, le=1)]
Counts = Annotated[list[Whole], Field(min_length=1)]
Levels = Annotated[Shares, Field(min_length=1)]
TOLD = {"candidates": mean, "kept": same, "path": same}
TOLD |= {"accuracy": spread, "risen": mean, "gap": spread}


class Classes(Config):
    """Two classes, and how often each verifier accepts right and wrong labels."""

    dim: Annotated[int, Field(ge=2)]
    separation: Positive  # the length of a class's mean; the best accuracy is Phi(separation)
    verifiers: Annotated[list[tuple[Rate, Rate]], Field(min_length=1)]  # (phi, psi); first: loop's
    replicates: Whole

    @property
    def mean(self) -> np.ndarray:
        """The mean of class +1."""
        return self.separation * np.eye(self.dim)[0]


class Transition(Classes):
    """Accuracy against the share of wrong labels."""

    wrong: Levels  # wrong labels among the candidates
    near: NotNegatives  # and these distances on both sides of p*, each verifier's threshold
    sizes: Counts  # kept rows


class Ball(Config):
    """One round of the ball verifier."""

    ball_dim: Whole
    ball_rows: Whole  # real rows
    ball_sizes: Counts  # kept rows per direction
    ball_error: NotNegatives  # share of the ball's verdicts that are flipped, of either kind
    bias: NotNegatives
    radius: NotNegative
    replicates: Whole


class Rounds(Classes):
    """The classifier that labels the next one's data."""

    starts: Levels  # wrong labels of the first classifier
    loop_size: Whole
    rounds: Whole


def transition(config: Transition, phi: float, psi: float, n: int) -> Rows:
    """Fit the classifier to n kept labels, for every share of wrong ones; cells are independent."""
    mean_of_class = config.mean
    star = threshold(phi, psi)
    loop = Loop(
        generate=DrawMislabelled(mean_of_class, 0.0),
        verify=noisy_oracle(phi, psi),
        filter=Threshold(0.0),
        refit=mean_classifier,
        measure=Accuracy(mean_of_class, phi, psi),
    )
    rows = []
    for wrong in _shares(star, config.wrong, config.near):
        key = Key(config.seed).fold("transition", f"{phi:g}-{psi:g}-{wrong:g}", n)
        here = replace(loop, generate=DrawMislabelled(mean_of_class, wrong))
        accuracies = []
        for i in range(config.replicates):
            _, record = here.step(key.fold(i), State(mean_of_class), Quota(n))
            accuracies.append(record.metrics["accuracy"])
        row = _about("transition", config.seed, config.replicates) | {"kept": n}
        row |= {"phi": phi, "psi": psi, "star": star, "wrong": wrong}
        row |= spread("accuracy", np.array(accuracies))
        share = wrong_when_kept(wrong, phi, psi)
        exact, variance = accuracy_moments(share, n, config.dim, config.separation)
        rows.append(row | {"exact": exact, "exact_se": (variance / config.replicates) ** 0.5})
    return rows


def _shares(star: float, wrong: Sequence[float], near: Sequence[float]) -> list[float]:
    """Return the shares of wrong labels to look at, in order."""
    below = {star - distance for distance in near}
    above = {star + distance for distance in near}
    return sorted(share for share in {*wrong, *below, *above} if 0 < share < 1)


def _about(part: str, seed: int, replicates: int) -> dict[str, Any]:
    return {"part": part, "seed": seed, "replicates": replicates}


def ball(config: Ball, bias: float, n: int) -> Rows:
    """Do one round of the ball, for every share of flipped verdicts; cells are independent."""
    size = {"dim": config.ball_dim, "rows": config.ball_rows}
    problem = Problem.gaussian(bias=bias, radius=config.radius, **size)
    known = (problem.singular_values, problem.center_offset, problem.half_width, n)
    real = float(np.sum(problem.singular_values**-2.0))
    rows = []
    for error in config.ball_error:
        rates = {"false_accept": error, "false_reject": error}
        loop = problem.loop(verify=Noisy(problem.verifier, **rates))
        errors = []
        for i in range(config.replicates):
            key = Key(config.seed).fold("ball", f"{bias:g}-{error:g}", n, i)
            _, record = loop.step(key, problem.start(key), problem.size(n))
            errors.append(record.metrics["error_truth"])
        row = _about("ball", config.seed, config.replicates) | {"kept": n}
        row |= {"bias": bias, "error": error, "real": real}
        row |= spread("mse", np.array(errors))
        rows.append(row | {"exact": noisy_one_round_mse(*known, **rates)})
    return rows


def rounds(config: Rounds, wrong: float) -> Rows:
    """Let the classifier label the next one's data, the first with `wrong` wrong labels."""
    phi, psi = config.verifiers[0]
    start = State(classifier_with_errors(config.mean, wrong))
    loop = Loop(
        generate=DrawSelfLabelled(config.mean),
        verify=noisy_oracle(phi, psi),
        filter=Threshold(0.0),
        refit=mean_classifier,
        measure=Accuracy(config.mean, phi, psi),
    )
    path = limit_path(wrong, config.separation, phi, psi, config.rounds)
    runs = []
    for i in range(config.replicates):
        key = Key(config.seed).fold("rounds", f"{wrong:g}", i)
        run = follow(loop, key, start, [Quota(config.loop_size)] * config.rounds)
        runs.append(_beside_the_law(run, path))
    about = {"part": "rounds", "arm": f"start{wrong:g}"}
    about |= {"seed": config.seed, "replicates": config.replicates}
    about |= {"phi": phi, "psi": psi, "star": threshold(phi, psi), "start": wrong}
    return [about | row for row in over_replicates(runs, TOLD)]


def _beside_the_law(run: Rows, path: np.ndarray) -> Rows:
    """Add the infinite loop's accuracy, whether this one's is above 1/2, and the signal's gap."""
    rows = []
    for k, row in enumerate(run):
        more = {"path": path[k], "risen": row["accuracy"] > 0.5}
        if k:
            more["gap"] = row["signal"] - run[k - 1]["signal_next"]
        rows.append(row | more)
    return rows
