"""What the figure of selections alone needs: one cut for all digits."""

from __future__ import annotations

from dataclasses import dataclass

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
