"""Sixty rounds: radius x bias x size, with Theorem 4.1's bound and the exact map."""

from __future__ import annotations

from itertools import product

import numpy as np

from _design import OnRealDesign
from _linear_rounds import measured, predicted
from figures.linear_rounds import draw, summarise
from veriloop import Key
from veriloop.linear import Problem, simulate
from veriloop.study import BadInput, Rows, Sizes, Unit, Whole, main, per_round


class Rounds(OnRealDesign):
    """Arms are all combinations of noise, bias, radius, size, and one unverified for each size."""

    rounds: Whole
    sizes: Sizes  # kept rows per direction


def arms(config: Rounds, noise: float, bias: float, size: str, counts: list[int]) -> Rows:
    """Simulate every radius, and no verifier, under one key, so that differences are paired."""
    setting = config.model_dump(include={"rows", "dim", "design_seed", "direction_seed"})
    about = {"noise": noise, "bias": bias, "size": size}
    about |= config.model_dump(include={"seed", "replicates"})
    setting |= {"bias": bias, "noise": noise}
    problems = [Problem.gaussian(radius=radius, **setting) for radius in config.radius]
    mu = problems[0].singular_values  # the same for every radius
    c = problems[0].center_offset
    lots = (counts, config.replicates, Key(config.seed))
    widths = {problem.radius: problem.half_width for problem in problems} | {None: np.inf}
    errors = {radius: simulate(mu, c, width, *lots) for radius, width in widths.items()}
    rows = []
    for radius, width in widths.items():
        kind = "unverified" if radius is None else f"radius{radius:g}"
        own = {"arm": f"{kind}-bias{bias:g}-{size}-noise{noise:g}", "radius": radius} | about
        found = measured(errors[radius], errors[None], c, width, counts)
        for row, known in zip(found, predicted(mu, c, width, counts), strict=True):
            rows.append(own | row | known)
    return rows


def units(config: Rounds) -> list[Unit]:
    """One unit for all arms that are compared with one another."""
    try:
        schedules = per_round(config.sizes, config.rounds)
    except ValueError as error:
        raise BadInput(f"sizes: {error}") from None
    work = []
    for noise, bias, (size, counts) in product(config.noise, config.bias, schedules.items()):
        name = f"bias{bias:g}-{size}-noise{noise:g}"
        work.append(Unit(name, config.rounds, arms, (noise, bias, size, counts)))
    return work


if __name__ == "__main__":
    main(Rounds, units, draw, summarise)
