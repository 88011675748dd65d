"""A model at a URL is asked about each row once; rows without a rating do no harm, and are told of."""

import contextlib
import json
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from veriloop import Batched, Cached, Endpoint, Key, Loop, RoundError, RunDir, State, Threshold, run
from veriloop.components import build, describe
from veriloop.core.fingerprints import fingerprint
from veriloop.testing import check_verifier
from veriloop.verifiers.endpoint.answers import KeptAnswers

QUESTION = "Rate {answers}."
SECRET = "sk-very-secret-123"


def endpoint(url, **changed):
    settings = {"question": QUESTION, "wait": 0.0, "retries": 0} | changed
    return Endpoint(url, "small", **settings)


def echo(asked, n):
    """The answer of a model that writes the row itself."""
    return re.fullmatch(r"(?s)Rate (.*)\.", asked.text)[1]


def scores(judge, rows):
    return judge(Key(0), rows).tolist()


def questions(server):
    return sorted(asked.text for asked in server.asked)


# What is asked and what is read


def test_each_row_is_asked_about_and_its_rating_minus_the_limit_is_its_score(serve, texts):
    with serve(echo) as server:
        judge = endpoint(server.url, limit=7, system="Be strict.")
        assert scores(judge, texts("7", "9.5/10", "Score: 3")) == [0.0, 2.5, -4.0]
    assert questions(server) == ["Rate 7.", "Rate 9.5/10.", "Rate Score: 3."]
    body = next(asked.body for asked in server.asked if asked.text == "Rate 7.")
    assert body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be strict."},
            {"role": "user", "content": "Rate 7."},
        ],
        "stream": False,
        "temperature": 0.0,
        "max_tokens": 64,
    }


def test_any_field_can_be_sent_and_those_of_our_own_left_out(serve, texts):
    fields = {"seed": 1, "max_completion_tokens": 9}
    with serve(echo) as server:
        judge = endpoint(server.url, temperature=None, max_tokens=None, fields=fields)
        judge(Key(0), texts("8"))
    assert set(server.asked[0].body) == {"model", "messages", "stream", *fields}


def test_rows_of_any_kind_are_asked_about_by_a_function(serve):
    def question(batch):
        return [[{"role": "user", "content": f"Rate {value:g}."}] for value in batch]

    with serve(echo) as server:
        judge = endpoint(server.url, question=question)
        assert scores(judge, np.array([0.5, 9.0])) == [-4.5, 4.0]
        check_verifier(judge, np.array([0.5, 9.0, 3.0]))


@pytest.mark.parametrize(
    ("scale", "limit", "answers", "wanted"),
    [
        ("0 to 10", None, ["0", "5", "10"], [-5, 0, 5]),
        ("1 to 5", None, ["1", "3", "5/5"], [-2, 0, 2]),
        ("0 to 100", 80, ["100", "80%", "3 of 100"], [20, 0, -77]),
        ("yes/no", None, ["yes", "No.", "Yes"], [0.5, -0.5, 0.5]),
    ],
)
def test_the_scale_is_a_setting(serve, texts, scale, limit, answers, wanted):
    with serve(echo) as server:
        assert scores(endpoint(server.url, scale=scale, limit=limit), texts(*answers)) == wanted


def test_a_parser_of_your_own_is_a_plain_function(serve, texts):
    def last(text):
        return float(re.findall("[0-9]+", text)[-1])

    with serve(echo) as server:
        judge = endpoint(server.url, parse=last)
        assert scores(judge, texts("of 3 facts 2 are there: 7", "9")) == [2, 4]
        with pytest.warns(UserWarning, match=r"'none' \(IndexError: list index out of range\)"):
            assert np.isnan(judge(Key(0), texts("none"))).all()
        with pytest.warns(UserWarning, match="a rating off the scale, such as '85'"):
            judge(Key(0), texts("85"))
        for wrong in ("8", True, None, [8]):
            with pytest.raises(TypeError, match=r"Endpoint\.parse must return a number, or NaN"):
                endpoint(server.url, parse=lambda text, wrong=wrong: wrong)(Key(0), texts("8"))
        with pytest.raises(
            RoundError, match="one answer is '1' .ZeroDivisionError: division by zero"
        ):
            endpoint(server.url, parse=lambda text: 1 / 0)(Key(0), texts(*"1234"))


