r"""What a verifier may know: a set of parameters, one of which must be consistent with a row.

A verifier that holds theta* to lie in a set K, and lets pass residuals up to `slack`, accepts (x,
y) iff some theta in K has :math:`|y - x^\top\theta| \le slack`. For K symmetric about `center` that
is

.. math:: |y - x^\top \theta_c| \le h_K(x) + slack,
    \qquad h_K(x) = \sup_{\theta \in K} x^\top(\theta - \theta_c),

and the score is what is left of the inequality: a row is accepted iff its score is at least 0. All
verifiers take `(key, data)` and return scores, shape (n,), in the units of y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core import Key, Verdict
from veriloop.core.checks import check_positive
from veriloop.linear.model import Samples
from veriloop.linear.truncated import Array, finite, positive


class Knowledge:
    """A symmetric set of parameters about a centre: the base of every shape, and of your own.

    A shape is a frozen dataclass that gives `width`; the scores follow.

    center: theta_c, shape (d,).
    slack: what a residual may exceed the width by, at least 0, in the units of y.

    >>> @dataclass(frozen=True)
    ... class KnowFirstCoordinate(Knowledge):
    ...     center: np.ndarray
    ...     slack: float = 0.0
    ...     def width(self, x):
    ...         return np.abs(x[:, 0])
    >>> KnowFirstCoordinate(np.zeros(2))(Key(0), Samples(x=np.eye(2), y=np.array([1.0, 2.0])))
    array([ 0., -2.])

    Raises:
        ValueError: if a radius or the slack is negative or NaN.
    """

    center: np.ndarray
    slack: float

    def __post_init__(self) -> None:
        for name in ("radius", "slack"):
            what = f"{type(self).__name__}.{name}"
            value = positive(what, getattr(self, name, 0.0), zero=True, infinite=True)
            if value.shape:
                raise ValueError(f"{what} must be one number, got shape {value.shape}")
        for name, axes in (("center", 1), ("normal", 1), ("axes", 2)):
            if hasattr(self, name):
                what = f"{type(self).__name__}.{name}"
                object.__setattr__(self, name, _point(what, getattr(self, name), axes))

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return h(x) of the rows, shape (n,). With slack it is half the window of labels."""
        raise NotImplementedError

    def __call__(self, key: Key, batch: Samples) -> np.ndarray:
        return self.width(batch.x) + self.slack - np.abs(batch.y - batch.x @ self.center)


def _point(what: str, value: object, axes: int) -> Array:
    """Return an array of so many axes, or refuse the value by the name `what`."""
    array = finite(what, value)
    if array.ndim != axes or not array.size:
        kinds = {1: "(d,)", 2: "(d, d)"}
        raise ValueError(f"{what} must have shape {kinds[axes]}, got {array.shape}")
    return array


@dataclass(frozen=True)
class KnowledgeBall(Knowledge):
    r"""Know theta* to within a Euclidean ball: :math:`h(x) = r \|x\|_2` (Yi et al., 2025, Eq. 1).

    center: theta_c, shape (d,).
    radius: r, at least 0, in the units of theta.
    slack: what a residual may exceed the width by, at least 0, in the units of y.

    >>> ball = KnowledgeBall(center=np.zeros(2), radius=1.0, slack=0.5)
    >>> ball(Key(0), Samples(x=np.eye(2), y=np.array([1.0, 2.0])))
    array([ 0.5, -0.5])

    Raises:
        ValueError: if the radius or the slack is negative or NaN.
    """

    center: np.ndarray
    radius: float
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return r times the length of the rows."""
        return self.radius * np.linalg.norm(x, axis=1)


@dataclass(frozen=True)
class KnowledgeL1(Knowledge):
    r"""Know theta* to within an l1 ball: :math:`h(x) = r \|x\|_\infty`.

    center: theta_c, shape (d,).
    radius: r, at least 0, in the units of theta.
    slack: what a residual may exceed the width by, at least 0, in the units of y.

    >>> know = KnowledgeL1(np.zeros(2), radius=1.0)
    >>> know.width(np.array([[3.0, 4.0]]))
    array([4.])

    Raises:
        ValueError: if the radius or the slack is negative or NaN.
    """

    center: np.ndarray
    radius: float
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return r times the largest entry of the rows."""
        return self.radius * np.abs(x).max(axis=1)


