"""Texts are rows of any task; Summaries are the same rows under the words of theirs."""

import gzip

import numpy as np
import pytest

from veriloop.text import Texts
from veriloop.text.rows import check_rows
from veriloop.xsum import Summaries

SUMS = Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"])


def test_rows_of_lists_are_columns():
    assert len(SUMS) == 2 and SUMS.outputs.tolist() == ["4", "8"] == SUMS.targets.tolist()
    assert SUMS.numbers.tolist() == [0, 1] and SUMS.ended.all()
    both = Texts.concatenate([SUMS, SUMS[[1]]])
    assert both.inputs.tolist() == ["2 + 2 =", "3 + 5 =", "3 + 5 ="]


def test_targets_may_be_unknown():
    assert Texts.of(["Once upon a time"]).targets.tolist() == [""]


def test_answers_keep_all_but_the_output():
    """Rows that were written anew have not ended by the old rows' word."""
    cut = Texts.of(["2 + 2 ="], ["4"], ended=[False])
    new = cut.answered(np.array(["5"], dtype=object))
    assert new.outputs.tolist() == ["5"] and new.targets.tolist() == ["4"] and new.ended.all()


def test_summaries_are_rows_under_other_names():
    rows = Summaries.of(["Rain fell."], ["Rain."], ["Wet."], [7])
    check_rows("rows", rows)
    named = (rows.inputs[0], rows.targets[0], rows.outputs[0], rows.numbers[0])
    assert named == ("Rain fell.", "Rain.", "Wet.", 7)
    assert rows.answered(np.array(["Dry."], dtype=object)).summaries.tolist() == ["Dry."]
    assert rows.numbered(np.array([3])).prompts.tolist() == [3]


def test_what_makes_no_rows_is_refused():
    with pytest.raises(
        ValueError, match=r"Texts\.of: inputs, row 1: must be a text \(str\), got None"
    ):
        Texts.of(["a", None])
    with pytest.raises(ValueError, match="rows 0 and 1 have different inputs and the number 4"):
        Texts.of(["a", "b"], numbers=[4, 4])
    with pytest.raises(
        ValueError, match="row 0: must be an integer .* number the inputs, or leave"
    ):
        Texts.of(["a"], numbers=[0.5])
    with pytest.raises(
        TypeError, match=r"rows must be Texts or Summaries, got list; write Texts\.of"
    ):
        check_rows("rows", ["a"])


@pytest.fixture
def written(tmp_path):
    """Writes a file of lines, as bytes or text; returns its path."""

    def write(content, name="tasks.jsonl"):
        path = tmp_path / name
        if isinstance(content, str):
            content = content.encode()
        path.write_bytes(content)
        return path

    return write


def test_a_task_is_read_from_json_lines(written):
    """A byte-order mark, blank lines, other columns and whole numbers are no obstacle."""
    lines = '\ufeff{"q": "2 + 2", "a": 4, "id": [1]}\r\n\n{"q": "say it", "a": ""}\n'
    read = Texts.read(written(lines), input="q", target="a")
    assert read.inputs.tolist() == ["2 + 2", "say it"] and read.targets.tolist() == ["4", ""]
    assert Texts.read(str(written(lines)), input="q").targets.tolist() == ["", ""]
    packed = written(gzip.compress(lines.encode()), "tasks.jsonl.gz")
    assert len(Texts.read(packed, input="q", target="a")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"q": "2 + 2"}\n', "line 2 lacks 'a'; every line needs q and a"),
        ('{"q": "2", "a": 4.0}\n', r"line 2: a must be a text \(str\), got 4.0"),
        ('{"q": "2", "a": true}\n', r"line 2: a must be a text \(str\), got True"),
        ('{"q": "2", "a": null}\n', r"line 2: a must be a text \(str\), got None"),
        ('{"q": "2", "a": ["4"]}\n', r"line 2: a must be a text \(str\), got \['4'\]"),
        ('{"q": [{"role": "user"}], "a": "4"}\n', r"line 2: q must be a text"),
        ('{"q": " ", "a": "4"}\n', "line 2 has an empty q"),
        ('{"q": "2", "a": "4", "a": "5"}\n', "line 2 names 'a' twice"),
        ('{"q": "\\ud83d", "a": "4"}\n', "line 2: q must be whole characters"),
        ('{"q": "2", "a"', "line 2, the last, is cut short"),
        ('"2"\n', "line 2 is no JSON object; every line needs q and a"),
        ("[" * 100_000, "line 2 is no JSON object"),
        (f'{{"q": "2", "a": {"9" * 5000}}}\n', "line 2 is no JSON object"),
    ],
)
def test_a_line_of_a_task_that_is_not_what_it_should_be_is_named(written, line, message):
    path = written('{"q": "1 + 1", "a": "2"}\n' + line)
    with pytest.raises(ValueError, match=message) as error:
        Texts.read(path, input="q", target="a")
    assert "tasks.jsonl" in str(error.value)


def test_a_file_without_a_line_or_without_utf_8_is_refused(written, tmp_path):
    with pytest.raises(ValueError, match="has no line"):
        Texts.read(written("\n\n"), input="q")
    with pytest.raises(ValueError, match="UTF-16"):
        Texts.read(written('{"q": "a"}'.encode("utf-16")), input="q")
    with pytest.raises(
        ValueError, match=r"cannot read .*none.jsonl \(No such file or directory\); name a file"
    ):
        Texts.read(tmp_path / "none.jsonl", input="q")


def test_one_number_alone_is_a_list_of_one():
    assert Texts.of(["a"], numbers=3).numbers.tolist() == [3]