# Rows without a rating


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("8 of the 5 facts", r"1 of 2 rows has an answer without a rating, such as '8 of the 5 facts' \(it is not one number\) in row 1; ask for the rating alone in the question, or give Endpoint\.parse"),
        ("", "1 of 2 rows has an answer without a rating, such as an empty answer in row 1"),
        ("11", r"1 of 2 rows has a rating off the scale, such as '11' in row 1; ask for 0 to 10 in the question, or set Endpoint\.scale"),
        ("-3", "1 of 2 rows has a rating off the scale, such as '-3'"),
        ("word " * 100, r".* such as '(word ){20}\.\.\.' \("),
    ],
)  # fmt: skip
def test_an_answer_without_a_rating_is_quoted_and_asked_for_once(serve, texts, answer, told):
    with serve(echo) as server:
        with pytest.warns(UserWarning, match=f"^Endpoint: {told}") as caught:
            got = endpoint(server.url, retries=3)(Key(0), texts("8", answer))
        assert len(caught) == 1 and len(server.asked) == 2
    np.testing.assert_array_equal(got, [3, np.nan])


@pytest.mark.parametrize(
    ("finish", "told"),
    [
        ("length", r"'1' \(it is cut off; raise Endpoint\.max_tokens\)"),
        ("content_filter", r"'1' \(the server filtered it\)"),
        ("MAX_TOKENS", r"'1' \(it is cut off"),
        ("SAFETY", r"'1' \(the server filtered it\)"),
        ("tool_calls", r"'1' \(the model called a tool\)"),
    ],
)
def test_an_answer_that_was_not_finished_is_not_read(serve, says, texts, finish, told):
    """The 1 of a 10 that was cut off is no rating."""
    with serve(lambda asked, n: says("1", finish_reason=finish)) as server:
        with pytest.warns(UserWarning, match=told):
            assert np.isnan(endpoint(server.url)(Key(0), texts("8"))).all()


def test_a_row_without_an_answer_is_told_with_the_reason_of_the_server(serve, texts):
    refusal = 400, '{"error": {"message": "flagged"}}', {}
    with serve(lambda asked, n: refusal if "bad" in asked.text else "8") as server:
        with pytest.warns(
            UserWarning, match="1 of 3 rows has no answer, such as 400 flagged in row 1"
        ):
            got = endpoint(server.url)(Key(0), texts("a", "bad", "c"))
    np.testing.assert_array_equal(got, [3, np.nan, 3])


def test_each_kind_of_fault_is_told_by_itself(serve, texts):
    with serve(
        lambda asked, n: (500, "", {}) if "gone" in asked.text else echo(asked, n)
    ) as server:
        with pytest.warns(UserWarning) as caught:
            endpoint(server.url)(Key(0), texts("8", "85", "gone", "eight", "nine"))
    told = [str(each.message) for each in caught]
    assert [text.split(" rows ")[0] for text in told] == [
        "Endpoint: 2 of 5",
        "Endpoint: 1 of 5",
        "Endpoint: 1 of 5",
    ]


def test_if_no_answer_can_be_read_the_error_quotes_one(serve, texts):
    """Of the model that writes sentences; the loop says in which round."""
    rows = texts("I would say 8", "It is fine", "Good", "Well")
    loop = Loop(
        generate=lambda key, model, n: rows,
        refit=lambda key, model, batch: model,
        filter=Threshold(),
    )
    with serve(echo) as server:
        verify = endpoint(server.url)
        with pytest.raises(
            RoundError,
            match=r"round 1: the model 'small' at http.*: none of 4 questions got a rating; "
            r"one answer is 'I would say 8' \(it is not one number\); ask for the rating alone",
        ):
            replace(loop, verify=verify).step(Key(0), State(None), 4)
        with pytest.warns(UserWarning, match="3 of 3 rows have an answer without a rating"):
            verify(Key(0), rows[:3])  # few may all be so by chance


def test_a_scale_that_fits_no_rating_is_named_in_the_error(serve, texts):
    with serve(echo) as server:
        with pytest.raises(
            RoundError,
            match=r"one answer, off the scale, is '85'; ask for 0 to 10 in the question, or set",
        ):
            endpoint(server.url)(Key(0), texts("85", "90", "70", "66"))


