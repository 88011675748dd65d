"""Beyond the block design: rounds on other designs, and which data to estimate from, in 1-D and in regression."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from figures.linear_designs import STRATEGIES, draw, summarise
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
    BadInput,
    Config,
    NotNegatives,
    Positive,
    Positives,
    Rows,
    Unit,
    Whole,
    follow,
    main,
    spread,
)

DESIGNS = ("real design's basis", "standard basis", "random directions", "Gaussian rows")


class Designs(Config):
    """Three parts: designs over rounds, the 1-D map and the regression map of the best strategy."""

    rows: Whole  # real rows, in all three parts
    dim: Whole
    noise: Positive
    sizes: Whole  # kept rows: per direction over rounds, in all in the maps
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole
    radius: Positive  # over rounds
    bias: Annotated[float, Field(ge=0)]  # over rounds
    mean_replicates: Whole
    map_replicates: Whole  # of the regression map
    shift: NotNegatives  # 1-D map: the interval's centre - the true mean
    width: Positives  # 1-D map: the interval's width
    map_dim: Whole
    map_bias: NotNegatives  # regression map
    map_radius: NotNegatives


def design_arm(config: Designs, name: str) -> Rows:
    """Run the generic loop on one design; every design keeps `sizes * dim` rows a round."""
    runs = [_design_run(config, name, Key(config.seed).fold(i)) for i in range(config.replicates)]
    rows = []
    for k, each in enumerate(zip(*runs, strict=True)):
        about = {"arm": name, "part": "rounds", "seed": config.seed, "replicates": config.replicates, "round": k}
        about |= {key: float(np.mean([one[key] for one in each])) for key in ("candidates", "kept", "error_truth")}
        rows.append(about | spread("error_center", np.array([one["error_center"] for one in each])))
    return rows


def _design_run(config: Designs, name: str, key: Key) -> Rows:
    size = {"rows": config.rows, "dim": config.dim, "noise": config.noise}
    problem = Problem.gaussian(bias=config.bias, radius=config.radius, **size)
    blocks = (FixedDesign(problem.basis), FixedDesign(np.eye(config.dim)))
    design = (*blocks, RandomDirections(config.dim), GaussianDesign(config.dim))[DESIGNS.index(name)]
    if isinstance(design, FixedDesign):
        group, quota = design.group, Quota(config.sizes, groups=config.dim, budget=config.budget)
    else:
        group, quota = None, Quota(config.sizes * config.dim, budget=config.budget)
    loop = replace(problem.loop(), generate=Generate(design, config.noise), group=group)
    return follow(loop, key, problem.real_estimate(key), [quota] * config.rounds)


def mean_strip(config: Designs, width: float) -> Rows:
    """Estimate the mean of N(0, 1) four ways where the verifier passes an interval, for every shift of it."""
    # One key for all cells of a map: neighbours differ by their settings, not by their lots.
    rows, key = [], Key(config.seed).fold("mean")
    for shift in config.shift:
        bounds = (shift - width / 2, shift + width / 2)
        real = key.fold("real").numpy().standard_normal((config.mean_replicates, config.rows))
        inside = (real >= bounds[0]) & (real <= bounds[1])
        usable = inside.any(axis=1)  # with no real row in the interval there is no filtered estimate
        real, inside = real[usable], inside[usable]
        filtered = np.sum(real * inside, axis=1) / np.sum(inside, axis=1)
        means = (real.mean(axis=1), filtered)
        synthetic = [truncated_means(key.fold("synthetic"), mean, *bounds, config.sizes) for mean in means]
        squares = np.square([*means, *synthetic])
        rows.append(_map_row(config, "mean", shift, width, squares))
    return rows


def regression_strip(config: Designs, radius: float) -> Rows:
    """Estimate theta four ways on Gaussian rows with a knowledge ball, for every bias of its centre."""
    rows, key = [], Key(config.seed).fold("regression")
    for bias in config.map_bias:
        errors = [_four_errors(config, radius, bias, key.fold(i)) for i in range(config.map_replicates)]
        usable = [each for each in errors if each is not None]
        rows.append(_map_row(config, "regression", bias, radius, np.transpose(usable)))
    return rows


def _four_errors(config: Designs, radius: float, bias: float, key: Key) -> list[float] | None:
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
    estimates = [least_squares(key, truth, data) for data in (real, passed)]
    loop = Loop(generate=write, verify=ball, filter=Threshold(0.0), refit=least_squares)
    quota = Quota(config.sizes, budget=config.budget)
    estimates += [loop.step(key.fold("synthetic"), State(theta), quota)[0].model for theta in estimates]
    return [float(np.sum((theta - truth) ** 2)) / config.noise**2 for theta in estimates]


def _map_row(config: Designs, part: str, x: float, y: float, squares: np.ndarray) -> dict[str, Any]:
    if squares.size == 0:
        raise RoundError(f"{part} map: no replicate has enough real rows that pass at x = {x:g}, y = {y:g}")
    row: dict[str, Any] = {
        "part": part,
        "seed": config.seed,
        "replicates": squares.shape[1],
        "bias": x,
        "radius": y,
    }
    for name, sample in zip(STRATEGIES, squares, strict=True):
        row |= spread(name, sample)
    first, second = np.argsort(squares.mean(axis=1))[:2]
    row |= spread("lead", squares[second] - squares[first])
    return row


def units(config: Designs) -> list[Unit]:
    """The designs, then the strips of the two maps."""
    if config.budget < config.sizes * config.dim:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes * dim = {config.sizes * config.dim}")
    if config.rows < max(config.dim, config.map_dim):
        raise BadInput(f"rows: got {config.rows}, must be at least dim and map_dim")
    return [
        *(Unit(name.replace(" ", "-").replace("'", ""), config.rounds, design_arm, (name,)) for name in DESIGNS),
        *(Unit(f"mean-{i:04d}", 1, mean_strip, (width,)) for i, width in enumerate(config.width)),
        *(
            Unit(f"regression-{i:04d}", 1, regression_strip, (radius,))
            for i, radius in enumerate(config.map_radius)
        ),
    ]


if __name__ == "__main__":
    main(Designs, units, draw, summarise)
