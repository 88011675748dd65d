"""What a tokenizer's chat template writes around what the user says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from veriloop.text.rows import check_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Stands for the input. A template that escapes or changes what is said changes this.
PROBE = "the input <\"'&\\> {1} \u00df"
ANSWER = "the answer"  # stands for what a model writes
NO_DATE = ""  # takes the place of the function that gives a template today's date

Message = dict[str, str]


def around(
    tokenizer: PreTrainedTokenizerFast,
    system: str | None,
    shots: Sequence[tuple[str, str]],
    options: Mapping[str, object],
) -> tuple[str, str]:
    """Return the words before the input and after it; see `Prompt.chat`.

    Raises:
        ValueError: if the template cannot be used, or does not write each message as it is.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            "Prompt.chat: the tokenizer has no chat template; give one that has, or write "
            "Prompt.template(...)"
        )
    messages = _messages(system, shots)
    _check_controls(tokenizer, messages)
    text = _written(tokenizer, [*messages, {"role": "user", "content": PROBE}], options)
    times = text.count(PROBE)
    if times != 1:
        raise ValueError(
            f"Prompt.chat: the chat template must write the input once and as it is, got it {times}"
            " times; write Prompt.template(...)"
        )
    before, after = text.split(PROBE)
    for message in messages:
        if message["content"].strip() not in before:
            raise ValueError(
                f"Prompt.chat: the chat template leaves out or changes what the {message['role']} "
                f"says, {message['content']!r:.40}; leave it out, or write Prompt.template(...)"
            )
    end = _end_of_answer(tokenizer, messages, options)
    if end not in (None, tokenizer.eos_token):
        warnings.warn(
            f"Prompt.chat: the chat template ends an answer with {end!r}, and what is learnt and "
            f"scored ends with the tokenizer's end token, {tokenizer.eos_token!r}; write "
            f"tokenizer.eos_token = {end!r} first",
            stacklevel=3,
        )
    return before, after


def _messages(system: str | None, shots: Sequence[tuple[str, str]]) -> list[Message]:
    """Return the messages before the input."""
    messages: list[Message] = []
    if system is not None:
        check_text("Prompt.chat: system", system)
        messages.append({"role": "system", "content": system})
    if not isinstance(shots, list | tuple):
        raise ValueError(
            f"Prompt.chat: shots must be a list of pairs, got {type(shots).__name__}; write "
            "[(question, answer), ...]"
        )
    for row, shot in enumerate(shots):
        if not isinstance(shot, list | tuple) or len(shot) != 2:
            raise ValueError(
                f"Prompt.chat: shots, row {row}: must be a pair of texts, got {shot!r:.40}; write "
                "[(question, answer), ...]"
            )
        for role, content in zip(("user", "assistant"), shot, strict=True):
            check_text(f"Prompt.chat: shots, row {row}", content)
            messages.append({"role": role, "content": content})
    return messages


def _check_controls(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> None:
    """Refuse a message with a control token, which would count as such there."""
    for message in messages:
        for control in _controls(tokenizer):
            if control in message["content"]:
                raise ValueError(
                    f"Prompt.chat: what the {message['role']} says, {message['content']!r:.40}, "
                    f"has the control token {control!r}; leave it out"
                )


def _controls(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the control tokens."""
    return [each.content for each in tokenizer.added_tokens_decoder.values() if each.special]


def _end_of_answer(
    tokenizer: PreTrainedTokenizerFast, messages: list[Message], options: Mapping[str, object]
) -> str | None:
    """Return the control token that the template writes after an answer, or None if it has none."""
    said = [{"role": "user", "content": PROBE}, {"role": "assistant", "content": ANSWER}]
    try:
        text = _written(tokenizer, [*messages, *said], options, answered=True)
    except ValueError:
        return None
    _, answer, rest = text.rpartition(ANSWER)
    for control in sorted(_controls(tokenizer), key=len, reverse=True):
        if answer and rest.lstrip().startswith(control):
            return control
    return None


def _written(
    tokenizer: PreTrainedTokenizerFast,
    messages: list[Message],
    options: Mapping[str, object],
    *,
    answered: bool = False,
) -> str:
    """Return what the template writes of messages, up to where the model answers.

    answered: the last message is the answer.
    """
    given: dict[str, Any] = {"strftime_now": NO_DATE, **options}
    try:
        text: Any = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=not answered, **given
        )
    except Exception as error:  # whatever a template raises
        reason = " ".join(str(error).split())[:200]
        if "not callable" in reason:
            reason = "it writes today's date, so no run could be repeated"
        raise ValueError(
            f"Prompt.chat: the chat template cannot be used ({reason}); change system, shots or "
            "options, or write Prompt.template(...)"
        ) from None
    return text
