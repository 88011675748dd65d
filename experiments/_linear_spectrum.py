"""What the figure of the spectrum compares: spread singular values, and few real rows."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from veriloop import Key
from veriloop.linear import Problem, Windows, expected_path, windows_of
from veriloop.study import Config, NotNegative, NotNegatives, Positive, Rows, Seed, Whole, spread

LEAST = 0.01  # the least singular value that `expected_path` takes


class SpreadDesigns(Config):
    """Designs of one baseline error, whose singular values are in geometric progression."""

    dim: Annotated[int, Field(ge=2)]
    baseline: Positive  # the sum of 1 / mu^2, the error of the real estimate
    spreads: Annotated[
        list[Annotated[float, Field(ge=1, allow_inf_nan=False)]], Field(min_length=1)
    ]
    radius: NotNegative
    bias: NotNegatives
    sizes: Whole  # kept rows per direction
    rounds: Whole
    replicates: Whole


class FewRows(Config):
    """Gaussian designs with fewer or more real rows than parameters."""

    few_dim: Whole
    few_rows: Annotated[list[Whole], Field(min_length=1)]
    few_radius: NotNegative
    few_bias: NotNegative
    designs: Whole  # for each number of rows
    design_replicates: Whole
    direction_seed: Seed


def spread_arms(config: SpreadDesigns, ratio: float, bias: float) -> Rows:
    """Simulate one design with and without the verifier, on shared lots, beside the theory.

    ratio: the largest singular value over the least. The bias is the same in all directions.
    """
    steps = np.geomspace(1.0, 1 / ratio, config.dim)
    mu = steps * np.sqrt(np.sum(steps**-2.0) / config.baseline)
    truth = np.zeros(config.dim)
    center = np.full(config.dim, bias / np.sqrt(config.dim))
    problem = Problem(np.diag(mu), truth, center, config.radius)
    sizes = [config.sizes] * config.rounds
    about = {"part": "spread", "spread": ratio, "bias": bias, "baseline": config.baseline}
    about |= {"seed": config.seed, "replicates": config.replicates}
    name = f"spread{ratio:g}-bias{bias:g}"
    key = Key(config.seed).fold(name)
    return _compared(problem, sizes, config.replicates, key, name, about)


def few_rows_arms(config: Any, real_rows: int) -> Rows:
    """Do the same on many Gaussian designs of one number of real rows, and tell their medians."""
    sizes = [config.sizes] * config.rounds
    runs = []
    for i in range(config.designs):
        problem = Problem.gaussian(
            bias=config.few_bias,
            radius=config.few_radius,
            dim=config.few_dim,
            rows=real_rows,
            design_seed=1000 * config.seed + i,
            direction_seed=config.direction_seed,
        )
        key = Key(config.seed).fold("rows", i)
        runs.append(
            _compared(problem, sizes, config.design_replicates, key, f"rows{real_rows}", {})
        )
    about = {"part": "rows", "real_rows": real_rows, "dim": config.few_dim}
    about |= {"designs": config.designs, "seed": config.seed}
    about |= {"replicates": config.design_replicates}
    return [about | _over_designs(list(rows)) for rows in zip(*runs, strict=True)]


def _over_designs(rows: Rows) -> dict[str, Any]:
    """Return the medians of one arm and round over designs, and how well theory fits all of them.

    The mean over designs does not exist where there are as many rows as parameters.
    """
    row: dict[str, Any] = {name: rows[0][name] for name in ("arm", "verified", "round", "kept")}
    row |= {"candidates": _median(rows, "candidates"), "unseen": _median(rows, "unseen")}
    for name in ("error_truth", "error_center"):
        row[name] = _median(rows, name)
        row[f"{name}_se"] = None
        row[f"expected_{name}"] = None
        known = [each for each in rows if each[f"expected_{name}"] is not None]
        if known:
            row[f"expected_{name}"] = _median(known, f"expected_{name}")
        row[f"{name}_z"] = None
        if known and known[0][f"{name}_se"] is not None:
            z = [(each[name] - each[f"expected_{name}"]) / each[f"{name}_se"] for each in known]
            row[f"{name}_z"] = float(np.sqrt(np.mean(np.square(z))))
    return row | {"followed": len(known)}


def _median(rows: Rows, name: str) -> float:
    return float(np.median([row[name] for row in rows]))


def _compared(
    problem: Problem, sizes: list[int], replicates: int, key: Key, name: str, about: dict[str, Any]
) -> Rows:
    """Return the rows of the verified and the unverified arm, with the paired gain of verifying."""
    unverified = problem.simulate(sizes, replicates, key, verified=False)
    rows: Rows = []
    for verified in (False, True):
        errors = problem.simulate(sizes, replicates, key, verified=verified)
        windows = windows_of(problem.verifier if verified else None, problem)
        known = _expected(problem, windows, sizes)
        arm = {"arm": f"{name}-{'verified' if verified else 'unverified'}", "verified": verified}
        for k in range(len(sizes) + 1):
            row = arm | about | {"round": k, "kept": 0, "candidates": 0.0} | known[k]
            row["unseen"] = problem.unseen_truth
            if k:
                row["kept"] = sizes[k - 1] * len(problem.basis)
            row["candidates"] = max(known[k]["candidates"] or 0.0, float(row["kept"]))
            for metric in ("error_truth", "error_center"):
                row |= spread(metric, errors[metric][k])
            gain = unverified["error_truth"][k] - errors["error_truth"][k]
            rows.append(row | spread("gain_truth", gain))
    return rows


def _expected(problem: Problem, windows: Windows, sizes: list[int]) -> Rows:
    """Return expected errors and candidates by round, or None where the design is too singular."""
    if problem.singular_values.min() < LEAST:
        nothing = {"expected_error_truth": None, "expected_error_center": None, "candidates": None}
        return [nothing] * (len(sizes) + 1)
    path = expected_path(problem.singular_values, windows, sizes)
    rows: Rows = []
    for k, (mean, variance) in enumerate(zip(path.mean, path.variance, strict=True)):
        truth = np.sum(variance + mean**2) + problem.unseen_truth
        center = np.sum(variance + (mean - problem.center_offset) ** 2) + problem.unseen_center
        row: dict[str, Any] = {"expected_error_truth": float(truth)}
        row["expected_error_center"] = float(center)
        row["candidates"] = 0.0
        if k:
            with np.errstate(divide="ignore"):
                drawn = float(np.sum(sizes[k - 1] / path.acceptance[k - 1]))
            row["candidates"] = drawn if np.isfinite(drawn) else None
        rows.append(row)
    return rows
