"""Beyond the block design: rounds on other designs, and which data are best to estimate from."""

from __future__ import annotations

from _linear_designs import (
    DESIGNS,
    MeanMap,
    OverRounds,
    RegressionMap,
    design_arm,
    mean_strip,
    regression_strip,
)
from figures.linear_designs import draw, summarise
from veriloop.study import BadInput, Unit, main


class Designs(OverRounds, MeanMap, RegressionMap):
    """Three parts: designs over rounds, the 1-D map and the regression map of the best strategy."""


def units(config: Designs) -> list[Unit]:
    """The designs, then the strips of the two maps."""
    kept = config.sizes * config.dim
    if config.budget < kept:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes * dim = {kept}")
    if config.rows < max(config.dim, config.map_dim):
        raise BadInput(f"rows: got {config.rows}, must be at least dim and map_dim")
    work = []
    for name in DESIGNS:
        file = name.replace(" ", "-").replace("'", "")
        work.append(Unit(file, config.rounds, design_arm, (name,)))
    for i, width in enumerate(config.width):
        work.append(Unit(f"mean-{i:04d}", 1, mean_strip, (width,)))
    for i, radius in enumerate(config.map_radius):
        work.append(Unit(f"regression-{i:04d}", 1, regression_strip, (radius,)))
    return work


if __name__ == "__main__":
    main(Designs, units, draw, summarise)
