"""Observers: what to report about the candidates and the kept rows of a round.

An observer is called as `(key, batch, scores, mask)` and returns named numbers. It goes into
`Loop.observe`; several go in by `observe_all`. In a round larger than memory each observer draws
the candidates once more, block by block, and reports the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import numpy.typing as npt

from veriloop.core.arrays import AnyBatch, Array, Groups, Mask, Scores
from veriloop.core.candidates import Candidates, as_groups
from veriloop.core.key import Key
from veriloop.core.numbers import merge
from veriloop.core.parts import M, Measure, Observer, check_part


@dataclass(frozen=True)
class AcceptanceByGroup:
    """Report `acceptance_LABEL`, the fraction kept of the candidates of each group that has any.

    group: batch -> labels, shape (n,).

    >>> observe = AcceptanceByGroup(lambda batch: batch % 2)
    >>> observe(Key(0), np.arange(4), np.zeros(4), np.array([True, False, False, False]))
    {'acceptance_0': 0.5, 'acceptance_1': 0.0}
    """

    group: Callable[[Any], Groups]

    def __call__(self, key: Key, batch: AnyBatch, scores: Scores, mask: Mask) -> dict[str, float]:
        blocks = [as_groups(self.group(block), len(block)) for block in _blocks(batch)]
        labels, place = np.unique(np.concatenate(blocks), return_inverse=True)
        kept = np.bincount(place, weights=mask)
        fractions = kept / np.bincount(place)
        report: dict[str, float] = {}
        for label, fraction in zip(labels, fractions, strict=True):
            report[f"acceptance_{label}"] = float(fraction)
        return report


@dataclass(frozen=True)
class SelectionBias:
    r"""Report how the kept rows differ from all candidates in named features.

    `shift_NAME` is the mean of the kept rows minus the mean of all candidates, in standard
    deviations of the candidates. `spread_NAME` is the standard deviation of the kept rows over that
    of the candidates. Both standard deviations divide by n:

    .. math:: (\bar f_{kept} - \bar f_{all})/\sigma_{all}, \qquad \sigma_{kept}/\sigma_{all}

    Both are NaN where all candidates are alike. A filter that ignores the rows gives about 0 and 1.

    features: batch -> name -> numbers, shape (n,).

    Raises:
        TypeError: in a round, if `features` returns no mapping.

    >>> observe = SelectionBias(lambda batch: {"size": batch})
    >>> rows = np.array([1.0, 2.0, 3.0, 4.0])
    >>> observe(Key(0), rows, np.zeros(4), np.array([False, False, False, True]))
    {'shift_size': 1.3416..., 'spread_size': 0.0}
    """

    features: Callable[[Any], Mapping[str, npt.ArrayLike]]

    def __call__(self, key: Key, batch: AnyBatch, scores: Scores, mask: Mask) -> dict[str, float]:
        columns: dict[str, list[Array]] = {}
        for block in _blocks(batch):
            features = self.features(block)
            _check_named(features)
            for name, values in features.items():
                what = f"feature {name!r}"
                column = _column(what, values, block)
                columns.setdefault(name, []).append(_numbers(what, column))
        report: dict[str, float] = {}
        for name, parts in columns.items():
            values = np.concatenate(parts)
            scale = np.nan
            # Rounding gives equal values a standard deviation above 0, so compare their ends.
            if np.ptp(values):
                scale = values.std()
            report[f"shift_{name}"] = float((values[mask].mean() - values.mean()) / scale)
            report[f"spread_{name}"] = float(values[mask].std() / scale)
        return report


def squared_distance(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the squared Euclidean distance of two arrays."""
    return float(np.sum((np.asarray(a) - np.asarray(b)) ** 2))


