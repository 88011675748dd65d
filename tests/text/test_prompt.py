"""Prompts keep their cue, examples their end; each way of the published code does what it says and no more."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriloop import text
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
    assert begin == 120 and len(long) == 120 + 12 and tokenizer.eos_token_id not in long


def test_no_end_is_taught_after_a_cut(prompt, tokenizer):
    """Of a summary that the model did not end, and of one that has no room for its end."""
    end = tokenizer.eos_token_id
    eleven, twelve = (tokenizer.decode(tokenizer(LONG)["input_ids"][:n]) for n in (11, 12))
    texts = ["Rain.", "Rain.", eleven, f" {twelve}", LONG]
    ended = np.array([True, False, True, True, True])
    for option, wanted in ((False, [True, False, True, False, False]), (True, [True] * 5)):
        examples = replace(prompt, end_after_cut=option).examples(["A."] * 5, texts, ended)
        assert [ids[-1] == end for ids, _ in examples] == wanted
        assert all(len(ids) - start <= 12 for ids, start in examples)
    ((ids, start),) = prompt.examples(["A."], ["Rain."], np.array([False]))
    assert tokenizer.decode(ids[start:]) == " Rain."


def test_half_a_character_at_the_cut_is_left_out(prompt, tokenizer):
    """And not taught as the three tokens of the sign for an unknown character."""
    new = tokenizer(" Rain €")["input_ids"]
    assert prompt.read([], new) == "Rain €" and prompt.read([], new[:-1]) == "Rain"
    end = tokenizer.eos_token_id
    assert prompt.read([], [*new[:-1], end]) == "Rain \ufffd"  # the model itself ended there


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


def test_the_token_that_comes_first_comes_once(tokenizer):
    """Whether the tokenizer puts it there, the words before the article, or both; cut at the end too."""
    from tokenizers.processors import TemplateProcessing

    other = train_tokenizer(["Rain fell in York. Article: Summary:"] * 9, 300)
    other.add_special_tokens({"bos_token": "<s>"})
    first = other.bos_token_id
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", first)]
    )
    for before in ("Article: ", "<s>Article: ", "", "<s>"):
        for cut in (False, True):
            prompt = Prompt(other, before=before, right_truncation=cut)
            (ids,) = prompt.prompts(["Rain fell."])
            assert ids[0] == first and first not in ids[1:], (before, cut)
            ((whole, start),) = prompt.examples(["Rain fell."], ["Rain."])
            assert whole[:start] == ids and whole.count(first) == 1


CONTROL = "Rain <|end|> fell.<|end|>"


def test_control_tokens_in_a_text_are_text(tokenizer, prompt):
    """The end token is in a prompt never and in an example once; read back, the text is whole."""
    end = tokenizer.eos_token_id
    (ids,) = prompt.prompts([CONTROL])
    assert end not in ids and CONTROL in tokenizer.decode(ids)
    ((whole, start),) = Prompt(tokenizer).examples([CONTROL], [CONTROL])
    assert whole.count(end) == 1 and whole[-1] == end
    assert Prompt(tokenizer).read(whole[:start], whole[start:]) == CONTROL
    assert tokenizer(CONTROL)["input_ids"].count(end) == 2  # nobody else's calls are changed


def test_control_tokens_around_the_article_count_as_such(tokenizer):
    (ids,) = Prompt(tokenizer, before="<|end|>Article: ", after="<|end|>").prompts([CONTROL])
    assert ids[0] == ids[-1] == tokenizer.eos_token_id and ids.count(tokenizer.eos_token_id) == 2


def test_a_summary_is_read_up_to_the_first_of_several_ends(tokenizer, prompt):
    rain, (other,) = tokenizer(" Rain.")["input_ids"], tokenizer("~")["input_ids"]
    new = [*rain, other, *rain, tokenizer.eos_token_id]
    assert prompt.read([], new, {other, tokenizer.eos_token_id}) == "Rain."
    assert prompt.read([], new) == "Rain.~ Rain."


def test_what_is_no_text_is_refused_by_row(prompt):
    with pytest.raises(ValueError, match=r"inputs, row 1: must be a text \(str\), got nan"):
        prompt.prompts(["Rain.", float("nan")])
    with pytest.raises(ValueError, match=r"outputs, row 0: must be a text \(str\), got None"):
        prompt.examples(["Rain."], [None])


def test_what_makes_no_prompt_is_refused(tokenizer):
    with pytest.raises(
        ValueError, match=r"Prompt\.tokens must be above the \d+ tokens around the input, got 5"
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


def test_a_prompt_without_a_token_is_refused(tokenizer):
    """A model has nothing to go on from, and a loss no token before the first."""
    bare = Prompt(tokenizer, before="", after="", tokens=20)
    with pytest.raises(ValueError, match="inputs, row 1: there is no token to read"):
        bare.prompts(["Rain.", ""])


def test_the_name_of_a_tokenizer_is_no_tokenizer():
    with pytest.raises(
        TypeError, match=r"Prompt\.tokenizer must be a tokenizer .* got 'gpt2'; write"
    ):
        Prompt("gpt2")


CHAT = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_template_has_the_input_where_it_says(tokenizer):
    prompt = text.Prompt.template(tokenizer, "Q: {input}\nA:", tokens=60)
    code = text.Prompt.template(tokenizer, "# {input}\n", tokens=60, lead="", strip=False)
    assert (code.lead, code.strip) == ("", False)
    (ids,) = prompt.prompts(["Rain?"])
    assert tokenizer.decode(ids) == "Q: Rain?\nA:"
    for wrong in ("Q:", "{input} {input}"):
        with pytest.raises(ValueError, match=r"needs \{input\} once, got it [02] times"):
            text.Prompt.template(tokenizer, wrong)


def test_a_chat_has_system_examples_and_the_input(tokenizer):
    """In the order that the template puts them; what is learnt follows it without a space."""
    talker = copy.deepcopy(tokenizer)
    talker.chat_template = CHAT
    prompt = text.Prompt.chat(talker, system="Be brief.", shots=[("1 + 1", "2")], tokens=80)
    (ids,) = prompt.prompts(["{x} + 2"])
    whole = "<|system|>Be brief.<|end|><|user|>1 + 1<|end|><|assistant|>2<|end|><|user|>{x} + 2"
    assert talker.decode(ids) == whole + "<|end|><|assistant|>"
    assert talker.decode(prompt.outputs(["4"])[0]) == "4"
    with pytest.raises(ValueError, match="the tokenizer has no chat template"):
        text.Prompt.chat(tokenizer)


def test_inputs_that_are_too_long_are_told(tokenizer):
    prompt = text.Prompt(tokenizer, tokens=12)
    assert prompt.cut(["Rain fell.", LONG]).tolist() == [False, True]


def test_white_space_of_an_output_is_kept_where_that_is_asked(tokenizer):
    tokens = tokenizer("     return x\n")["input_ids"]
    prompt = text.Prompt(tokenizer)
    assert prompt.read([], tokens) == "return x"
    assert replace(prompt, strip=False).read([], tokens) == "    return x\n"


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda prompt: prompt.cut([None]), "inputs, row 0: must be a text"),
        (lambda prompt: prompt.cut("Rain."), "inputs must be a list of texts"),
        (lambda prompt: prompt.outputs([None]), "outputs, row 0: must be a text"),
        (lambda prompt: prompt.outputs("Rain."), "outputs must be a list of texts"),
        (lambda prompt: prompt.examples(["a", "b"], ["c"]), "one output and one `ended` for each"),
        (lambda prompt: replace(prompt, before=None), "Prompt.before must be a text"),
        (lambda prompt: replace(prompt, after=5), "Prompt.after must be a text"),
        (lambda prompt: replace(prompt, lead=None), "Prompt.lead must be a text"),
        (
            lambda prompt: text.Prompt.template(prompt.tokenizer, None),
            "template: text must be a text",
        ),
    ],
)
def test_what_is_no_text_is_refused_everywhere(tokenizer, use, message):
    with pytest.raises(ValueError, match=message):
        use(text.Prompt(tokenizer))


STORY = "Rain fell.\nSnow too. END And more."


@pytest.mark.parametrize(
    ("stop", "read"),
    [
        ((), "Rain fell.\nSnow too. END And more."),
        (["\n"], "Rain fell."),
        ("\n", "Rain fell."),
        (["END", "\n"], "Rain fell."),
        (["END", "???"], "Rain fell.\nSnow too."),
        (["now to"], "Rain fell.\nS"),
    ],
)
def test_an_output_ends_at_the_first_text_that_stops_it(tokenizer, stop, read):
    """Wherever tokens begin and end; the text itself is left out."""
    prompt = text.Prompt.template(tokenizer, "Say: {input}", stop=stop)
    new = tokenizer(f" {STORY}", add_special_tokens=False)["input_ids"]
    assert prompt.read([], new) == read
    assert prompt.ended(new, {prompt.end}) == prompt.stopped(new) == (read != STORY)
    assert prompt.ended([*new, prompt.end], {prompt.end})


@pytest.mark.parametrize("stop", ["", [""], ["a", 1], None, 5, {"a": "b"}])
def test_what_stops_an_output_is_a_text(tokenizer, stop):
    with pytest.raises(ValueError, match=r"Prompt\.stop must be texts that are not empty, got"):
        text.Prompt(tokenizer, stop=stop)


def test_the_published_way_to_read_takes_no_text_that_stops(tokenizer):
    with pytest.raises(ValueError, match=r"Prompt\.stop: got \('x',\), and string_replace"):
        Prompt(tokenizer, string_replace=True, stop=["x"])
