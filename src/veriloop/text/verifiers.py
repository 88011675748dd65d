"""Verifiers of outputs: by simple rules, or by a model's likelihood."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from veriloop.core import Key, Verdict
from veriloop.core.checks import check_count, check_finite, check_positive
from veriloop.core.parts import Scores
from veriloop.core.verdict import Verifier, judged
from veriloop.text.likelihood import row_losses
from veriloop.text.models import check_fit, check_head
from veriloop.text.prompt import Prompt, check_prompt
from veriloop.text.rows import Rows, check_rows, check_texts
from veriloop.text.words import Tokenizer, copying, has_word, repetition, words

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ScoreNoise:
    """Add normal noise to another verifier's scores.

    verifier: the other verifier.
    scale: the standard deviation of the noise, at least 0, in the unit of the scores.

    Raises:
        ValueError: if `scale` is out of its range.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["-"], ["Rain fell."])
    >>> ScoreNoise(Brevity(3), scale=0.0)(Key(0), rows).scores
    array([1.])
    """

    verifier: Verifier
    scale: float

    def __post_init__(self) -> None:
        check_positive("ScoreNoise.scale", self.scale, zero=True)

    def __call__(self, key: Key, batch: Rows) -> Verdict:
        noise = key.fold("noise").numpy().standard_normal(len(batch))
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=verdict.scores + self.scale * noise)


@dataclass(frozen=True)
class Ended:
    """Accept an output that came to its end (1), and reject one that was cut (-1).

    >>> from veriloop.text import Texts
    >>> texts = ["Rain fell.", "Rain fell in"]
    >>> rows = Texts.of(["-"] * 2, ["-"] * 2, texts, ended=[True, False])
    >>> Ended()(Key(0), rows)
    array([ 1., -1.])
    """

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("Ended: batch", batch)
        return np.where(batch.ended, 1.0, -1.0)


@dataclass(frozen=True)
class Brevity:
    """Score an output by how many words it is below `limit`.

    An output without a letter or a digit has no verdict (NaN), so it is never the briefest.

    limit: the largest number of words accepted.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        ValueError: if `limit` is no finite number.

    >>> from veriloop.text import Texts
    >>> Brevity(limit=2)(Key(0), Texts.of(["-"] * 2, ["-"] * 2, ["Rain fell in York.", ""]))
    array([-2., nan])
    """

    limit: int
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_finite("Brevity.limit", self.limit)

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("Brevity: batch", batch)
        check_texts("Brevity: outputs", batch.outputs)
        lengths = [len(words(output, self.tokenizer)) for output in batch.outputs]
        return _if_any_word(batch, self.limit - np.array(lengths, dtype=float))


@dataclass(frozen=True)
class LittleRepetition:
    """Score an output by `limit` less its `repetition`.

    An output without a letter or a digit has no verdict (NaN), though it repeats nothing.

    limit: the largest share of repeated n-grams accepted.
    n: words in an n-gram, at least 1.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        ValueError: if `limit` is no finite number, or `n` is out of its range.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["-"], ["-"], ["a fire and a fire"])
    >>> LittleRepetition(limit=0.5)(Key(0), rows)
    array([0.25])
    """

    limit: float = 0.1
    n: int = 2
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_finite("LittleRepetition.limit", self.limit)
        check_count("LittleRepetition.n", self.n)

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("LittleRepetition: batch", batch)
        check_texts("LittleRepetition: outputs", batch.outputs)
        shares = [repetition(output, self.n, self.tokenizer) for output in batch.outputs]
        return _if_any_word(batch, self.limit - np.array(shares, dtype=float))


@dataclass(frozen=True)
class LittleCopying:
    """Score an output by `limit` less its `copying` from its input.

    An output without a letter or a digit has no verdict (NaN), though it copies nothing.

    limit: the largest share of copied n-grams accepted.
    n: words in an n-gram, at least 1.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        ValueError: if `limit` is no finite number, or `n` is out of its range.

    >>> from veriloop.text import Texts
    >>> rows = Texts.of(["the old bridge is shut"], ["-"], ["the old bridge is shut"])
    >>> LittleCopying(limit=0.5)(Key(0), rows)
    array([-0.5])
    """

    limit: float = 0.5
    n: int = 3
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_finite("LittleCopying.limit", self.limit)
        check_count("LittleCopying.n", self.n)

    def __call__(self, key: Key, batch: Rows) -> Scores:
        check_rows("LittleCopying: batch", batch)
        check_texts("LittleCopying: outputs", batch.outputs)
        pairs = zip(batch.inputs, batch.outputs, strict=True)
        shares = [copying(source, output, self.n, self.tokenizer) for source, output in pairs]
        return _if_any_word(batch, self.limit - np.array(shares, dtype=float))


def _if_any_word(batch: Rows, scores: Scores) -> Scores:
    """Return the scores, and NaN for an output without a letter or a digit."""
    said = [has_word(output) for output in batch.outputs]
    return np.where(said, scores, np.nan)


@dataclass(frozen=True)
class LogLikelihood:
    """Score an output by its mean log-likelihood a token under a model, in nats, less `cut`.

    An output of which `prompt` leaves no token has no verdict (NaN).

    model: a frozen base model, or that of the round for self-verification.
    prompt: makes tokens of inputs and outputs.
    cut: an output is accepted if its mean log-likelihood is at least this, in nats.
    batch: rows in one pass.
    bf16: score with a copy of the model that has its weights in bfloat16, which is several times
        faster on CPUs and GPUs that multiply in it. A prompt of several rows is then read once.

    Raises:
        ValueError: if the model cannot read the prompts, or `cut` is no finite number.
        FloatingPointError: from a call, with the row, if a loss is not finite.

    >>> from veriloop.text import Pretraining, Texts, pretrain
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrain(tiny, lambda key, n: ["2 + 2 = 4"] * n)
    >>> LogLikelihood(model, Prompt(tokenizer))(Key(0), Texts.of(["2 + 2 ="], ["4"])).shape
    (1,)
    """

    model: PreTrainedModel
    prompt: Prompt
    cut: float = -2.0
    batch: int = 16
    bf16: bool = False

    def __post_init__(self) -> None:
        check_finite("LogLikelihood.cut", self.cut)
        check_count("LogLikelihood.batch", self.batch)
        check_prompt("LogLikelihood.prompt", self.prompt)
        check_head(self.model)
        check_fit(self.model, self.prompt)

    def __call__(self, key: Key, rows: Rows) -> Scores:
        check_rows("LogLikelihood: rows", rows)
        losses = row_losses(self.model, self.prompt, rows, self.batch, bf16=self.bf16)
        return -losses - self.cut
