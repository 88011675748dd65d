"""The prompt of the summaries task, and what the published code does in its place."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np

from veriloop.core.checks import check_count
from veriloop.text import prompt
from veriloop.text.padding import Example
from veriloop.text.rows import Strings, check_texts


@dataclass(frozen=True)
class Prompt(prompt.Prompt):
    r"""The task in words: `before`, the article, `after`, and then the summary and the end token.

    tokenizer: a fast tokenizer of transformers with an end token.
    before, after: the words around the article; they are never cut. Control tokens in them count as
        such. In an article or a summary they are split as any other text.
    tokens: the largest number of tokens of a prompt; a longer article is cut at its end.
    summary_tokens: the largest number of tokens of a summary, with the end token.
    lead: what stands between prompt and summary when a summary is learnt or scored.
    strip, stop: see `veriloop.text.Prompt`.
    right_truncation: cut the whole text at its end, as in the published code. A long article then
        loses the cue and its summary, no end token is taught, and control tokens count as such
        everywhere.
    string_replace: decode all tokens and remove the prompt as text, as in the published code. A
        prompt that was cut is not found, and stays in the summary.
    end_after_cut: learn and score the end token after a summary that was cut, too. The model then
        learns to end in the middle of a sentence.

    Raises:
        TypeError: if the tokenizer is none.
        ValueError: if the tokenizer has no end token, `tokens` leave no room for an article, or
            `stop` is given with `string_replace`.

    >>> from veriloop.xsum import train_tokenizer
    >>> tokenizer = train_tokenizer(["Article: Rain fell.\n\nSummary: Rain."] * 9, vocabulary=300)
    >>> (ids,) = Prompt(tokenizer, tokens=60).prompts(["Rain fell."])
    >>> tokenizer.decode(ids)
    'Article: Rain fell.\n\nSummary:'
    """

    before: str = "Article: "
    after: str = "\n\nSummary:"
    output_tokens: int = field(init=False)
    summary_tokens: int = 128
    right_truncation: bool = False
    string_replace: bool = False
    end_after_cut: bool = False

    def __post_init__(self) -> None:
        check_count("Prompt.summary_tokens", self.summary_tokens)
        object.__setattr__(self, "output_tokens", self.summary_tokens)
        super().__post_init__()
        if self.string_replace and self.stop:
            raise ValueError(
                f"Prompt.stop: got {self.stop!r:.60}, and string_replace reads whole texts as the "
                "published code does; leave one out"
            )

    def prompts(self, inputs: Strings) -> list[list[int]]:
        if not self.right_truncation:
            return super().prompts(inputs)
        check_texts("inputs", inputs)
        whole = self._ids([self._text(article) for article in inputs])
        return [self._started(ids)[: self.tokens] for ids in whole]

    def examples(
        self, inputs: Strings, outputs: Strings, ended: np.ndarray | None = None
    ) -> list[Example]:
        if not self.right_truncation:
            return super().examples(inputs, outputs, ended)
        check_texts("outputs", outputs)
        prompts = self.prompts(inputs)
        texts: list[str] = []
        for article, summary in zip(inputs, outputs, strict=True):
            texts.append(f"{self._text(article)} {summary}")
        examples: list[Example] = []
        for ids, together in zip(prompts, self._ids(texts), strict=True):
            whole = self._started(together)
            examples.append((whole[: self.tokens], min(len(ids), self.tokens)))
        return examples

    def summaries(self, texts: Strings) -> list[list[int]]:
        """Return the tokens of each summary, whole and without an end token."""
        return self.outputs(texts)

    def read(
        self, prompt: Sequence[int], new: Sequence[int], ends: Container[int] | None = None
    ) -> str:
        if not self.string_replace:
            return super().read(prompt, new, ends)
        article = self._decode(prompt)
        whole = self._decode([*prompt, *self._written(new, ends)])
        if article.endswith(self.after):
            whole = whole.replace(article, "")
        return whole.strip()

    def _target(self, answer: list[int], ended: bool) -> list[int]:
        if self.end_after_cut:
            return [*answer[: self.output_tokens - 1], self.end]
        return super()._target(answer, ended)

    def _text(self, article: str) -> str:
        return f"{self.before}{article}{self.after}"