@dataclass(frozen=True)
class KnowledgeBox(Knowledge):
    r"""Know each coordinate of theta* to within r, an l-infinity ball: :math:`h(x) = r \|x\|_1`.

    center: theta_c, shape (d,).
    radius: r, at least 0, in the units of theta.
    slack: what a residual may exceed the width by, at least 0, in the units of y.

    >>> know = KnowledgeBox(np.zeros(2), radius=1.0)
    >>> know.width(np.array([[3.0, 4.0]]))
    array([7.])

    Raises:
        ValueError: if the radius or the slack is negative or NaN.
    """

    center: np.ndarray
    radius: float
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return r times the sum of the rows' entries, signs left out."""
        return self.radius * np.abs(x).sum(axis=1)


@dataclass(frozen=True)
class KnowledgeEllipsoid(Knowledge):
    r"""Know theta* to within an ellipsoid :math:`\{\theta_c + A u : \|u\| \le 1\}`.

    .. math:: h(x) = \|A^\top x\|_2

    center: theta_c, shape (d,).
    axes: A, shape (d, d). Its columns are the half axes; `radius * eye(d)` is the ball.
    slack: what a residual may exceed the width by, at least 0, in the units of y.

    >>> know = KnowledgeEllipsoid(np.zeros(2), axes=np.diag([2.0, 1.0]))
    >>> know.width(np.eye(2))
    array([2., 1.])

    Raises:
        ValueError: if the slack is negative or NaN.
    """

    center: np.ndarray
    axes: np.ndarray
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return the lengths of the rows in the ellipsoid's axes."""
        return np.linalg.norm(x @ self.axes, axis=1)


@dataclass(frozen=True)
class KnowledgeHalfSpace(Knowledge):
    r"""Know one side of theta* only.

    .. math:: \mathrm{sign}(x^\top g)(y - x^\top\theta_c) \le r\|x\| + slack

    Labels that exceed those of the centre too much in the direction g are refused. Labels that fall
    short never are, so nothing holds the loop from the other side. Rows orthogonal to g pass.

    center: theta_c, shape (d,).
    normal: g, shape (d,).
    radius: r, at least 0, in the units of theta.
    slack: what a residual may exceed the width by, at least 0, in the units of y.

    >>> know = KnowledgeHalfSpace(np.zeros(2), normal=np.array([1.0, 0.0]), radius=1.0)
    >>> know(Key(0), Samples(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([3.0, -3.0])))
    array([-2.,  4.])

    Raises:
        ValueError: if the radius or the slack is negative or NaN.
    """

    center: np.ndarray
    normal: np.ndarray
    radius: float
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return r times the length of the rows."""
        return self.radius * np.linalg.norm(x, axis=1)

    def __call__(self, key: Key, batch: Samples) -> np.ndarray:
        excess = np.sign(batch.x @ self.normal) * (batch.y - batch.x @ self.center)
        return self.width(batch.x) + self.slack - excess


@dataclass(frozen=True)
class Soft:
    r"""Turn scores into acceptance probabilities, for the filter `Bernoulli`.

    .. math:: P = 1/(1 + e^{-s/\tau})

    Probabilities are never negative. So compose verifiers inside `Soft`, not around it.

    verifier: (key, batch) -> scores s.
    temperature: tau, positive, in the units of y. Towards 0 the verdict becomes hard again.

    >>> ball = KnowledgeBall(center=np.zeros(2), radius=1.0)
    >>> Soft(ball, 1.0)(Key(0), Samples(np.eye(2), np.array([1.0, 9.0]))).scores.round(3)
    array([0.5, 0. ])

    Raises:
        ValueError: if the temperature is not positive and finite.
    """

    verifier: Callable[[Key, Samples], ArrayLike | Verdict]
    temperature: float

    def __post_init__(self) -> None:
        check_positive("Soft.temperature", self.temperature)

    def __call__(self, key: Key, batch: Samples) -> Verdict:
        verdict = Verdict.of(self.verifier(key, batch))
        return replace(verdict, scores=expit(verdict.scores / self.temperature))
