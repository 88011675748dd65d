"""Verifiers of summaries against their references."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from veriloop.core import Key, Verdict
from veriloop.core.checks import check_fraction
from veriloop.core.parts import Scores
from veriloop.core.verdict import Verifier, judged
from veriloop.text.rows import Rows, check_rows
from veriloop.text.words import Tokenizer
from veriloop.xsum.scores import VARIANTS, rouge

DRAWN_TOGETHER = 2**24  # numbers of articles for which all lots up to the highest are drawn


@dataclass(frozen=True)
class RougeVerifier:
    """Score a summary by its ROUGE F1 against its reference, in [0, 1]: the paper's oracle.

    Its words are English, unless it is given a tokenizer; see `rouge`.

    variant: "rouge1", "rouge2" or "rougeL".
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: that of `rouge-score`.

    Raises:
        ValueError: if there is no such variant.

    >>> from veriloop.xsum import Summaries
    >>> rows = Summaries.of(["-"] * 2, ["Rain fell."] * 2, ["Rain fell.", "Snow."])
    >>> RougeVerifier()(Key(0), rows)
    array([1., 0.])
    """

    variant: str = "rouge1"
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(
                f"RougeVerifier.variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}"
            )

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("RougeVerifier: batch", batch)
        return rouge(self.variant, batch.targets, batch.outputs, self.tokenizer)


@dataclass(frozen=True)
class PartialReference:
    """Ask another verifier about some articles only; all others have no verdict (NaN).

    It stands for a verifier that knows the references of a part of the articles. Which articles
    these are is the same in every round.

    verifier: the other verifier.
    share: the probability that an article is known, in (0, 1].
    seed: decides, with the number of an article, whether it is known.

    Raises:
        ValueError: if `share` is out of its range.

    >>> from veriloop.xsum import Summaries
    >>> rows = Summaries.of(["-"] * 4, ["Rain."] * 4)
    >>> PartialReference(RougeVerifier(), share=0.5)(Key(0), rows).scores
    array([nan,  1., nan, nan])
    """

    verifier: Verifier
    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_fraction("PartialReference.share", self.share, one=True)

    def __call__(self, key: Key, batch: Rows) -> Verdict:
        check_rows("PartialReference: batch", batch)
        known = self._lots(batch.numbers) < self.share
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=np.where(known, verdict.scores, np.nan))

    def _lots(self, prompts: np.ndarray) -> np.ndarray:
        """Return one uniform number for each row, that of its article, shape (n,).

        Numbers of articles may be names from elsewhere, so the largest are drawn one by one.
        """
        key = Key(self.seed).fold("known")
        small = prompts < DRAWN_TOGETHER
        highest = int(prompts[small].max(initial=0))
        lots = np.empty(len(prompts))
        lots[small] = key.numpy().random(highest + 1)[prompts[small]]
        large, places = np.unique(prompts[~small], return_inverse=True)
        single = [key.fold(number).numpy().random() for number in large.tolist()]
        lots[~small] = np.array(single)[places]
        return lots
