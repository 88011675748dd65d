"""A chat template has to write every message once and as it is; whatever else it does is refused in one sentence."""

import copy
from importlib.util import find_spec

import pytest

if find_spec("transformers") is None:
    pytest.skip("the extra [text] is not installed", allow_module_level=True)

from veriloop.text import Prompt, Texts

PLAIN = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
USER = "{% for m in messages if m.role == 'user' %}<user>{{ m.content }}{% endfor %}<assistant>"
LAST = "<user>{{ messages[-1].content }}<assistant>"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
SHOTS = [("2 + 2", "4"), ("3 + 5", "8")]


@pytest.fixture
def chat(tokenizer):
    """Makes the prompt of a chat template: `chat(template, system=...)`."""

    def make(template, **given):
        own = copy.deepcopy(tokenizer)
        own.chat_template = template
        return Prompt.chat(own, tokens=200, **given)

    return make


def test_a_message_may_hold_the_sign_that_templates_have_for_the_input(chat):
    prompt = chat(PLAIN, system="Write {input} never.", shots=[("{input}?", "no")])
    assert prompt.before == (
        "<system>Write {input} never.</><user>{input}?</><assistant>no</><user>"
    )
    assert prompt.after == "</><assistant>"


@pytest.mark.parametrize(
    ("template", "times"),
    [
        (PLAIN + "{{ messages[-1].content }}", 2),
        (PLAIN.replace("m.content", "m.content | upper"), 0),
        (PLAIN.replace("m.content", "m.content | e"), 0),
        (PLAIN.replace("m.content", "m.content | tojson"), 0),
        ("<assistant>", 0),
    ],
)
def test_a_template_that_changes_the_input_or_writes_it_twice_is_refused(chat, template, times):
    with pytest.raises(ValueError, match=f"the input once and as it is, got it {times} times"):
        chat(template)


@pytest.mark.parametrize(
    ("template", "given", "who"),
    [
        (USER, {"system": "Be brief."}, "the system says, 'Be brief.'"),
        (USER, {"shots": SHOTS}, "the assistant says, '4'"),
        (LAST, {"shots": SHOTS}, "the user says, '2 \\+ 2'"),
    ],
)
def test_a_template_that_leaves_out_a_message_is_refused(chat, template, given, who):
    with pytest.raises(ValueError, match=f"leaves out or changes what {who}"):
        chat(template, **given)


@pytest.mark.parametrize(
    ("template", "given", "reason"),
    [
        (NO_SYSTEM + PLAIN, {"system": "Be brief."}, "no system"),
        ("{% for", {}, "unexpected"),
        ("{{ today.upper() }}" + PLAIN, {}, "'today' is undefined"),
        ("{{ strftime_now('%d %b %Y') }}" + PLAIN, {}, "today's date, so no run could be repeated"),
        (PLAIN, {"options": {"tokenize": True}}, "tokenize"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_one_sentence(chat, template, given, reason):
    with pytest.raises(ValueError, match=f"^Prompt.chat: the chat template cannot .*{reason}"):
        chat(template, **given)


def test_what_a_template_asks_for_is_given_by_name(chat):
    dated = (
        "{% if not date_string is defined %}{% set date_string = strftime_now('%Y') %}{% endif %}"
    )
    prompt = chat(dated + "{{ date_string }}" + PLAIN, options={"date_string": "1 May 2026"})
    assert prompt.before == "1 May 2026<user>"


@pytest.mark.parametrize(
    "given", [{"system": "Stop at <|end|>."}, {"shots": [("2 + 2", "4<|end|>")]}]
)
def test_a_control_token_in_a_message_is_refused(chat, given):
    with pytest.raises(ValueError, match=r"has the control token '<\|end\|>'; leave it out"):
        chat(PLAIN, **given)


@pytest.mark.parametrize(
    "shots",
    [
        ["ab", "cd"],
        ("2 + 2", "4"),
        [("2 + 2", "4", "why")],
        [("2 + 2", None)],
        Texts.of(["2 + 2"], ["4"]),
        "ab",
    ],
)
def test_shots_that_are_no_pairs_of_texts_are_refused(chat, shots):
    with pytest.raises(ValueError, match=r"^Prompt.chat: shots.* must be a"):
        chat(PLAIN, shots=shots)


def test_a_system_message_is_a_text(chat):
    with pytest.raises(ValueError, match=r"Prompt.chat: system must be a text \(str\), got 5"):
        chat(PLAIN, system=5)


def test_a_template_that_ends_answers_with_another_token_is_named(tokenizer):
    """The model was taught, and scored by, an end that it never writes after an answer."""
    own = copy.deepcopy(tokenizer)
    own.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    own.chat_template = PLAIN.replace("</>", "<|turn|>\n")
    with pytest.warns(UserWarning, match=r"ends an answer with '<\|turn\|>', and .*'<\|end\|>'"):
        Prompt.chat(own, tokens=200)
    own.eos_token = "<|turn|>"
    assert Prompt.chat(own, tokens=200, strip=False).end == own.convert_tokens_to_ids("<|turn|>")