@dataclass(frozen=True)
class FromStart(Generic[M]):
    """Measure as `measure` does, and add `distance_start`: how far the model is from the start.

    measure: (key, model) -> named numbers.
    start: the model of round 0.
    distance: (model, start) -> number. Default: the squared Euclidean distance of two arrays.

    >>> FromStart(lambda key, model: {}, np.zeros(2))(Key(0), np.array([3.0, 4.0]))
    {'distance_start': 25.0}
    """

    measure: Measure[M]
    start: M
    distance: Callable[[Any, Any], float] = squared_distance

    def __call__(self, key: Key, model: M) -> dict[str, float]:
        distance = float(self.distance(model, self.start))
        return {**self.measure(key, model), "distance_start": distance}


@dataclass(frozen=True)
class Spread:
    r"""Report how widely features scatter: the trace of their covariance.

    `spread`, :math:`\sum_i \mathrm{Var}(f_i)`, is taken over all candidates, so it describes the
    model. `spread_kept` is taken over the kept rows. Their ratio shows how much the filter narrows.

    features: batch -> array, shape (n, d) or (n,).

    >>> observe = Spread(lambda batch: batch)
    >>> rows = np.array([0.0, 2.0, 4.0])
    >>> observe(Key(0), rows, np.zeros(3), np.array([True, True, False]))
    {'spread': 2.6666666666666665, 'spread_kept': 1.0}
    """

    features: Callable[[Any], npt.ArrayLike]

    def __call__(self, key: Key, batch: AnyBatch, scores: Scores, mask: Mask) -> dict[str, float]:
        everything = batch[np.ones(len(batch), dtype=bool)]
        features = self.features(everything)
        _check_unmasked("Spread.features", features)
        values = _numbers("Spread.features", np.asarray(features))
        return {"spread": _trace(values), "spread_kept": _trace(values[mask])}


@dataclass(frozen=True)
class _ObserveAll:
    observers: tuple[Observer, ...]

    def __call__(self, key: Key, batch: AnyBatch, scores: Scores, mask: Mask) -> dict[str, float]:
        reports: list[Mapping[str, float]] = []
        for i, observer in enumerate(self.observers):
            reports.append(observer(key.fold(i), batch, scores, mask))
        return merge(*reports)


def observe_all(*observers: Observer) -> Observer:
    """Return one observer that reports what all of these report.

    observers: each is called as (key, batch, scores, mask), under a key of its own.

    >>> count = lambda key, batch, scores, mask: {"rows": len(batch)}
    >>> best = lambda key, batch, scores, mask: {"best": float(scores.max())}
    >>> observe_all(count, best)(Key(0), np.arange(2), np.array([0.5, 1.5]), np.ones(2, bool))
    {'rows': 2, 'best': 1.5}

    Raises:
        ValueError: in a round, if two of them report a number of one name.
        TypeError: if one of them cannot be called so.
    """
    for place, observer in enumerate(observers):
        check_part(f"observe_all: observer {place}", observer, "(key, batch, scores, mask)")
    return _ObserveAll(observers)


def _blocks(batch: AnyBatch) -> Iterator[AnyBatch]:
    if isinstance(batch, Candidates):
        yield from batch.blocks()
    else:
        yield batch


def _check_named(features: object) -> None:
    if not isinstance(features, Mapping):
        raise TypeError(
            "SelectionBias.features must return numbers by name, got "
            f"{type(features).__name__}; write lambda batch: {{'size': batch}}"
        )


def _column(what: str, values: npt.ArrayLike, block: AnyBatch) -> Array:
    _check_unmasked(what, values)
    column = np.asarray(values)
    if column.shape != (len(block),):
        raise ValueError(
            f"{what} must be one value a row, shape ({len(block)},), got shape {column.shape}"
        )
    return column


def _check_unmasked(what: str, values: npt.ArrayLike) -> None:
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{what} must be a plain array, got a masked one; fill it with numpy.nan")


def _numbers(what: str, values: Array) -> Array:
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numbers, got dtype {values.dtype}; encode it as numbers")
    return values.astype(float)


def _trace(values: Array) -> float:
    return float(values.var(axis=0).sum())
