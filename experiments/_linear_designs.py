"""The three parts of the figure about designs and data, each with its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from figures.linear_designs import STRATEGIES
from veriloop import Key, Loop, Quota, RoundError, State, Threshold
from veriloop.linear import (
    FixedDesign,
    GaussianDesign,
    Generate,
    KnowledgeBall,
    Problem,
    RandomDirections,
    least_squares,
    truncated_means,
)
from veriloop.study import (
    Config,
    NotNegatives,
    Positive,
    Positives,
    Rows,
    Whole,
    follow,
    mean,
    over_replicates,
    spread,
)

DESIGNS = ("real design's basis", "standard basis", "random directions", "Gaussian rows")


class Sampled(Config):
    """What the three parts have in common."""

    rows: Whole  # real rows
    noise: Positive
    sizes: Whole  # kept rows: per direction over rounds, in all in the maps
    budget: Whole  # the most candidates a round may draw


class OverRounds(Sampled):
    """Designs over rounds."""

    dim: Whole
    rounds: Whole
    replicates: Whole
    radius: Positive
    bias: Annotated[float, Field(ge=0)]


class MeanMap(Sampled):
    """The map of the best estimate of a mean in one dimension."""

    mean_replicates: Whole
    shift: NotNegatives  # the interval's centre - the true mean
    width: Positives  # the interval's width


class RegressionMap(Sampled):
    """The map of the best estimate in regression."""

    map_replicates: Whole
    map_dim: Whole
    map_bias: NotNegatives
    map_radius: NotNegatives


def design_arm(config: OverRounds, name: str) -> Rows:
    """Run the generic loop on one design; every design keeps `sizes * dim` rows a round."""
    keys = [Key(config.seed).fold(i) for i in range(config.replicates)]
    runs = [_design_run(config, name, key) for key in keys]
    about = {"arm": name, "part": "rounds", "seed": config.seed, "replicates": config.replicates}
    told = {"candidates": mean, "kept": mean, "error_truth": mean, "error_center": spread}
    return [about | row for row in over_replicates(runs, told)]


def _design_run(config: OverRounds, name: str, key: Key) -> Rows:
    size = {"rows": config.rows, "dim": config.dim, "noise": config.noise}
    problem = Problem.gaussian(bias=config.bias, radius=config.radius, **size)
    designs = {
        "real design's basis": FixedDesign(problem.basis),
        "standard basis": FixedDesign(np.eye(config.dim)),
        "random directions": RandomDirections(config.dim),
        "Gaussian rows": GaussianDesign(config.dim),
    }
    design = designs[name]
    group = None
    quota = Quota(config.sizes * config.dim, budget=config.budget)
    if isinstance(design, FixedDesign):
        group = design.group
        quota = Quota(config.sizes, groups=config.dim, budget=config.budget)
    loop = replace(
        problem.loop(verify=problem.verifier), generate=Generate(design, config.noise), group=group
    )
    return follow(loop, key, problem.start(key), [quota] * config.rounds)


def mean_strip(config: MeanMap, width: float) -> Rows:
    """Estimate the mean of N(0, 1) four ways, for every shift of the interval that passes."""
    # One key for all cells of a map: neighbours differ by their settings, not by their lots.
    key = Key(config.seed).fold("mean")
    rows = []
    for shift in config.shift:
        lower = shift - width / 2
        upper = shift + width / 2
        real = key.fold("real").numpy().standard_normal((config.mean_replicates, config.rows))
        inside = (real >= lower) & (real <= upper)
        usable = inside.any(axis=1)  # without a real row there is no filtered estimate
        real = real[usable]
        inside = inside[usable]
        filtered = np.sum(real * inside, axis=1) / np.sum(inside, axis=1)
        estimates = [real.mean(axis=1), filtered]
        lots = key.fold("synthetic")
        for start in tuple(estimates):
            estimates.append(truncated_means(lots, start, lower, upper, config.sizes))
        rows.append(_map_row(config.seed, "mean", shift, width, np.square(estimates)))
    return rows


def regression_strip(config: RegressionMap, radius: float) -> Rows:
    """Estimate theta four ways on Gaussian rows, for every bias of the knowledge ball."""
    key = Key(config.seed).fold("regression")
    rows = []
    for bias in config.map_bias:
        keys = [key.fold(i) for i in range(config.map_replicates)]
        errors = [_four_errors(config, radius, bias, own) for own in keys]
        usable = [each for each in errors if each is not None]
        rows.append(_map_row(config.seed, "regression", bias, radius, np.transpose(usable)))
    return rows


def _four_errors(config: RegressionMap, radius: float, bias: float, key: Key) -> list[float] | None:
    """Return the squared errors, or None where too few real rows pass for a filtered estimate."""
    truth = np.zeros(config.map_dim)
    direction = key.fold("direction").numpy().standard_normal(config.map_dim)
    center = truth + bias * direction / np.linalg.norm(direction)
    write = Generate(GaussianDesign(config.map_dim), config.noise)
    ball = KnowledgeBall(center, radius, config.noise * np.sqrt(2 / np.pi))
    real = write(key.fold("real"), truth, config.rows)
    passed = real[ball(key, real) >= 0]
    if len(passed) < config.map_dim:
        return None
    loop = Loop(generate=write, verify=ball, filter=Threshold(0.0), refit=least_squares)
    quota = Quota(config.sizes, budget=config.budget)
    estimates = [least_squares(key, truth, data) for data in (real, passed)]
    for start in tuple(estimates):
        state, _ = loop.step(key.fold("synthetic"), State(start), quota)
        estimates.append(state.model)
    return [float(np.sum((theta - truth) ** 2)) / config.noise**2 for theta in estimates]


def _map_row(seed: int, part: str, x: float, y: float, squares: np.ndarray) -> dict[str, Any]:
    """Return one cell of a map: the errors of all estimates, and the lead of the best."""
    if squares.size == 0:
        cell = f"x = {x:g}, y = {y:g}"
        raise RoundError(f"{part} map: no replicate has enough real rows that pass at {cell}")
    row: dict[str, Any] = {"part": part, "seed": seed, "replicates": squares.shape[1]}
    row |= {"bias": x, "radius": y}
    for name, sample in zip(STRATEGIES, squares, strict=True):
        row |= spread(name, sample)
    first, second = np.argsort(squares.mean(axis=1))[:2]
    return row | spread("lead", squares[second] - squares[first])
