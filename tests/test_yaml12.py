"""YAML as people write it: numbers are numbers, words are words, and no key is lost."""

import pytest

from veriloop.yaml12 import Replaced, parsed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e2", 100),
        ("-1E+3", -1000),
        ("1.", 1.0),
        (".5", 0.5),
        ("010", 10),
        ("0o10", 8),
        ("0x10", 16),
        ("+3", 3),
        ("true", True),
        ("~", None),
        ("", None),
        ("-.inf", -float("inf")),
    ],
)
def test_a_number_is_read_as_a_number(text, value):
    """Type and value: 1e2 is a count."""
    found = parsed(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["yes", "no", "on", "off", "y", "1:30", "1_0", "2024-10-10", "0b1", "1e", "="]
)
def test_a_word_is_a_word(text):
    """YAML 1.1 makes another value of each."""
    assert parsed(f"a: {text}") == {"a": text}


def test_keys_are_text_or_whole_numbers():
    assert parsed("{no: 1, 0: 2, '1e-2': 3}") == {"no": 1, 0: 2, "1e-2": 3}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' is given twice, in lines 1 and 3; keep one"),
        ("a: [{b: 1, b: 2}]", "the key 'b' is given twice, in line 1; keep one"),
        ("{1: a, '1': b}", "the key '1' is given twice, in line 1; keep one"),
        ("a: !replace {b: 1, b: 2}", "the key 'b' is given twice, in line 1; keep one"),
        ("1e-2: a", "the key 1e-2 in line 1 is not text; write '1e-2'"),
        ("null: a", "the key null in line 1 is not text; write 'null'"),
        ("010: a", "the key 010 in line 1 is not text; write '010'"),
        ("[1]: a", "the key in line 1 must be text, got a list or a mapping"),
        ("a: !replace 3", "not valid YAML at line 1, column 4: expected a mapping"),
        ("a: *b", "not valid YAML at line 1, column 4: found undefined alias 'b'"),
        ("a: 1\x00", "not valid YAML: line 1 holds a control character"),
        ("[" * 5000, "not valid YAML: it is nested too deeply"),
        ("a: !!timestamp 2024-13-45", "not valid YAML: month must be in 1..12"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text, sentence):
    with pytest.raises(ValueError) as caught:
        parsed(text)
    assert str(caught.value) == sentence


def test_an_anchor_can_be_merged_and_changed():
    text = "first: &a {steps: 5, rate: 0.1}\nnext: {<<: *a, steps: 9}"
    assert parsed(text) == {
        "first": {"steps": 5, "rate": 0.1},
        "next": {"steps": 9, "rate": 0.1},
    }


def test_what_takes_the_place_of_another_is_marked():
    values = parsed("fit: !replace {epochs: 2}")
    assert values == {"fit": {"epochs": 2}} and isinstance(values["fit"], Replaced)
