"""What the figure of shapes compares: verifiers that accept equally often, and what is expected of their loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field
from scipy.optimize import brentq

from _config import Config, Positive, Seed, Whole
from _run import Rows, follow, spread
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

Family = Callable[[np.ndarray, float], Any]  # (center, radius) -> verifier


class Shaped(Config):
    """The problem, and what decides the shapes of the verifiers on it."""

    rows: Whole  # real rows
    dim: Annotated[int, Field(ge=2)]
    noise: Positive
    radius: Positive  # of the ball
    aspect: Annotated[float, Field(ge=1, allow_inf_nan=False)]  # longest over shortest axis of the ellipsoid
    temperature: Positive  # of the soft ball, in units of y
    design_seed: Seed
    direction_seed: Seed


def problem_and_verifier(config: Shaped, shape: str, bias: float) -> tuple[Problem, Any]:
    """Return the problem and the verifier of one shape; the half-space looks along the bias, even one of 0."""
    setting = config.model_dump(include={"rows", "dim", "noise", "radius", "design_seed", "direction_seed"})
    problem = Problem.gaussian(bias=bias, **setting)
    far = Problem.gaussian(bias=1.0, **setting)
    normal = far.center - far.truth
    return problem, matched_verifier(shape, problem, normal, config.aspect, config.temperature)


def matched_verifier(name: str, problem: Problem, normal: np.ndarray, aspect: float, temperature: float) -> Any:
    """Return a verifier of one shape about the problem's centre, as often right about the truth's own rows as any.

    Each shape is scaled until, were it unbiased, it would accept the same share of the truth's labels as the
    problem's ball, on average over the singular directions: acceptance is what a verifier costs, and the one width
    that all shapes have. The slack is the same for all.

    normal: of the half-space. aspect: the longest over the shortest axis of the ellipsoid, whose axes are the
    singular vectors, in geometric progression. temperature: of the soft ball.
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
    """Return the radius at which a shape is right about as many of the truth's labels as is wanted."""

    def excess(log_radius: float) -> float:
        return right(family(unbiased.truth, float(np.exp(log_radius))), unbiased) - wanted

    return float(np.exp(cast(float, brentq(excess, -12.0, 6.0, xtol=1e-12))))


def right(verifier: Any, problem: Problem) -> float:
    """Return the share of the truth's labels that a verifier accepts, on average over the singular directions."""
    return float(np.mean(windows_of(verifier, problem).moments(np.zeros(len(problem.basis))).share))


def by_inversion(
    problem: Problem, windows: Windows, sizes: list[int], replicates: int, key: Key
) -> tuple[np.ndarray, list[float]]:
    """Return errors, (rounds + 1, replicates, p), and the candidates that each round draws on average."""
    errors = simulate_windows(problem.singular_values, windows, sizes, replicates, key)
    accepted = windows.moments(errors[:-1]).share
    drawn = sizes * np.sum(1 / accepted, axis=2).mean(axis=1)
    return errors, [0.0, *drawn.tolist()]


def by_loop(
    problem: Problem, verifier: Any, block: bool, quota: Quota, rounds: int, replicates: int, key: Key
) -> tuple[np.ndarray, list[float]]:
    """Return the same from the generic loop; on random directions, not in blocks, as many rows are kept in all."""
    dim = len(problem.truth)
    loop = replace(problem.loop(), verify=verifier, measure=_Estimate(problem))
    if isinstance(verifier, Soft):
        loop = replace(loop, filter=Bernoulli())
    if not block:
        loop = replace(loop, generate=Generate(RandomDirections(dim), problem.noise), group=None)
        quota = Quota(quota.n * dim, budget=quota.budget)
    runs = []
    for i in range(replicates):
        own = key.fold(i)
        runs.append(follow(loop, own, problem.real_estimate(own), [quota] * rounds))
    errors = [[[row[f"along{j}"] for j in range(dim)] for row in run] for run in runs]
    drawn = np.mean([[row["candidates"] for row in run] for run in runs], axis=0)
    return np.swapaxes(np.array(errors), 0, 1), drawn.tolist()


@dataclass(frozen=True)
class _Estimate:
    """Measure the estimation error along every singular direction, in units of sigma."""

    problem: Problem

    def __call__(self, key: Key, model: np.ndarray) -> dict[str, float]:
        errors = self.problem.basis @ (model - self.problem.truth) / self.problem.noise
        return {f"along{j}": float(error) for j, error in enumerate(errors)}


def measured(errors: np.ndarray, drawn: list[float], center: np.ndarray, kept: int) -> Rows:
    """Return by round the squared errors to truth and centre, and the share of the bias that is still ahead."""
    rows: Rows = []
    for k, own in enumerate(errors):
        row: dict[str, Any] = {"round": k, "candidates": drawn[k], "kept": kept if k else 0}
        row |= spread("error_truth", np.sum(own**2, axis=1))
        row |= spread("error_center", np.sum((own - center) ** 2, axis=1))
        if center.any():
            row |= spread("ahead", 1 - own @ center / (center @ center))
        rows.append(row)
    return rows


def expectations(problem: Problem, windows: Windows, sizes: list[int]) -> Rows:
    """Return what is expected by round, and where the error to the centre comes to rest, if anything holds it."""
    center = problem.center_offset
    path = expected_path(problem.singular_values, windows, sizes)
    factor = windows.moments(center).variance
    about: dict[str, Any] = {
        "contraction_low": float(factor.min()),
        "contraction_high": float(factor.max()),
        "plateau_center": None,
    }
    if np.isfinite(windows.lower).all() and np.isfinite(windows.upper).all():
        about["plateau_center"] = float(np.sum(factor / (sizes[0] * (1 - factor**2))))
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
