"""How good a model's outputs are, and how much of the language it still uses."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from veriloop.core import Key
from veriloop.core.batch import concatenate, is_tensor
from veriloop.core.checks import check_count
from veriloop.core.numbers import merge
from veriloop.core.parts import check_part
from veriloop.core.scores import to_numpy
from veriloop.text.generate import Generate
from veriloop.text.prompt import Prompt
from veriloop.text.rows import Rows, Strings
from veriloop.text.verifiers import LogLikelihood
from veriloop.text.words import Tokenizer, copying, grams, repetition, words

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Metric = Callable[[Any], np.ndarray]  # of rows: one number a row, shape (n,)
LARGEST = 700.0  # nats; a perplexity of more would be infinite


@dataclass(frozen=True, kw_only=True)
class Measure:
    """Measure a model on inputs with targets: `(key, model) -> numbers by name`.

    - each of `metrics`: the mean over inputs, and the ends of its 95 % bootstrap interval over
      inputs, for instance `exact`, `exact_low`, `exact_high`.
    - `words`: the mean number of words of an output.
    - `types`: how many different words all outputs use.
    - `distinct1`, `distinct2`: different over all n-grams.
    - `repetition`, `copying`: means; see the functions of these names.
    - `empty`, `truncated`: the shares without a word and without an end.
    - `perplexity`, `perplexity_own`: of the targets and of its own outputs: e to the mean over rows
      of a row's mean loss a token, in nats. So a long row counts as much as a short one. A row
      without a target, or without a token after the cut, does not count, and a warning says how
      many there are. With `generate.bf16` they are computed in bfloat16.
    - those of `others` too.

    generate: how outputs are written; its rows are those measured on.
    metrics: functions of the rows by name, each (rows) -> one number a row, shape (n,). If an input
        has several candidates, its number is their mean.
    others: (rows) -> numbers by name, of all rows together. None: no others.
    resamples: of the bootstrap.
    tokenizer: makes words of texts: any object with `tokenize(text)`. None: what spaces separate.

    Raises:
        TypeError: if `metrics` are no functions by name.
        ValueError: if there is no input, or `resamples` is no positive integer. A call raises it if
            a metric has not one finite number a row, or two numbers have one name.
        FloatingPointError: from a call, if the model has diverged.

    >>> from veriloop.text import Texts, train_tokenizer
    >>> sums = Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"])
    >>> prompt = Prompt(train_tokenizer(["2 + 2 = 4"] * 9, vocabulary=300))
    >>> right = lambda rows: rows.outputs == rows.targets
    >>> Measure(generate=Generate(rows=sums, prompt=prompt), metrics={"exact": right}).resamples
    1000
    """

    generate: Generate[Any]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    others: Callable[[Any], Mapping[str, float]] | None = None
    resamples: int = 1000
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_count("Measure.resamples", self.resamples)
        if not len(self.generate):
            raise ValueError("Measure.generate has no input to measure on; give it rows")
        self._check_metrics()
        self._warn_of_unknown()
        self._warn_of_spaces()

    def _check_metrics(self) -> None:
        """Refuse metrics that cannot be called by name."""
        if not isinstance(self.metrics, Mapping):
            raise TypeError(
                "Measure.metrics must be functions by name, got "
                f"{type(self.metrics).__name__}; write {{'exact': function}}"
            )
        for name, metric in self.metrics.items():
            check_part(f"Measure.metrics: {name}", metric, "(rows)")

    def _warn_of_unknown(self) -> None:
        """Warn of inputs without a target, if others have one."""
        targets = self.generate.rows.targets
        unknown = sum(not target for target in targets)
        if 0 < unknown < len(targets):
            warnings.warn(
                f"Measure: {unknown} of {len(targets)} inputs have no target and are left out of "
                "perplexity; metrics of one's own see an empty text there",
                stacklevel=4,
            )

    def _warn_of_spaces(self) -> None:
        """Warn of targets that no output can be, as the white space around outputs is left out."""
        targets = self.generate.rows.targets
        spaced = sum(target != target.strip() for target in targets)
        if spaced and self.generate.prompt.strip and self.metrics:
            warnings.warn(
                f"Measure: {spaced} of {len(targets)} targets have white space around them, which "
                "is left out of outputs, so no output is the same; strip the targets, or give "
                "Prompt(strip=False)",
                stacklevel=4,
            )

    def __call__(self, key: Key, model: PreTrainedModel) -> Mapping[str, float]:
        rows = self.generate(key.fold("generate"), model, len(self.generate))
        quality = self._quality(key, rows)
        spoken = language(rows, self.generate.prompt, self.tokenizer)
        parts = {"perplexity_own": rows}
        known = rows[rows.targets.astype(bool)]
        if len(known):
            parts = {"perplexity": known.answered(known.targets), **parts}
        perplexities = self._perplexities(key, model, parts)
        others: Mapping[str, float] = {}
        if self.others is not None:
            others = self.others(rows)
        return merge(quality, spoken, perplexities, others)

    def _quality(self, key: Key, rows: Rows) -> dict[str, float]:
        """Return each metric and the ends of its interval."""
        named: dict[str, float] = {}
        for name, metric in self.metrics.items():
            scores = by_input(_numbers(name, metric, rows), rows.numbers)
            low, high = bootstrap(key.fold("bootstrap"), scores, self.resamples)
            mean = float(scores.mean())
            named = merge(named, {name: mean, f"{name}_low": low, f"{name}_high": high})
        return named

    def _perplexities(
        self, key: Key, model: PreTrainedModel, parts: Mapping[str, Rows]
    ) -> dict[str, float]:
        """Return the perplexity of each part, all of the same inputs."""
        likelihood = LogLikelihood(
            model,
            self.generate.prompt,
            cut=0.0,
            batch=self.generate.batch,
            bf16=self.generate.bf16,
        )
        if self.generate.bf16:  # together, so that a prompt is read once
            together = likelihood(key, concatenate(list(parts.values())))
            ends = np.cumsum([len(rows) for rows in parts.values()])
            scores = np.split(together, ends[:-1])
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


def language(rows: Rows, prompt: Prompt, tokenizer: Tokenizer | None = None) -> dict[str, float]:
    """Return lengths, variety and defects of outputs; see `Measure`."""
    lengths = np.array([len(words(output, tokenizer)) for output in rows.outputs])
    pairs = zip(rows.inputs, rows.outputs, strict=True)
    lengths_in_tokens = np.array([len(ids) for ids in prompt.outputs(rows.outputs)])
    ones = _all_grams(rows.outputs, 1, tokenizer)
    twos = _all_grams(rows.outputs, 2, tokenizer)
    repeated = [repetition(output, tokenizer=tokenizer) for output in rows.outputs]
    copied = [copying(source, output, tokenizer=tokenizer) for source, output in pairs]
    cut = ~rows.ended | (lengths_in_tokens >= prompt.output_tokens)
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


def by_input(numbers: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Return the mean of each input's rows, in the order of the inputs' first rows.

    numbers: shape (n,).
    inputs: the number of each row's input, shape (n,).

    >>> by_input(np.array([1.0, 0.0, 1.0]), np.array([7, 7, 2]))
    array([0.5, 1. ])
    """
    _, first, places, counts = np.unique(
        inputs, return_index=True, return_inverse=True, return_counts=True
    )
    means = np.bincount(places, weights=numbers) / counts
    return means[np.argsort(first)]


