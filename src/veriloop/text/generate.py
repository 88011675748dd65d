"""Outputs written by a model: greedy or sampled, by key, the same whatever the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from veriloop.core import Key
from veriloop.core.checks import check_count, check_fraction, check_positive
from veriloop.text.models import check_fit, check_head, end_tokens, evaluating, in_bf16
from veriloop.text.padding import in_blocks, shortest_first
from veriloop.text.processes import gathered, own_part
from veriloop.text.prompt import Prompt, check_prompt
from veriloop.text.rows import Rows, check_rows, two_of_one_number
from veriloop.text.running import Running

if TYPE_CHECKING:
    from transformers import PreTrainedModel


R = TypeVar("R", bound=Rows)


@dataclass(frozen=True, kw_only=True)
class Generate(Generic[R]):
    """Write outputs for inputs in turn: `(key, model, n) -> rows`, n candidates.

    The candidates of one input lie together. With a temperature the first input follows the last
    one, with new random numbers. An output ends at the prompt's end token, at one that the model's
    `generation_config` names, or at a text of `Prompt.stop`; `ended` of the rows is False where it
    was cut before.

    If there are several processes (see `process`), each writes its part, and all return the whole.

    rows: the inputs. If two different ones have one number, as in two sets put together, all are
        numbered again, in order.
    prompt: makes tokens of inputs, and texts of tokens.
    candidates: how many outputs for each input.
    temperature: above 0; tokens are drawn from the model's distribution, which a value below 1
        sharpens. None writes the likeliest token (greedy).
    top_p: in (0, 1]; tokens are drawn among the likeliest ones that have this share together.
    batch: prompts decoded at once, sorted by length. In float32 no output depends on it, because
        every row has its own random numbers.
    bf16: write with a copy of the model that has its weights in bfloat16; `Measure` scores with
        one too. A processor without instructions for bfloat16 works in float32, which is faster
        there.
    first_row: which row of the round is the first one written, from 0; `starting_at` sets it.

    Raises:
        ValueError: if a value is out of its range. Also if there is no temperature and there are
            several candidates, which would be the same, or a `top_p`, which has no effect. A call
            raises it if more is asked for than there is, or the model cannot read the prompts.
        FloatingPointError: from a call, if the model has diverged.

    >>> from veriloop.text import Texts, train_tokenizer
    >>> sums = Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"])
    >>> prompt = Prompt(train_tokenizer(["2 + 2 = 4"] * 9, vocabulary=300))
    >>> len(Generate(rows=sums, prompt=prompt, temperature=1.0, candidates=3))
    6
    """

    rows: R
    prompt: Prompt
    candidates: int = 1
    temperature: float | None = None
    top_p: float = 1.0
    batch: int = 32
    bf16: bool = False
    first_row: int = 0

    def __post_init__(self) -> None:
        check_rows("Generate.rows", self.rows)
        check_prompt("Generate.prompt", self.prompt)
        check_count("Generate.first_row", self.first_row, least=0)
        check_count("Generate.candidates", self.candidates)
        check_count("Generate.batch", self.batch)
        if self.temperature is None:
            self._check_greedy()
        elif self.temperature == 0:
            raise ValueError(
                f"Generate.temperature must be above 0, got {self.temperature!r}; leave it out, "
                "or give None, to write the likeliest token"
            )
        else:
            check_positive("Generate.temperature", self.temperature)
        check_fraction("Generate.top_p", self.top_p, one=True)

    def _check_greedy(self) -> None:
        """Refuse settings that have no effect without a temperature."""
        if self.candidates > 1:
            raise ValueError(
                "Generate decodes greedily, so several candidates would be the same; "
                "give a temperature, or candidates=1"
            )
        if self.top_p != 1:
            raise ValueError(
                "Generate decodes greedily, so top_p has no effect; "
                "give a temperature, or leave out top_p"
            )

    def __len__(self) -> int:
        return self.candidates * len(self.rows)

    def starting_at(self, row: int) -> Self:
        """Return the same generator whose first row is the round's row `row`, from 0."""
        return replace(self, first_row=row)

    def __call__(self, key: Key, model: PreTrainedModel, n: int) -> R:
        rows = self._rows(n)
        prompts = self._prompts(model, rows)
        ends = end_tokens(model, self.prompt)
        uniform = self._uniform(key, n)
        if self.bf16:
            model = in_bf16(model)
        longest_first = shortest_first(prompts)[::-1]
        own: list[tuple[int, str, bool]] = []
        for block in in_blocks(own_part(longest_first), self.batch):
            some = [prompts[row] for row in block]
            with evaluating(model):
                new = self._write(model, some, uniform[block], ends)
            for row, tokens in zip(block, new, strict=True):
                output = self.prompt.read(prompts[row], tokens, ends)
                own.append((row, output, self.prompt.ended(tokens, ends)))
        outputs = np.empty(n, dtype=object)
        ended = np.empty(n, dtype=bool)
        for row, output, whole in gathered(own):
            outputs[row] = output
            ended[row] = whole
        return rows.answered(outputs, ended)

    def _rows(self, n: int) -> R:
        """Return the input of each of n candidates, from `first_row` on."""
        check_count("Generate: n", n, least=0)
        asked = self.first_row + n
        if self.temperature is None and asked > len(self):
            raise ValueError(
                f"Generate writes at most {len(self)} candidates, {self.candidates} of each "
                f"input, got n = {asked}; ask for fewer, or give more inputs or a temperature"
            )
        if n and not len(self):
            raise ValueError(f"Generate has no input, got n = {n}; give it rows")
        places = np.arange(self.first_row, asked) // self.candidates
        return self._numbered[places % max(len(self.rows), 1)]

    @property
    def _numbered(self) -> R:
        """The inputs, each with a number of its own."""
        if two_of_one_number(self.rows) is None:
            return self.rows
        return self.rows.numbered(np.arange(len(self.rows)))

    def _uniform(self, key: Key, n: int) -> np.ndarray:
        """Return one number for each token and row, so that a row's draws depend on no other row.

        Greedy decoding draws none.
        """
        shape = (n, self.prompt.output_tokens)
        if self.temperature is None:
            return np.broadcast_to(0.0, shape)
        return key.numpy().random(shape)

    def _prompts(self, model: PreTrainedModel, rows: Rows) -> list[list[int]]:
        """Return the tokens of each row's prompt, which the model can read."""
        prompts = self.prompt.prompts(rows.inputs)
        check_head(model)
        check_fit(model, self.prompt, prompts)
        return prompts

    @torch.inference_mode()
    def _write(
        self,
        model: PreTrainedModel,
        prompts: Sequence[Sequence[int]],
        uniform: np.ndarray,
        ends: Collection[int],
    ) -> list[list[int]]:
        """Return the new tokens of each prompt, up to its end."""
        last = torch.tensor(sorted(ends), device=model.device)
        running = Running(prompts, self.prompt.end, self.prompt.output_tokens, model.device)
        new: list[list[int]] = [[] for _ in prompts]
        for step in range(self.prompt.output_tokens):
            logits = running.logits(model)
            if not logits.amax(1).isfinite().all():
                raise FloatingPointError(
                    "Generate: the model's logits are NaN or infinite, so it has diverged; "
                    "fit it again at a lower rate, or take another model"
                )
            tokens = self._choose(logits, uniform[running.rows, step])
            written = zip(running.rows, tokens.tolist(), running.going.tolist(), strict=True)
            for row, token, going in written:
                if going:
                    new[row].append(token)
            ended = torch.isin(tokens, last)
            if self.prompt.stop:
                stopped = [self.prompt.stopped(new[row]) for row in running.rows]
                ended |= torch.tensor(stopped, device=ended.device)
            running.go_on(tokens, ~ended)
            if not len(running.rows):
                break
        return new

    def _choose(self, logits: Tensor, uniform: np.ndarray) -> Tensor:
        """Return each row's next token, shape (rows,)."""
        if self.temperature is None:
            return logits.argmax(1)
        shares = torch.softmax(logits.double() / self.temperature, dim=1)
        uniforms = torch.from_numpy(uniform).to(logits.device)[:, None]
        if self.top_p == 1:
            upto = shares.cumsum(1)
            return _drawn(upto, uniforms * upto[:, -1:]).squeeze(1)
        shares, tokens = shares.sort(dim=1, descending=True)
        upto = shares.cumsum(1)
        # A token counts if those before it have less than `top_p`: the likeliest always does.
        counted = torch.where(upto - shares < self.top_p, upto, 0)
        total = counted.max(1, keepdim=True).values
        return tokens.gather(1, _drawn(upto, uniforms * total)).squeeze(1)


def _drawn(upto: Tensor, target: Tensor) -> Tensor:
    """Return the first place of each row where `upto`, which never falls, is above the target.

    So no place is drawn whose share is 0.

    upto: shape (n, tokens).
    target: below the last of `upto`, shape (n, 1).
    """
    place = torch.searchsorted(upto, target, right=True)
    return place.clamp(max=upto.shape[1] - 1)
