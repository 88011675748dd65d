"""A template is checked before anything is asked, and rows that make no question are named."""

from dataclasses import dataclass

import numpy as np
import pytest

from veriloop import Columns
from veriloop.verifiers.endpoint.questions import check_question, messages_of


def asked(question, batch, system=None):
    return [messages[-1]["content"] for messages in messages_of(question, system, batch)]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('Answer as {"score": n}. {texts}', r"has \{\"score\"\}, which is no name .* write \{\{"),
        ("Rate {texts", r"expected '}' before end of string .* write \{\{ and \}\}"),
        ("Rate texts}", r"Single '}' encountered .* write \{\{"),
        ("Rate {0}", r"has \{0\}, which is no name of a column"),
        ("Rate {}", r"has \{\}, which is no name of a column"),
        ("Rate {texts.real}", r"has \{texts\.real\}, which is no name"),
        ("Rate {texts[0]}", r"has \{texts\[0\]\}, which is no name"),
        ("Rate {texts:{width}}", r"has braces inside \{texts:\{width\}\}; give a plain"),
        ("Rate {texts!x}", r"has \{texts!x\}; write \{texts\} without"),
        ("Rate {texts!r}", r"has \{texts!r\}; write \{texts\} without"),
        ("Rate it from 0 to 10.", "must name a column of the batch in braces"),
        ("Rate {{texts}}", "must name a column of the batch in braces"),
        ("", "must name a column of the batch in braces"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused_at_once(template, message):
    with pytest.raises(ValueError, match=rf"(?s)^Endpoint\.question.*{message}"):
        check_question(template)


def test_what_is_neither_text_nor_function_is_refused():
    with pytest.raises(TypeError, match=r"Endpoint\.question must be a text .* got list"):
        check_question(["Rate {texts}"])


def test_a_template_is_filled_row_by_row_with_braces_and_formats(texts):
    template = 'As {{"score": n}}: {answers} for {prompts}, {answers}'
    rows = texts("{one}", "{prompts} \ud800 %s")
    check_question(template)
    assert asked(template, rows) == [
        'As {"score": n}: {one} for prompt 0, {one}',
        'As {"score": n}: {prompts} \ud800 %s for prompt 1, {prompts} \ud800 %s',
    ]

    @dataclass(frozen=True)
    class Numbers(Columns):
        x: np.ndarray
        flags: np.ndarray

    numbers = Numbers(np.array([0.5, 2.0]), np.array([True, False]))
    assert asked("{x:.2f} {flags}", numbers) == ["0.50 True", "2.00 False"]


def test_a_column_that_the_batch_lacks_is_named_with_those_it_has(texts):
    with pytest.raises(
        ValueError,
        match=r"names the column \{answer\}, and the batch has only prompts, answers; name",
    ):
        asked("{answer}", texts("a"))
    with pytest.raises(ValueError, match="the batch, a ndarray, has no columns; give a function"):
        asked("{answer}", np.arange(3))


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, np.float32("nan")])
def test_a_missing_text_is_refused_by_row_and_column(texts, missing):
    with pytest.raises(ValueError, match="the column 'answers' is missing in row 1, got"):
        asked("{answers}", texts("fine", missing))


@pytest.mark.parametrize("cell", [b"bytes", ["a"], np.arange(3), {"a": 1}])
def test_a_cell_without_a_plain_text_is_refused(texts, cell):
    rows = texts("fine", "fine")
    rows.answers[1] = cell
    with pytest.raises(
        ValueError, match=r"'answers' must hold texts or numbers, got a .* in row 1"
    ):
        asked("{answers}", rows)


def test_a_format_that_does_not_fit_names_the_row(texts):
    with pytest.raises(ValueError, match="does not fit row 0: Unknown format code 'f'"):
        asked("{answers:.2f}", texts("two"))


def test_a_function_gives_texts_or_messages_and_a_system_message_comes_first(texts):
    few_shot = [{"role": "user", "content": "2?"}, {"role": "assistant", "content": "10"}]

    def question(batch):
        return ["plain", [*few_shot, {"role": "user", "content": batch.answers[1]}]]

    first, second = messages_of(question, "Be {strict}.", texts("a", "b"))
    system = {"role": "system", "content": "Be {strict}."}
    assert first == [system, {"role": "user", "content": "plain"}]
    assert second == [system, *few_shot, {"role": "user", "content": "b"}]
    arrays = messages_of(lambda batch: np.array(["x", "y"]), None, texts("a", "b"))
    assert [messages[0]["content"] for messages in arrays] == ["x", "y"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["all?"], "got 1 for 2 rows"),
        ("ab", "got one str for 2 rows"),
        (None, "got one NoneType for 2 rows"),
        ({"a": 1, "b": 2}, "got one dict for 2 rows"),
        (["a", " "], "got an empty one for row 1"),
        (["a", None], "got None for row 1"),
        (["a", 3], "got 3 for row 1"),
        (["a", []], r"got \[\] for row 1"),
        (["a", ["b"]], r"got \['b'\] for row 1"),
        (["a", [{"role": "user"}]], r"got \[\{'role': 'user'\}\] for row 1"),
        (["a", [{"role": "user", "content": None}]], "for row 1"),
        (["a", [{"role": "user", "content": "b", "x": {1}}]], "no JSON for row 1"),
        (["a", [{"role": "user", "content": "b", "x": float("nan")}]], "no JSON for row 1"),
    ],
)  # fmt: skip
def test_a_function_that_gives_anything_else_is_refused_by_row(texts, given, message):
    with pytest.raises(
        ValueError, match=rf"Endpoint\.question (must give one text a row|gave) ?.*{message}"
    ):
        messages_of(lambda batch: given, None, texts("a", "b"))


def test_a_masked_cell_is_missing_and_not_the_number_0():
    @dataclass(frozen=True)
    class Ages(Columns):
        age: np.ndarray

    batch = Ages(np.ma.array([3, 4], mask=[False, True]))
    with pytest.raises(ValueError, match="the column 'age' is missing in row 1"):
        messages_of("Is {age} old?", None, batch)
