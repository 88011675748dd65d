"""The rows that a model writes together: prompts are read once, and then token follows token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from veriloop.text.models import Cache
from veriloop.text.padding import padded_left, rows_at_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ENDED = 8  # ended rows leave when they are one row in so many, since leaving copies the others


class Running:
    """A batch of rows: their last tokens, what they have seen, and the model's cache.

    prompts: the tokens of each prompt, at least one; equal prompts are read once.
    end: the token that fills up a prompt.
    room: how many tokens a row can write.
    device: where the model is.

    rows: the numbers of the rows among all prompts, shape (n,).
    going: False for a row that has ended, shape (n,).
    """

    def __init__(
        self, prompts: Sequence[Sequence[int]], end: int, room: int, device: torch.device
    ) -> None:
        padded = padded_left(prompts, end).to(device)
        self.rows = np.arange(len(prompts))
        self.going = torch.ones(len(prompts), dtype=torch.bool, device=device)
        self._distinct, self._copies = _distinct(prompts, device)
        self._room = room
        self._tokens = padded.tokens
        self._seen = padded.seen
        self._places = (self._seen.cumsum(1) - 1).clamp(min=0)
        self._cache: Any = None
        self._all_stay = False  # ended rows too, until all have ended

    def logits(self, model: PreTrainedModel) -> Tensor:
        """Return the logits of each row's next token, shape (n, vocabulary)."""
        if self._cache is None:
            return self._read_prompts(model)
        logits, self._cache = self._read(model, slice(None), self._cache)
        return logits

    def go_on(self, tokens: Tensor, going: Tensor) -> None:
        """Append each row's new token; rows that have ended leave when they are many.

        tokens: int64, shape (n,).
        going: False for a row that ends with this token, shape (n,).
        """
        self.going = self.going & going
        self._tokens = tokens[:, None]
        self._places = self._places[:, -1:] + 1
        self._seen = torch.cat([self._seen, torch.ones_like(self._places)], dim=1)
        ended = len(self.rows) - int(self.going.sum())
        if ENDED * ended >= len(self.rows):
            self._leave_out()

    def _leave_out(self) -> None:
        """Take only the rows that have not ended."""
        stay = self.going.nonzero().squeeze(1)
        if self._all_stay and len(stay):
            return
        self._tokens = self._tokens[stay]
        self._places = self._places[stay]
        self._seen = self._seen[stay]
        if not self._all_stay:
            self._cache.batch_select_indices(stay)
        self.rows = self.rows[stay.cpu().numpy()]
        self.going = self.going[stay]

    def _read_prompts(self, model: PreTrainedModel) -> Tensor:
        """Read every distinct prompt, some at a time, and make room for what follows."""
        from veriloop.text.cache import Room, can_have_room, can_take_rows

        rows, longest = self._tokens.shape
        at_once = rows_at_once(rows, longest, self._tokens.device)
        blocks = self._distinct.split(at_once)
        logits, cache = self._read(model, blocks[0])
        if not can_take_rows(cache):
            self._all_stay = True
            if len(blocks[0]) < rows:
                logits, cache = self._read(model, slice(None))
            self._cache = cache
            return logits
        if not can_have_room(cache):
            if len(blocks) > 1:
                logits, cache = self._read(model, self._distinct)
            self._cache = cache
            self._cache.batch_select_indices(self._copies)
            return logits[self._copies]
        room = Room(cache, self._copies, self._room)
        found = [logits]
        for block in blocks[1:]:
            logits, cache = self._read(model, block)
            room.add(cache)
            found.append(logits)
        self._cache = room.cache
        return torch.cat(found)[self._copies]

    def _read(
        self, model: PreTrainedModel, rows: Tensor | slice, cache: Cache | None = None
    ) -> tuple[Tensor, Any]:
        """Return the logits of the next token of some rows, and the cache with their tokens."""
        output = model(
            input_ids=self._tokens[rows],
            attention_mask=self._seen[rows],
            position_ids=self._places[rows],
            past_key_values=cache,
            logits_to_keep=1,
        )
        after: Any = getattr(output, "past_key_values", None)
        if after is None:
            raise ValueError(
                f"Generate needs a model with a cache of keys and values, a {type(model).__name__} "
                "has none; take another model"
            )
        return output.logits[:, -1].float(), after


def _distinct(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row of each distinct prompt, and for every prompt which of these it is."""
    places: dict[tuple[int, ...], int] = {}
    firsts: list[int] = []
    copies: list[int] = []
    for row, prompt in enumerate(prompts):
        tokens = tuple(prompt)
        if tokens not in places:
            places[tokens] = len(firsts)
            firsts.append(row)
        copies.append(places[tokens])
    return torch.tensor(firsts, device=device), torch.tensor(copies, device=device)
