"""Texts are rows of any task; Summaries are the same rows under the words of theirs."""

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


def test_one_number_alone_is_a_list_of_one():
    assert Texts.of(["a"], numbers=3).numbers.tolist() == [3]
