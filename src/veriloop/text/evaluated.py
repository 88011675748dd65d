"""Any metric of the package `evaluate` as a verifier of outputs; needs the extra [metrics]."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import numpy as np

from veriloop.core import Key
from veriloop.core.checks import check_finite
from veriloop.core.parts import Scores
from veriloop.text.rows import Rows, check_rows


class Metric(Protocol):
    """What the package `evaluate` calls a metric."""

    def compute(
        self, *, predictions: list[str], references: list[str], **options: object
    ) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True)
class Evaluated:
    """Score an output by a metric of the package `evaluate`, less `cut`.

    If the metric's value is a list with one number a row, as that of `bertscore` is, the metric is
    asked once. Any other metric is asked row by row. A row without a target has no verdict (NaN),
    nor has one on which the metric divides by zero, as BLEU does on an empty output.

    metric: its name on the hub, the folder of its script, or an object with
        `compute(predictions=, references=)`.
    value: the name of the number among those it computes. If a lower number is better, write
        `weighted([-1], Evaluated(...))`.
    cut: an output is accepted if the number is at least this.
    options: arguments of `compute`, by name.

    Raises:
        ValueError: in one sentence, if the package or the metric cannot be loaded, or computes no
            such value.

    >>> class Length:
    ...     def compute(self, *, predictions, references):
    ...         return {"words": [len(text.split()) for text in predictions]}
    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["-"] * 2, ["Rain fell."] * 2, ["Rain fell.", "Snow."])
    >>> Evaluated(Length(), "words", cut=1.5)(Key(0), rows)
    array([ 0.5, -0.5])
    """

    metric: str | Metric
    value: str
    cut: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_finite("Evaluated.cut", self.cut)
        if isinstance(self.metric, str):
            _metric(self.metric)

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("Evaluated: batch", batch)
        found = np.full(len(batch), np.nan)
        known = batch.targets.astype(bool)
        if known.any():
            found[known] = self._scores(batch[known])
        return found - self.cut

    def _scores(self, rows: Rows) -> Scores:
        """Return one number a row, shape (n,)."""
        scores = self._values(rows)
        if len(scores) != len(rows):  # one number for all of them
            single = [self._values(rows[row : row + 1]) for row in range(len(rows))]
            scores = np.concatenate(single)
        if len(scores) != len(rows):
            raise ValueError(
                f"Evaluated.value must be one number, or one a row, got {len(scores)} numbers of "
                f"{self.value!r} for {len(rows)} rows"
            )
        return scores

    def _values(self, rows: Rows) -> np.ndarray:
        """Return the metric's numbers of all rows together, shape (1,) or (n,)."""
        metric = self.metric
        if isinstance(metric, str):
            metric = _metric(metric)
        predictions = rows.outputs.tolist()
        references = rows.targets.tolist()
        try:
            found = metric.compute(predictions=predictions, references=references, **self.options)
        except ZeroDivisionError:
            return np.array([np.nan])
        if not isinstance(found, Mapping) or self.value not in found:
            names = found
            if isinstance(found, Mapping):
                names = ", ".join(found) or "no value at all"
            raise ValueError(
                f"Evaluated.value must be among what the metric computes, got {self.value!r} "
                f"and {names}; name one of its values"
            )
        return np.ravel(np.asarray(found[self.value], dtype=float))


@cache
def _metric(name: str) -> Metric:
    try:
        import evaluate  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            f"the metric {name} needs the package evaluate, which is not there; "
            "install the extra [metrics]"
        ) from None
    try:
        return evaluate.load(name, keep_in_memory=True)
    except Exception as error:  # whatever the hub's client, or the script, raises
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the metric {name} cannot be loaded ({reason}); "
            "name the folder of its script, or give an object"
        ) from None
