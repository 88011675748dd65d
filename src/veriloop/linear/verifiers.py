r"""What a verifier may know: a set of parameters, of which a row must be consistent with at least one.

A verifier that holds theta* to lie in a set K, and lets pass residuals up to `slack`, accepts (x, y) iff some theta
in K has :math:`|y - x^\top\theta| \le slack`. For K symmetric about `center` that is

.. math:: |y - x^\top \theta_c| \le h_K(x) + slack, \qquad h_K(x) = \sup_{\theta \in K} x^\top(\theta - \theta_c),

and the score is what is left of the inequality: a row is accepted iff its score is at least 0. All verifiers take
`(key, data)` and return scores, shape (n,), in the units of y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit  # pyright: ignore[reportMissingTypeStubs]

from veriloop.core import Key, Verdict
from veriloop.core.checks import check_positive
from veriloop.linear.model import Samples


class Knowledge:
    """A symmetric set of parameters about a centre: the base of every shape, and of your own.

    A shape is a frozen dataclass with `center`, shape (d,), and `slack`, at least 0, in the units
    of y. It gives `width`; the scores follow.

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
            value = getattr(self, name, 0.0)
            if not value >= 0:
                raise ValueError(f"{type(self).__name__}.{name} must be at least 0, got {value}")

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return h(x) of the rows, shape (n,): with slack added, half the window of accepted labels."""
        raise NotImplementedError

    def __call__(self, key: Key, batch: Samples) -> np.ndarray:
        return self.width(batch.x) + self.slack - np.abs(batch.y - batch.x @ self.center)


@dataclass(frozen=True)
class KnowledgeBall(Knowledge):
    r"""Know theta* to within a Euclidean ball: :math:`h(x) = r \|x\|_2` (Yi et al., 2025, Eq. 1).

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
    r"""Know theta* to within an l1 ball: :math:`h(x) = r \|x\|_\infty`."""

    center: np.ndarray
    radius: float
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return r times the largest entry of the rows."""
        return self.radius * np.abs(x).max(axis=1)


@dataclass(frozen=True)
class KnowledgeBox(Knowledge):
    r"""Know each coordinate of theta* to within r, an l-infinity ball: :math:`h(x) = r \|x\|_1`."""

    center: np.ndarray
    radius: float
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return r times the sum of the rows' entries, signs left out."""
        return self.radius * np.abs(x).sum(axis=1)


@dataclass(frozen=True)
class KnowledgeEllipsoid(Knowledge):
    r"""Know theta* to within an ellipsoid :math:`\{\theta_c + A u : \|u\| \le 1\}`: :math:`h(x) = \|A^\top x\|_2`.

    axes: A, shape (d, d); its columns are the half axes. `radius * eye(d)` is the ball.
    """

    center: np.ndarray
    axes: np.ndarray
    slack: float = 0.0

    def width(self, x: np.ndarray) -> np.ndarray:
        """Return the lengths of the rows in the ellipsoid's axes."""
        return np.linalg.norm(x @ self.axes, axis=1)


@dataclass(frozen=True)
class KnowledgeHalfSpace(Knowledge):
    r"""Know one side of theta*: :math:`\mathrm{sign}(x^\top g)(y - x^\top\theta_c) \le r\|x\| + slack`.

    Labels that exceed the centre's too much in the direction of `normal` (g, shape (d,)) are refused; labels that
    fall short never are, so nothing holds the loop from the other side. Samples orthogonal to g pass.
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
    r"""Turn scores into acceptance probabilities :math:`1/(1 + e^{-s/\tau})`, for the filter `Bernoulli`.

    temperature: tau > 0, in the units of y; towards 0 the verdict becomes hard again. Probabilities are never
        negative, so compose verifiers inside `Soft`, not around it.
    """

    verifier: Callable[[Key, Samples], Any]
    temperature: float

    def __post_init__(self) -> None:
        check_positive("Soft.temperature", self.temperature)

    def __call__(self, key: Key, batch: Samples) -> Verdict:
        verdict = Verdict.of(self.verifier(key, batch))
        return replace(verdict, scores=expit(verdict.scores / self.temperature))
