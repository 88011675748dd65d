"""Linear regression as a backend: rows, designs, what writes labels, and the refit.

A model is the parameter vector theta, shape (d,); rows are y = x . theta + noise * N(0, 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from veriloop.core import Columns, Key, concatenate
from veriloop.core.checks import check_count, check_fraction, check_positive
from veriloop.linear.truncated import finite

Design = Callable[[Key, int], np.ndarray]  # (key, n) -> rows, shape (n, d)


@dataclass(frozen=True)
class Samples(Columns):
    """Regression rows, labels y for inputs x.

    x: inputs, shape (n, d).
    y: labels, shape (n,).

    >>> rows = Samples(x=np.eye(3), y=np.arange(3.0))
    >>> len(rows), rows[[2]].y
    (3, array([2.]))
    """

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class GaussianDesign:
    """Draw rows of independent standard normals, shape (n, dim).

    dim: d, the number of columns.

    >>> from veriloop import Key
    >>> GaussianDesign(3)(Key(0), 5).shape
    (5, 3)
    """

    dim: int

    def __post_init__(self) -> None:
        check_count("GaussianDesign.dim", self.dim)

    def __call__(self, key: Key, n: int) -> np.ndarray:
        return key.numpy().standard_normal((n, self.dim))


@dataclass(frozen=True)
class RandomDirections:
    """Draw rows uniformly from the unit sphere, shape (n, dim).

    dim: d, the number of columns.

    >>> from veriloop import Key
    >>> np.linalg.norm(RandomDirections(3)(Key(0), 2), axis=1).round(9)
    array([1., 1.])
    """

    dim: int

    def __post_init__(self) -> None:
        check_count("RandomDirections.dim", self.dim)

    def __call__(self, key: Key, n: int) -> np.ndarray:
        rows = key.numpy().standard_normal((n, self.dim))
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@dataclass(frozen=True)
class FixedDesign:
    """Copy the given rows, one after the other, from a random start.

    With an orthonormal basis as rows this is the block design of the paper. The refit is then one
    mean for each direction.

    rows: shape (p, d).

    >>> from veriloop import Key
    >>> FixedDesign(np.eye(2))(Key(0), 3).sum(axis=1)
    array([1., 1., 1.])
    """

    rows: np.ndarray

    def __post_init__(self) -> None:
        rows = finite("FixedDesign.rows", self.rows)
        if rows.ndim != 2 or not rows.size or not rows.any(axis=1).all():
            raise ValueError(
                f"FixedDesign.rows must have shape (p, d), and no row of 0 alone, got {rows.shape}"
            )
        object.__setattr__(self, "rows", rows)

    def __call__(self, key: Key, n: int) -> np.ndarray:
        return self.rows[(key.integer() + np.arange(n)) % len(self.rows)]

    def group(self, data: Samples) -> np.ndarray:
        """Return which design row each row of the data is a copy of, shape (n,).

        It is the closest in angle.
        """
        lengths = np.linalg.norm(self.rows, axis=1, keepdims=True)
        cosines = data.x @ (self.rows / lengths).T
        return np.argmax(cosines, axis=1)


def right_singular(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the singular values of a design, shape (p,), and its right singular vectors.

    The vectors are rows, shape (p, d). The number p is the rank of the design. Values that
    `least_squares` takes for 0 are left out.

    x: the design, shape (n, d).

    >>> right_singular(np.diag([2.0, 3.0]))[0]
    array([3., 2.])
    """
    _, values, basis = np.linalg.svd(x, full_matrices=False)
    large = values > np.finfo(float).eps * max(x.shape) * values[0]
    return values[large], basis[large]


@dataclass(frozen=True)
class Generate:
    r"""Let the model write labels.

    .. math:: y = x^\top \theta + \sigma \xi, \qquad \xi \sim N(0, 1)

    design: (key, n) -> x, shape (n, d).
    noise: sigma, positive.

    >>> from veriloop import Key
    >>> rows = Generate(GaussianDesign(2), noise=0.1)(Key(0), np.ones(2), 1000)
    >>> bool(abs((rows.y - rows.x.sum(axis=1)).std() - 0.1) < 0.01)
    True

    Raises:
        ValueError: if the noise is not positive and finite.
    """

    design: Design
    noise: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Generate.noise", self.noise)

    def __call__(self, key: Key, model: np.ndarray, n: int) -> Samples:
        x = self.design(key.fold("x"), n)
        noise = key.fold("noise").numpy().standard_normal(n)
        return Samples(x, x @ model + self.noise * noise)


def least_squares(key: Key, model: np.ndarray, data: Samples) -> np.ndarray:
    """Refit from scratch: return the least-squares estimate, shape (d,).

    If the rows do not span all d directions, it is the shortest of all that fit best.

    key, model: not used.
    data: the rows.

    >>> from veriloop import Key
    >>> least_squares(Key(0), np.zeros(2), Samples(np.eye(2), np.array([1.0, 2.0])))
    array([1., 2.])
    """
    return np.linalg.lstsq(data.x, data.y, rcond=None)[0]


@dataclass(frozen=True)
class Errors:
    r"""Measure the squared distance of the model to the truth, and to the verifier's centre.

    .. math:: \text{error\_center} = \|\theta - \theta_c\|^2/\sigma^2, \qquad
        \text{error\_truth} = \|\theta - \theta_*\|^2/\sigma^2

    truth: theta*, shape (d,).
    center: theta_c, shape (d,).
    noise: sigma, positive.

    >>> from veriloop import Key
    >>> Errors(truth=np.zeros(2), center=np.ones(2))(Key(0), np.array([1.0, 0.0]))
    {'error_center': 1.0, 'error_truth': 1.0}

    Raises:
        ValueError: if the noise is not positive and finite.
    """

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
    r"""A pool that adds real rows drawn in each round, with a given weight in the fit.

    Rows are scaled with the square roots of their weights. So the least-squares loss becomes
    :math:`w \cdot \mathrm{mean}_{real} + (1 - w) \cdot \mathrm{mean}_{kept}`, exactly. Source: He,
    Xu and Cheng (2025, arXiv:2502.18049).

    draw: (key, n) -> n real rows.
    n: real rows a round.
    weight: w, in (0, 1).

    >>> from veriloop import Key
    >>> one = Samples(np.ones((1, 1)), np.ones(1))
    >>> batch, _ = WeightedReal(lambda key, n: one, n=1, weight=0.25)(Key(0), None, one)
    >>> (batch.x**2).ravel()
    array([0.25, 0.75])

    Raises:
        ValueError: if `n` is no positive integer, or `weight` lies outside (0, 1).
    """

    draw: Callable[[Key, int], Samples]
    n: int
    weight: float

    def __post_init__(self) -> None:
        check_count("WeightedReal.n", self.n)
        check_fraction("WeightedReal.weight", self.weight)

    def __call__(self, key: Key, past: None, kept: Samples) -> tuple[Samples, None]:
        real = _scaled(self.draw(key, self.n), self.weight / self.n)
        rest = _scaled(kept, (1 - self.weight) / len(kept))
        return concatenate([real, rest]), None


def _scaled(data: Samples, weight: float) -> Samples:
    return Samples(np.sqrt(weight) * data.x, np.sqrt(weight) * data.y)
