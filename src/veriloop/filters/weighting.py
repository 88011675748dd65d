"""A filter that draws lots by score: what exponential weights become where rows are kept or not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriloop.core.arrays import Groups, Mask, Scores
from veriloop.core.checks import check_fraction, check_positive
from veriloop.core.key import Key
from veriloop.filters.ranking import TopFraction


@dataclass(frozen=True, slots=True)
class Boltzmann:
    r"""Keep a `fraction` of each group, drawn by lots that favour higher scores.

    Rows are drawn one after the other and not put back. Each draw takes a row that is left with
    probability proportional to :math:`e^{s/T}`. Of many candidates, a row is kept with probability

    .. math:: 1 - \exp(-\lambda e^{s/T}),

    where lambda is such that the fraction is met. For a small fraction this is proportional to
    :math:`e^{s/T}`. A fit to the kept rows is then that of reward-weighted regression, which
    weights every row by :math:`e^{s/T}` (Peters and Schaal, 2007). For a large fraction the choice
    is flatter than these weights, as no row can be kept twice.

    As T falls to 0 it becomes `TopFraction`, and as T grows it becomes `RandomFraction`. To draw
    one row of each group, use `Luce`. Source: the kept rows have the highest :math:`s + T G`, with
    standard Gumbel noise G (Kool, van Hoof and Welling, 2019, arXiv:1903.06059).

    temperature: T, positive, in the units of the scores.
    fraction: in (0, 1], of all rows of the group, those without a verdict too.

    >>> Boltzmann(0.1, fraction=0.5)(Key(0), np.array([0.0, 50.0, np.nan, 49.0]))
    array([False,  True, False,  True])

    Raises:
        ValueError: if the temperature is not positive and finite, or the fraction lies outside
            (0, 1].
        RoundError: in a round, if fewer rows of a group have a verdict than are to be kept.
    """

    temperature: float
    fraction: float

    def __post_init__(self) -> None:
        check_positive("Boltzmann.temperature", self.temperature)
        check_fraction("Boltzmann.fraction", self.fraction, one=True)

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        noise = key.fold("gumbel").numpy().gumbel(size=len(scores))
        noisy = np.asarray(scores, dtype=float) + self.temperature * noise
        best = TopFraction(self.fraction)
        return best(key, noisy, groups)
