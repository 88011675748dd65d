"""What the figure of many rounds compares: simulated errors, the bound, and what is exact."""

from __future__ import annotations

from typing import Any

import numpy as np

from veriloop.linear import theory
from veriloop.study import Rows, spread


def measured(
    errors: np.ndarray,
    unverified: np.ndarray,
    c: np.ndarray,
    width: float,
    sizes: list[int],
) -> Rows:
    """Return counts, errors, and the gain over the unverified arm on the same lots, by round.

    errors, unverified: shape (rounds + 1, replicates, p). c: offset of the centre. sizes: kept rows
    per direction.
    """
    acceptance = theory.acceptance(errors[:-1], 1.0, c - width, c + width)
    drawn = np.sum(1 / acceptance, axis=2).mean(axis=1) * sizes
    rows = []
    for k, (own, other) in enumerate(zip(errors, unverified, strict=True)):
        truth = np.sum(own**2, axis=1)
        row: dict[str, Any] = {"round": k, "candidates": 0, "kept": 0}
        if k:
            row |= {"candidates": drawn[k - 1], "kept": sizes[k - 1] * len(c)}
        row |= spread("error_center", np.sum((own - c) ** 2, axis=1))
        row |= spread("error_truth", truth)
        rows.append(row | spread("gain_truth", np.sum(other**2, axis=1) - truth))
    return rows


def predicted(mu: np.ndarray, c: np.ndarray, width: float, sizes: list[int]) -> Rows:
    """Return by round the bound on error_center, the noise-free map, and the unverified law."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    path = theory.mean_path(nodes[:, None] / mu, c, width, len(sizes))  # (rounds + 1, nodes, p)
    weights = weights[:, None] / weights.sum()
    curves = {
        "bound_center": theory.error_bound(np.sum(mu**-2.0 + c**2), width, sizes, len(mu)),
        "map_center": np.sum(weights * (path - c) ** 2, axis=(1, 2)),
        "map_truth": np.sum(weights * path**2, axis=(1, 2)),
        "unfiltered_truth": theory.unfiltered_mse(mu, sizes),
    }
    by_round = zip(*curves.values(), strict=True)
    return [dict(zip(curves, map(float, values), strict=True)) for values in by_round]
