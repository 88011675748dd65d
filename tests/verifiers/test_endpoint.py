"""A judge at a URL is asked row by row; one that fails does no harm, and is counted."""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from veriloop import Columns, Endpoint, Key, Loop, State, Threshold

QUESTION = "From 0 to 10, how right is {answers} for {prompts}?"


@dataclass(frozen=True)
class Pairs(Columns):
    prompts: np.ndarray
    answers: np.ndarray


@pytest.fixture
def pairs():
    prompts = np.array([f"{i} + {i} =" for i in range(6)], dtype=object)
    answers = np.array([str(2 * i) for i in range(6)], dtype=object)
    return Pairs(prompts, answers)


@contextmanager
def judge(*answers):
    """A server that gives one answer after another, the last one for ever; yields its URL and what it was asked.

    An answer is a status and a body; without a status (None) the body is all that is sent.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(
                (self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            )
            status, body = answers[min(len(asked), len(answers)) - 1]
            if status is not None:
                self.send_response(status)
                self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def says(text):
    return 200, json.dumps({"choices": [{"message": {"content": text}}]})


def test_a_judge_is_asked_and_its_number_read(pairs):
    with judge(says("7"), says(" 9.5 of 10"), says("3.")) as (url, asked):
        scores = Endpoint(url, "small", QUESTION, limit=5.0)(Key(0), pairs[:3])
    assert scores.tolist() == [2.0, 4.5, -2.0]
    path, body = asked[0]
    assert path == "/v1/chat/completions" and body["model"] == "small"
    assert body["messages"][0]["content"] == "From 0 to 10, how right is 0 for 0 + 0 =?"


def test_a_judge_is_asked_about_any_rows_by_a_question_of_your_own():
    """One text a row, of rows that know nothing of articles and summaries."""

    def question(batch):
        return [f"Is {value:g} a good number?" for value in batch]

    with judge(says("9"), says("2")) as (url, asked):
        scores = Endpoint(url, "small", question=question)(Key(0), np.array([0.5, 3.0]))
        with pytest.raises(
            ValueError, match=r"Endpoint\.question must give one text a row, got 1 for 2 rows"
        ):
            Endpoint(url, "small", question=lambda batch: ["all?"])(Key(0), np.array([0.5, 3.0]))
        with pytest.raises(
            ValueError, match=r"Endpoint\.question must give one text a row, got \[0\.5\]"
        ):
            Endpoint(url, "small", question=lambda batch: [[0.5], [3.0]])(
                Key(0), np.array([0.5, 3.0])
            )
    assert scores.tolist() == [4.0, -3.0]
    assert [body["messages"][0]["content"] for _, body in asked] == [
        "Is 0.5 a good number?",
        "Is 3 a good number?",
    ]


@pytest.mark.parametrize("answer", ["good", "", "11", "-1", "nan"])
def test_an_answer_that_is_no_number_in_range_is_no_verdict(pairs, answer):
    """Asked once: asking again would not be the same question."""
    with judge(says(answer)) as (url, asked):
        scores = Endpoint(url, "small", QUESTION, wait=0.0)(Key(0), pairs[:1])
    assert np.isnan(scores).all() and len(asked) == 1


FAILURES = {
    "error": (500, "busy"),
    "no json": (200, "not json"),
    "no choice": (200, '{"choices": []}'),
    "a list": (200, "[]"),
    "no http": (None, "nonsense\r\n"),
    "cut short": (None, "HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{"),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_failing_judge_is_asked_again_a_bounded_number_of_times(pairs, failure):
    with judge(failure, failure, says("8")) as (url, asked):
        assert Endpoint(url, "small", QUESTION, retries=2, wait=0.0)(
            Key(0), pairs[:1]
        ).tolist() == [3.0]
        assert len(asked) == 3
    with (
        judge(failure) as (url, asked),
        pytest.warns(UserWarning, match="judge failed 2 times, no verdict for 1 row"),
    ):
        scores = Endpoint(url, "small", QUESTION, retries=1, wait=0.0)(Key(0), pairs[:2])
        assert np.isnan(scores).all() and len(asked) == 4


def test_waits_double_and_a_failure_costs_its_own_row_only(pairs, monkeypatch):
    """Retrying is `Retry`'s, a row at a time: every row has all its tries, and the others their scores."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    busy = FAILURES["error"]
    with judge(says("8"), busy, busy, busy, says("6")) as (url, asked):
        with pytest.warns(
            UserWarning,
            match="judge failed 3 times, no verdict for 1 row; HTTPError: HTTP Error 500",
        ):
            scores = Endpoint(url, "small", QUESTION, retries=2, wait=0.5)(Key(0), pairs[:3])
    np.testing.assert_array_equal(scores, [3.0, np.nan, 1.0])
    assert slept == [0.5, 1.0] and len(asked) == 5


def test_a_judge_that_fails_crashes_no_round_and_is_counted(pairs):
    """Rows without a verdict are in the record and not in what the model is fitted to."""
    loop = Loop(
        generate=lambda key, model, n: pairs[np.arange(n)],
        refit=lambda key, model, batch: list(batch.prompts),
    )
    with judge(says("8"), FAILURES["no http"], says("no idea"), says("6")) as (url, _):
        with pytest.warns(UserWarning, match="judge failed 1 time, no verdict for 1 row"):
            verify = Endpoint(url, "small", QUESTION, retries=0)
            state, record = replace(loop, verify=verify, filter=Threshold()).step(
                Key(0), State(None), 4
            )
    assert record.metrics["no_verdict"] == 2 and record.kept == 2
    assert state.model == list(pairs.prompts[[0, 3]])


def test_a_judge_that_is_down_or_too_slow_gives_no_verdict(pairs):
    with judge(says("5")) as (url, _):
        pass
    with pytest.warns(
        UserWarning, match="judge failed 2 times, no verdict for 1 row; URLError: .*refused"
    ):
        assert np.isnan(
            Endpoint(url, "small", QUESTION, retries=1, wait=0.0)(Key(0), pairs[:1])
        ).all()
    release = threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            release.wait(10)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.warns(
            UserWarning, match="judge failed 1 time, no verdict for 1 row; TimeoutError: timed out"
        ):
            assert np.isnan(
                Endpoint(url, "small", QUESTION, retries=0, timeout=0.2)(Key(0), pairs[:1])
            ).all()
    finally:
        release.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"retries": -1}, r"Endpoint\.retries must be an integer of at least 0, got -1"),
        ({"wait": -1.0}, r"Retry\.wait must be at least 0 and finite, got -1\.0"),
    ],
)
def test_tries_that_make_no_sense_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        Endpoint("http://localhost/v1", "small", QUESTION, **settings)


def test_what_is_no_url_is_refused():
    with pytest.raises(
        ValueError, match=r"Endpoint\.url must begin with http:// or https://, got 'localhost'"
    ):
        Endpoint("localhost", "small", QUESTION)
