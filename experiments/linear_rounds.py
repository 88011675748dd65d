"""Sixty rounds: radius x bias x size, verified and unverified, with Theorem 4.1's bound and the exact map."""

from itertools import product
from typing import Any

import numpy as np

from _design import OnRealDesign
from figures.linear_rounds import draw, summarise
from veriloop import Key
from veriloop.linear import Problem, simulate, theory
from veriloop.study import BadInput, Rows, Sizes, Unit, Whole, main, per_round, spread


class Rounds(OnRealDesign):
    """Arms are all combinations of noise, bias, radius and size, and an unverified one for each size."""

    rounds: Whole
    sizes: Sizes  # kept rows per direction


def arms(config: Rounds, noise: float, bias: float, size: str, counts: list[int]) -> Rows:
    """Simulate every radius and, as None, no verifier; they share one key, so their differences are paired."""
    setting: dict[str, Any] = {"rows": config.rows, "dim": config.dim, "design_seed": config.design_seed}
    setting |= {"bias": bias, "noise": noise, "direction_seed": config.direction_seed}
    about = {"noise": noise, "bias": bias, "size": size, "seed": config.seed, "replicates": config.replicates}
    problems = {radius: Problem.gaussian(radius=radius, **setting) for radius in config.radius}
    first = problems[config.radius[0]]
    mu, c, key = first.singular_values, first.center_offset, Key(config.seed)
    unverified = simulate(mu, c, np.inf, counts, config.replicates, key)
    rows = []
    for radius, problem in {**problems, None: None}.items():
        width = np.inf if problem is None else problem.half_width
        errors = unverified if problem is None else simulate(mu, c, width, counts, config.replicates, key)
        own = {"arm": _name(radius, bias, size, noise), "radius": radius} | about
        measured = _by_round(errors, unverified, c, width, counts)
        rows += [own | row for row in _predicted(measured, mu, c, width, counts)]
    return rows


def _name(radius: float | None, bias: float, size: str, noise: float) -> str:
    kind = "unverified" if radius is None else f"radius{radius:g}"
    return f"{kind}-bias{bias:g}-{size}-noise{noise:g}"


def _by_round(errors: np.ndarray, unverified: np.ndarray, c: np.ndarray, width: float, counts: list[int]) -> Rows:
    """Rows and candidates, errors, and the gain over the unverified arm on the same lots, by round."""
    acceptance = theory.acceptance(errors[:-1], 1.0, c - width, c + width)
    drawn = np.sum(1 / acceptance, axis=2).mean(axis=1) * counts
    rows = []
    for k, (own, other) in enumerate(zip(errors, unverified, strict=True)):
        truth = np.sum(own**2, axis=1)
        row: dict[str, Any] = {"round": k, "candidates": 0, "kept": 0}
        if k:
            row |= {"candidates": drawn[k - 1], "kept": counts[k - 1] * len(c)}
        row |= spread("error_center", np.sum((own - c) ** 2, axis=1)) | spread("error_truth", truth)
        rows.append(row | spread("gain_truth", np.sum(other**2, axis=1) - truth))
    return rows


def _predicted(rows: Rows, mu: np.ndarray, c: np.ndarray, width: float, counts: list[int]) -> Rows:
    """Add to each round the bound on error_center, the noise-free map from round 0 on, and the unverified law."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    path = theory.mean_path(nodes[:, None] / mu, c, width, len(counts))  # (rounds + 1, nodes, p)
    weights = weights[:, None] / weights.sum()
    curves = {
        "bound_center": theory.error_bound(np.sum(mu**-2.0 + c**2), width, counts, len(mu)),
        "map_center": np.sum(weights * (path - c) ** 2, axis=(1, 2)),
        "map_truth": np.sum(weights * path**2, axis=(1, 2)),
        "unfiltered_truth": theory.unfiltered_mse(mu, counts),
    }
    return [row | {name: float(curve[k]) for name, curve in curves.items()} for k, row in enumerate(rows)]


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