def test_a_round_whose_ratings_are_mostly_off_the_scale_ends(serve, texts):
    """Of a model that rates from 0 to 100, only the worst rows are on the scale, and would be kept."""
    with serve(echo) as server:
        with pytest.raises(
            RoundError, match="89 of 100 ratings are off the scale; ask for 0 to 10"
        ):
            endpoint(server.url)(Key(0), texts(*map(str, range(100))))
        with pytest.warns(UserWarning, match="10 of 21 rows have a rating off the scale"):
            endpoint(server.url)(Key(0), texts(*map(str, range(21))))


def test_a_server_that_refuses_all_is_left_after_twenty_questions(serve, texts):
    refusal = 401, '{"error": {"message": "Incorrect API key provided"}}', {}
    with serve(lambda asked, n: refusal) as server:
        with pytest.raises(
            RoundError, match=r"20 questions in a row .* 401 Incorrect API key provided"
        ):
            endpoint(server.url, retries=3)(Key(0), texts(*map(str, range(1000))))
    assert 20 <= len(server.asked) < 200


def test_a_model_that_rates_nothing_is_paid_for_twenty_answers_and_not_for_all(serve, texts):
    with serve(lambda asked, n: "Hm.") as server:
        with pytest.raises(RoundError, match="none of 20 questions got a rating.*'Hm.'"):
            endpoint(server.url, concurrent=1)(Key(0), texts(*map(str, range(1000))))
    assert 20 <= len(server.asked) < 200


def test_a_server_that_goes_away_ends_the_round_and_its_answers_stay(serve, texts):
    rows = texts(*map(str, range(100)))
    with serve(lambda asked, n: "8" if n < 50 or up else (503, "busy", {})) as server:
        judge = endpoint(server.url, concurrent=1)
        up = False
        with pytest.raises(
            RoundError, match="20 questions in a row without an answer.*503 busy; run"
        ):
            judge(Key(0), rows)
        failed = len(server.asked) - 50
        up = True
        assert scores(judge, rows) == [3] * 100
    assert 20 <= failed < 50 and len(server.asked) == 100 + failed


def test_a_model_that_has_rated_rows_may_fail_on_a_whole_small_block(serve, texts):
    """As the last block of a quota is: the round goes on."""
    with serve(echo) as server:
        judge = endpoint(server.url)
        judge(Key(0), texts("8"))
        with pytest.warns(UserWarning, match="5 of 5 rows"):
            assert np.isnan(judge(Key(0), texts(*"abcde"))).all()


def test_a_round_goes_on_without_the_rows_that_have_no_verdict(serve, texts):
    rows = texts("8", "gone", "no idea", "6")
    loop = Loop(
        generate=lambda key, model, n: rows,
        refit=lambda key, model, batch: list(batch.prompts),
        filter=Threshold(),
    )
    with serve(
        lambda asked, n: (500, "", {}) if "gone" in asked.text else echo(asked, n)
    ) as server:
        with pytest.warns(UserWarning, match="Endpoint"):
            state, record = replace(loop, verify=endpoint(server.url)).step(Key(0), State(None), 4)
    assert record.metrics["no_verdict"] == 2 and record.kept == 2
    assert state.model == list(rows.prompts[[0, 3]])


# Many at once


def test_requests_run_side_by_side_and_answers_keep_their_rows(serve, texts):
    """All four wait for one another, and the first is answered last."""
    meeting = threading.Barrier(4, timeout=10)
    order = [threading.Event() for _ in range(5)]
    order[4].set()

    def answer(asked, n):
        row = int(echo(asked, n))
        meeting.wait()
        order[row + 1].wait(10)
        order[row].set()
        return str(row)

    with serve(answer) as server:
        assert scores(endpoint(server.url, concurrent=4), texts(*"0123")) == [-5, -4, -3, -2]


def test_no_more_than_so_many_requests_run_at_once(serve, texts):
    running, most = [0], [0]
    lock = threading.Lock()

    def answer(asked, n):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        threading.Event().wait(0.005)
        with lock:
            running[0] -= 1
        return "8"

    with serve(answer) as server:
        endpoint(server.url, concurrent=3)(Key(0), texts(*map(str, range(20))))
    assert most[0] <= 3


def test_equal_questions_are_asked_once(serve, texts):
    with serve(echo) as server:
        assert scores(endpoint(server.url), texts("8", "2", "8", "8")) == [3, -3, 3, 3]
    assert questions(server) == ["Rate 2.", "Rate 8."]


