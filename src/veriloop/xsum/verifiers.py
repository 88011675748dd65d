"""Verifiers of summaries: against references, by simple rules, or by a model's likelihood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import torch

from veriloop.core import Key, Verdict
from veriloop.core.verdict import judged
from veriloop.xsum.finetune import token_losses, tokens_and_targets
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Strings, Summaries

KINDS = ("rouge1", "rouge2", "rougeL")


def rouge(kind: str, references: Strings, summaries: Strings) -> np.ndarray:
    """Return the ROUGE F1 of each summary against the reference of its row, with stemming, shape (n,), in [0, 1].

    kind: "rouge1", "rouge2" or "rougeL". The values are those of the package `rouge-score`, bit for bit; where
    `rouge-score-rs`, of the extra [fast], is installed, it computes them.

    >>> rouge("rouge1", ["Two dogs barked."], ["A dog barked."]).round(3)
    array([0.667])
    """
    if kind not in KINDS:
        raise ValueError(f"rouge knows {', '.join(KINDS)}, got {kind!r}")
    score = _scorer(kind)
    pairs = zip(references, summaries, strict=True)
    return np.array([score(reference, summary) for reference, summary in pairs], dtype=float)


@cache
def _scorer(kind: str) -> Callable[[str, str], float]:
    try:
        from rouge_score_rs.rouge_scorer import RougeScorer  # pyright: ignore[reportMissingImports]
    except ImportError:
        from rouge_score.rouge_scorer import RougeScorer
    scorer = RougeScorer([kind], use_stemmer=True)
    return lambda reference, summary: scorer.score(reference, summary)[kind].fmeasure


@dataclass(frozen=True)
class RougeVerifier:
    """Score a summary by its ROUGE F1 against the reference of its row: the paper's oracle."""

    kind: str = "rouge1"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"RougeVerifier.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")

    def __call__(self, key: Key, batch: Summaries) -> np.ndarray:
        return rouge(self.kind, batch.references, batch.summaries)


@dataclass(frozen=True)
class Evaluated:
    """Score a summary by a metric of the package `evaluate`, less `cut`: `Evaluated("bleu", "bleu", cut=0.1)`.

    metric: its name on the hub, the folder of its script, or an object with `compute(predictions=, references=)`.
    value: the name of the number among those it computes. options: passed on to `compute`, by name. Of a number
        that is better when lower take `weighted([-1], Evaluated(...))`.

    A metric whose value is a list, one number a row, as of `bertscore`, is asked once, any other row by row. A row
    on which it divides by zero, as BLEU does on an empty summary, has no verdict (NaN).

    Raises:
        ValueError: in one sentence, if the package or the metric cannot be had, or it computes no such value.
    """

    metric: Any
    value: str
    cut: float = 0.0
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.metric, str):
            _metric(self.metric)

    def __call__(self, key: Key, batch: Summaries) -> np.ndarray:
        scores = self._values(batch) if len(batch) else np.empty(0)
        if len(scores) != len(batch):  # one number for all of them
            scores = np.concatenate([self._values(batch[row : row + 1]) for row in range(len(batch))])
        if len(scores) != len(batch):
            raise ValueError(
                f"Evaluated.value must be one number, or one a row, got {len(scores)} numbers of {self.value!r} "
                f"for {len(batch)} rows"
            )
        return scores - self.cut

    def _values(self, rows: Summaries) -> np.ndarray:
        metric = _metric(self.metric) if isinstance(self.metric, str) else self.metric
        predictions, references = rows.summaries.tolist(), rows.references.tolist()
        try:
            found = metric.compute(predictions=predictions, references=references, **self.options)
        except ZeroDivisionError:
            return np.array([np.nan])
        if self.value not in found:
            raise ValueError(f"Evaluated.value must be among {', '.join(found)}, got {self.value!r}")
        return np.ravel(np.asarray(found[self.value], dtype=float))


