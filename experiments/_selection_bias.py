"""What the figure of selection bias compares: a Gaussian loop, and what is exactly known of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from veriloop import Constant, KeepAll, Key, Loop, SelectionBias, State, TopFraction
from veriloop.exact.gaussian import (
    Drift,
    Gaussian,
    MaximumLikelihood,
    NearCenter,
    draw_rows,
    limit_path,
    replaced_log_volume,
    selected_round,
    unverified_trace,
)
from veriloop.pools import POOLS
from veriloop.study import Rows, follow, same, spread


def mean_if_known(name: str, sample: np.ndarray) -> dict[str, Any]:
    """Return the mean of an expectation over replicates; None where there is none."""
    known = sample.tolist()
    return {name: None if None in known else float(np.mean(known))}


TOLD = {"candidates": same, "kept": same}
TOLD |= dict.fromkeys(("trace", "log_volume", "toward", "shift_toward", "spread_toward"), spread)
TOLD |= dict.fromkeys(("expected_trace", "expected_log_volume", "expected_toward"), mean_if_known)


@dataclass(frozen=True)
class Setting:
    """The truth and the verifier's centre; distances are by the truth's own covariance."""

    truth: Gaussian
    center: np.ndarray

    @classmethod
    def standard(cls, dim: int, bias: float) -> Self:
        """The truth is standard normal, and the centre lies on the first axis."""
        return cls(Gaussian.standard(dim), bias * np.eye(dim)[0])

    @classmethod
    def drawn(cls, dim: int, bias: float, key: Key) -> Self:
        """Mean and covariance are drawn; half of the centre is off by N(0, bias^2)."""
        random = key.numpy()
        mean = random.standard_normal(dim)
        factor = random.standard_normal((dim, dim))
        half = random.permutation(dim)[: dim // 2]
        center = mean.copy()
        center[half] += bias * random.standard_normal(len(half))
        return cls(Gaussian(mean, factor @ factor.T + 0.1 * np.eye(dim)), center)

    @classmethod
    def of(cls, kind: str, dim: int, bias: float, key: Key) -> Self:
        """Return a setting of the kind `standard` or `drawn`."""
        if kind == "standard":
            return cls.standard(dim, bias)
        return cls.drawn(dim, bias, key)

    @cached_property
    def root(self) -> np.ndarray:
        """A root of the truth's covariance."""
        return np.linalg.cholesky(self.truth.covariance)

    @cached_property
    def distance(self) -> float:
        """From the truth's mean to the centre, in standard deviations."""
        return float(np.linalg.norm(self._away))

    @cached_property
    def toward(self) -> np.ndarray:
        """The unit vector towards the centre; without a bias, the first axis."""
        if self.distance:
            return self._away / self.distance
        return np.eye(len(self.center))[0]

    @cached_property
    def _away(self) -> np.ndarray:
        return np.linalg.solve(self.root, self.center - self.truth.mean)

    @property
    def readout(self) -> np.ndarray:
        """Gives for a row how far it lies from the truth's mean towards the centre."""
        return np.linalg.solve(self.root.T, self.toward)

    @property
    def weight(self) -> float:
        """The share of the trace that the direction towards the centre has."""
        line = self.root @ self.toward
        return float(line @ line / np.trace(self.truth.covariance))


def run_policy(
    setting: Setting,
    policy: str,
    verified: bool,
    n: int,
    fraction: float,
    ridge: float,
    rounds: int,
    key: Key,
) -> Rows:
    """Run the loop; every round adds n rows: all that were drawn, or the nearest of them."""
    size = n
    verify: Any = Constant()
    keep: Any = KeepAll()
    if verified:
        size = candidates(n, fraction)
        verify = NearCenter(setting.center, setting.root)
        keep = TopFraction(fraction)
    readout = setting.readout
    loop = Loop(
        generate=draw_rows,
        verify=verify,
        filter=keep,
        refit=MaximumLikelihood(ridge),
        measure=Drift(setting.truth, readout),
        pool=POOLS[policy](n),
        observe=SelectionBias(lambda rows: {"toward": (rows - setting.truth.mean) @ readout}),
    )
    return follow(loop, key, State(setting.truth), [size] * rounds)


def candidates(n: int, fraction: float) -> int:
    """Return how many rows selection draws, so that it keeps n."""
    return round(n / fraction)


def expected(
    setting: Setting,
    policy: Any,
    verified: bool,
    n: int,
    fraction: float,
    ridge: float,
    rounds: int,
) -> Rows:
    """Return the exact expectations by round; None where there is none."""
    dim = len(setting.center)
    own_ridge = float(ridge * dim / np.trace(setting.truth.covariance))
    unknown = [None] * rounds
    trace: list[float | None] = [1.0, *unknown]
    volume: list[float | None] = [0.0, *unknown]
    toward: list[float | None] = [0.0, *unknown]
    if verified:
        law = selected_round(dim, setting.distance, n, candidates(n, fraction))
        trace[1] = law.across + (law.along - law.across) * setting.weight + own_ridge
        toward[1] = law.shift
    else:
        trace = unverified_trace(policy, n, rounds, own_ridge).tolist()
        toward = [0.0] * (rounds + 1)
        if policy == "replace":
            volume = replaced_log_volume(dim, n, rounds).tolist()
    names = ("expected_trace", "expected_log_volume", "expected_toward")
    by_round = zip(trace, volume, toward, strict=True)
    return [dict(zip(names, numbers, strict=True)) for numbers in by_round]


def limit_trace(
    policy: Any, kind: str, dim: int, bias: float | None, fraction: float, ridge: float, rounds: int
) -> list[float | None]:
    """Return the trace by round as n goes to infinity; known for the standard truth alone."""
    if bias is None:
        return [1.0] * (rounds + 1)
    if kind != "standard":
        return [None] * (rounds + 1)
    path = limit_path(policy, dim, bias, fraction, rounds, ridge)
    along = path[:, 1]
    across = path[:, 2]
    return ((along + (dim - 1) * across) / dim).tolist()