# Answers on disk


def test_no_question_is_paid_for_twice(serve, texts, answers):
    with serve(echo) as server:
        judge = endpoint(server.url)
        first = scores(judge, texts("8", "2"))
        again = scores(replace(judge), texts("2", "3", "8"))
    assert (first, again) == ([3, -3], [-3, -2, 3])
    assert questions(server) == ["Rate 2.", "Rate 3.", "Rate 8."]
    assert len(list(answers.rglob("*.json"))) == 3


KILLED = """
import os
import sys

import numpy as np

from veriloop import Endpoint, Key
from veriloop.verifiers.endpoint.answers import KeptAnswers

put = KeptAnswers.put
done = []

def last(*arguments):
    put(*arguments)
    done.append(1)
    if len(done) == 7:
        os._exit(9)

KeptAnswers.put = last
Endpoint(sys.argv[1], "small", lambda rows: [f"Rate {row}." for row in rows], concurrent=1)(
    Key(0), np.arange(10)
)
"""


def test_a_run_that_was_killed_asks_only_what_is_not_answered_yet(serve):
    with serve(echo) as server:
        killed = subprocess.run([sys.executable, "-c", KILLED, server.url], check=False)
        assert killed.returncode == 9 and len(server.asked) == 7
        judge = endpoint(server.url, question=lambda rows: [f"Rate {row}." for row in rows])
        assert scores(judge, np.arange(10)) == list(range(-5, 5))
    assert max(Counter(questions(server)).values()) == 1 and len(server.asked) == 10


def test_those_who_ask_at_once_pay_once_and_get_the_same_answer(serve, texts):
    """Arms of a study share their first candidates, and run in processes side by side."""
    rows = texts(*"abcdef")
    found = []

    def judged():
        judge = endpoint(server.url, scale="0 to 100")  # of its own, as a process has
        found.append(scores(judge, rows))

    def slow(asked, n):
        time.sleep(0.02)
        return str(n)

    with serve(slow) as server:
        threads = [threading.Thread(target=judged) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.asked) == 6 and found[0] == found[1] == found[2]


def test_a_folder_without_locks_is_used_all_the_same(serve, texts, monkeypatch):
    def refuse(self, **_):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with serve(echo) as server:
        assert scores(endpoint(server.url), texts("8")) == [3]


def test_a_damaged_answer_is_asked_for_again(serve, texts, answers):
    with serve(echo) as server:
        judge = endpoint(server.url)
        judge(Key(0), texts("8"))
        (file,) = answers.rglob("*.json")
        file.write_text(file.read_text().replace("8", "9"))
        assert scores(judge, texts("8")) == [3] and len(server.asked) == 2


def test_what_is_no_answer_is_not_kept_and_what_is_paid_for_is(serve, texts, answers):
    replies = [(400, "no", {}), (500, "no", {}), (200, "no", {}), "no number", "85"]
    with serve(lambda asked, n: replies[int(echo(asked, n))]) as server:
        with pytest.warns(UserWarning, match="Endpoint"):
            endpoint(server.url)(Key(0), texts("0", "1", "2"))
        assert list(answers.rglob("*.json")) == []
        judge = endpoint(server.url)
        for _ in range(2):
            with pytest.warns(UserWarning, match="Endpoint"):
                judge(Key(0), texts("3", "4"))
    assert len(server.asked) == 5 and len(list(answers.rglob("*.json"))) == 2


def test_another_parser_or_limit_reads_the_same_answers(serve, texts):
    with serve(echo) as server:
        with pytest.warns(UserWarning, match="without a rating"):
            endpoint(server.url)(Key(0), texts("eight"))
        spelled = endpoint(server.url, parse=lambda text: {"eight": 8}[text], limit=8)
        assert scores(spelled, texts("eight")) == [0] and len(server.asked) == 1


@pytest.mark.parametrize(
    "changed", [{"temperature": 1.0}, {"max_tokens": 9}, {"system": "Hm."}, {"fields": {"seed": 1}}]
)
def test_another_setting_is_another_question(serve, texts, changed):
    with serve(echo) as server:
        judge = endpoint(server.url)
        judge(Key(0), texts("8"))
        replace(judge, **changed)(Key(0), texts("8"))
    assert len(server.asked) == 2


