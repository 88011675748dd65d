"""The linear regression of the paper as one value: design, truth, verifier's knowledge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from veriloop.core import Key, Loop, Quota, State
from veriloop.core.checks import check_count, check_positive
from veriloop.core.key import check_key
from veriloop.core.parts import Filter
from veriloop.core.reprs import one_line
from veriloop.core.verdict import Verifier
from veriloop.filters import Threshold
from veriloop.linear.model import (
    Errors,
    FixedDesign,
    Generate,
    Samples,
    least_squares,
    right_singular,
)
from veriloop.linear.simulation import simulate
from veriloop.linear.truncated import finite, positive
from veriloop.linear.verifiers import KnowledgeBall
from veriloop.store import load_state, save_state


@dataclass(frozen=True)
class Problem:
    """Real rows, the true parameter, and the centre of the verifier's knowledge.

    With fewer real rows than parameters, every fit is the shortest one. The rounds then go on
    inside the span of the real rows. Outside it the model stays 0, so the error there stays
    `unseen_truth`.

    real_x: x of the real rows, shape (n_0, d).
    truth: theta*, the true parameter, shape (d,).
    center: theta_c, the centre of the verifier's knowledge, shape (d,).
    radius: r of the knowledge ball, in the units of theta, at least 0.
    noise: sigma, the standard deviation of the labels, positive.
    slack: sigma_c, what a residual may exceed the ball by, in the units of y. None: sigma *
        sqrt(2 / pi), the mean absolute noise.

    >>> problem = Problem.gaussian(bias=0.5, radius=1.0)
    >>> problem.singular_values.shape, round(problem.half_width, 5)
    ((8,), 1.79788)
    >>> round(float(np.linalg.norm(problem.center_offset)), 12)
    0.5

    Raises:
        ValueError: if shapes disagree, a number is not finite, the noise is not positive, or the
            radius or slack is negative.
    """

    real_x: np.ndarray
    truth: np.ndarray
    center: np.ndarray
    radius: float
    noise: float = 1.0
    slack: float | None = None

    @classmethod
    def gaussian(
        cls,
        *,
        bias: float,
        radius: float,
        dim: int = 8,
        rows: int = 100,
        noise: float = 1.0,
        slack: float | None = None,
        design_seed: int = 12345,
        direction_seed: int = 777,
    ) -> Self:
        """Draw a standard normal real design, and put the centre at a distance from the truth.

        The truth is (1, ..., 1). The design and the direction of the bias come from
        `numpy.random.default_rng` of two seeds. Their defaults are those of the published figures.
        Everything else in the package is drawn from a `Key`.

        bias: the distance of the centre from the truth.
        radius, noise, slack: as in `Problem`.
        dim: d, the number of parameters.
        rows: n_0, the number of real rows; they may be fewer than dim.
        design_seed, direction_seed: of the design, and of the direction of the bias.
        """
        check_count("Problem.gaussian: dim", dim)
        check_count("Problem.gaussian: rows", rows)
        check_positive("Problem.gaussian: bias", bias, zero=True)
        real_x = np.random.default_rng(design_seed).normal(size=(rows, dim))
        direction = np.random.default_rng(direction_seed).normal(size=dim)
        truth = np.ones(dim)
        center = truth + bias * direction / np.linalg.norm(direction)
        return cls(real_x, truth, center, radius, noise, slack)

    def __repr__(self) -> str:
        return one_line(self)

    def __post_init__(self) -> None:
        real_x = finite("Problem.real_x", self.real_x)
        if real_x.ndim != 2 or not real_x.any():
            raise ValueError(
                "Problem.real_x must have shape (n_0, d) and an entry that is not 0, "
                f"got shape {real_x.shape}"
            )
        object.__setattr__(self, "real_x", real_x)
        for name in ("truth", "center"):
            point = finite(f"Problem.{name}", getattr(self, name))
            if point.shape != real_x.shape[1:]:
                raise ValueError(
                    f"Problem.{name} must have shape {real_x.shape[1:]}, one number for each "
                    f"column of real_x, got {point.shape}"
                )
            object.__setattr__(self, name, point)
        check_positive("Problem.noise", self.noise)
        if self.slack is None:
            object.__setattr__(self, "slack", self.noise * float(np.sqrt(2 / np.pi)))
        for name in ("radius", "slack"):
            value = positive(f"Problem.{name}", getattr(self, name), zero=True, infinite=True)
            if value.shape:
                raise ValueError(f"Problem.{name} must be one number, got shape {value.shape}")

    @cached_property
    def _svd(self) -> tuple[np.ndarray, np.ndarray]:
        return right_singular(self.real_x)

    @property
    def singular_values(self) -> np.ndarray:
        """mu, shape (p,), of the real design; p is its rank, d if the rows span all directions."""
        return self._svd[0]

    @property
    def basis(self) -> np.ndarray:
        """The right singular vectors v_j as rows, shape (p, d)."""
        return self._svd[1]

    @property
    def center_offset(self) -> np.ndarray:
        """c_j = v_j . (theta_c - theta*) / sigma, shape (p,)."""
        return self.basis @ (self.center - self.truth) / self.noise

    @property
    def unseen_truth(self) -> float:
        r"""The squared length of theta* outside the span of the real rows, over sigma squared.

        It is the part of `error_truth` that no round changes; 0 if the rows span all directions.
        """
        return self._unseen(self.truth)

    @property
    def unseen_center(self) -> float:
        """The squared length of theta_c outside the span of the real rows, over sigma squared.

        It is the part of `error_center` that no round changes.
        """
        return self._unseen(self.center)

    def _unseen(self, point: np.ndarray) -> float:
        if len(self.basis) == len(point):
            return 0.0
        outside = point - self.basis.T @ (self.basis @ point)
        return float(outside @ outside) / self.noise**2

    @property
    def half_width(self) -> float:
        """w = (r + sigma_c) / sigma, half the width of the window that accepted labels lie in."""
        return float(self.radius + self.slack) / self.noise  # type: ignore[operator]

    @property
    def verifier(self) -> KnowledgeBall:
        """The ball of radius `radius` about `center`."""
        return KnowledgeBall(self.center, self.radius, float(self.slack))  # type: ignore[arg-type]

    def real_data(self, key: Key) -> Samples:
        """Return the real rows, freshly labelled."""
        check_key("Problem.real_data", key)
        return Generate(lambda _, n: self.real_x, self.noise)(key, self.truth, len(self.real_x))

    def start(self, key: Key) -> State[np.ndarray]:
        """Return the start: least squares on `real_data(key)`, which pools find in `past`."""
        check_key("Problem.start", key)
        real = self.real_data(key)
        return State(least_squares(key, self.truth, real), past=(real,))

    def loop(
        self, *, verify: Verifier | None = None, filter: Filter | None = None
    ) -> Loop[np.ndarray, Samples]:
        """Return the loop on the block design; give it `self.size(n)` to keep n rows a direction.

        verify: for instance `self.verifier`. None: no verifier, so all rows are kept.
        filter: by default `Threshold()`, which keeps scores of 0 or more.
        """
        design = FixedDesign(self.basis)
        if filter is None:
            filter = Threshold()
        return Loop(
            generate=Generate(design, self.noise),
            verify=verify,
            filter=filter,
            refit=least_squares,
            measure=Errors(self.truth, self.center, self.noise),
            group=design.group,
        )

    def size(self, kept: int) -> Quota:
        """Ask for `kept` rows in each direction."""
        return Quota(kept, groups=len(self.basis))

    def save(self, state: State[np.ndarray], folder: Path) -> None:
        """Write a state into a folder, without pickling."""
        save_state(state, folder)

    def load(self, folder: Path) -> State[np.ndarray]:
        """Read back what `save` wrote."""
        return load_state(folder)

    def simulate(
        self, sizes: Sequence[int], replicates: int, key: Key, *, verified: bool = True
    ) -> dict[str, np.ndarray]:
        """Return what the loop measures, by round and replicate.

        Each metric has shape (rounds + 1, replicates).

        The fast path: `veriloop.linear.simulate` in place of the generic loop, the same in
        distribution.
        """
        width = self.half_width if verified else np.inf
        errors = simulate(self.singular_values, self.center_offset, width, sizes, replicates, key)
        center = np.sum((errors - self.center_offset) ** 2, axis=2)
        truth = np.sum(errors**2, axis=2)
        return {
            "error_center": center + self.unseen_center,
            "error_truth": truth + self.unseen_truth,
        }
