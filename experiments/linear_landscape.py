"""One round's log improvement over bias and radius: exact theory, Theorem 3.1, and Monte Carlo."""

from itertools import product

import numpy as np

from _design import OnRealDesign
from figures.linear_landscape import draw, summarise
from veriloop import Key
from veriloop.linear import Problem, simulate, theory
from veriloop.study import Rows, Unit, Whole, main, spread


class Landscape(OnRealDesign):
    """A grid of one-round problems on one real design."""

    sizes: Whole  # kept rows per direction


def strip(config: Landscape, noise: float, radius: float) -> Rows:
    """Compute the cells of one radius."""
    seeds = {"design_seed": config.design_seed, "direction_seed": config.direction_seed}
    size = {"rows": config.rows, "dim": config.dim, "noise": noise}
    problems = [Problem.gaussian(bias=bias, radius=radius, **size, **seeds) for bias in config.bias]
    mu, width = problems[0].singular_values, problems[0].half_width
    centers = np.array([problem.center_offset for problem in problems])
    exact, expansion = (
        theory.one_round_mse(mu, centers, width, config.sizes, m) for m in ("exact", "expansion")
    )
    rows = []
    for i, bias in enumerate(config.bias):
        key = Key(config.seed).fold("cell", repr((noise, radius, bias)))
        errors = simulate(mu, centers[i], width, [config.sizes], config.replicates, key)[1]
        mse = np.sum(errors**2, axis=1)
        rows.append(
            {
                "bias": bias,
                "radius": radius,
                "noise": noise,
                "seed": config.seed,
                "replicates": config.replicates,
            }
            | {"baseline": np.sum(mu**-2.0), "exact": exact[i], "expansion": expansion[i]}
            | {"mean": mse.mean(), "standard_error": spread("mse", mse)["mse_se"]}
        )
    return rows


def units(config: Landscape) -> list[Unit]:
    """One unit a radius."""
    pairs = product(config.noise, config.radius)
    return [
        Unit(f"noise{noise:g}-radius{radius:.6g}", 1, strip, (noise, radius))
        for noise, radius in pairs
    ]


if __name__ == "__main__":
    main(Landscape, units, draw, summarise)