def _numbers(name: str, metric: Metric, rows: Rows) -> np.ndarray:
    """Return a metric's number of each row, shape (n,), and refuse any other shape."""
    answer: object = metric(rows)
    if is_tensor(answer):
        answer = to_numpy(answer)
    try:
        numbers = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (len(rows),) or not np.isfinite(numbers).all():
        raise ValueError(
            f"Measure.metrics: {name} must be one finite number for each of the {len(rows)} rows, "
            f"got {answer!r:.60}; return an array of shape (n,)"
        )
    return numbers


def _all_grams(texts: Strings, n: int, tokenizer: Tokenizer | None) -> list[tuple[str, ...]]:
    """Return the word n-grams of all texts, repeated ones too."""
    found: list[tuple[str, ...]] = []
    for text in texts:
        found += grams(text, n, tokenizer)
    return found


def bootstrap(
    key: Key, sample: Sequence[float] | np.ndarray, resamples: int = 1000
) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of a mean, by the bootstrap.

    key: draws the rows of each resample, with replacement.
    sample: finite numbers, shape (n,).
    resamples: how many.

    Raises:
        ValueError: if the sample is empty or not finite, or `resamples` is no positive integer.

    >>> low, high = bootstrap(Key(0), np.arange(100.0))
    >>> low < 49.5 < high
    True
    """
    check_count("bootstrap: resamples", resamples)
    sample = np.asarray(sample, dtype=float)
    if sample.ndim != 1 or not len(sample) or not np.isfinite(sample).all():
        raise ValueError(
            "bootstrap: the sample must be finite numbers of shape (n,), at least one, "
            f"got {sample!r:.60}"
        )
    picks = key.numpy().integers(len(sample), size=(resamples, len(sample)))
    means = sample[picks].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
