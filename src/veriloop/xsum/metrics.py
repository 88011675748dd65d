"""How good a model's summaries are, and how much of the language it still uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from veriloop.core import Key
from veriloop.xsum.embedded import facts_right
from veriloop.xsum.generate import Generate
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Summaries
from veriloop.xsum.verifiers import KINDS, LogLikelihood, copying, grams, repetition, rouge


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure a model on articles with references: `(key, model) -> named numbers`.

    `rouge1`, `rouge2`, `rougeL`: mean F1, each with the ends of its 95 % bootstrap interval over articles,
    `rouge1_low`, `rouge1_high`, ... Then of its summaries: `words`, the mean length; `types`, how many different
    words they use; `distinct1` and `distinct2`, different over all n-grams; `repetition` and `copying`, see the
    verifiers; `empty` and `truncated`, the shares without a word and without an end. `perplexity` of the references
    and `perplexity_own` of its own summaries, by token. Where the articles are the embedded reports (`facts`), also
    what is right and how much of the corpus is left, see `facts_right`.

    generate: how summaries are written; its articles are those measured on.
    """

    generate: Generate
    facts: bool = False
    resamples: int = 1000

    def __call__(self, key: Key, model: Any) -> Mapping[str, float]:
        generate = self.generate
        rows = generate(key.fold("generate"), model, len(generate))
        named: dict[str, float] = {}
        for kind in KINDS:
            scores = rouge(kind, rows.references, rows.summaries)
            named[kind] = float(scores.mean())
            named[f"{kind}_low"], named[f"{kind}_high"] = bootstrap(key.fold("bootstrap"), scores, self.resamples)
        named |= language(rows, generate.prompt)
        for name, shown in (("", replace(rows, summaries=rows.references)), ("_own", rows)):
            likelihood = LogLikelihood(model, generate.prompt, cut=0.0, batch=generate.batch)
            named[f"perplexity{name}"] = math.exp(-likelihood(key, shown).mean())
        return {**named, **facts_right(rows.summaries, rows.references)} if self.facts else named


def language(rows: Summaries, prompt: Prompt) -> dict[str, float]:
    """Return lengths, variety and defects of summaries; see `Measure`."""
    lengths = [len(summary.split()) for summary in rows.summaries]
    tokens = prompt.tokenizer([f" {s}" for s in rows.summaries], add_special_tokens=False)["input_ids"]
    pairs = list(zip(rows.articles, rows.summaries, strict=True))
    ones, twos = ([gram for summary in rows.summaries for gram in grams(summary, n)] for n in (1, 2))
    return {
        "words": float(np.mean(lengths)),
        "types": len(set(ones)),
        "distinct1": len(set(ones)) / max(len(ones), 1),
        "distinct2": len(set(twos)) / max(len(twos), 1),
        "repetition": float(np.mean([repetition(summary) for _, summary in pairs])),
        "copying": float(np.mean([copying(article, summary) for article, summary in pairs])),
        "empty": float(np.mean([not n for n in lengths])),
        "truncated": float(np.mean([len(ids) >= prompt.summary_tokens for ids in tokens])),
    }


def bootstrap(key: Key, sample: np.ndarray, resamples: int = 1000) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of the mean, over rows drawn with replacement."""
    picks = key.numpy().integers(len(sample), size=(resamples, len(sample)))
    low, high = np.quantile(sample[picks].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
