"""What the figure of shapes compares: verifiers that accept equally often, and their loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field
from scipy.optimize import brentq

from veriloop import Bernoulli, Constant, Key, Quota
from veriloop.linear import (
    Generate,
    KnowledgeBall,
    KnowledgeBox,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    KnowledgeL1,
    Problem,
    RandomDirections,
    Soft,
    Windows,
    expected_path,
    simulate_windows,
    windows_of,
)
from veriloop.study import Config, Positive, Rows, Seed, Whole, follow, spread

DESIGN = {"rows", "dim", "noise", "radius", "design_seed", "direction_seed"}
Family = Callable[[np.ndarray, float], Any]  # (center, radius) -> verifier
Errors = tuple[np.ndarray, list[float]]  # (rounds + 1, replicates, p); candidates by round


class Shaped(Config):
    """The problem, what decides the shapes of the verifiers on it, and how much is run."""

    rows: Whole  # real rows
    dim: Annotated[int, Field(ge=2)]
    noise: Positive
    radius: Positive  # of the ball
    aspect: Annotated[float, Field(ge=1, allow_inf_nan=False)]  # of the ellipsoid's axes
    temperature: Positive  # of the soft ball, in units of y
    design_seed: Seed
    direction_seed: Seed
    sizes: Whole  # kept rows per direction
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole  # through the generic loop: random directions, and soft acceptance
    simulated: Whole  # replicates on the block design, by inversion


def setting(config: Shaped, shape: str, bias: float) -> tuple[Problem, Any]:
    """Return the problem and the verifier; the half-space looks along the bias, even one of 0."""
    design = config.model_dump(include=DESIGN)
    problem = Problem.gaussian(bias=bias, **design)
    far = Problem.gaussian(bias=1.0, **design)
    normal = far.center - far.truth
    return problem, matched_verifier(shape, problem, normal, config.aspect, config.temperature)


def matched_verifier(
    name: str,
    problem: Problem,
    normal: np.ndarray,
    aspect: float,
    temperature: float,
) -> Any:
    """Return a verifier of one shape about the problem's centre, which accepts as often as any.

    Each shape is scaled by its acceptance, the one width that all shapes have. If it were unbiased,
    it would accept the same share of the truth's labels as the problem's ball, on average over the
    singular directions. The slack is the same for all.

    normal: of the half-space. aspect: the longest over the shortest axis of the ellipsoid, whose
    axes are the singular vectors, in geometric progression. temperature: of the soft ball.
    """
    if name == "none":
        return Constant()
    if name == "ball":
        return problem.verifier
    unbiased = replace(problem, center=problem.truth)
    axes = problem.basis.T * np.geomspace(aspect**-0.5, aspect**0.5, len(problem.basis))
    slack = cast(float, problem.slack)
    families: dict[str, Family] = {
        "l1 ball": lambda center, r: KnowledgeL1(center, r, slack),
        "box": lambda center, r: KnowledgeBox(center, r, slack),
        "ellipsoid": lambda center, r: KnowledgeEllipsoid(center, r * axes, slack),
        "half-space": lambda center, r: KnowledgeHalfSpace(center, normal, r, slack),
        "soft ball": lambda center, r: Soft(KnowledgeBall(center, r, slack), temperature),
    }
    radius = _matched(families[name], unbiased, right(unbiased.verifier, unbiased))
    return families[name](problem.center, radius)


def _matched(family: Family, unbiased: Problem, wanted: float) -> float:
    """Return the radius at which a shape accepts the wanted share of the truth's labels."""

    def excess(log_radius: float) -> float:
        return right(family(unbiased.truth, float(np.exp(log_radius))), unbiased) - wanted

    return float(np.exp(cast(float, brentq(excess, -12.0, 6.0, xtol=1e-12))))


def right(verifier: Any, problem: Problem) -> float:
    """Return the share of the truth's labels that a verifier accepts, averaged over directions."""
    at_truth = np.zeros(len(problem.basis))
    return float(np.mean(windows_of(verifier, problem).moments(at_truth).share))


