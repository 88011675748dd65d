"""Verifiers of summaries: against references, by simple rules, or by a model's likelihood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from veriloop.core import Key, Verdict
from veriloop.core.checks import check_count
from veriloop.core.parts import Scores
from veriloop.core.verdict import Verifier, judged
from veriloop.xsum.finetune import token_losses
from veriloop.xsum.models import check_finite, check_fit
from veriloop.xsum.padding import padded_blocks
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Strings, Summaries

if TYPE_CHECKING:
    from transformers import PreTrainedModel

VARIANTS = ("rouge1", "rouge2", "rougeL")


def rouge(variant: str, references: Strings, summaries: Strings) -> Scores:
    """Return the ROUGE F1 of each summary against its reference, with stemming, shape (n,).

    The values are those of the package `rouge-score`, bit for bit. Where `rouge-score-rs`, of the
    extra [fast], is installed, it computes them.

    variant: "rouge1", "rouge2" or "rougeL".
    references, summaries: n texts each.

    Raises:
        ValueError: if there is no such variant.

    >>> rouge("rouge1", ["Two dogs barked."], ["A dog barked."]).round(3)
    array([0.667])
    """
    if variant not in VARIANTS:
        raise ValueError(f"rouge knows {', '.join(VARIANTS)}, got {variant!r}")
    score = _scorer(variant)
    pairs = zip(references, summaries, strict=True)
    return np.array([score(reference, summary) for reference, summary in pairs], dtype=float)


@cache
def _scorer(variant: str) -> Callable[[str, str], float]:
    try:
        from rouge_score_rs.rouge_scorer import RougeScorer  # pyright: ignore[reportMissingImports]
    except ImportError:
        from rouge_score.rouge_scorer import RougeScorer
    scorer = RougeScorer([variant], use_stemmer=True)
    return lambda reference, summary: scorer.score(reference, summary)[variant].fmeasure


@dataclass(frozen=True)
class RougeVerifier:
    """Score a summary by its ROUGE F1 against its reference, in [0, 1]: the paper's oracle.

    variant: "rouge1", "rouge2" or "rougeL".

    Raises:
        ValueError: if there is no such variant.

    >>> rows = Summaries.of(["-"] * 2, ["Rain fell."] * 2, ["Rain fell.", "Snow."])
    >>> RougeVerifier()(Key(0), rows)
    array([1., 0.])
    """

    variant: str = "rouge1"

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(
                f"RougeVerifier.variant must be one of {', '.join(VARIANTS)}, got {self.variant!r}"
            )

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        return rouge(self.variant, batch.references, batch.summaries)


class Metric(Protocol):
    """What the package `evaluate` calls a metric."""

    def compute(
        self, *, predictions: list[str], references: list[str], **options: object
    ) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True)
class Evaluated:
    """Score a summary by a metric of the package `evaluate`, less `cut`.

    If the metric's value is a list with one number a row, as that of `bertscore` is, the metric is
    asked once. Any other metric is asked row by row. A row on which it divides by zero has no
    verdict (NaN), as BLEU does on an empty summary.

    metric: its name on the hub, the folder of its script, or an object with
        `compute(predictions=, references=)`.
    value: the name of the number among those it computes. If a lower number is better, write
        `weighted([-1], Evaluated(...))`.
    cut: a summary is accepted if the number is at least this.
    options: arguments of `compute`, by name.

    Raises:
        ValueError: in one sentence, if the package or the metric cannot be loaded, or computes no
            such value.

    >>> class Length:
    ...     def compute(self, *, predictions, references):
    ...         return {"words": [len(text.split()) for text in predictions]}
    >>> rows = Summaries.of(["-"] * 2, ["Rain fell."] * 2, ["Rain fell.", "Snow."])
    >>> Evaluated(Length(), "words", cut=1.5)(Key(0), rows)
    array([ 0.5, -0.5])
    """

    metric: str | Metric
    value: str
    cut: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.metric, str):
            _metric(self.metric)

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        if not len(batch):
            return np.empty(0)
        scores = self._values(batch)
        if len(scores) != len(batch):  # one number for all of them
            single = [self._values(batch[row : row + 1]) for row in range(len(batch))]
            scores = np.concatenate(single)
        if len(scores) != len(batch):
            raise ValueError(
                f"Evaluated.value must be one number, or one a row, got {len(scores)} numbers of "
                f"{self.value!r} for {len(batch)} rows"
            )
        return scores - self.cut

    def _values(self, rows: Summaries) -> np.ndarray:
        """Return the metric's numbers of all rows together, shape (1,) or (n,)."""
        metric = self.metric
        if isinstance(metric, str):
            metric = _metric(metric)
        predictions = rows.summaries.tolist()
        references = rows.references.tolist()
        try:
            found = metric.compute(predictions=predictions, references=references, **self.options)
        except ZeroDivisionError:
            return np.array([np.nan])
        if found is None or self.value not in found:
            names = ", ".join(found or {})
            raise ValueError(f"Evaluated.value must be among {names}, got {self.value!r}")
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
        if not 0 < self.share <= 1:
            raise ValueError(f"PartialReference.share must be in (0, 1], got {self.share}")

    def __call__(self, key: Key, batch: Summaries) -> Verdict:
        articles = int(batch.prompts.max(initial=0)) + 1
        lots = Key(self.seed).fold("known").numpy().random(articles)
        known = lots[batch.prompts] < self.share
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=np.where(known, verdict.scores, np.nan))


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
        if not 0 <= self.scale < float("inf"):
            raise ValueError(f"ScoreNoise.scale must be at least 0 and finite, got {self.scale}")

    def __call__(self, key: Key, batch: Summaries) -> Verdict:
        noise = key.fold("noise").numpy().standard_normal(len(batch))
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=verdict.scores + self.scale * noise)


