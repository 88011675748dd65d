"""A tokenizer that puts a space before every text puts it at the start of a prompt alone."""

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from veriloop.text import Prompt
from veriloop.text.following import following

TEXTS = ["Question: 2 + 2\nAnswer: 4", "def f(x):\n    return x + 1\n"] * 9
OUTPUTS = ["4", " 4", "def f(x):\n    return x + 1\n", "    return x", "\n\nAnswer"]
SPECIAL = ["<unk>", "</s>"]


def spaced_bytes():
    """As GPT-2's with `add_prefix_space`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet)


def pieces():
    """As T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(
        vocab_size=80, special_tokens=SPECIAL, unk_token="<unk>"
    )


def llama_2():
    """As Llama 2's and Mistral's files have it."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = normalizers.Sequence(spaces)
    strip = decoders.Strip(" ", 1, 0)
    back = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), strip]
    tokenizer.decoder = decoders.Sequence(back)
    return tokenizer, trainers.BpeTrainer(vocab_size=90, special_tokens=SPECIAL)


def plain_bytes():
    """As SmolLM2's and most of today's."""
    tokenizer, trainer = spaced_bytes()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer, trainer


def trained(kind):
    tokenizer, trainer = kind()
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


every = pytest.mark.parametrize("kind", [spaced_bytes, pieces, llama_2, plain_bytes])


@every
def test_a_prompt_has_no_space_that_its_texts_have_not(kind):
    tokenizer = trained(kind)
    prompt = Prompt(tokenizer, "Question: ", "\nAnswer:", tokens=80)
    (ids,) = prompt.prompts(["2 + 2"])
    assert tokenizer.decode(ids).removeprefix(" ") == "Question: 2 + 2\nAnswer:"


@every
def test_a_prompt_that_begins_with_its_input_begins_as_the_tokenizer_has_it(kind):
    tokenizer = trained(kind)
    (ids,) = Prompt(tokenizer, after="\nAnswer:").prompts(["2 + 2"])
    first = tokenizer("2 + 2", add_special_tokens=False)["input_ids"]
    assert ids[: len(first)] == first


@every
@pytest.mark.parametrize("lead", [" ", ""])
def test_an_output_is_read_as_it_was_written(kind, lead):
    """Its white space too, where that is kept."""
    tokenizer = trained(kind)
    prompt = Prompt(tokenizer, "Question: ", "\nAnswer:", lead=lead, strip=False)
    for output, ids in zip(OUTPUTS, prompt.outputs(OUTPUTS), strict=True):
        assert prompt.read([], [*ids, prompt.end]) == output


def test_an_output_has_the_tokens_that_it_has_in_the_whole_text():
    """One space before the answer, not two: else its likelihood is of a text that nobody wrote."""
    tokenizer = trained(spaced_bytes)
    prompt = Prompt(tokenizer, "Question:", "\nAnswer:")
    ((ids, _),) = prompt.examples([" 2 + 2"], ["4"])
    assert ids[:-1] == tokenizer("Question: 2 + 2\nAnswer: 4")["input_ids"]


def test_a_tokenizer_that_puts_no_space_serves_as_it_is():
    tokenizer = trained(plain_bytes)
    assert following(tokenizer) is tokenizer
    slow = object.__new__(type("Slow", (), {"__len__": lambda self: 3}))
    assert following(slow) is slow


def test_tokens_that_are_added_later_count():
    """The copy is made once, and again when the tokenizer has other tokens."""
    tokenizer = trained(llama_2)
    made = following(tokenizer)
    assert made is not tokenizer and following(tokenizer) is made
    tokenizer.add_tokens(["Answer"])
    assert following(tokenizer)("Answer")["input_ids"] == [len(tokenizer) - 1]
