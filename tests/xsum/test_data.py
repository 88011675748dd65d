"""The ways to get real pairs: a folder, the files of XSum, the embedded reports; each mistake named."""

import gzip
import json
import os

import pytest

from veriloop import Key
from veriloop.xsum import data as module
from veriloop.xsum import documents, load, reports

ROWS = [{"document": f"Article {i}.", "summary": f"Summary {i}.", "id": str(i)} for i in range(3)]


@pytest.fixture
def folder(tmp_path):
    for name in ("train", "validation"):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "test.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    return tmp_path


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
        ('{"document": 3, "summary": "S."}', r"line 4: document must be a text \(str\), got 3"),
        (
            '{"document": "A.", "summary": null}',
            r"line 4: summary must be a text \(str\), got None",
        ),
        ('{"document": "A \\ud83d", "summary": "S."}', "line 4: document must be whole characters"),
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


LINES = "\n".join(json.dumps(row) for row in ROWS)


def written(folder, content):
    for part in ("train", "validation", "test"):
        (folder / f"{part}.jsonl").write_bytes(content)
    return str(folder)


@pytest.mark.parametrize(
    "content",
    [
        LINES.encode("utf-8-sig"),
        LINES.replace("\n", "\r\n").encode() + b"\r\n",
        f"\n{LINES}\n\n  \n".encode(),
        LINES.replace("\n", "\n\n").encode(),
    ],
    ids=["byte-order mark", "CRLF", "blank lines at the ends", "blank lines between"],
)
def test_lines_as_other_tools_write_them_are_read(tmp_path, content):
    data = load(written(tmp_path, content))
    assert data.train.summaries.tolist() == [row["summary"] for row in ROWS]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LINES.encode("utf-16"), r"train\.jsonl is written in UTF-16; save it as UTF-8"),
        (LINES.replace("A", "Ä").encode("latin-1"), r"train\.jsonl is not UTF-8 \(.*\); save it"),
        (f"{LINES}\n\n{LINES[:20]}".encode(), "line 5, the last, is cut short; remove it"),
        (f"[{LINES}]".encode(), "line 1 is no JSON object"),
        (b"document,summary", "line 1 is no JSON object"),
    ],
    ids=["UTF-16", "Latin-1", "half a line", "one array", "CSV"],
)
def test_a_file_in_another_form_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        load(written(tmp_path, content))


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "3"])
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_number_of_rows_that_is_none_is_refused(folder, name, size):
    for source in ("reports", str(folder)):
        with pytest.raises(ValueError, match=f"load: {name} must be an integer of at least 1"):
            load(source, **{name: size})


def test_no_number_of_reports_is_taken_for_another():
    for make in (reports, documents):
        assert len(make(Key(0), 0)) == 0
        with pytest.raises(ValueError, match="n must be an integer of at least 0, got -1"):
            make(Key(0), -1)


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


def test_a_part_in_two_files_is_refused(folder):
    """One of them may be older than the other."""
    (folder / "train.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    with pytest.raises(
        ValueError, match=r"holds both train\.jsonl\.gz and train\.jsonl; remove one"
    ):
        load(str(folder))


def test_two_objects_on_the_last_line_are_not_called_cut_short(folder):
    (folder / "test.jsonl").write_text(json.dumps(ROWS[0]) * 2)
    with pytest.raises(ValueError, match=r"line 1 is no JSON object"):
        load(str(folder))