@dataclass(frozen=True)
class Brevity:
    """Score a summary by how many words it is below `limit`.

    limit: the largest number of words accepted.

    >>> Brevity(limit=2)(Key(0), Summaries.of(["-"], ["-"], ["Rain fell in York."]))
    array([-2.])
    """

    limit: int

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        lengths = [len(summary.split()) for summary in batch.summaries]
        return np.array([self.limit - length for length in lengths], dtype=float)


@dataclass(frozen=True)
class LittleRepetition:
    """Score a summary by `limit` less its `repetition`.

    limit: the largest share of repeated n-grams accepted.
    n: words in an n-gram.

    >>> rows = Summaries.of(["-"], ["-"], ["a fire and a fire"])
    >>> LittleRepetition(limit=0.5)(Key(0), rows)
    array([0.25])
    """

    limit: float = 0.1
    n: int = 2

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        shares = [repetition(summary, self.n) for summary in batch.summaries]
        return np.array([self.limit - share for share in shares], dtype=float)


@dataclass(frozen=True)
class LittleCopying:
    """Score a summary by `limit` less its `copying` from the article.

    limit: the largest share of copied n-grams accepted.
    n: words in an n-gram.

    >>> rows = Summaries.of(["the old bridge is shut"], ["-"], ["the old bridge is shut"])
    >>> LittleCopying(limit=0.5)(Key(0), rows)
    array([-0.5])
    """

    limit: float = 0.5
    n: int = 3

    def __call__(self, key: Key, batch: Summaries) -> Scores:
        pairs = zip(batch.articles, batch.summaries, strict=True)
        shares = [copying(article, summary, self.n) for article, summary in pairs]
        return np.array([self.limit - share for share in shares], dtype=float)


def grams(text: str, n: int) -> list[tuple[str, ...]]:
    """Return the word n-grams of a text, in lower case."""
    words = text.lower().split()
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def repetition(text: str, n: int = 2) -> float:
    """Return the share of word n-grams that occurred earlier in the text; 0 if it has none.

    text: any text; upper and lower case are the same.
    n: words in an n-gram.

    >>> repetition("a fire and a fire", 2)
    0.25
    """
    found = grams(text, n)
    if not found:
        return 0.0
    return 1 - len(set(found)) / len(found)


def copying(article: str, summary: str, n: int = 3) -> float:
    """Return the share of the summary's word n-grams that stand in the article; 0 if it has none.

    article, summary: any texts; upper and lower case are the same.
    n: words in an n-gram.

    >>> copying("the old bridge is shut", "Old bridge is open", 2)
    0.6666666666666666
    """
    found = grams(summary, n)
    if not found:
        return 0.0
    known = set(grams(article, n))
    return sum(gram in known for gram in found) / len(found)


@dataclass(frozen=True)
class LogLikelihood:
    """Score a summary by its mean log-likelihood a token under a model, in nats, less `cut`.

    A summary of which `prompt` leaves no token has no verdict (NaN).

    model: a frozen base model, or that of the round for self-verification.
    prompt: makes tokens of articles and summaries.
    cut: a summary is accepted if its mean log-likelihood is at least this, in nats.
    batch: rows in one pass.

    Raises:
        ValueError: if the model cannot read the prompts.
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

    def __post_init__(self) -> None:
        check_count("LogLikelihood.batch", self.batch)
        check_fit(self.model, self.prompt)

    @torch.inference_mode()
    def __call__(self, key: Key, rows: Summaries) -> Scores:
        scores = np.empty(len(rows))
        for block, each in padded_blocks(self.model, self.prompt, rows, self.batch):
            losses = token_losses(self.model, *each).cpu().double()
            tokens = each.scored.sum(1).cpu().numpy()
            row_of_token = np.repeat(block, tokens)
            check_finite(losses.numpy(), row_of_token, "LogLikelihood: the loss")
            means = [float(part.mean()) for part in losses.split(tokens.tolist())]
            scores[block] = -np.array(means) - self.cut
        return scores
