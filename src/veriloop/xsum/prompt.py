"""Articles and summaries as the tokens that a language model reads and writes."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from veriloop.core.checks import check_count
from veriloop.xsum.padding import Example
from veriloop.xsum.rows import Strings, check_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Prompt:
    r"""The task in words: `before`, the article, `after`, and then the summary and the end token.

    tokenizer: a fast tokenizer of transformers with an end token.
    before, after: the words around the article; they are never cut. Control tokens in them count as
        such. In an article or a summary they are split as any other text.
    tokens: the largest number of tokens of a prompt; a longer article is cut at its end.
    summary_tokens: the largest number of tokens of a summary, with the end token.
    right_truncation: cut the whole text at its end, as in the published code. A long article then
        loses the cue and its summary, no end token is taught, and control tokens count as such
        everywhere.
    string_replace: decode all tokens and remove the prompt as text, as in the published code. A
        prompt that was cut is not found, and stays in the summary.
    end_after_cut: learn and score the end token after a summary that was cut, too. The model then
        learns to end in the middle of a sentence.

    Raises:
        TypeError: if the tokenizer is none.
        ValueError: if the tokenizer has no end token, or `tokens` leave no room for an article.

    >>> from veriloop.xsum import train_tokenizer
    >>> tokenizer = train_tokenizer(["Article: Rain fell.\n\nSummary: Rain."] * 9, vocabulary=300)
    >>> prompt = Prompt(tokenizer, tokens=60)
    >>> (ids,) = prompt.prompts(["Rain fell."])
    >>> tokenizer.decode(ids)
    'Article: Rain fell.\n\nSummary:'
    """

    tokenizer: PreTrainedTokenizerFast
    before: str = "Article: "
    after: str = "\n\nSummary:"
    tokens: int = 256
    summary_tokens: int = 128
    right_truncation: bool = False
    string_replace: bool = False
    end_after_cut: bool = False

    def __post_init__(self) -> None:
        check_count("Prompt.tokens", self.tokens)
        check_count("Prompt.summary_tokens", self.summary_tokens)
        if not hasattr(self.tokenizer, "eos_token_id"):
            raise TypeError(
                f"Prompt.tokenizer must be a tokenizer of transformers, got {self.tokenizer!r:.40}"
                "; write AutoTokenizer.from_pretrained(...)"
            )
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer has no end token, so no summary would end; give it an eos_token, "
                "and if it is new call model.resize_token_embeddings(len(tokenizer))"
            )
        room = self._room
        if room < 1:
            raise ValueError(
                f"Prompt.tokens must be above the {self.tokens - room} tokens around the article, "
                f"got {self.tokens}"
            )

    @property
    def end(self) -> int:
        """The end token."""
        end: Any = self.tokenizer.eos_token_id
        return end

    def prompts(self, articles: Strings) -> list[list[int]]:
        """Return the tokens of each prompt.

        Raises:
            ValueError: with the row, if an article is no text, or the prompt would be empty.
        """
        check_texts("articles", articles)
        if self.right_truncation:
            whole = self._ids([self._text(article) for article in articles])
            return [self._started(ids)[: self.tokens] for ids in whole]
        head, tail = self._frame
        room = self.tokens - len(head) - len(tail)
        found = [[*head, *ids[:room], *tail] for ids in self._ids(articles, as_text=True)]
        for row, ids in enumerate(found):
            if not ids:
                raise ValueError(
                    f"articles, row {row}: there is no token to read; give the article a text, or "
                    "give Prompt.before or Prompt.after one"
                )
        return found

    def examples(
        self, articles: Strings, summaries: Strings, ended: np.ndarray | None = None
    ) -> list[Example]:
        """Return, for each pair, all its tokens and the place where its summary begins.

        A summary that was cut, or is cut here because it is too long, has no end token.

        ended: whether each summary came to its end, bool, shape (n,). None: all have.

        Raises:
            ValueError: with the row, if an article or a summary is no text.
        """
        check_texts("summaries", summaries)
        if self.right_truncation:
            return self._cut_examples(articles, summaries)
        if ended is None:
            ended = np.ones(len(summaries), dtype=bool)
        prompts = self.prompts(articles)
        answers = self.summaries(summaries)
        examples: list[Example] = []
        for prompt, answer, whole in zip(prompts, answers, ended, strict=True):
            examples.append(([*prompt, *self._target(answer, whole)], len(prompt)))
        return examples

    def summaries(self, texts: Strings) -> list[list[int]]:
        """Return the tokens of each summary, whole and without an end token."""
        return self._ids([f" {text}" for text in texts], as_text=True)

    def _target(self, answer: list[int], ended: bool) -> list[int]:
        """Return the tokens of a summary that are learnt and scored."""
        room = self.summary_tokens - 1
        if self.end_after_cut or (ended and len(answer) <= room):
            return [*answer[:room], self.end]
        return answer[: self.summary_tokens]

    def _cut_examples(self, articles: Strings, summaries: Strings) -> list[Example]:
        """Return the examples of the published code, which cuts prompt and summary together."""
        prompts = self.prompts(articles)
        texts: list[str] = []
        for article, summary in zip(articles, summaries, strict=True):
            texts.append(f"{self._text(article)} {summary}")
        examples: list[Example] = []
        for prompt, ids in zip(prompts, self._ids(texts), strict=True):
            whole = self._started(ids)
            examples.append((whole[: self.tokens], min(len(prompt), self.tokens)))
        return examples

    def read(
        self, prompt: Sequence[int], new: Sequence[int], ends: Container[int] | None = None
    ) -> str:
        """Return the summary that a model wrote, up to the first token that ends it.

        prompt: the tokens that the model read.
        new: the tokens that it wrote.
        ends: the tokens that end a summary. None: the end token alone.
        """
        if ends is None:
            ends = {self.end}
        written = list(takewhile(lambda token: token not in ends, new))
        if not self.string_replace:
            text = self._decode(written)
            if len(written) == len(new):  # cut, perhaps within the bytes of a character
                text = text.rstrip("\ufffd")
            return text.strip()
        article = self._decode(prompt)
        whole = self._decode([*prompt, *written])
        if article.endswith(self.after):
            whole = whole.replace(article, "")
        return whole.strip()

    def _decode(self, ids: Sequence[int]) -> str:
        text: Any = self.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    @property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The tokens before and after the article, in which control tokens count as such."""
        head, tail = self._ids([self.before, self.after])
        return self._started(head), tail

    def _started(self, ids: list[int]) -> list[int]:
        """Return a text with the tokens that some tokenizers put first, once."""
        plain = self._ids(["a"])[0]
        whole: Any = self.tokenizer("a")["input_ids"]
        places = range(len(whole) - len(plain) + 1)
        start: list[int] = []
        for place in places:
            if whole[place : place + len(plain)] == plain:
                start = whole[:place]
                break
        if ids[: len(start)] == start:
            return ids
        return [*start, *ids]

    @property
    def _room(self) -> int:
        """How many tokens of an article fit into a prompt."""
        head, tail = self._frame
        return self.tokens - len(head) - len(tail)

    def _text(self, article: str) -> str:
        return f"{self.before}{article}{self.after}"

    def _ids(self, texts: Strings, *, as_text: bool = False) -> list[list[int]]:
        """Return the tokens of texts; `as_text` splits a control token as any other text."""
        if not len(texts):
            return []
        ids: Any = self.tokenizer(
            list(texts), add_special_tokens=False, split_special_tokens=as_text
        )["input_ids"]
        return ids
