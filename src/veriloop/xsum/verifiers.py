"""Verifiers of summaries: against references, by simple rules, or by a model's likelihood."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from veriloop.core import Key, Verdict
from veriloop.core.checks import check_count, check_finite, check_fraction, check_positive
from veriloop.core.parts import Scores
from veriloop.core.verdict import Verifier, judged
from veriloop.xsum.likelihood import row_losses
from veriloop.xsum.models import check_fit
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Summaries, check_summaries, check_texts
from veriloop.xsum.words import (
    VARIANTS,
    Tokenizer,
    copying,
    has_word,
    repetition,
    rouge,
    words,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


DRAWN_TOGETHER = 2**24  # numbers of articles for which all lots up to the highest are drawn


@dataclass(frozen=True)
class RougeVerifier:
    """Score a summary by its ROUGE F1 against its reference, in [0, 1]: the paper's oracle.

    Its words are English, unless it is given a tokenizer; see `rouge`.

    variant: "rouge1", "rouge2" or "rougeL".
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: that of `rouge-score`.

    Raises:
        ValueError: if there is no such variant.

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

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        check_summaries("RougeVerifier: batch", batch)
        return rouge(self.variant, batch.references, batch.summaries, self.tokenizer)


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

    >>> rows = Summaries.of(["-"] * 4, ["Rain."] * 4)
    >>> PartialReference(RougeVerifier(), share=0.5)(Key(0), rows).scores
    array([nan,  1., nan, nan])
    """

    verifier: Verifier
    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        check_fraction("PartialReference.share", self.share, one=True)

    def __call__(self, key: Key, batch: Summaries) -> Verdict:
        check_summaries("PartialReference: batch", batch)
        known = self._lots(batch.prompts) < self.share
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


@dataclass(frozen=True)
class ScoreNoise:
    """Add normal noise to another verifier's scores.

    verifier: the other verifier.
    scale: the standard deviation of the noise, at least 0, in the unit of the scores.

    Raises:
        ValueError: if `scale` is out of its range.

    >>> rows = Summaries.of(["-"], ["Rain fell."])
    >>> ScoreNoise(RougeVerifier(), scale=0.0)(Key(0), rows).scores
    array([1.])
    """

    verifier: Verifier
    scale: float

    def __post_init__(self) -> None:
        check_positive("ScoreNoise.scale", self.scale, zero=True)

    def __call__(self, key: Key, batch: Summaries) -> Verdict:
        noise = key.fold("noise").numpy().standard_normal(len(batch))
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=verdict.scores + self.scale * noise)


@dataclass(frozen=True)
class Ended:
    """Accept a summary that came to its end (1), and reject one that was cut (-1).

    >>> texts = ["Rain fell.", "Rain fell in"]
    >>> rows = Summaries.of(["-"] * 2, ["-"] * 2, texts, ended=[True, False])
    >>> Ended()(Key(0), rows)
    array([ 1., -1.])
    """

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        check_summaries("Ended: batch", batch)
        return np.where(batch.ended, 1.0, -1.0)


@dataclass(frozen=True)
class Brevity:
    """Score a summary by how many words it is below `limit`.

    A summary without a letter or a digit has no verdict (NaN), so it is never the briefest.

    limit: the largest number of words accepted.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        ValueError: if `limit` is no finite number.

    >>> Brevity(limit=2)(Key(0), Summaries.of(["-"] * 2, ["-"] * 2, ["Rain fell in York.", ""]))
    array([-2., nan])
    """

    limit: int
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_finite("Brevity.limit", self.limit)

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        check_summaries("Brevity: batch", batch)
        check_texts("Brevity: summaries", batch.summaries)
        lengths = [len(words(summary, self.tokenizer)) for summary in batch.summaries]
        return _if_any_word(batch, self.limit - np.array(lengths, dtype=float))


@dataclass(frozen=True)
class LittleRepetition:
    """Score a summary by `limit` less its `repetition`.

    A summary without a letter or a digit has no verdict (NaN), though it repeats nothing.

    limit: the largest share of repeated n-grams accepted.
    n: words in an n-gram, at least 1.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        ValueError: if `limit` is no finite number, or `n` is out of its range.

    >>> rows = Summaries.of(["-"], ["-"], ["a fire and a fire"])
    >>> LittleRepetition(limit=0.5)(Key(0), rows)
    array([0.25])
    """

    limit: float = 0.1
    n: int = 2
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_finite("LittleRepetition.limit", self.limit)
        check_count("LittleRepetition.n", self.n)

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        check_summaries("LittleRepetition: batch", batch)
        check_texts("LittleRepetition: summaries", batch.summaries)
        shares = [repetition(summary, self.n, self.tokenizer) for summary in batch.summaries]
        return _if_any_word(batch, self.limit - np.array(shares, dtype=float))


@dataclass(frozen=True)
class LittleCopying:
    """Score a summary by `limit` less its `copying` from the article.

    A summary without a letter or a digit has no verdict (NaN), though it copies nothing.

    limit: the largest share of copied n-grams accepted.
    n: words in an n-gram, at least 1.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        ValueError: if `limit` is no finite number, or `n` is out of its range.

    >>> rows = Summaries.of(["the old bridge is shut"], ["-"], ["the old bridge is shut"])
    >>> LittleCopying(limit=0.5)(Key(0), rows)
    array([-0.5])
    """

    limit: float = 0.5
    n: int = 3
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_finite("LittleCopying.limit", self.limit)
        check_count("LittleCopying.n", self.n)

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        check_summaries("LittleCopying: batch", batch)
        check_texts("LittleCopying: summaries", batch.summaries)
        pairs = zip(batch.articles, batch.summaries, strict=True)
        shares = [copying(article, summary, self.n, self.tokenizer) for article, summary in pairs]
        return _if_any_word(batch, self.limit - np.array(shares, dtype=float))


def _if_any_word(batch: Summaries, scores: Scores) -> Scores:
    """Return the scores, and NaN for a summary without a letter or a digit."""
    said = [has_word(summary) for summary in batch.summaries]
    return np.where(said, scores, np.nan)


@dataclass(frozen=True)
class LogLikelihood:
    """Score a summary by its mean log-likelihood a token under a model, in nats, less `cut`.

    A summary of which `prompt` leaves no token has no verdict (NaN).

    model: a frozen base model, or that of the round for self-verification.
    prompt: makes tokens of articles and summaries.
    cut: a summary is accepted if its mean log-likelihood is at least this, in nats.
    batch: rows in one pass.
    bf16: score with a copy of the model that has its weights in bfloat16, which is several times
        faster on CPUs and GPUs that multiply in it. A prompt of several rows is then read once.

    Raises:
        ValueError: if the model cannot read the prompts, or `cut` is no finite number.
        FloatingPointError: from a call, with the row, if a loss is not finite.

    >>> from veriloop.xsum import Pretraining, pretrained, reports
    >>> import tempfile
    >>> from pathlib import Path
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrained(tiny, folder=Path(tempfile.mkdtemp()))
    >>> LogLikelihood(model, Prompt(tokenizer))(Key(0), reports(Key(0), 5)).shape
    (5,)
    """

    model: PreTrainedModel
    prompt: Prompt
    cut: float = -2.0
    batch: int = 16
    bf16: bool = False

    def __post_init__(self) -> None:
        check_finite("LogLikelihood.cut", self.cut)
        check_count("LogLikelihood.batch", self.batch)
        check_fit(self.model, self.prompt)

    def __call__(self, key: Key, rows: Summaries) -> Scores:
        check_summaries("LogLikelihood: rows", rows)
        losses = row_losses(self.model, self.prompt, rows, self.batch, bf16=self.bf16)
        return -losses - self.cut
