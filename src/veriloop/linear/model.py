"""Linear regression as a backend: rows, designs, the model that writes labels, and the least-squares refit.

A model is the parameter vector theta, shape (d,); rows are y = x . theta + noise * N(0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from veriloop.core import Columns, Key, concatenate
from veriloop.core.checks import check_count, check_fraction, check_positive

Design = Callable[[Key, int], np.ndarray]  # (key, n) -> rows, shape (n, d)


@dataclass(frozen=True)
class Samples(Columns):
    """Regression rows. x: shape (n, d); y: shape (n,)."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class GaussianDesign:
    """Samples of independent standard normals, shape (n, dim)."""

    dim: int

    def __call__(self, key: Key, n: int) -> np.ndarray:
        return key.numpy().standard_normal((n, self.dim))


@dataclass(frozen=True)
class RandomDirections:
    """Samples drawn uniformly from the unit sphere, shape (n, dim)."""

    dim: int

    def __call__(self, key: Key, n: int) -> np.ndarray:
        rows = key.numpy().standard_normal((n, self.dim))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class FixedDesign:
    """Copies of the given rows, shape (p, d), one after the other from a random start.

    With an orthonormal basis as rows this is the paper's block design: the refit is then one mean a direction.

    >>> from veriloop import Key
    >>> FixedDesign(np.eye(2))(Key(0), 3).sum(axis=1)
    array([1., 1., 1.])
    """

    rows: np.ndarray

    def __call__(self, key: Key, n: int) -> np.ndarray:
        return self.rows[(key.integer() + np.arange(n)) % len(self.rows)]

    def group(self, data: Samples) -> np.ndarray:
        """Return for each row of the data which design row it is a copy of (the closest in angle), shape (n,)."""
        return np.argmax(
            data.x @ (self.rows / np.linalg.norm(self.rows, axis=1, keepdims=True)).T, axis=1
        )


def right_singular(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the singular values, shape (p,), and the right singular vectors as rows, shape (p, d), of a design.

    >>> right_singular(np.diag([2.0, 3.0]))[0]
    array([3., 2.])
    """
    _, values, basis = np.linalg.svd(x, full_matrices=False)
    return values, basis


@dataclass(frozen=True)
class Generate:
    r"""Let the model write: :math:`y = x^\top \theta + \sigma \xi`, with rows from `design` and sigma = `noise`."""

    design: Design
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Generate.noise", self.noise)

    def __call__(self, key: Key, model: np.ndarray, n: int) -> Samples:
        x = self.design(key.fold("x"), n)
        return Samples(x, x @ model + self.noise * key.fold("noise").numpy().standard_normal(n))


def least_squares(key: Key, model: np.ndarray, data: Samples) -> np.ndarray:
    """Refit from scratch: the least-squares estimate, shape (d,); the shortest one where rows are too few."""
    return np.linalg.lstsq(data.x, data.y, rcond=None)[0]


@dataclass(frozen=True)
class Errors:
    r"""Measure :math:`\|\theta - \theta_c\|^2/\sigma^2` and :math:`\|\theta - \theta_*\|^2/\sigma^2`."""

    truth: np.ndarray
    center: np.ndarray
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Errors.noise", self.noise)

    def __call__(self, key: Key, model: np.ndarray) -> dict[str, float]:
        return {
            "error_center": float(np.sum((model - self.center) ** 2)) / self.noise**2,
            "error_truth": float(np.sum((model - self.truth) ** 2)) / self.noise**2,
        }


@dataclass(frozen=True)
class WeightedReal:
    r"""A pool that adds `n` fresh real rows by `draw(key, n)` and gives them the share `weight` of the fit.

    The least-squares loss becomes :math:`w \cdot \mathrm{mean}_{real} + (1 - w) \cdot \mathrm{mean}_{kept}`, by
    scaling rows with the square roots of their weights (He, Xu and Cheng, 2025, arXiv:2502.18049).
    """

    draw: Callable[[Key, int], Samples]
    n: int
    weight: float

    def __post_init__(self) -> None:
        check_count("WeightedReal.n", self.n)
        check_fraction("WeightedReal.weight", self.weight)

    def __call__(self, key: Key, past: None, kept: Samples) -> tuple[Samples, None]:
        real = _scaled(self.draw(key, self.n), self.weight / self.n)
        return concatenate([real, _scaled(kept, (1 - self.weight) / len(kept))]), None


def _scaled(data: Samples, weight: float) -> Samples:
    return Samples(np.sqrt(weight) * data.x, np.sqrt(weight) * data.y)
