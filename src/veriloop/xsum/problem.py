"""The paper's summaries setting as one value, and what is observed of the candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from veriloop.core import Key
from veriloop.core.candidates import Candidates
from veriloop.core.parts import Mask, Observer, Scores
from veriloop.text import problem
from veriloop.text.problem import by_input
from veriloop.text.words import Tokenizer, words
from veriloop.xsum.rows import Summaries
from veriloop.xsum.scores import rouge

by_article = by_input


@dataclass(frozen=True, kw_only=True)
class Problem(problem.Problem[Summaries]):
    """The summaries setting: a model is fitted to some real pairs, then every round to its own.

    base: the model before it has seen any summary. None is for a `Problem` whose start exists.
    initial: the real pairs that the first model is fitted to.
    generate: writes candidates for all articles every round.
    first, refit, keep, measure, pool, device: see `veriloop.text.Problem`.
    observe: what is recorded of the candidates. None: their ROUGE-1, by the function `observe`.
    tokenizer: makes words of texts, for the ROUGE that is observed of the candidates; see `rouge`.

    Raises:
        ValueError: if `keep` is out of its range, or the base cannot read the prompts.

    >>> from veriloop import run
    >>> from veriloop.xsum import FineTune, Generate, Pretraining, Prompt, pretrained, reports
    >>> from pathlib import Path
    >>> import tempfile
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> base, tokenizer = pretrained(tiny, folder=Path(tempfile.mkdtemp()))
    >>> prompt = Prompt(tokenizer, tokens=40, summary_tokens=4)
    >>> pairs = reports(Key(0), 8)
    >>> generate = Generate(articles=pairs, prompt=prompt)
    >>> tune = FineTune(prompt=prompt)
    >>> problem = Problem(
    ...     base=base, initial=pairs[:4], generate=generate, first=tune, refit=tune, keep=0.5
    ... )
    >>> start = problem.start(Key(0))
    >>> for state, record in run(problem.loop(), Key(0), start, [problem.size(kept=4)]):
    ...     print(record.round, record.candidates, record.kept)
    0 0 0
    1 8 4
    """

    tokenizer: Tokenizer | None = None

    def _observer(self) -> Observer:
        if self.observe is not None:
            return self.observe
        if self.tokenizer is None:
            return observe
        return partial(observe, tokenizer=self.tokenizer)


def observe(
    key: Key,
    batch: Summaries | Candidates[Summaries],
    scores: Scores,
    mask: Mask,
    tokenizer: Tokenizer | None = None,
) -> Mapping[str, float]:
    """Return the mean ROUGE-1 of all candidates and of those kept, and the mean words of the kept.

    key: not used.
    batch: the candidates.
    scores: not used.
    mask: which rows are kept, booleans, shape (n,).
    tokenizer: makes words of texts; see `rouge`.

    >>> rows = Summaries.of(["-"] * 2, ["Rain fell."] * 2, ["Rain fell.", "Snow."])
    >>> observe(Key(0), rows, np.zeros(2), np.array([True, False]))
    {'candidates_rouge1': 0.5, 'kept_rouge1': 1.0, 'kept_words': 2.0}
    """
    rows = batch[np.ones(len(batch), dtype=bool)]
    quality = rouge("rouge1", rows.references, rows.summaries, tokenizer)
    lengths = [len(words(summary, tokenizer)) for summary in rows.summaries[mask]]
    return {
        "candidates_rouge1": float(quality.mean()),
        "kept_rouge1": float(quality[mask].mean()),
        "kept_words": float(np.mean(lengths)),
    }
