"""Sixty rounds: radius x bias x size, verified and unverified, with Theorem 4.1's bound and the exact map."""

from __future__ import annotations

from itertools import product

import numpy as np

from _config import BadInput, OnRealDesign, Sizes, Whole, per_round
from _linear_rounds import measured, predicted
from _run import Rows, Unit, main
from plots.linear_rounds import draw, summarise
from veriloop import Key
from veriloop.linear import Problem, simulate


class Rounds(OnRealDesign):
    """Arms are all combinations of noise, bias, radius and size, and an unverified one for each size."""

    rounds: Whole
    sizes: Sizes  # kept rows per direction


def arms(config: Rounds, noise: float, bias: float, size: str, counts: list[int]) -> Rows:
    """Simulate every radius and, as None, no verifier; they share one key, so their differences are paired."""
    setting = config.model_dump(include={"rows", "dim", "design_seed", "direction_seed"})
    about = {"noise": noise, "bias": bias, "size": size, "seed": config.seed, "replicates": config.replicates}
    widths = {}
    for radius in config.radius:
        problem = Problem.gaussian(radius=radius, bias=bias, noise=noise, **setting)
        widths[f"radius{radius:g}", radius] = problem.half_width
    widths["unverified", None] = np.inf
    mu, c = problem.singular_values, problem.center_offset  # the same of every radius
    lots = (counts, config.replicates, Key(config.seed))
    unverified = simulate(mu, c, np.inf, *lots)
    rows = []
    for (kind, radius), width in widths.items():
        errors = unverified if radius is None else simulate(mu, c, width, *lots)
        own = {"arm": f"{kind}-bias{bias:g}-{size}-noise{noise:g}", "radius": radius} | about
        parts = zip(measured(errors, unverified, c, width, counts), predicted(mu, c, width, counts), strict=True)
        rows += [own | row | known for row, known in parts]
    return rows


def units(config: Rounds) -> list[Unit]:
    """One unit for all arms that are compared with one another."""
    try:
        schedules = per_round(config.sizes, config.rounds)
    except ValueError as error:
        raise BadInput(f"sizes: {error}") from None
    return [
        Unit(f"bias{bias:g}-{size}-noise{noise:g}", config.rounds, arms, (noise, bias, size, counts))
        for noise, bias, (size, counts) in product(config.noise, config.bias, schedules.items())
    ]


if __name__ == "__main__":
    main(Rounds, units, draw, summarise)
