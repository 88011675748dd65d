"""How good a model's summaries are, by ROUGE and, of embedded reports, by their facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from veriloop.core import Key
from veriloop.core.parts import Scores
from veriloop.text import metrics
from veriloop.text.rows import Rows
from veriloop.text.words import Tokenizer
from veriloop.xsum.embedded import facts_right
from veriloop.xsum.generate import Generate
from veriloop.xsum.scores import VARIANTS, rouge

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure a model on articles with references: `(key, model) -> numbers by name`.

    - `rouge1`, `rouge2`, `rougeL`: the mean F1, and the ends of its 95 % bootstrap interval over
      articles, `rouge1_low`, `rouge1_high`, and so on.
    - what `veriloop.text.Measure` measures.
    - with `facts`, those of `facts_right` too.

    generate: how summaries are written; its articles are those measured on.
    facts: whether the articles are embedded reports.
    resamples: of the bootstrap.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: that of `rouge-score`
        for ROUGE, which reads English, and what spaces separate for the rest.

    Raises:
        ValueError: if there is no article, or `resamples` is no positive integer.
        FloatingPointError: from a call, if the model has diverged.

    >>> from veriloop.xsum import Prompt, reports, train_tokenizer
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
        self._measure()

    def __call__(self, key: Key, model: PreTrainedModel) -> Mapping[str, float]:
        return self._measure()(key, model)

    def _measure(self) -> metrics.Measure:
        """Return the same as `veriloop.text` knows it."""
        quality = {name: partial(_rouge, name, self.tokenizer) for name in VARIANTS}
        others = None
        if self.facts:
            others = _facts
        return metrics.Measure(
            generate=self.generate,
            metrics=quality,
            others=others,
            resamples=self.resamples,
            tokenizer=self.tokenizer,
        )


def _rouge(variant: str, tokenizer: Tokenizer | None, rows: Rows) -> Scores:
    return rouge(variant, rows.targets, rows.outputs, tokenizer)


def _facts(rows: Rows) -> Mapping[str, float]:
    return facts_right(rows.outputs, rows.targets)