def test_what_is_on_disk_needs_neither_server_nor_key_nor_a_folder_to_write(
    serve, texts, monkeypatch
):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    with serve(echo) as server:
        judge = endpoint(server.url, api_key_env="JUDGE_KEY")
        judge(Key(0), texts("8", "2"))
    monkeypatch.delenv("JUDGE_KEY")
    monkeypatch.setattr(KeptAnswers, "check", lambda self: pytest.fail("it would be written"))
    assert scores(judge, texts("2", "8")) == [-3, 3]


def test_a_folder_that_cannot_be_written_is_refused_before_an_answer_is_paid_for(
    serve, texts, tmp_path
):
    (tmp_path / "file").write_text("")
    with serve(echo) as server, pytest.raises(ValueError, match="answers cannot be kept in"):
        endpoint(server.url, folder=tmp_path / "file")(Key(0), texts("8"))
    assert server.asked == []


def test_answers_are_kept_where_one_says_or_nowhere(serve, texts, answers, tmp_path):
    with serve(echo) as server:
        endpoint(server.url, folder=tmp_path / "here")(Key(0), texts("8"))
        assert len(list((tmp_path / "here").rglob("*.json"))) == 1
        nowhere = endpoint(server.url, folder=None)
        nowhere(Key(0), texts("8"))
        nowhere(Key(0), texts("8"))
    assert len(server.asked) == 3 and not answers.exists()


# The record, and what is in no record


@pytest.fixture
def loop(texts):
    rows = texts("8", "2", "8", "85", "eight", "gone", "9", "7")
    return Loop(
        generate=lambda key, model, n: rows[np.arange(n) % len(rows)],
        refit=lambda key, model, batch: model,
        filter=Threshold(),
    )


def gone(asked, n):
    return (500, "", {}) if "gone" in asked.text else echo(asked, n)


def judged_loop(loop, url, **changed):
    judge = endpoint(url, **changed)
    return replace(loop, verify=judge, observe=judge.observe)


def test_the_record_says_what_the_questions_of_a_round_cost(loop, serve):
    with serve(gone) as server, pytest.warns(UserWarning, match="Endpoint"):
        _, record = judged_loop(loop, server.url).step(Key(0), State(None), 16)
    names = ("no_verdict", "unreadable", "off_scale", "unanswered", "questions")
    assert [record.metrics[name] for name in names] == [6, 2, 2, 2, 7]
    assert record.metrics["prompt_tokens"] == 6 * 7 and record.metrics["answer_tokens"] == 6 * 2


def test_records_depend_on_no_timing_no_kill_and_no_chunk(loop, serve, tmp_path):
    """One run alone, one whose answers are on disk already, and one that holds few rows."""
    texts = []
    with serve(gone) as server, pytest.warns(UserWarning, match="Endpoint"):
        for name, changed in (("a", {}), ("b", {"concurrent": 1}), ("c", {"retries": 1})):
            folder = tmp_path / name
            chunk = 3 if name == "c" else None
            judging = replace(judged_loop(loop, server.url, **changed), chunk=chunk)
            for _ in RunDir(folder).run(judging, Key(0), State(np.zeros(1)), [8, 8], records=True):
                pass
            texts.append((folder / "records.jsonl").read_bytes())
    assert texts[0] == texts[1] == texts[2] and b'"unreadable": 1' in texts[0]


def test_counting_needs_answers_on_disk(texts):
    judge = endpoint("http://localhost/v1", folder=None)
    with pytest.raises(ValueError, match=r"Endpoint\.observe reads answers on disk; give"):
        judge.observe(Key(0), texts("8"), np.zeros(1), np.ones(1, bool))


def test_the_log_says_what_was_asked_when_and_how_long_it_took(serve, texts, tmp_path):
    log = tmp_path / "logs" / "judge.jsonl"
    with serve(echo) as server:
        judge = endpoint(server.url, log=log)
        judge(Key(3).fold(1, "verify", 0), texts("8", "2", "8"))
        judge(Key(3).fold(2, "verify", 0), texts("8", "5"))
    first, second = map(json.loads, log.read_text().splitlines())
    assert first["key"] == [3, 1, "verify", 0] and second["key"] == [3, 2, "verify", 0]
    names = (
        "rows",
        "questions",
        "on_disk",
        "requests",
        "answers",
        "prompt_tokens",
        "answer_tokens",
    )
    assert [first[name] for name in names] == [3, 2, 0, 2, 2, 14, 4]
    assert [second[name] for name in names] == [2, 2, 1, 1, 2, 14, 4]
    assert 0 < first["median_latency"] <= first["longest_latency"] <= first["seconds"]


