"""Articles and summaries as the tokens that a language model reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from veriloop.core.batch import check_count
from veriloop.xsum.rows import Strings


@dataclass(frozen=True)
class Prompt:
    r"""The task put into words: `before`, the article, `after`, and then the summary and the end token.

    tokenizer: a fast tokenizer of transformers with an end token.
    tokens: the most tokens of a prompt. A longer article is cut at its end; `before` and `after` never are.
    summary_tokens: the most tokens of a summary, the end token among them.
    right_truncation: as published, cut the whole text at its end: a long article loses the cue, and its summary.
    string_replace: as published, decode all tokens and take the prompt out as text: one that was cut is not found
        in it, and stays.

    Raises:
        ValueError: if the tokenizer has no end token, or `tokens` leave no room for an article.
    """

    tokenizer: Any
    before: str = "Article: "
    after: str = "\n\nSummary:"
    tokens: int = 256
    summary_tokens: int = 128
    right_truncation: bool = False
    string_replace: bool = False

    def __post_init__(self) -> None:
        check_count("Prompt.tokens", self.tokens)
        check_count("Prompt.summary_tokens", self.summary_tokens)
        if self.tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end token, so no summary would end; give it an eos_token")
        if self._room < 1:
            raise ValueError(
                f"Prompt.tokens must be above the {self.tokens - self._room} tokens around the article, "
                f"got {self.tokens}"
            )

    def prompts(self, articles: Strings) -> list[list[int]]:
        """Return the tokens of each prompt."""
        if self.right_truncation:
            return [ids[: self.tokens] for ids in self._ids([self._text(article) for article in articles])]
        (head, tail), texts = self._frame, self._ids(articles)
        return [[*head, *ids[: self._room], *tail] for ids in texts]

    def examples(self, articles: Strings, summaries: Strings) -> list[tuple[list[int], int]]:
        """Return, for each pair, all its tokens and where its summary begins."""
        prompts = self.prompts(articles)
        if self.right_truncation:
            texts = [f"{self._text(a)} {s}" for a, s in zip(articles, summaries, strict=True)]
            return [
                (ids[: self.tokens], min(len(prompt), self.tokens))
                for ids, prompt in zip(self._ids(texts), prompts, strict=True)
            ]
        answers = self._ids([f" {summary}" for summary in summaries])
        end = self.tokenizer.eos_token_id
        return [
            ([*prompt, *answer[: self.summary_tokens - 1], end], len(prompt))
            for prompt, answer in zip(prompts, answers, strict=True)
        ]

    def read(self, prompt: Sequence[int], new: Sequence[int]) -> str:
        """Return the summary among the tokens that a model wrote after the prompt, up to its end token."""
        end = self.tokenizer.eos_token_id
        new = new[: new.index(end)] if end in new else new
        if self.string_replace:
            article = self.tokenizer.decode(prompt, skip_special_tokens=True)
            whole = self.tokenizer.decode([*prompt, *new], skip_special_tokens=True)
            return whole.replace(article, "").strip() if article.endswith(self.after) else whole.strip()
        return self.tokenizer.decode(new, skip_special_tokens=True).strip()

    @property
    def _frame(self) -> tuple[list[int], list[int]]:
        # Special tokens that the tokenizer puts first, as some do, are put there; an end token it adds is not.
        end = self.tokenizer.eos_token_id
        head = self.tokenizer(self.before)["input_ids"]
        head = head[:-1] if head and head[-1] == end else head
        return head, self._ids([self.after])[0]

    @property
    def _room(self) -> int:
        return self.tokens - sum(map(len, self._frame))

    def _text(self, article: str) -> str:
        return f"{self.before}{article}{self.after}"

    def _ids(self, texts: Strings) -> list[list[int]]:
        if not len(texts):
            return []
        return self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
