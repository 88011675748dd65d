"""Summaries written by a model: greedy or sampled, by key, the same whatever the batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from veriloop.core import Key
from veriloop.core.batch import check_count
from veriloop.xsum.processes import gathered, share
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Summaries


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Write summaries of `articles`, `candidates` for each: `(key, model, n) -> Summaries`, the first n of them.

    temperature: None writes the likeliest token (greedy); else tokens are drawn from the model's distribution,
        sharpened below 1. top_p: draw among the likeliest tokens that make up this share.
    batch: prompts decoded at once, sorted by length. In float32 no summary depends on it: every row has random
        numbers of its own.
    bf16: write by a copy of the model with weights in bfloat16.

    Of several processes (see `process`) each writes its share, and all return the whole.

    Raises:
        ValueError: if several greedy candidates are asked for, which would all be the same, or a `top_p` that
            greedy decoding would ignore.
    """

    articles: Summaries
    prompt: Prompt
    candidates: int = 1
    temperature: float | None = None
    top_p: float = 1.0
    batch: int = 32
    bf16: bool = False

    def __post_init__(self) -> None:
        check_count("Generate.candidates", self.candidates)
        check_count("Generate.batch", self.batch)
        if self.temperature is None and (self.candidates > 1 or self.top_p != 1):
            what = "several candidates would be the same" if self.candidates > 1 else "top_p has no effect"
            raise ValueError(f"Generate decodes greedily, so {what}; give a temperature, or leave that out")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ValueError(f"Generate.temperature must be above 0 and finite, or None, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"Generate.top_p must be in (0, 1], got {self.top_p}")

    def __len__(self) -> int:
        return self.candidates * len(self.articles)

    def __call__(self, key: Key, model: Any, n: int) -> Summaries:
        rows = self._rows(n)
        prompts = self.prompt.prompts(rows.articles)
        # One uniform number a token and row: what a row draws depends on no other row.
        uniform = key.numpy().random((n, self.prompt.summary_tokens))
        written = np.empty(n, dtype=object)
        model = _in_bf16(model) if self.bf16 else model
        order = share(np.argsort([len(prompt) for prompt in prompts], kind="stable")[::-1])
        for start in range(0, len(order), self.batch):
            these = order[start : start + self.batch]
            written_here = self._write(model, [prompts[i] for i in these], uniform[these])
            for row, new in zip(these, written_here, strict=True):
                written[row] = self.prompt.read(prompts[row], new)
        for row, summary in gathered([(row, written[row]) for row in order]):
            written[row] = summary
        return Summaries(rows.articles, rows.references, written, rows.prompts)

    def _rows(self, n: int) -> Summaries:
        """Return the article of each of the first n candidates."""
        if n > len(self):
            raise ValueError(f"{len(self)} candidates can be had, {self.candidates} of each article, {n} asked for")
        return self.articles[np.arange(n) // self.candidates]

    @torch.inference_mode()
    def _write(self, model: Any, prompts: Sequence[Sequence[int]], uniform: np.ndarray) -> list[list[int]]:
        """Return the new tokens of each prompt; a row that has ended leaves the batch."""
        end = self.prompt.tokenizer.eos_token_id
        running = _Running(prompts, end, model.device)
        new: list[list[int]] = [[] for _ in prompts]
        for step in range(self.prompt.summary_tokens):
            logits = running.logits(model)
            tokens = self._choose(logits, uniform[running.alive, step])
            for row, token in zip(running.alive, tokens.tolist(), strict=True):
                new[row].append(token)
            going = tokens != end
            if not going.any():
                break
            running.go_on(tokens, going)
        return new

    def _choose(self, logits: Tensor, uniform: np.ndarray) -> Tensor:
        if self.temperature is None:
            return logits.argmax(1)
        shares, tokens = torch.softmax(logits.double() / self.temperature, dim=1).sort(dim=1, descending=True)
        upto = shares.cumsum(1)
        # A token counts if those before it make up less than `top_p`: the likeliest always does.
        total = torch.where(upto - shares < self.top_p, upto, 0).max(1, keepdim=True).values
        target = torch.from_numpy(uniform).to(logits.device)[:, None] * total
        place = torch.searchsorted(upto, target, right=True).clamp(max=logits.shape[1] - 1)
        return tokens.gather(1, place).squeeze(1)


class _Running:
    """The rows that a model still writes: their last tokens, what they have seen, and the model's cache.

    alive: the numbers of these rows among all prompts, shape (rows,).
    """

    def __init__(self, prompts: Sequence[Sequence[int]], end: int, device: Any) -> None:
        longest = max(map(len, prompts))
        tokens = torch.full((len(prompts), longest), end)
        seen = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            start = longest - len(prompt)  # padded on the left, so that all go on at the same place
            tokens[row, start:] = torch.tensor(prompt)
            seen[row, start:] = 1
        self.alive = np.arange(len(prompts))
        self._tokens = tokens.to(device)
        self._seen = seen.to(device)
        self._places = (self._seen.cumsum(1) - 1).clamp(min=0)
        self._cache: Any = None

    def logits(self, model: Any) -> Tensor:
        """Return the logits of each row's next token, shape (rows, vocabulary)."""
        output = model(
            input_ids=self._tokens,
            attention_mask=self._seen,
            position_ids=self._places,
            past_key_values=self._cache,
            logits_to_keep=1,
        )
        self._cache = output.past_key_values
        return output.logits[:, -1].float()

    def go_on(self, tokens: Tensor, going: Tensor) -> None:
        """Append each row's new token, and leave out the rows that have ended."""
        self._tokens = tokens[going][:, None]
        self._places = self._places[going, -1:] + 1
        seen = self._seen[going]
        self._seen = torch.cat([seen, torch.ones_like(self._places)], dim=1)
        if not going.all():
            self._cache.batch_select_indices(going.nonzero().squeeze(1))
            self.alive = self.alive[going.cpu().numpy()]


def _in_bf16(model: Any) -> Any:
    """Return a copy with weights, tied ones once, in bfloat16; buffers (rotary frequencies) stay as they are."""
    weights = {id(each): torch.nn.Parameter(each.detach().bfloat16(), False) for each in model.parameters()}
    return copy.deepcopy(model, weights)