def test_the_log_counts_what_a_round_that_failed_has_cost(serve, texts, tmp_path):
    with serve(lambda asked, n: "Hm.") as server, pytest.raises(RoundError):
        endpoint(server.url, log=tmp_path / "log")(Key(0), texts(*"abcd"))
    assert json.loads((tmp_path / "log").read_text())["answer_tokens"] == 8


def test_a_temperature_is_one_number_however_it_is_written(serve, texts):
    with serve(echo) as server:
        for temperature in (0, 0.0, np.float32(0)):
            endpoint(server.url, temperature=temperature)(Key(0), texts("8"))
    assert len(server.asked) == 1


def test_the_key_is_in_no_file_of_a_run_and_in_no_message(
    loop, serve, tmp_path, monkeypatch, answers, caplog
):
    """The server, which echoes it, cannot make it show either."""
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    caplog.set_level("DEBUG")

    def leaks(asked, n):
        said = asked.headers["Authorization"]
        assert said == f"Bearer {SECRET}"
        if "gone" in asked.text:
            return 403, json.dumps({"error": {"message": f"no: {said}"}}), {}
        if "eight" in asked.text:
            return f"You sent {said}"
        return echo(asked, n)

    folder = tmp_path / "run"
    with serve(leaks) as server, pytest.warns(UserWarning, match="Endpoint") as caught:
        judging = judged_loop(loop, server.url, api_key_env="JUDGE_KEY", log=folder / "log.jsonl")
        states = RunDir(folder).run(
            judging, Key(0), State(np.zeros(1)), [8, 8], candidates=True, records=True
        )
        assert len(list(states)) == 3
    judge = judging.verify
    shown = [
        repr(judge),
        str(judge),
        json.dumps(describe(judge)),
        repr(judging),
        fingerprint(judge),
    ]
    shown += [str(each.message) for each in caught] + [caplog.text]
    assert any("[key]" in text for text in shown) and "JUDGE_KEY" in repr(judge)
    assert not any(SECRET in text for text in shown) and SECRET.encode() not in pickle.dumps(judge)
    files = [file for place in (folder, answers) for file in place.rglob("*") if file.is_file()]
    assert {"candidates.parquet", "records.jsonl", "log.jsonl"} <= {file.name for file in files}
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", [SECRET, "", "A KEY", "1KEY", 3, "a=b"])
def test_a_key_in_place_of_its_variable_is_refused_and_not_shown(name):
    with pytest.raises(ValueError, match="must be the name of an environment variable") as caught:
        endpoint("https://host/v1", api_key_env=name)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("key", ["gsk_abcDEF1234567890", "hf_AbCdEf123456"])
def test_a_key_that_looks_like_a_name_is_not_shown(key):
    with pytest.raises(ValueError, match="variable that is set") as caught:
        endpoint("https://host/v1", api_key_env=key)
    assert key not in str(caught.value)


def test_no_key_hides_in_the_fields_which_a_run_writes_down():
    with pytest.raises(ValueError, match="fields must leave out api_key") as caught:
        endpoint("https://host/v1", fields={"api_key": SECRET})
    assert SECRET not in str(caught.value)


def test_a_log_that_cannot_be_written_is_refused_before_an_answer_is_paid_for(
    serve, texts, tmp_path
):
    with serve(echo) as server:
        with pytest.raises(ValueError, match=r"Endpoint\.log cannot be written to .*directory"):
            scores(endpoint(server.url, log=tmp_path), texts("8"))
    assert server.asked == []


def test_a_variable_without_a_key_is_refused_at_once(monkeypatch):
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(
        ValueError, match="names JUDGE_KEY, which is not set; set it to the API key"
    ):
        endpoint("https://host/v1", api_key_env="JUDGE_KEY")
    for broken in (f"{SECRET} two", f"{SECRET}\nX: y", f"{SECRET}\u00e9", "   "):
        monkeypatch.setenv("JUDGE_KEY", broken)
        with pytest.raises(ValueError, match="JUDGE_KEY") as caught:
            endpoint("https://host/v1", api_key_env="JUDGE_KEY")
        assert SECRET not in str(caught.value)
    monkeypatch.setenv("JUDGE_KEY", f" {SECRET}\n")
    assert endpoint("https://host/v1", api_key_env="JUDGE_KEY")._secret() == SECRET


