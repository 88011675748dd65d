"""Inputs and outputs as the tokens that a language model reads and writes."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from veriloop.core.checks import check_count, kind
from veriloop.text.chat import around
from veriloop.text.following import following
from veriloop.text.padding import Example
from veriloop.text.rows import Strings, check_text, check_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

INPUT = "{input}"  # where a template has the input
NO_OPTIONS: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True)
class Prompt:
    r"""The task in words: `before`, the input, `after`, and then the output and the end token.

    tokenizer: a fast tokenizer of transformers with an end token.
    before, after: the words around the input; they are never cut. Control tokens in them count as
        such. In an input or an output they are split as any other text.
    tokens: the largest number of tokens of a prompt; a longer input is cut at its end.
    output_tokens: the largest number of tokens of an output, with the end token.
    lead: what stands between prompt and output when an output is learnt or scored.
    strip: leave out the white space around an output that a model wrote. False keeps it, as code
        needs it, and leaves out `lead` alone.
    stop: texts at which a model's output ends, beside the end token; the first one and what follows
        it are left out. A model that has learnt no end from `initial` rows needs them.

    Raises:
        TypeError: if the tokenizer is none.
        ValueError: if the tokenizer has no end token, `tokens` leave no room for an input, the
            words around it are no text, or a text of `stop` is empty.

    >>> from veriloop.text import train_tokenizer
    >>> tokenizer = train_tokenizer(["Question: 2 + 2\nAnswer: 4"] * 9, vocabulary=300)
    >>> prompt = Prompt.template(tokenizer, "Question: {input}\nAnswer:", tokens=60)
    >>> (ids,) = prompt.prompts(["2 + 3"])
    >>> tokenizer.decode(ids)
    'Question: 2 + 3\nAnswer:'
    """

    tokenizer: PreTrainedTokenizerFast
    before: str = ""
    after: str = ""
    tokens: int = 256
    output_tokens: int = 128
    lead: str = field(default=" ", kw_only=True)
    strip: bool = field(default=True, kw_only=True)
    stop: Sequence[str] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for name in ("before", "after", "lead"):
            check_text(f"Prompt.{name}", getattr(self, name))
        object.__setattr__(self, "stop", _as_stops(self.stop))
        check_count("Prompt.tokens", self.tokens)
        check_count("Prompt.output_tokens", self.output_tokens)
        if not hasattr(self.tokenizer, "eos_token_id"):
            raise TypeError(
                f"Prompt.tokenizer must be a tokenizer of transformers, got {self.tokenizer!r:.40}"
                "; write AutoTokenizer.from_pretrained(...)"
            )
        if self.tokenizer.eos_token_id is None:
            raise ValueError(
                "the tokenizer has no end token, so no output would end; give it an eos_token, "
                "and if it is new call model.resize_token_embeddings(len(tokenizer))"
            )
        room = self._room
        if room < 1:
            raise ValueError(
                f"Prompt.tokens must be above the {self.tokens - room} tokens around the input, "
                f"got {self.tokens}"
            )

    @staticmethod
    def template(
        tokenizer: PreTrainedTokenizerFast,
        text: str,
        *,
        tokens: int = 256,
        output_tokens: int = 128,
        lead: str = " ",
        strip: bool = True,
        stop: Sequence[str] = (),
    ) -> Prompt:
        r"""Return the prompt of a template.

        text: the words of a prompt, with `{input}` once where the input stands.
        tokenizer, tokens, output_tokens, lead, strip, stop: see `Prompt`.

        Raises:
            ValueError: if the text does not have `{input}` once.
        """
        check_text("Prompt.template: text", text)
        if text.count(INPUT) != 1:
            raise ValueError(
                f"Prompt.template needs {INPUT} once, got it {text.count(INPUT)} times in "
                f"{text!r:.60}; write it where the input stands"
            )
        before, after = text.split(INPUT)
        return Prompt(
            tokenizer,
            before,
            after,
            tokens=tokens,
            output_tokens=output_tokens,
            lead=lead,
            strip=strip,
            stop=stop,
        )

    @staticmethod
    def chat(
        tokenizer: PreTrainedTokenizerFast,
        *,
        system: str | None = None,
        shots: Sequence[tuple[str, str]] = (),
        options: Mapping[str, object] = NO_OPTIONS,
        tokens: int = 256,
        output_tokens: int = 128,
        strip: bool = True,
        stop: Sequence[str] = (),
    ) -> Prompt:
        """Return the prompt of the tokenizer's chat template: the input is what the user says.

        White space around an input stays, though some templates would leave it out. A warning says
        where the template ends an answer with another token than the tokenizer's end token.

        system: the message that stands first. None: what the template itself puts there.
        shots: examples that stand before the input, each what the user says and the answer.
        options: what the template asks for beside messages, for instance
            `{"enable_thinking": False}`.
        tokenizer, tokens, output_tokens, strip, stop: see `Prompt`.

        Raises:
            ValueError: if the tokenizer has no chat template, it does not write every message as
                it is, it writes today's date, or a message has a control token.
        """
        before, after = around(tokenizer, system, shots, options)
        return Prompt(
            tokenizer,
            before,
            after,
            tokens=tokens,
            output_tokens=output_tokens,
            lead="",
            strip=strip,
            stop=stop,
        )

    @property
    def end(self) -> int:
        """The end token."""
        end: Any = self.tokenizer.eos_token_id
        return end

    def prompts(self, inputs: Strings) -> list[list[int]]:
        """Return the tokens of each prompt.

        Raises:
            ValueError: with the row, if an input is no text, or the prompt would be empty.
        """
        check_texts("inputs", inputs)
        head, tail = self._frame
        room = self.tokens - len(head) - len(tail)
        found = [[*head, *ids[:room], *tail] for ids in self._inputs(inputs)]
        for row, ids in enumerate(found):
            if not ids:
                raise ValueError(
                    f"inputs, row {row}: there is no token to read; give the input a text, or "
                    "give Prompt.before or Prompt.after one"
                )
        return found

    def examples(
        self, inputs: Strings, outputs: Strings, ended: np.ndarray | None = None
    ) -> list[Example]:
        """Return, for each row, all its tokens and the place where its output begins.

        An output that was cut, or is cut here because it is too long, has no end token.

        ended: whether each output came to its end, bool, shape (n,). None: all have.

        Raises:
            ValueError: with the row, if an input or an output is no text. Also if there is not one
                output for each input.
        """
        check_texts("outputs", outputs)
        if ended is None:
            ended = np.ones(len(outputs), dtype=bool)
        if not len(inputs) == len(outputs) == len(ended):
            raise ValueError(
                "Prompt.examples needs one output and one `ended` for each input, got "
                f"{len(inputs)}, {len(outputs)} and {len(ended)}; give as many of all"
            )
        prompts = self.prompts(inputs)
        answers = self.outputs(outputs)
        examples: list[Example] = []
        for prompt, answer, whole in zip(prompts, answers, ended, strict=True):
            examples.append(([*prompt, *self._target(answer, whole)], len(prompt)))
        return examples

    def outputs(self, texts: Strings) -> list[list[int]]:
        """Return the tokens of each output, whole and without an end token.

        Raises:
            ValueError: with the row, if one is no text.
        """
        check_texts("outputs", texts)
        return self._ids([f"{self.lead}{text}" for text in texts], as_text=True, follows=True)

    def cut(self, inputs: Strings) -> np.ndarray:
        """Tell which inputs are too long for the prompt, bool, shape (n,).

        Raises:
            ValueError: with the row, if one is no text.
        """
        check_texts("inputs", inputs)
        lengths = [len(ids) for ids in self._inputs(inputs)]
        return np.array(lengths, dtype=int) > self._room

    def read(
        self, prompt: Sequence[int], new: Sequence[int], ends: Container[int] | None = None
    ) -> str:
        """Return the output that a model wrote, up to the first token or text that ends it.

        prompt: the tokens that the model read.
        new: the tokens that it wrote.
        ends: the tokens that end an output. None: the end token alone.
        """
        written = self._written(new, ends)
        text = self._decode(written, follows=True)
        place = self._first_stop(text)
        if place is not None:
            text = text[:place]
        elif len(written) == len(new):  # cut, perhaps within the bytes of a character
            text = text.rstrip("\ufffd")
        if self.strip:
            return text.strip()
        return text.removeprefix(self.lead)

    def ended(self, new: Sequence[int], ends: Container[int]) -> bool:
        """Tell whether an output came to its end: by a token of `ends`, or by a text of `stop`.

        new, ends: see `read`.
        """
        return len(self._written(new, ends)) < len(new) or self.stopped(new)

    def stopped(self, new: Sequence[int]) -> bool:
        """Tell whether tokens that a model wrote have a text of `stop`."""
        return bool(self.stop) and self._first_stop(self._decode(new, follows=True)) is not None

    def _first_stop(self, text: str) -> int | None:
        """Return where the first text of `stop` begins, or None."""
        places = [text.find(stop) for stop in self.stop]
        return min((place for place in places if place >= 0), default=None)

    def _target(self, answer: list[int], ended: bool) -> list[int]:
        """Return the tokens of an output that are learnt and scored."""
        if ended and len(answer) < self.output_tokens:
            return [*answer, self.end]
        return answer[: self.output_tokens]

    def _written(self, new: Sequence[int], ends: Container[int] | None) -> list[int]:
        """Return the tokens before the first that ends an output."""
        if ends is None:
            ends = {self.end}
        return list(takewhile(lambda token: token not in ends, new))

    def _decode(self, ids: Sequence[int], *, follows: bool = False) -> str:
        """Return the text of tokens; `follows` says that they follow others."""
        tokenizer = self._tokenizer(follows)
        text: Any = tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _tokenizer(self, follows: bool) -> PreTrainedTokenizerFast:
        """Return the tokenizer for a text that stands first, or follows another."""
        if follows:
            return following(self.tokenizer)
        return self.tokenizer

    @property
    def _frame(self) -> tuple[list[int], list[int]]:
        """The tokens before and after the input, in which control tokens count as such."""
        (head,) = self._ids([self.before])
        (tail,) = self._ids([self.after], follows=True)
        return self._started(head), tail

    def _inputs(self, texts: Strings) -> list[list[int]]:
        """Return the tokens of each input, however many they are."""
        return self._ids(texts, as_text=True, follows=bool(self.before))

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
        """How many tokens of an input fit into a prompt."""
        head, tail = self._frame
        return self.tokens - len(head) - len(tail)

    def _ids(
        self, texts: Strings, *, as_text: bool = False, follows: bool = False
    ) -> list[list[int]]:
        """Return the tokens of texts; `as_text` splits a control token as any other text.

        follows: whether they follow other text, and do not stand first.
        """
        if not len(texts):
            return []
        tokenizer = self._tokenizer(follows)
        ids: Any = tokenizer(list(texts), add_special_tokens=False, split_special_tokens=as_text)[
            "input_ids"
        ]
        return ids


def _as_stops(stop: object) -> tuple[str, ...]:
    """Return the texts that end an output; one text stands for itself."""
    texts: object = stop
    if isinstance(stop, str):
        texts = (stop,)
    if isinstance(texts, list | tuple):
        found = cast("Sequence[object]", texts)
        if all(isinstance(each, str) and each for each in found):
            return tuple(cast("Sequence[str]", found))
    raise ValueError(
        f"Prompt.stop must be texts that are not empty, got {stop!r:.60}; write stop=['\\n']"
    )


def check_prompt(what: str, prompt: object) -> None:
    """Refuse what is no prompt.

    what: the name of the argument, for the error.

    >>> check_prompt("Generate.prompt", "gpt2")
    Traceback (most recent call last):
    TypeError: Generate.prompt must be a Prompt, got str 'gpt2'; write Prompt(tokenizer, ...)

    Raises:
        TypeError: with what was got.
    """
    if not isinstance(prompt, Prompt):
        raise TypeError(
            f"{what} must be a Prompt, got {kind(prompt)}; write Prompt(tokenizer, ...)"
        )
