"""How good a model's summaries are, and how much of the language it still uses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.xsum.embedded import facts_right
from veriloop.xsum.generate import Generate
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Strings, Summaries
from veriloop.xsum.verifiers import LogLikelihood
from veriloop.xsum.words import VARIANTS, Tokenizer, copying, grams, repetition, rouge, words

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LARGEST = 700.0  # nats; a perplexity of more would be infinite


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure a model on articles with references: `(key, model) -> numbers by name`.

    - `rouge1`, `rouge2`, `rougeL`: the mean F1, and the ends of its 95 % bootstrap interval over
      articles, `rouge1_low`, `rouge1_high`, and so on.
    - `words`: the mean number of words of a summary.
    - `types`: how many different words all summaries use.
    - `distinct1`, `distinct2`: different over all n-grams.
    - `repetition`, `copying`: means; see the functions of these names.
    - `empty`, `truncated`: the shares without a word and without an end.
    - `perplexity`, `perplexity_own`: of the references and of its own summaries, by token; in
      bfloat16 if `generate.bf16`. Rows of which the prompt leaves no token do not count, and a
      warning says how many.
    - with `facts`, those of `facts_right` too.

    generate: how summaries are written; its articles are those measured on.
    facts: whether the articles are embedded reports.
    resamples: of the bootstrap.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: that of `rouge-score`
        for ROUGE, which reads English, and what spaces separate for the rest.

    Raises:
        ValueError: if there is no article, or `resamples` is no positive integer.
        FloatingPointError: from a call, if the model has diverged.

    >>> from veriloop.xsum import reports, train_tokenizer
    >>> pairs = reports(Key(0), 20)
    >>> prompt = Prompt(train_tokenizer(list(pairs.articles), vocabulary=300))
    >>> Measure(generate=Generate(articles=pairs, prompt=prompt), facts=True).resamples
    1000
    """

    generate: Generate
    facts: bool = False
    resamples: int = 1000
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_count("Measure.resamples", self.resamples)
        if not len(self.generate):
            raise ValueError("Measure.generate has no article to measure on; give it articles")

    def __call__(self, key: Key, model: PreTrainedModel) -> Mapping[str, float]:
        rows = self.generate(key.fold("generate"), model, len(self.generate))
        references = replace(rows, summaries=rows.references, ended=None)
        named = {
            **self._quality(key, rows),
            **language(rows, self.generate.prompt, self.tokenizer),
            **self._perplexities(key, model, {"perplexity": references, "perplexity_own": rows}),
        }
        if self.facts:
            named |= facts_right(rows.summaries, rows.references)
        return named

    def _quality(self, key: Key, rows: Summaries) -> dict[str, float]:
        """Return each ROUGE and the ends of its interval."""
        named: dict[str, float] = {}
        for variant in VARIANTS:
            scores = rouge(variant, rows.references, rows.summaries, self.tokenizer)
            low, high = bootstrap(key.fold("bootstrap"), scores, self.resamples)
            named[variant] = float(scores.mean())
            named[f"{variant}_low"] = low
            named[f"{variant}_high"] = high
        return named

    def _perplexities(
        self, key: Key, model: PreTrainedModel, parts: Mapping[str, Summaries]
    ) -> dict[str, float]:
        """Return the perplexity of each part, all of the same articles."""
        likelihood = LogLikelihood(
            model,
            self.generate.prompt,
            cut=0.0,
            batch=self.generate.batch,
            bf16=self.generate.bf16,
        )
        if self.generate.bf16:  # together, so that a prompt is read once
            together = likelihood(key, Summaries.concatenate(list(parts.values())))
            scores = np.split(together, len(parts))
        else:
            scores = [likelihood(key, rows) for rows in parts.values()]
        named = zip(parts, scores, strict=True)
        return {name: perplexity(name, each) for name, each in named}


def perplexity(name: str, scores: np.ndarray) -> float:
    """Return the perplexity of the rows that have a token; warn of the others.

    name: what the perplexity is called.
    scores: the mean log-likelihood a token of each row, in nats, shape (n,); NaN: it has none.

    Raises:
        FloatingPointError: if it is too large for a number.

    >>> perplexity("perplexity", np.log([0.5, 0.5]))
    2.0
    """
    known = scores[~np.isnan(scores)]
    if len(known) < len(scores):
        warnings.warn(
            f"Measure: {len(scores) - len(known)} of {len(scores)} rows have no token after the "
            f"cut at Prompt.tokens and are left out of {name}; raise it to count all",
            stacklevel=4,
        )
    if not len(known):
        return math.nan
    loss = -float(known.mean())
    if loss > LARGEST:
        raise FloatingPointError(
            f"Measure: {name} is too large for a number, at a mean loss of {loss:.4g} nats; "
            "the model has diverged: fit it again at a lower rate"
        )
    return math.exp(loss)


def language(
    rows: Summaries, prompt: Prompt, tokenizer: Tokenizer | None = None
) -> dict[str, float]:
    """Return lengths, variety and defects of summaries; see `Measure`."""
    lengths = np.array([len(words(summary, tokenizer)) for summary in rows.summaries])
    pairs = zip(rows.articles, rows.summaries, strict=True)
    lengths_in_tokens = np.array([len(ids) for ids in prompt.summaries(rows.summaries)])
    ones = _all_grams(rows.summaries, 1, tokenizer)
    twos = _all_grams(rows.summaries, 2, tokenizer)
    repeated = [repetition(summary, tokenizer=tokenizer) for summary in rows.summaries]
    copied = [copying(article, summary, tokenizer=tokenizer) for article, summary in pairs]
    cut = ~rows.ended | (lengths_in_tokens >= prompt.summary_tokens)
    return {
        "words": float(lengths.mean()),
        "types": len(set(ones)),
        "distinct1": len(set(ones)) / max(len(ones), 1),
        "distinct2": len(set(twos)) / max(len(twos), 1),
        "repetition": float(np.mean(repeated)),
        "copying": float(np.mean(copied)),
        "empty": float((lengths == 0).mean()),
        "truncated": float(np.mean(cut)),
    }


def _all_grams(texts: Strings, n: int, tokenizer: Tokenizer | None) -> list[tuple[str, ...]]:
    """Return the word n-grams of all texts, repeated ones too."""
    found: list[tuple[str, ...]] = []
    for text in texts:
        found += grams(text, n, tokenizer)
    return found


def bootstrap(key: Key, sample: np.ndarray, resamples: int = 1000) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of a mean, by the bootstrap.

    key: draws the rows of each resample, with replacement.
    sample: numbers, shape (n,).
    resamples: how many.

    Raises:
        ValueError: if the sample is empty, or `resamples` is no positive integer.

    >>> low, high = bootstrap(Key(0), np.arange(100.0))
    >>> low < 49.5 < high
    True
    """
    check_count("bootstrap: resamples", resamples)
    if not len(sample):
        raise ValueError("bootstrap: the sample is empty; give at least one number")
    picks = key.numpy().integers(len(sample), size=(resamples, len(sample)))
    means = sample[picks].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
