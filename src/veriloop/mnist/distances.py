"""How far samples of features are apart: the Frechet distance, precision, recall and coverage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from veriloop.core.arrays import Array
from veriloop.core.checks import check_count
from veriloop.mnist.images import as_array

CELLS = 2**23  # distances in memory at once; smaller tables are made whole
# Squared distances below this share of the squared lengths are rounding: the rows are equal.
EQUAL = 1e-12
LARGEST = 1e150  # the square of a larger feature is infinite


def frechet_distance(features_a: npt.ArrayLike | Tensor, features_b: npt.ArrayLike) -> float:
    r"""Return the Frechet distance between two samples of features, taken as Gaussian.

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    It is biased upward for few rows: compare only distances taken with the same numbers of rows. It
    is never below 0, and it is 0 for a sample and itself.

    features_a, features_b: shape (n, d) and (m, d), with n and m of at least 2.

    Raises:
        ValueError: if a sample has fewer than two rows, the features differ in number, or one is
            not finite, with its row.

    >>> round(frechet_distance([[0.0], [2.0]], [[1.0], [5.0]]), 9)  # means 1, 3; variances 2, 8
    6.0
    """
    one = Gaussian.of(features_a, "frechet_distance: features_a")
    other = Gaussian.of(features_b, "frechet_distance: features_b")
    return one.distance(other)


@dataclass(frozen=True)
class Gaussian:
    """The mean, shape (d,), and covariance, shape (d, d), of a sample of features."""

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, features: npt.ArrayLike | Tensor, what: str = "features") -> Gaussian:
        """Return the moments of features, shape (n, d).

        what: the name of the sample, for the error.
        """
        rows = as_features(what, features, least=2)
        return cls(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False)))

    def distance(self, other: Gaussian) -> float:
        """Return the Frechet distance; see `frechet_distance`."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"features differ in number: {len(self.mean)} and {len(other.mean)}")
        same_mean = np.array_equal(self.mean, other.mean)
        if same_mean and np.array_equal(self.covariance, other.covariance):
            return 0.0
        # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2), which are never
        # complex or negative.
        roots = _root(self.covariance) @ _root(other.covariance)
        shared = np.linalg.svd(roots, compute_uv=False).sum()
        apart = ((self.mean - other.mean) ** 2).sum()
        traces = apart + np.trace(self.covariance) + np.trace(other.covariance)
        return max(float(traces - 2 * shared), 0.0)


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def precision_recall(
    real: npt.ArrayLike | Tensor, generated: npt.ArrayLike | Tensor, k: int = 5
) -> tuple[float, float, float]:
    """Return precision, recall and coverage of generated rows against real ones, each in [0, 1].

    Every row has a ball that reaches to its k-th neighbour in its own set. Precision is the share
    of generated rows in the ball of a real row. Recall is the share of real rows in the ball of a
    generated row (Kynkaanniemi et al., 2019). Coverage is the share of real rows whose ball holds a
    generated row (Naeem et al., 2020).

    The distances are taken block by block. So memory grows with the number of rows, and not with
    its square.

    real: shape (n, d).
    generated: shape (m, d).
    k: the neighbour that a ball reaches to; both sets need more than k rows.

    Raises:
        ValueError: if a set has no more than `k` rows, the features differ in number, or one is not
            finite, with its row.

    >>> real = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> precision_recall(real, real[:3], k=1)  # one of two clusters
    (1.0, 0.5, 0.5)
    """
    check_count("precision_recall: k", k)
    a = as_features("precision_recall: real", real)
    b = as_features("precision_recall: generated", generated)
    if min(len(a), len(b)) <= k:
        raise ValueError(
            f"balls that reach to neighbour {k} need more rows, got {len(a)} and "
            f"{len(b)}; give at least {k + 1} of both"
        )
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"precision_recall: features differ in number: {a.shape[1]} and {b.shape[1]}"
        )
    origin = a[0]  # far from 0, squared lengths would hide small distances
    a = a - origin
    b = b - origin
    real_reach = _reach(a, k)
    generated_reach = _reach(b, k)
    precise = np.zeros(len(b), dtype=bool)
    recalled = np.zeros(len(a), dtype=bool)
    covered = np.zeros(len(a), dtype=bool)
    for rows, apart in _squared_distances(a, b):
        in_real = apart <= real_reach[rows, None]
        precise |= in_real.any(axis=0)
        covered[rows] = in_real.any(axis=1)
        recalled[rows] = (apart <= generated_reach).any(axis=1)
    return float(precise.mean()), float(recalled.mean()), float(covered.mean())


def _reach(rows: Array, k: int) -> Array:
    """Return the squared distance of each row to its k-th nearest other row."""
    reach = np.empty(len(rows))
    for block, apart in _squared_distances(rows, rows):
        own = np.arange(len(apart))
        apart[own, own + block.start] = -1  # a row is its own nearest, whatever the rounding
        apart.partition(k, axis=1)
        reach[block] = apart[:, k]
    return reach


def _squared_distances(a: Array, b: Array) -> Iterator[tuple[slice, Array]]:
    """Yield rows of `a`, and their squared distances to all rows of `b`, block by block."""
    lengths_a = (a**2).sum(1)
    lengths_b = (b**2).sum(1)
    step = max(CELLS // len(b), 1)
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        apart = lengths_a[rows, None] + lengths_b
        rounding = EQUAL * apart
        apart -= 2 * a[rows] @ b.T
        apart[apart <= rounding] = 0
        yield rows, apart


def as_features(what: str, features: npt.ArrayLike | Tensor, least: int = 0) -> Array:
    """Return features as float64, shape (n, d).

    least: the smallest number of rows allowed.

    Raises:
        ValueError: if they are no table of numbers, have too few rows, or one is not finite or
            too large to be squared.
    """
    rows = as_array(what, features)
    if rows.ndim != 2 or len(rows) < least or not rows.shape[1]:
        raise ValueError(
            f"{what} must be of shape (n, d) with n of at least {least}, got {rows.shape}"
        )
    if rows.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numbers, got dtype {rows.dtype}; write .astype(float)")
    rows = rows.astype(float)
    fits = np.abs(rows) <= LARGEST
    if not fits.all():
        row, column = np.argwhere(~fits)[0]
        raise ValueError(
            f"{what}: row {row} holds {rows[row, column]} as feature {column}, and features must "
            "be finite, and at most 1e150; look at the network that made them, or leave the row out"
        )
    return rows
