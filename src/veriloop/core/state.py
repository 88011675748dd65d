"""What goes from round to round, the state, and what each round reports, the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

from veriloop.core.arrays import AnyPast
from veriloop.core.checks import check_count
from veriloop.core.parts import M
from veriloop.core.reprs import one_line

COUNTS = ("round", "candidates", "kept")


@dataclass(frozen=True, slots=True)
class State(Generic[M]):
    """All that a round needs from the past. Saving it is a checkpoint.

    Real data must be given here, as `State(model, past=(real,))`, if a pool such as `Accumulate` is
    to train on them. Without them a loop that accumulates trains on synthetic rows alone, and
    forgets the real data.

    model: the current model, of any type.
    round: how many rounds it has been through; 0 is the start.
    past: what the pool carries from round to round, a tuple of batches, the oldest first. None: no
        past.

    >>> import numpy as np
    >>> State(model=0.5, past=(np.zeros(100),))
    State(model=0.5, round=0, past=(float64[100],))

    Raises:
        ValueError: if `round` is no integer of at least 0.
    """

    model: M
    round: int = 0
    past: AnyPast = None

    def __post_init__(self) -> None:
        check_count("State.round", self.round, least=0)

    def __repr__(self) -> str:
        return one_line(self)


@dataclass(frozen=True, slots=True)
class Record:
    """What a round reports: plain numbers, no times, so that two runs can be compared byte by byte.

    round: its number; 0 is the start, which has no candidates.
    candidates: rows generated.
    kept: rows that the filter kept.
    metrics: named numbers.

    >>> Record(round=1, candidates=200, kept=50, metrics={"error": 0.1}).acceptance
    0.25
    """

    round: int
    candidates: int
    kept: int
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def acceptance(self) -> float:
        """Kept rows over candidates; NaN for the start."""
        if self.candidates == 0:
            return float("nan")
        return self.kept / self.candidates

    def row(self) -> dict[str, float]:
        """Return the record as one flat row: round, candidates, kept, then the metrics by name.

        >>> Record(1, 200, 50, {"error": 0.1}).row()
        {'round': 1, 'candidates': 200, 'kept': 50, 'error': 0.1}
        """
        counts: dict[str, float] = {name: getattr(self, name) for name in COUNTS}
        return {**counts, **self.metrics}
