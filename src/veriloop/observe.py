"""Observers: what to report of candidates and kept rows, `(key, batch, scores, mask) -> named numbers`.

They go into `Loop.observe`, several by `together`. In a round larger than memory each draws the candidates once
more, block by block, and reports the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriloop.core.candidates import Candidates
from veriloop.core.key import Key
from veriloop.core.loop import merge

Observer = Callable[[Key, Any, np.ndarray, np.ndarray], Mapping[str, float]]


@dataclass(frozen=True)
class AcceptanceByGroup:
    """Report `acceptance_LABEL`, the share kept of the candidates of each group that has any.

    group: batch -> labels, shape (n,).

    >>> observe = AcceptanceByGroup(lambda batch: batch % 2)
    >>> observe(Key(0), np.arange(4), np.zeros(4), np.array([True, False, False, False]))
    {'acceptance_0': 0.5, 'acceptance_1': 0.0}
    """

    group: Callable[[Any], np.ndarray]

    def __call__(
        self, key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray
    ) -> dict[str, float]:
        groups = np.concatenate(
            [_column("group", self.group(block), block) for block in _blocks(batch)]
        )
        labels, place = np.unique(groups, return_inverse=True)
        shares = np.bincount(place, weights=mask) / np.bincount(place)
        return {
            f"acceptance_{label}": float(share) for label, share in zip(labels, shares, strict=True)
        }


@dataclass(frozen=True)
class SelectionBias:
    r"""Report how the kept rows differ from the candidates in named features.

    `shift_NAME` is the mean of the kept less that of the candidates, in standard deviations of the candidates, and
    `spread_NAME` the standard deviation of the kept over that of the candidates (both divided by n):

    .. math:: (\bar f_{kept} - \bar f_{all})/\sigma_{all}, \qquad \sigma_{kept}/\sigma_{all}

    NaN where all candidates are alike. A filter that ignores the rows has 0 and 1, but for chance.

    features: batch -> name -> numbers, shape (n,).

    >>> observe = SelectionBias(lambda batch: {"size": batch})
    >>> observe(Key(0), np.array([1.0, 2.0, 3.0, 4.0]), np.zeros(4), np.array([False, False, False, True]))
    {'shift_size': 1.3416..., 'spread_size': 0.0}
    """

    features: Callable[[Any], Mapping[str, np.ndarray]]

    def __call__(
        self, key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray
    ) -> dict[str, float]:
        columns: dict[str, list[np.ndarray]] = {}
        for block in _blocks(batch):
            for name, values in self.features(block).items():
                columns.setdefault(name, []).append(_column(f"feature {name!r}", values, block))
        report: dict[str, float] = {}
        for name, parts in columns.items():
            values = np.concatenate(parts).astype(float)
            # Rounding gives equal values a spread of their own, so they are told by their ends.
            scale = values.std() if np.ptp(values) else np.nan
            report[f"shift_{name}"] = float((values[mask].mean() - values.mean()) / scale)
            report[f"spread_{name}"] = float(values[mask].std() / scale)
        return report


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
        return {
            **self.measure(key, model),
            "distance_start": float(self.distance(model, self.start)),
        }


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

    def __call__(
        self, key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray
    ) -> Mapping[str, float]:
        values = np.asarray(self.features(batch[np.ones(len(batch), dtype=bool)]), dtype=float)
        return {"spread": _trace(values), "spread_kept": _trace(values[mask])}


@dataclass(frozen=True)
class _Together:
    observers: tuple[Observer, ...]

    def __call__(
        self, key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray
    ) -> dict[str, float]:
        return merge(
            *(each(key.fold(i), batch, scores, mask) for i, each in enumerate(self.observers))
        )


def together(*observers: Observer) -> Observer:
    """Return one observer that reports what all of these do.

    Raises:
        ValueError: when called, if two of them report a number of one name.
    """
    return _Together(observers)


def _blocks(batch: Any) -> Iterator[Any]:
    yield from batch.blocks() if isinstance(batch, Candidates) else (batch,)


def _column(what: str, values: Any, block: Any) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (len(block),):
        raise ValueError(
            f"{what} must be one value a row, shape ({len(block)},), got shape {values.shape}"
        )
    return values


def _trace(values: np.ndarray) -> float:
    return float(values.var(axis=0).sum())
