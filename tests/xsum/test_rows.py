"""Rows of text: picked and stacked as any batch; what is no text or no number is refused by row."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from veriloop.xsum import Summaries


def test_rows_are_picked_and_stacked_as_any_batch():
    rows = Summaries.of(["a", "b", "c"], ["x", "y", "z"], ["p", "q", "r"])
    assert len(rows) == 3 and rows.prompts.tolist() == [0, 1, 2]
    picked = rows[np.array([True, False, True])]
    assert picked.summaries.tolist() == ["p", "r"] and picked.references.tolist() == ["x", "z"]
    both = Summaries.concatenate([rows[[2]], picked])
    assert both.articles.tolist() == ["c", "a", "c"] and both.prompts.tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match="columns of one length"):
        Summaries.of(["a"], ["x", "y"])


@pytest.mark.parametrize(
    "wrong", [None, float("nan"), 3, b"Rain.", ["Rain."], "half \ud83d"], ids=repr
)
@pytest.mark.parametrize("name", ["articles", "references", "summaries"])
def test_what_is_no_text_is_refused_by_row(name, wrong):
    given = {"articles": ["A."] * 3, "references": ["R."] * 3, "summaries": ["S."] * 3}
    given[name] = ["T.", "T.", wrong]
    with pytest.raises(ValueError, match=rf"Summaries\.of: {name}, row 2: must be .*; fill it in"):
        Summaries.of(**given)


def test_tables_with_and_without_gaps():
    """A missing text is refused whether the table calls it None or NaN; a whole table is taken."""
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"document": ["Rain.", "Sun."], "summary": ["Wet.", None]}, index=[7, 3])
    for texts in (frame.summary, frame.summary.to_numpy(), pa.array(frame.summary)):
        with pytest.raises(ValueError, match=r"references, row 1: must be a text \(str\)"):
            Summaries.of(frame.document, texts)
    for texts in (frame.document, pa.array(frame.document), np.array(["Rain.", "Sun."])):
        rows = Summaries.of(texts, texts)
        assert rows.summaries.tolist() == ["Rain.", "Sun."]
        assert {type(text) for text in rows.summaries} == {str}
    with pytest.raises(ValueError, match="must be a list of texts, one a row, got a DataFrame"):
        Summaries.of(frame, frame.document)


@pytest.mark.parametrize("single", ["Rain", b"Rain", {"a": "Rain"}, 3, iter(["Rain"])])
def test_what_is_no_list_of_texts_is_refused(single):
    with pytest.raises(ValueError, match="articles must be a list of texts, one a row, got a"):
        Summaries.of(single, single)


@pytest.mark.parametrize("wrong", [0.2, "train-1", "1", True, float("nan"), -1, None, 2**70])
def test_a_number_that_would_be_rounded_is_refused_by_row(wrong):
    with pytest.raises(ValueError, match="prompts, row 1: must be an integer of at least 0 and b"):
        Summaries.of(["a", "b"], ["x", "y"], prompts=[0, wrong])


@pytest.mark.parametrize("given", [[4, 2], [4.0, 2.0], np.array([4, 2], np.uint8)])
def test_whole_numbers_of_any_type_are_taken(given):
    rows = Summaries.of(["a", "b"], ["x", "y"], prompts=given)
    assert rows.prompts.tolist() == [4, 2] and rows.prompts.dtype == int


def test_two_articles_of_one_number_are_refused():
    with pytest.raises(ValueError, match="rows 0 and 2 have different articles and the number 5"):
        Summaries.of(["a", "b", "c"], ["x"] * 3, prompts=[5, 1, 5])
    same = Summaries.of(["a", "b", "a"], ["x"] * 3, prompts=[5, 1, 5])
    assert same.prompts.tolist() == [5, 1, 5]


def test_whether_a_summary_ended_is_a_column():
    """All have, unless it is said; rows that were stored before there was this column as well."""
    rows = Summaries.of(["a", "b"], ["x", "y"], ended=[True, False])
    assert rows[[1]].ended.tolist() == [False]
    old = Summaries(rows.articles, rows.references, rows.summaries, rows.prompts)
    assert Summaries.concatenate([rows, old]).ended.tolist() == [True, False, True, True]
    assert replace(rows, summaries=rows.references, ended=None).ended.all()
    with pytest.raises(
        ValueError, match="Summaries.ended must be booleans of shape .n,., got int64"
    ):
        Summaries.of(["a"], ["x"], ended=[1])
    with pytest.raises(ValueError, match="got bool of shape .1, 1."):
        Summaries.of(["a"], ["x"], ended=[[True]])


def test_numbers_of_articles_are_integers_however_rows_are_made():
    """As they group rows, fractions would be groups of their own."""
    rows = Summaries.of(["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match=r"Summaries\.prompts must be integers of .* got float64"):
        replace(rows, prompts=np.array([0.2, 0.7]))


def test_a_whole_table_is_no_column():
    table = SimpleNamespace(shape=(2, 1), __len__=lambda: 2)
    with pytest.raises(ValueError, match=r"articles must be a list of texts, .* SimpleNamespace"):
        Summaries.of(table, ["x", "y"])
