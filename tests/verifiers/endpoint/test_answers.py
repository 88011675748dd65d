"""Answers outlive the process; a damaged file counts as missing, and writers never meet."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from veriloop.verifiers.endpoint import answers as module
from veriloop.verifiers.endpoint.answers import (
    Answer,
    Held,
    KeptAnswers,
    address_of,
    default_folder,
)

ANSWER = Answer("8", "stop", 7, 2)


def test_an_answer_is_found_again_by_its_question(tmp_path):
    address = address_of("http://host", {"model": "small", "temperature": 0})
    KeptAnswers(tmp_path).put(address, ANSWER)
    assert KeptAnswers(tmp_path).get(address) == ANSWER
    assert address == address_of("http://host", {"temperature": 0, "model": "small"})
    for other in (
        address_of("http://other", {"model": "small", "temperature": 0}),
        address_of("http://host", {"model": "large", "temperature": 0}),
        address_of("http://host", {"model": "small"}),
    ):
        assert KeptAnswers(tmp_path).get(other) is None


def test_nothing_is_kept_without_a_folder():
    kept = KeptAnswers(None)
    kept.put("abcd", ANSWER)
    assert kept.get("abcd") is None


DAMAGES = {
    "empty": lambda text: "",
    "cut": lambda text: text[:-5],
    "another answer": lambda text: text.replace('"8"', '"9"'),
    "no object": lambda text: "[]",
    "no answer": lambda text: "{}",
    "another answer's fields": lambda text: '{"answer": {"words": "8"}, "sha256": ""}',
    "deep": lambda text: "[" * 100_000,
    "no text": lambda text: "\0" * len(text),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_answer_counts_as_missing_and_is_written_anew(tmp_path, damage):
    kept = KeptAnswers(tmp_path)
    kept.put("abcd", ANSWER)
    (file,) = tmp_path.rglob("*.json")
    text = file.read_text()
    assert DAMAGES[damage](text) != text
    file.write_text(DAMAGES[damage](text))
    assert kept.get("abcd") is None
    kept.put("abcd", ANSWER)
    assert kept.get("abcd") == ANSWER


def test_a_file_under_another_name_is_not_believed(tmp_path):
    kept = KeptAnswers(tmp_path)
    kept.put("abcd", ANSWER)
    (tmp_path / "ab" / "cd.json").rename(tmp_path / "ab" / "ce.json")
    assert kept.get("abce") is None


def test_many_writers_of_one_answer_leave_it_whole_and_nothing_else(tmp_path):
    kept = KeptAnswers(tmp_path)
    long = Answer("8" * 10_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: kept.put("abcd", long), range(100)))
    assert kept.get("abcd") == long
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["cd.json"]


def test_an_answer_whose_writing_breaks_off_is_not_there(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        KeptAnswers(tmp_path).put("abcd", ANSWER)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_an_entry_holds_no_question(tmp_path):
    KeptAnswers(tmp_path).put("abcd", ANSWER)
    entry = json.loads((tmp_path / "ab" / "cd.json").read_text())
    assert set(entry) == {"answer", "sha256"}
    assert set(entry["answer"]) == {"text", "finish", "prompt_tokens", "answer_tokens"}


def test_answers_lie_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "answers"
    monkeypatch.delenv("VERILOOP_CACHE")
    assert default_folder().parts[-3:] == (".cache", "veriloop", "answers")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    KeptAnswers(None).check()
    KeptAnswers(tmp_path / "new").check()
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"answers cannot be kept in .*file.* \(.+\); make it"):
        KeptAnswers(tmp_path / "file" / "in it").check()


def test_a_question_is_held_by_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    kept = KeptAnswers(tmp_path)
    with kept.alone("ab12"):
        with pytest.raises(Held), kept.alone("ab12"):
            pass
        with kept.alone("ab34"):
            pass
    with kept.alone("ab12"):
        kept.put("ab12", ANSWER)
    assert [file.name for file in (tmp_path / "locks").iterdir()] == ["ab34.lock"]
