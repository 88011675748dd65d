"""Sixty rounds: radius x bias x size, verified and unverified, with Theorem 4.1's bound and the exact map."""

from itertools import product

import numpy as np

from _config import BadInput, Config, NotNegatives, Positives, Seed, Sizes, Whole, per_round
from _run import Rows, Unit, main, spread
from plots.linear_rounds import draw, summarise
from veriloop import Key
from veriloop.linear import Problem, simulate, theory


class Rounds(Config):
    """Arms are all combinations of noise, bias, radius and size, and an unverified one for each size."""

    rows: Whole
    dim: Whole
    rounds: Whole
    sizes: Sizes  # kept rows per direction
    replicates: Whole
    noise: Positives
    radius: NotNegatives
    bias: NotNegatives
    design_seed: Seed
    direction_seed: Seed


def arm(
    config: Rounds, name: str, noise: float, bias: float, radius: float | None, size: str, counts: list[int]
) -> Rows:
    """Simulate one arm; radius None is no verifier."""
    seeds = {"design_seed": config.design_seed, "direction_seed": config.direction_seed}
    problem = Problem.gaussian(
        bias=bias, radius=radius or 0.0, rows=config.rows, dim=config.dim, noise=noise, **seeds
    )
    mu, c, dim = problem.singular_values, problem.center_offset, config.dim
    width = np.inf if radius is None else problem.half_width
    # All arms share one key: their real data are the same, and so are the lots their labels are drawn with.
    errors = simulate(mu, c, width, counts, config.replicates, Key(config.seed))
    drawn = np.sum(1 / theory.acceptance(errors[:-1], 1.0, c - width, c + width), axis=2).mean(axis=1) * counts
    about = {"arm": name, "noise": noise, "bias": bias, "radius": radius, "size": size, "seed": config.seed}
    predicted = _predicted(mu, c, width, counts)
    rows = []
    for k in range(len(counts) + 1):
        row = about | {"round": k, "candidates": drawn[k - 1] if k else 0, "kept": counts[k - 1] * dim if k else 0}
        row |= {"replicates": config.replicates}
        for target, offset in (("error_center", c), ("error_truth", 0.0)):
            row |= spread(target, np.sum((errors[k] - offset) ** 2, axis=1))
        rows.append(row | {name: float(curve[k]) for name, curve in predicted.items()})
    return rows


def _predicted(mu: np.ndarray, c: np.ndarray, width: float, counts: list[int]) -> dict[str, np.ndarray]:
    """The bound on error_center, the noise-free map from round 0 on, and the unverified law, by round."""
    initial = np.sum(mu**-2.0 + c**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    path = theory.mean_path(nodes[:, None] / mu, c, width, len(counts))  # (rounds + 1, nodes, p)
    weights = weights[:, None] / weights.sum()
    bound = theory.error_bound(initial, width, counts, len(mu))
    return {
        "bound_center": bound,
        "map_center": np.sum(weights * (path - c) ** 2, axis=(1, 2)),
        "map_truth": np.sum(weights * path**2, axis=(1, 2)),
        "unfiltered_truth": theory.unfiltered_mse(mu, counts),
    }


def units(config: Rounds) -> list[Unit]:
    """One unit an arm."""
    if config.rows < config.dim:
        raise BadInput(f"rows: got {config.rows}, must be at least dim = {config.dim}")
    try:
        schedules = per_round(config.sizes, config.rounds)
    except ValueError as error:
        raise BadInput(f"sizes: {error}") from None
    work = []
    for noise, bias, (size, counts) in product(config.noise, config.bias, schedules.items()):
        for radius in (*config.radius, None):
            kind = "unverified" if radius is None else f"radius{radius:g}"
            name = f"{kind}-bias{bias:g}-{size}-noise{noise:g}"
            work.append(Unit(name, config.rounds, arm, (name, noise, bias, radius, size, counts)))
    return work


if __name__ == "__main__":
    main(Rounds, units, draw, summarise)
