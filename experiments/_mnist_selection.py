"""What the figure of selections alone needs: one cut for all digits, and lots by weight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriloop import Key, TopFraction
from veriloop.core.parts import Groups, Mask, Scores


@dataclass(frozen=True)
class OneCut:
    """Accept what scores above one threshold for all digits: the round's own quantile.

    So acceptance is `fraction`, as that of `TopFraction`, which has a cut for each digit. A digit
    that the verifier likes less is kept less often.
    """

    fraction: float

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        return TopFraction(self.fraction)(key, scores)


@dataclass(frozen=True)
class Weighted:
    """Keep a `fraction` of each digit by lots: each draw takes a row left by the weight exp(score / T)."""

    temperature: float
    fraction: float

    def __call__(self, key: Key, scores: Scores, groups: Groups | None = None) -> Mask:
        noise = key.fold("gumbel").numpy().gumbel(size=len(scores))
        noisy = np.asarray(scores, dtype=float) + self.temperature * noise
        return TopFraction(self.fraction)(key, noisy, groups)
