"""Prompts keep their cue, examples their end; each way of the published code does what it says and no more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriloop.xsum import Prompt, train_tokenizer

LONG = "Flames and thick smoke were seen above a warehouse in Leeds for hours. " * 20


def text_of(tokenizer, ids):
    return tokenizer.decode(ids)


def test_a_short_article_is_whole_and_framed(prompt, tokenizer):
    (ids,) = prompt.prompts(["Rain fell in York."])
    assert text_of(tokenizer, ids) == "Article: Rain fell in York.\n\nSummary:"


@settings(max_examples=25, deadline=None)
@given(words=st.integers(0, 400), room=st.integers(20, 120))
def test_a_prompt_never_exceeds_its_tokens_nor_loses_its_frame(tokenizer, words, room):
    prompt = Prompt(tokenizer, tokens=room)
    (ids,) = prompt.prompts([" ".join(["flames"] * words)])
    assert len(ids) <= room
    assert text_of(tokenizer, ids).startswith("Article: ") and text_of(tokenizer, ids).endswith(
        "\n\nSummary:"
    )


def test_an_example_is_the_prompt_the_summary_and_the_end(prompt, tokenizer):
    (ids, start), (long, begin) = prompt.examples(["Rain fell.", LONG], ["Rain.", LONG])
    assert ids[:start] == prompt.prompts(["Rain fell."])[0]
    assert text_of(tokenizer, ids[start:-1]) == " Rain." and ids[-1] == tokenizer.eos_token_id
    assert begin == 120 and len(long) == 120 + 12 and long[-1] == tokenizer.eos_token_id


def test_a_summary_is_read_up_to_its_end(prompt, tokenizer):
    end = tokenizer.eos_token_id
    new = tokenizer(" Rain in York.")["input_ids"]
    (article,) = prompt.prompts([LONG])
    assert prompt.read(article, [*new, end, *new]) == "Rain in York."
    assert prompt.read(article, new) == "Rain in York." and prompt.read(article, [end]) == ""


def test_right_truncation_loses_the_cue_and_then_the_summary(tokenizer):
    """Of a long article alone; of a short one only the end token is missing."""
    cut = Prompt(tokenizer, tokens=60, right_truncation=True)
    (short, long) = cut.prompts(["Rain fell.", LONG])
    assert text_of(tokenizer, short).endswith("\n\nSummary:")
    assert len(long) == 60 and "Summary" not in text_of(tokenizer, long)
    (ids, start), (cut_ids, begin) = cut.examples(["Rain fell.", LONG], ["Rain."] * 2)
    assert text_of(tokenizer, ids[start:]) == " Rain." and (len(cut_ids), begin) == (60, 60)


def test_string_replace_leaves_the_prompt_in_only_where_it_was_cut(tokenizer):
    both = Prompt(tokenizer, tokens=60, right_truncation=True, string_replace=True)
    new = tokenizer(" Rain.")["input_ids"]
    short, long = both.prompts(["Rain fell.", LONG])
    assert both.read(short, new) == "Rain."
    assert both.read(long, new).startswith("Article: Flames") and both.read(long, new).endswith(
        " Rain."
    )
    whole = Prompt(tokenizer, tokens=60, string_replace=True)
    assert whole.read(whole.prompts([LONG])[0], new) == "Rain."


def test_a_tokenizer_that_puts_tokens_first_keeps_them_once(tokenizer):
    """As some do with a token of beginning; an end token that it adds is left out."""
    from tokenizers.processors import TemplateProcessing

    other = train_tokenizer(["Rain fell in York. Article: Summary:"] * 9, 300)
    end = other.eos_token_id
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|end|> $A <|end|>", special_tokens=[("<|end|>", end)]
    )
    (ids,) = Prompt(other).prompts(["Rain fell."])
    assert ids[0] == end and end not in ids[1:]


def test_what_makes_no_prompt_is_refused(tokenizer):
    with pytest.raises(
        ValueError, match=r"Prompt\.tokens must be above the \d+ tokens around the article, got 5"
    ):
        Prompt(tokenizer, tokens=5)
    with pytest.raises(
        ValueError, match=r"Prompt\.summary_tokens must be an integer of at least 1, got 0"
    ):
        Prompt(tokenizer, summary_tokens=0)
    endless = train_tokenizer(["Rain."] * 9, 270)
    endless.eos_token = None
    with pytest.raises(ValueError, match="the tokenizer has no end token"):
        Prompt(endless)