@cache
def _metric(name: str) -> Any:
    try:
        import evaluate  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            f"the metric {name} needs the package evaluate, which is not there; install the extra [metrics]"
        ) from None
    try:
        return evaluate.load(name, keep_in_memory=True)
    except Exception as error:  # whatever the hub's client, or the script, raises
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"the metric {name} cannot be had ({reason}); name the folder of its script, or give an object"
        ) from None


@dataclass(frozen=True)
class PartialReference:
    """A verifier that knows the references of a `share` of the articles only; the others get no verdict (NaN).

    Which articles it knows is the same in every round: it is decided by `seed` and the article's place.
    """

    verifier: Callable[[Key, Summaries], Any]
    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"PartialReference.share must be in (0, 1], got {self.share}")

    def __call__(self, key: Key, batch: Summaries) -> Verdict:
        drawn = Key(self.seed).fold("known").numpy().random(int(batch.prompts.max(initial=0)) + 1)
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=np.where(drawn[batch.prompts] < self.share, verdict.scores, np.nan))


@dataclass(frozen=True)
class ScoreNoise:
    """Add normal noise of standard deviation `scale` to another verifier's scores."""

    verifier: Callable[[Key, Summaries], Any]
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
    """Score a summary by the words it has left under `limit`."""

    limit: int

    def __call__(self, key: Key, batch: Summaries) -> np.ndarray:
        return np.array([self.limit - len(summary.split()) for summary in batch.summaries], dtype=float)


@dataclass(frozen=True)
class LittleRepetition:
    """Score a summary by `limit` less the share of its word `n`-grams that it has said before."""

    limit: float = 0.1
    n: int = 2

    def __call__(self, key: Key, batch: Summaries) -> np.ndarray:
        return np.array([self.limit - repetition(summary, self.n) for summary in batch.summaries], dtype=float)


@dataclass(frozen=True)
class LittleCopying:
    """Score a summary by `limit` less the share of its word `n`-grams that stand in the article."""

    limit: float = 0.5
    n: int = 3

    def __call__(self, key: Key, batch: Summaries) -> np.ndarray:
        rows = zip(batch.articles, batch.summaries, strict=True)
        return np.array([self.limit - copying(article, summary, self.n) for article, summary in rows], dtype=float)


def grams(text: str, n: int) -> list[tuple[str, ...]]:
    """Return the word n-grams of a text, in lower case."""
    words = text.lower().split()
    return list(zip(*(words[i:] for i in range(n)), strict=False))


def repetition(text: str, n: int = 2) -> float:
    """Return the share of word n-grams that occurred earlier in the text; 0 of a text without any.

    >>> repetition("a fire and a fire", 2)
    0.25
    """
    found = grams(text, n)
    return 1 - len(set(found)) / len(found) if found else 0.0


def copying(article: str, summary: str, n: int = 3) -> float:
    """Return the share of the summary's word n-grams that stand in the article; 0 of a summary without any.

    >>> copying("the old bridge is shut", "Old bridge is open", 2)
    0.6666666666666666
    """
    known, found = Counter(grams(article, n)), grams(summary, n)
    return sum(gram in known for gram in found) / len(found) if found else 0.0


@dataclass(frozen=True)
class LogLikelihood:
    """Score a summary by its mean log-likelihood a token under `model`, in nats, less `cut`.

    model: a frozen base model, or that of the round for self-verification. batch: rows in one pass.
    """

    model: Any
    prompt: Prompt
    cut: float = -2.0
    batch: int = 16

    @torch.inference_mode()
    def __call__(self, key: Key, rows: Summaries) -> np.ndarray:
        examples = self.prompt.examples(rows.articles, rows.summaries)
        scores, order = np.empty(len(rows)), np.argsort([len(ids) for ids, _ in examples], kind="stable")
        for start in range(0, len(rows), self.batch):
            these = order[start : start + self.batch]
            tokens, seen, scored = tokens_and_targets(
                [examples[i] for i in these], self.prompt.tokenizer.eos_token_id
            )
            device = self.model.device
            losses = token_losses(self.model, tokens.to(device), seen.to(device), scored.to(device)).cpu().double()
            means = [float(part.mean()) for part in losses.split(scored.sum(1).tolist())]
            scores[these] = -np.array(means) - self.cut
        return scores
