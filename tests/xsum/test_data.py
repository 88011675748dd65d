"""Rows of text, and the ways to get them: a folder, the files of XSum, the embedded reports; each mistake named."""

import gzip
import json
import os

import numpy as np
import pytest

from veriloop.xsum import Summaries, load
from veriloop.xsum import data as module

ROWS = [{"document": f"Article {i}.", "summary": f"Summary {i}.", "id": str(i)} for i in range(3)]


@pytest.fixture
def folder(tmp_path):
    for name in ("train", "validation"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "test.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    return tmp_path


def test_rows_are_picked_and_stacked_as_any_batch():
    rows = Summaries.of(["a", "b", "c"], ["x", "y", "z"], ["p", "q", "r"])
    assert len(rows) == 3 and rows.prompts.tolist() == [0, 1, 2]
    picked = rows[np.array([True, False, True])]
    assert picked.summaries.tolist() == ["p", "r"] and picked.references.tolist() == ["x", "z"]
    both = Summaries.concatenate([rows[[2]], picked])
    assert both.articles.tolist() == ["c", "a", "c"] and both.prompts.tolist() == [2, 0, 2]
    with pytest.raises(ValueError, match="columns of one length"):
        Summaries.of(["a"], ["x", "y"])


def test_a_folder_is_read_in_place(folder):
    data = load(str(folder))
    assert data.train.articles.tolist() == [row["document"] for row in ROWS]
    assert (data.train.summaries == data.train.references).all()
    assert len(data.validation) == 3 and len(data.test) == 1
    assert len(load(str(folder), train=2, test=1).train) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"document": "A."}', "line 4 lacks 'summary'; every line needs document and summary"),
        (
            '{"document": "A.", "summary": "  "}',
            "line 4 has an empty summary; leave the row out or fill it in",
        ),
        ('{"document": 3, "summary": "S."}', "line 4 has an empty document"),
        ("[1, 2]", "line 4 is no JSON object"),
        ("{", "line 4 is no JSON object"),
    ],
)
def test_a_line_that_is_not_what_it_should_be_is_named(folder, line, message):
    with gzip.open(folder / "train.jsonl.gz", "at") as stream:
        stream.write(line + "\n")
    with pytest.raises(ValueError, match=message) as error:
        load(str(folder))
    assert "train.jsonl.gz" in str(error.value)
    assert len(load(str(folder), train=3, test=1).train) == 3  # what is not asked for is not read


def test_files_missing_cut_short_or_empty_are_named(folder):
    file = folder / "train.jsonl.gz"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    with pytest.raises(ValueError, match="cannot read .*train.jsonl.gz"):
        load(str(folder))
    file.write_bytes(content)
    with pytest.raises(ValueError, match="5 rows of train are asked for, it has 3; ask for fewer"):
        load(str(folder), train=5)
    (folder / "test.jsonl").write_text("")
    with pytest.raises(ValueError, match="the part test is empty"):
        load(str(folder))
    (folder / "test.jsonl").unlink()
    with pytest.raises(
        ValueError, match=r"no test\.jsonl or test\.jsonl\.gz in .*; name a folder with all three"
    ):
        load(str(folder))


def test_the_hub_is_one_sentence_where_there_is_no_network(monkeypatch):
    import datasets

    def fail(*_, **__):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.delenv("VERILOOP_DATA", raising=False)
    monkeypatch.setattr(datasets, "load_dataset", fail)
    monkeypatch.setattr(module, "hub_answers", lambda: True)
    with pytest.raises(
        ValueError,
        match=r"cannot be loaded from the hub \(no route to the hub\); set VERILOOP_DATA",
    ):
        load("xsum")
    monkeypatch.setattr(module, "hub_answers", lambda: False)
    with pytest.raises(ValueError, match=r"cannot be loaded from the hub \(it does not answer\)"):
        load("xsum")


def test_the_embedded_reports():
    data = load("reports", train=20, test=5)
    assert (len(data.train), len(data.validation), len(data.test)) == (20, 5, 5)
    assert data.train.articles.tolist() == load("reports", train=20, test=5).train.articles.tolist()


@pytest.mark.data
@pytest.mark.skipif(
    "VERILOOP_DATA" not in os.environ, reason="VERILOOP_DATA is not set: real XSum is not there"
)
def test_real_xsum():
    data = load("xsum")
    assert (len(data.train), len(data.validation), len(data.test)) == (2841, 1019, 3822)
