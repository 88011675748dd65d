"""Numbers by round that warn of collapse, on any backend: disagreement, distance to the start, spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from veriloop.core.key import Key
from veriloop.core.verdict import share


def disagreement(parts: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return for every two verifiers the share of rows that one accepts and the other does not.

    parts: name -> scores, shape (n,), as of a `Verdict`; NaN is not accepted. Parts of parts, whose names have a
    dot, are left out. The loop puts it in the record of every composed verifier.

    >>> disagreement({"judge": np.array([1.0, 1.0, -1.0, np.nan]), "length": np.array([1.0, -1.0, -1.0, 1.0])})
    {'disagreement_judge_length': 0.5}
    """
    accepted = {name: scores >= 0 for name, scores in parts.items() if "." not in name}
    return {f"disagreement_{a}_{b}": share(accepted[a] != accepted[b]) for a, b in combinations(accepted, 2)}


def squared_distance(a: Any, b: Any) -> float:
    """Return the squared Euclidean distance of two arrays."""
    return float(np.sum((np.asarray(a) - np.asarray(b)) ** 2))


@dataclass(frozen=True)
class FromStart:
    """Measure as `measure` does, and add `distance_start`, the distance of the model to that of round 0.

    distance: (model, start) -> number; by default the squared one of arrays.

    >>> FromStart(lambda key, model: {}, np.zeros(2))(Key(0), np.array([3.0, 4.0]))
    {'distance_start': 25.0}
    """

    measure: Callable[[Key, Any], Mapping[str, float]]
    start: Any
    distance: Callable[[Any, Any], float] = squared_distance

    def __call__(self, key: Key, model: Any) -> Mapping[str, float]:
        return {**self.measure(key, model), "distance_start": float(self.distance(model, self.start))}


@dataclass(frozen=True)
class Spread:
    r"""Observe the trace of the covariance of features, :math:`\sum_i \mathrm{Var}(f_i)`: `spread`, `spread_kept`.

    features: batch -> array, shape (n, d) or (n,). `spread` is that of all candidates, hence of the model;
    `spread_kept` that of the rows kept, so that their ratio is what the filter narrows.

    >>> loop_observe = Spread(lambda batch: batch)
    >>> loop_observe(Key(0), np.array([0.0, 2.0, 4.0]), np.zeros(3), np.array([True, True, False]))
    {'spread': 2.6666666666666665, 'spread_kept': 1.0}
    """

    features: Callable[[Any], np.ndarray]

    def __call__(self, key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray) -> Mapping[str, float]:
        values = np.asarray(self.features(batch[np.ones(len(batch), dtype=bool)]), dtype=float)
        return {"spread": _trace(values), "spread_kept": _trace(values[mask])}


def _trace(values: np.ndarray) -> float:
    return float(values.var(axis=0).sum())
