"""What is known of an arm beside its numbers: its pool, its verifier, the best of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import cast

import numpy as np

from veriloop.diagnose.series import Row, Series
from veriloop.metrics import KNOWN, Direction

ZERO_IS_BEST = frozenset({"error_truth"})  # distances to what the model is to find
ONE_IS_BEST = frozenset(
    "agreement precision recall coverage rouge1 rouge2 rougeL distinct1 distinct2".split()
)
AT_RANDOM = 3.0  # standard errors between kept rows and candidates that chance explains


@dataclass(frozen=True)
class Scale:
    """How a metric is read as an error above 0: how far it is from its best value.

    best: that value; where none is known, 0 for a metric that is better when lower.
    known: whether it is.
    sign: 1 where the metric is better when lower, else -1.
    worst: the largest error there is.
    """

    best: float
    known: bool
    sign: int
    worst: float = np.inf

    @classmethod
    def of(cls, metric: str, worse: Direction | None, floor: float | None) -> Scale:
        """Choose the scale of a metric, or refuse one whose direction or best value is not known.

        worse: the direction in which the metric gets worse; None takes that of `KNOWN`.
        """
        check_worse("advise", metric, worse)
        better = None
        if metric in KNOWN:
            better = KNOWN[metric].better
        turned: dict[str | None, str] = {"higher": "lower", "lower": "higher"}
        direction = worse or turned.get(better)
        if direction not in ("higher", "lower"):
            raise ValueError(
                f"advise: {metric!r} needs worse='higher' or worse='lower', got {worse!r}; say in "
                "which direction it gets worse"
            )
        sign = 1 if direction == "higher" else -1
        fraction = metric in ONE_IS_BEST and sign < 0
        if floor is not None:
            if not isinstance(cast("object", floor), Real) or not np.isfinite(floor):
                raise ValueError(f"advise: floor must be a finite number, got {floor!r:.60}")
            worst = np.inf
            if fraction:
                worst = floor
            return cls(float(floor), True, sign, worst)
        if sign > 0:
            return cls(0.0, metric in ZERO_IS_BEST, sign)
        if fraction:
            return cls(1.0, True, sign, 1.0)
        raise ValueError(
            f"advise: {metric!r} is better when higher and needs its best value, got none; "
            "give that as floor="
        )

    def errors(self, values: np.ndarray) -> np.ndarray:
        """Return how far values are from the best one."""
        return self.sign * (values - self.best)

    def value(self, error: float) -> float:
        """Return the value of the metric that is so far from the best one."""
        return self.best + self.sign * min(error, self.worst)

    def interval(self, low: float, high: float) -> tuple[float, float]:
        """Return the interval of the metric that an interval of its error is."""
        at_low = self.value(low)
        at_high = self.value(high)
        return min(at_low, at_high), max(at_low, at_high)


def check_worse(where: str, metric: str, worse: Direction | None) -> None:
    """Refuse a direction in which a known metric gets better."""
    if worse is not None and metric in KNOWN and worse == KNOWN[metric].better:
        raise ValueError(
            f"{where}: {metric!r} is better when {worse}, got worse={worse!r}; leave worse= out, "
            "or give a metric of your own another name"
        )


def pool_of(series: Series) -> str | None:
    """Return the name of the pool that all rows give, or None.

    It stands in the column `pool` or `policy`.
    """
    for column in ("pool", "policy"):
        names = {row.get(column) for row in series.rows}
        if len(names) == 1:
            name = names.pop()
            if isinstance(name, str):
                return name
    return None


def replaces(pool: str) -> bool:
    """Tell whether a pool's name is that of one that keeps the new rows alone.

    >>> replaces("Replace()"), replaces("accumulate")
    (True, False)
    """
    return pool.strip().lower().removesuffix("()") == "replace"


def nothing_verified(series: Series) -> bool:
    """Tell whether no verifier chose the kept rows.

    So it is where rows say `verified` is false, where all candidates are kept, and where the kept
    rows score as the candidates do, in every `kept_NAME` beside a `candidates_NAME`.
    """
    said = {row.get("verified") for row in series.rows}
    if len(said) == 1 and said <= {True, False}:
        return said == {False}
    if bool((series.kept[1:] == series.candidates[1:]).all()):
        return True
    pairs: list[tuple[str, str]] = []
    for name in series.rows[-1]:
        beside = "candidates_" + name.removeprefix("kept_")
        if name.startswith("kept_") and beside in series.rows[-1]:
            pairs.append((name, beside))
    return bool(pairs) and all(_kept_at_random(series.rows, *pair) for pair in pairs)


def _kept_at_random(rows: Sequence[Row], kept: str, candidates: str) -> bool:
    gaps: list[float] = []
    for row in rows:
        mine = row.get(kept)
        theirs = row.get(candidates)
        if isinstance(mine, int | float) and isinstance(theirs, int | float):
            gaps.append(mine - theirs)
    if len(gaps) < 4:
        return False
    gap = abs(np.mean(gaps))
    error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
    return bool(gap < AT_RANDOM * error)
