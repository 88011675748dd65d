"""What of the knowledge ball's story survives other shapes: l1 ball, box, ellipsoid, half-space, soft ball."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from _shapes import Windows, expected, matched_verifier, simulated, windows
from figures.verifier_shape import DESIGNS, SHAPES, draw, summarise
from veriloop import Bernoulli, Key, Quota
from veriloop.linear import Generate, Problem, RandomDirections, Soft
from veriloop.study import BadInput, Config, NotNegatives, Positive, Rows, Seed, Unit, Whole, follow, main, spread


class Shapes(Config):
    """Every shape on two designs; all accept the same share of the truth's rows when unbiased, as the ball does."""

    rows: Whole  # real rows
    dim: Annotated[int, Field(ge=2)]
    noise: Positive
    sizes: Whole  # kept rows per direction
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole  # through the generic loop: random directions, and soft acceptance
    simulated: Whole  # replicates on the block design, by inversion
    radius: Positive  # of the ball
    aspect: Annotated[float, Field(ge=1, allow_inf_nan=False)]  # longest over shortest axis of the ellipsoid
    temperature: Positive  # of the soft ball, in units of y
    bias: NotNegatives
    design_seed: Seed
    direction_seed: Seed


def arm(config: Shapes, shape: str, design: str, bias: float) -> Rows:
    """Run one shape on one design, and give its expectation beside where directions part."""
    problem, verifier = _setting(config, shape, bias)
    bounds = windows(verifier, problem)
    block = design == DESIGNS[0]
    if block and not bounds.temperature:
        errors, drawn = _by_inversion(config, problem, bounds)
    else:
        errors, drawn = _by_loop(config, problem, verifier, design)
    about = {"arm": f"{shape}-{design}-bias{bias:g}".replace(" ", "-"), "shape": shape, "design": design}
    about |= {"bias": bias, "seed": config.seed, "replicates": errors.shape[1]}
    rows: Rows = []
    for k, own in enumerate(_numbers(errors, problem.center_offset)):
        row: dict[str, Any] = about | {
            "round": k,
            "candidates": drawn[k],
            "kept": min(k, 1) * config.sizes * config.dim,
        }
        for name, sample in own.items():
            row |= spread(name, sample)
        rows.append(row)
    theory = _theory(config, problem, bounds) if block else [{} for _ in rows]
    return [row | more for row, more in zip(rows, theory, strict=True)]


def _setting(config: Shapes, shape: str, bias: float) -> tuple[Problem, Any]:
    """Return the problem and the verifier of one shape; the half-space looks along the bias, even one of 0."""
    design: dict[str, Any] = {"rows": config.rows, "dim": config.dim, "noise": config.noise}
    design |= {"radius": config.radius, "design_seed": config.design_seed, "direction_seed": config.direction_seed}
    problem, far = (Problem.gaussian(bias=each, **design) for each in (bias, 1.0))
    normal = far.center - far.truth
    return problem, matched_verifier(shape, problem, normal, config.aspect, config.temperature)


def _by_inversion(config: Shapes, problem: Problem, bounds: Windows) -> tuple[np.ndarray, list[float]]:
    """Estimation errors, (rounds + 1, replicates, p), and the candidates that each round draws on average."""
    sizes = [config.sizes] * config.rounds
    errors = simulated(problem.singular_values, bounds, sizes, config.simulated, Key(config.seed))
    accepted = bounds.moments(errors[:-1])[0]
    return errors, [0.0, *(config.sizes * np.sum(1 / accepted, axis=2).mean(axis=1)).tolist()]


def _by_loop(config: Shapes, problem: Problem, verifier: Any, design: str) -> tuple[np.ndarray, list[float]]:
    """The same from the generic loop; on random directions as many rows are kept in all."""
    loop = replace(problem.loop(), verify=verifier, measure=_Estimate(problem))
    quota = Quota(config.sizes, groups=config.dim, budget=config.budget)
    if isinstance(verifier, Soft):
        loop = replace(loop, filter=Bernoulli())
    if design != DESIGNS[0]:
        loop = replace(loop, generate=Generate(RandomDirections(config.dim), config.noise), group=None)
        quota = Quota(config.sizes * config.dim, budget=config.budget)
    runs = []
    for i in range(config.replicates):
        key = Key(config.seed).fold(i)
        runs.append(follow(loop, key, problem.real_estimate(key), [quota] * config.rounds))
    by_round = list(zip(*runs, strict=True))
    errors = [[[run[f"along{j}"] for j in range(config.dim)] for run in each] for each in by_round]
    return np.array(errors), [float(np.mean([run["candidates"] for run in each])) for each in by_round]


class _Estimate:
    """Measure the estimation error along every singular direction, in units of sigma."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def __call__(self, key: Key, model: np.ndarray) -> dict[str, float]:
        errors = self._problem.basis @ (model - self._problem.truth) / self._problem.noise
        return {f"along{j}": float(error) for j, error in enumerate(errors)}


def _numbers(errors: np.ndarray, center: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Squared errors to truth and centre, and the share of the bias still ahead, by round and replicate."""
    rows = []
    for own in errors:
        row = {"error_truth": np.sum(own**2, axis=1), "error_center": np.sum((own - center) ** 2, axis=1)}
        rows.append(row | ({"ahead": 1 - own @ center / (center @ center)} if center.any() else {}))
    return rows


def _theory(config: Shapes, problem: Problem, bounds: Windows) -> Rows:
    """The expectations by round, and where the error to the centre comes to rest, if anything holds it there."""
    center, n = problem.center_offset, config.sizes
    means, variances, accepted = expected(problem.singular_values, bounds, [n] * config.rounds)
    factor = bounds.moments(center)[2]
    held = np.isfinite(bounds.lower).all() and np.isfinite(bounds.upper).all()
    about = {
        "contraction_low": float(factor.min()),
        "contraction_high": float(factor.max()),
        "plateau_center": float(np.sum(factor / (n * (1 - factor**2)))) if held else None,
    }
    rows: Rows = []
    for k, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        row: dict[str, Any] = about | {"expected_error_truth": float(np.sum(variance + mean**2))}
        row["expected_error_center"] = float(np.sum(variance + (mean - center) ** 2))
        row["expected_ahead"] = float(1 - mean @ center / (center @ center)) if center.any() else None
        row["expected_acceptance"] = float(config.dim / np.sum(1 / accepted[k - 1])) if k else None
        rows.append(row)
    return rows


def units(config: Shapes) -> list[Unit]:
    """One unit a shape, design and bias; the slow ones, through the loop, first."""
    if config.budget < config.sizes * config.dim:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes * dim = {config.sizes * config.dim}")
    if config.rows < config.dim:
        raise BadInput(f"rows: got {config.rows}, must be at least dim = {config.dim}")
    work = [(shape, design, bias) for design in reversed(DESIGNS) for bias in config.bias for shape in SHAPES]
    names = ["-".join((shape, design, f"bias{bias:g}")).replace(" ", "-") for shape, design, bias in work]
    return [Unit(name, config.rounds, arm, each) for name, each in zip(names, work, strict=True)]


if __name__ == "__main__":
    main(Shapes, units, draw, summarise)
