"""An answer that is one rating is read; every other one is refused, with the reason."""

import math

import pytest

from veriloop.verifiers.endpoint import read_rating, read_yes_or_no
from veriloop.verifiers.endpoint.ratings import Scale

READ = {
    "8": 8,
    " 8 \n": 8,
    "8.": 8,
    "8!": 8,
    "8.5": 8.5,
    "8.0": 8,
    "10/10": 10,
    "8/10": 8,
    "8 / 10": 8,
    "8/10.": 8,
    "8/10.0": 8,
    "9.5 of 10": 9.5,
    "8 out of 10": 8,
    "8 OUT OF 10": 8,
    "4 points": 4,
    "**8**": 8,
    "**8/10**": 8,
    "`8`": 8,
    '"8"': 8,
    "[8]": 8,
    "[[8]]": 8,
    "(8)": 8,
    "\\boxed{8}": 8,
    "$\\boxed{8}$": 8,
    "Score: 8": 8,
    "score 8": 8,
    "**Score:** 8": 8,
    "**Score**: 8": 8,
    "**Score:** **8**": 8,
    "**Score: 8/10**": 8,
    "Rating: 8/10": 8,
    "Overall score = 8": 8,
    "My rating is 8.": 8,
    "The final score is **8/10**.": 8,
    '{"score": 8}': 8,
    '{"Score": 8.5, "reason": "3 of 5 facts"}': 8.5,
    '{"rating": "8/10"}': 8,
    '```json\n{"score": 8}\n```': 8,
    "```\n8\n```": 8,
    "<think>The summary has 3 facts.</think>\n8": 8,
    "<think>3 of 5 facts, so 6. <think>no</think> 9</think>8/10": 8,
    "no start of it, 3 facts</think>\n\n8": 8,
    "-3": -3,  # off the scale, which is not the reader's business
    "85": 85,
    "{\"score\": 1e400}": math.inf,
    f'{{"score": 1{"0" * 400}}}': math.inf,
}  # fmt: skip

REFUSED = {
    "": "one number",
    "good": "one number",
    "eight": "one number",
    "I would give it an 8.": "one number",
    "8 of the 5 facts": "one number",
    "3 of the 5 facts are there, so 9": "one number",
    "1. The summary is good: 9": "one number",
    "2 sentences is fine; overall 9/10": "one number",
    "8 - good": "one number",
    "8, 9": "one number",
    "8-9": "one number",
    "8 9": "one number",
    "8\n9": "one number",
    "8 or 9": "one number",
    "8,5": "one number",
    "1_0": "one number",
    "1e1": "one number",
    "9.2e+124": "one number",
    "0x8": "one number",
    "+8": "one number",
    ".5": "one number",
    "1 000": "one number",
    "nan": "one number",
    "inf": "one number",
    "\u0668": "one number",  # 8 in Arabic digits
    "\uff18": "one number",  # 8, as wide as a Chinese character
    "\u00b2": "one number",
    "\u22123": "one number",  # a minus sign that is no hyphen
    "8/5": "up to 5",
    "8 of 5": "up to 5",
    "Score: 8/100": "up to 100",
    "8/10/2024": "one number",
    "80%": "percentage",
    "**8": "one number",
    "2**3": "one number",
    "<think>8": "never closed",
    "8 <think>or 9": "never closed",
    "<think>only thoughts: 8</think>": "one number",
    '{"score": 8': "no JSON",
    "{8}": "no JSON",
    '{"score": true}': "no number",
    '{"score": null}': "no number",
    '{"score": [8]}': "no number",
    '{"score": NaN}': "no JSON",
    '{"score": 8, "score": 2}': "2 of the keys",
    '{"score": 8, "rating": 2}': "2 of the keys",
    '{"facts": 8}': "0 of the keys",
    '{"score": "3 of 5 facts"}': "one number",
    '{"a":' * 100_000: "no JSON",
}  # fmt: skip


@pytest.mark.parametrize("text", READ, ids=lambda text: text[:40])
def test_one_rating_is_read_whatever_stands_around_it(text):
    assert read_rating(text) == READ[text]


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40])
def test_whatever_is_not_one_rating_is_refused(text):
    with pytest.raises(ValueError, match=REFUSED[text]):
        read_rating(text)


def test_the_top_of_the_scale_is_the_one_asked_for():
    assert read_rating("4/5", 5) == 4 and read_rating("4 stars", 5) == 4
    assert read_rating("80%", 100) == 80 and read_rating("80/100", 100) == 80
    with pytest.raises(ValueError, match="it is on a scale up to 10, and 5 was asked for"):
        read_rating("8/10", 5)


@pytest.mark.parametrize(
    "text",
    ["yes", "Yes.", "YES", "**Yes**", "Answer: yes", '{"answer": "yes"}', '{"answer": true}'],
)
def test_yes_is_one(text):
    assert read_yes_or_no(text) == 1
    assert read_yes_or_no(text.lower().replace("yes", "no").replace("true", "false")) == 0


@pytest.mark.parametrize(
    "text", ["", "yes and no", "Yes, it is", "1", "y", "nope", '{"answer": 1}']
)
def test_what_is_neither_yes_nor_no_is_refused(text):
    with pytest.raises(ValueError, match="neither yes nor no"):
        read_yes_or_no(text)


def test_a_scale_is_two_numbers_in_order_or_two_words():
    scale = Scale.of("1 to 5")
    assert (scale.least, scale.most, scale.middle) == (1, 5, 3)
    assert 1 in scale and 5 in scale and 0.9 not in scale and 5.1 not in scale
    assert Scale.of("-1 to 0.5").middle == -0.25 and Scale.of("yes/no").read("no") == 0
    for wrong in ("10 to 0", "5 to 5", "0-10", "", "0 to", "1 to 1_0", (0, 10), 10, None):
        with pytest.raises(ValueError, match=r"Endpoint\.scale must be two numbers in order"):
            Scale.of(wrong)