def by_inversion(config: Shaped, problem: Problem, windows: Windows) -> Errors:
    """Return estimation errors, and each round's candidates on average, without a single loop."""
    sizes = [config.sizes] * config.rounds
    key = Key(config.seed)
    errors = simulate_windows(problem.singular_values, windows, sizes, config.simulated, key)
    accepted = windows.moments(errors[:-1]).share
    drawn = config.sizes * np.sum(1 / accepted, axis=2).mean(axis=1)
    return errors, [0.0, *drawn.tolist()]


def by_loop(config: Shaped, problem: Problem, verifier: Any, block: bool) -> Errors:
    """Return the same from the generic loop; on random directions as many rows are kept in all."""
    loop = replace(problem.loop(verify=verifier), measure=_Estimate(problem))
    quota = Quota(config.sizes, groups=config.dim, budget=config.budget)
    if isinstance(verifier, Soft):
        loop = replace(loop, filter=Bernoulli())
    if not block:
        write = Generate(RandomDirections(config.dim), config.noise)
        loop = replace(loop, generate=write, group=None)
        quota = Quota(config.sizes * config.dim, budget=config.budget)
    errors = np.empty((config.rounds + 1, config.replicates, config.dim))
    drawn = np.empty((config.rounds + 1, config.replicates))
    names = [f"along{j}" for j in range(config.dim)]
    for i in range(config.replicates):
        key = Key(config.seed).fold(i)
        run = follow(loop, key, problem.start(key), [quota] * config.rounds)
        for k, row in enumerate(run):
            errors[k, i] = [row[name] for name in names]
            drawn[k, i] = row["candidates"]
    return errors, drawn.mean(axis=1).tolist()


@dataclass(frozen=True)
class _Estimate:
    """Measure the estimation error along every singular direction, in units of sigma."""

    problem: Problem

    def __call__(self, key: Key, model: np.ndarray) -> dict[str, float]:
        errors = self.problem.basis @ (model - self.problem.truth) / self.problem.noise
        return {f"along{j}": float(error) for j, error in enumerate(errors)}


def measured(errors: np.ndarray, drawn: list[float], center: np.ndarray, kept: int) -> Rows:
    """Return by round the squared errors, and the share of the bias that is still ahead."""
    rows: Rows = []
    for k, own in enumerate(errors):
        row: dict[str, Any] = {"round": k, "candidates": drawn[k], "kept": kept if k else 0}
        row |= spread("error_truth", np.sum(own**2, axis=1))
        row |= spread("error_center", np.sum((own - center) ** 2, axis=1))
        if center.any():
            row |= spread("ahead", 1 - own @ center / (center @ center))
        rows.append(row)
    return rows


def expectations(config: Shaped, problem: Problem, windows: Windows) -> Rows:
    """Return what is expected by round, and the error to the centre at rest, where there is one."""
    center = problem.center_offset
    sizes = [config.sizes] * config.rounds
    path = expected_path(problem.singular_values, windows, sizes)
    factor = windows.moments(center).variance
    about: dict[str, Any] = {
        "contraction_low": float(factor.min()),
        "contraction_high": float(factor.max()),
        "plateau_center": None,
    }
    if np.isfinite(windows.lower).all() and np.isfinite(windows.upper).all():
        about["plateau_center"] = float(np.sum(factor / (config.sizes * (1 - factor**2))))
    rows: Rows = []
    for k, (mean, variance) in enumerate(zip(path.mean, path.variance, strict=True)):
        row = about | {"expected_error_truth": float(np.sum(variance + mean**2))}
        row["expected_error_center"] = float(np.sum(variance + (mean - center) ** 2))
        row["expected_ahead"] = None
        row["expected_acceptance"] = None
        if center.any():
            row["expected_ahead"] = float(1 - mean @ center / (center @ center))
        if k:
            row["expected_acceptance"] = float(len(center) / np.sum(1 / path.acceptance[k - 1]))
        rows.append(row)
    return rows