def test_a_key_goes_to_another_machine_encrypted_or_not_at_all(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    with pytest.raises(ValueError, match="would send the API key unencrypted to another machine"):
        endpoint("http://host:8000/v1", api_key_env="JUDGE_KEY")
    endpoint("http://host:8000/v1")
    for url in ("https://host/v1", "http://localhost:1/v1", "http://[::1]/v1"):
        endpoint(url, api_key_env="JUDGE_KEY")
    endpoint("http://host:8000/v1", api_key_env="JUDGE_KEY", allow_http=True)


# Settings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"retries": -1}, r"Endpoint\.retries must be an integer of at least 0, got -1"),
        ({"allow_http": "no"}, r"Endpoint\.allow_http must be True or False, got 'no'"),
        ({"retries": 1.5}, r"Endpoint\.retries must be an integer"),
        ({"concurrent": 0}, r"Endpoint\.concurrent must be an integer of at least 1, got 0"),
        ({"wait": -1.0}, r"Endpoint\.wait must be at least 0 and finite, got -1\.0"),
        ({"timeout": -1}, r"Endpoint\.timeout must be positive and finite, got -1"),
        ({"timeout": 0}, r"Endpoint\.timeout must be positive"),
        ({"timeout": float("inf")}, r"Endpoint\.timeout must be positive and finite, got inf"),
        ({"timeout": 1e12}, r"Endpoint\.timeout must be at most 86,400 seconds, a day, got"),
        ({"timeout": float("nan")}, r"Endpoint\.timeout must be positive"),
        ({"timeout": "30"}, r"Endpoint\.timeout must be a number, got '30'"),
        ({"temperature": -0.1}, r"Endpoint\.temperature must be at least 0"),
        ({"temperature": True}, r"Endpoint\.temperature must be a number, got True"),
        ({"max_tokens": 0}, r"Endpoint\.max_tokens must be an integer of at least 1, got 0"),
        ({"limit": 50}, r"Endpoint\.limit must be on the scale, 0 to 10, got 50"),
        ({"limit": -1}, r"Endpoint\.limit must be on the scale"),
        ({"limit": float("nan")}, r"Endpoint\.limit must be on the scale"),
        ({"limit": "5"}, r"Endpoint\.limit must be a number, got '5'"),
        ({"scale": "yes/no", "limit": 5}, r"Endpoint\.limit must be on the scale, yes/no, got 5"),
        ({"scale": (0, 10)}, r"Endpoint\.scale must be two numbers in order, as '0 to 10'"),
        ({"parse": "float"}, r"Endpoint\.parse must be a function of the answer, got 'float'"),
        ({"system": ""}, r"Endpoint\.system must be a text that is not empty"),
        ({"question": "Rate it."}, r"Endpoint\.question must name a column"),
        ({"fields": {"model": "x", "stream": True}}, r"Endpoint\.fields must leave out model, stream"),
        ({"fields": {"x": float("nan")}}, r"Endpoint\.fields must be JSON"),
        ({"folder": ""}, r"Endpoint\.folder must be a path or None, got ''"),
        ({"log": True}, r"Endpoint\.log must be a path or None, got True"),
        ({"fields": ["x"]}, r"Endpoint\.fields must be a mapping"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused_at_once(changed, message):
    with pytest.raises(ValueError, match=message):
        endpoint("http://localhost/v1", **changed)


@pytest.mark.parametrize("model", ["", " ", None, 3])
def test_a_model_has_a_name(model):
    with pytest.raises(ValueError, match=r"Endpoint\.model must be a text that is not empty"):
        Endpoint("http://localhost/v1", model, QUESTION)


def test_it_is_written_in_a_configuration_file_and_built_from_it():
    judge = endpoint("http://localhost/v1", scale="1 to 5", limit=2)
    assert build(describe(judge)) == judge
    build({"call": "veriloop:Endpoint", "url": judge.url, "model": "m", "question": QUESTION})


def test_a_run_may_go_on_with_more_patience_and_not_with_another_model(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    judge = endpoint("http://localhost/v1")
    patient = replace(
        judge,
        timeout=99,
        concurrent=1,
        retries=9,
        wait=9,
        folder=tmp_path,
        log=tmp_path / "log",
        api_key_env="JUDGE_KEY",
        allow_http=True,
    )
    assert fingerprint(judge) == fingerprint(patient)
    others = ({"model": "large"}, {"scale": "0 to 20"}, {"limit": 6}, {"max_tokens": 5})
    assert (
        len({fingerprint(replace(judge, **other)) for other in others} - {fingerprint(judge)}) == 4
    )


def test_it_works_inside_other_verifiers(serve, texts):
    with serve(echo) as server:
        judge = endpoint(server.url)
        check_verifier(Batched(judge, rows=2), texts("8", "2", "3"))
        cached = Cached(judge, content=lambda rows: list(rows.answers))
        assert cached(Key(0), texts("8", "2", "8")).scores.tolist() == [3, -3, 3]


def test_no_rows_are_no_questions(serve, texts):
    with serve(echo) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scores(endpoint(server.url), texts()) == []
    assert server.asked == []


def test_the_client_is_loaded_when_a_judge_is_made_and_named_when_it_is_missing():
    code = (
        "import json, sys, veriloop; loaded = 'httpx2' in sys.modules\n"
        "sys.modules['httpx2'] = None\n"
        "try: veriloop.Endpoint('http://localhost', 'm', '{x}')\n"
        "except ImportError as error: print(json.dumps([loaded, str(error)]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = "Endpoint needs 'httpx2'; install it with: pip install 'veriloop[judge]'"
    assert json.loads(ran.stdout) == [False, wanted]


def test_a_whole_run_keeps_good_rows_and_counts_the_others(serve):
    """An honest judge of 0 to 100: the kept are better than the candidates."""
    loop = Loop(
        generate=lambda key, model, n: key.numpy().integers(0, 101, n),
        refit=lambda key, model, batch: float(batch.mean()),
        filter=Threshold(),
        measure=lambda key, model: {"quality": model},
    )
    with serve(echo) as server:
        judge = endpoint(
            server.url, scale="0 to 100", question=lambda rows: [f"Rate {row}." for row in rows]
        )
        *_, (_, record) = run(replace(loop, verify=judge), Key(0), State(0.0), [400])
    assert record.metrics["no_verdict"] == 0 and record.metrics["quality"] > 70


CHAT = (
    "{% for message in messages %}{{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}Rating: {% endif %}"
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address of `transformers serve`, with a small random Llama that goes on without an end."""
    for needed in ("transformers", "fastapi", "uvicorn"):
        pytest.importorskip(needed, reason="the extra [dev] is not installed")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from veriloop.xsum import documents, train_tokenizer

    tokenizer = train_tokenizer(documents(Key(0), 100), 400)
    tokenizer.chat_template = CHAT
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=32,
        initializer_range=0.5,
        eos_token_id=None,
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    folder = tmp_path_factory.mktemp("served") / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", start, "serve", str(folder), "--device", "cpu"]
    log = (folder.parent / "log").open("wb")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=log, stderr=log, env=environment
    )
    try:
        _wait_for(port, process, folder.parent / "log")
        yield f"http://127.0.0.1:{port}/v1", str(folder)
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait_for(port, process, log):
    """Wait until the server answers; show its words if it ends."""
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            return
        time.sleep(0.2)
    raise AssertionError(log.read_text())


@pytest.mark.slow
def test_a_served_model_that_writes_on_and_on_is_quoted(served):
    """`transformers serve` cuts each answer at `max_tokens`: no rating, and the error says what to do."""
    url, name = served
    rows = np.array([f"A fire in {place}." for place in ("Leeds", "Derby", "Bath", "York")])
    asked = endpoint(url, question=lambda rows: list(rows), max_tokens=9, timeout=60.0)
    judge = replace(asked, model=name, parse=lambda text: 1.0)
    with pytest.raises(RoundError, match="none of 4 questions got a rating") as caught:
        judge(Key(0), rows)
    assert "it is cut off; raise Endpoint.max_tokens" in str(caught.value)
    quoted = re.search(r"one answer is '(.+)' \(", str(caught.value))
    assert quoted and len(quoted[1]) > 5
