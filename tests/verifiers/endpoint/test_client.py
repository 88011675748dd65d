"""A request is made again where that can help, and only there; the key stays with its server."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from veriloop.verifiers.endpoint import client as module
from veriloop.verifiers.endpoint.client import Client, check_address
from veriloop.verifiers.endpoint.urls import check_url

BODY = {"messages": [{"role": "user", "content": "Is 2 even?"}]}
SECRET = "sk-very-secret-123"


def client(url, secret=None, **changed):
    settings = {"timeout": 5.0, "retries": 2, "wait": 0.0, "concurrent": 2} | changed
    return Client(check_url(url), secret, **settings)


def ask(url, secret=None, **changed):
    with client(url, secret, **changed) as judge:
        return judge.ask(BODY)


@pytest.fixture
def slept(monkeypatch):
    """The waits, which are noted and take no time."""
    waits: list[float] = []
    now = [0.0]

    def sleep(seconds):
        waits.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(module.time, "sleep", sleep)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return waits


def error(text, **more):
    return json.dumps({"error": {"message": text, **more}})


def test_an_answer_comes_with_its_tokens_and_why_it_ended(serve, says):
    with serve(lambda asked, n: says("8", finish_reason="length")) as server:
        reply = ask(server.url)
    answer = reply.answer
    assert (answer.text, answer.finish) == ("8", "length") and reply.requests == 1
    assert (answer.prompt_tokens, answer.answer_tokens) == (7, 2) and reply.seconds >= 0
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions" and asked.body == BODY
    assert "Authorization" not in asked.headers


@pytest.mark.parametrize(
    ("message", "text", "finish"),
    [
        ({"content": None}, "", "stop"),
        ({"content": ""}, "", "stop"),
        ({"content": None, "refusal": "I cannot."}, "I cannot.", "refusal"),
        ({"content": "8", "refusal": None, "tool_calls": []}, "8", "stop"),
        ({"content": "8", "tool_calls": [{"id": "1"}]}, "8", "tool_calls"),
        ({"content": [{"type": "text", "text": "8"}, {"type": "x"}]}, "8", "stop"),
        ({"content": "8", "reasoning_content": "3 facts"}, "8", "stop"),
        ({}, "", "stop"),
    ],
)
def test_what_a_message_says_is_its_content_or_its_refusal(serve, message, text, finish):
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}], "usage": None})
    with serve(lambda asked, n: (200, body, {})) as server:
        answer = ask(server.url).answer
    assert (answer.text, answer.finish, answer.answer_tokens) == (text, finish, 0)


says_failed = '{"choices": [{"message": {"content": "8"}, "finish_reason": "error"}]}'

PASSING = {
    "busy": ((500, "busy", {}), "500 busy"),
    "limit": ((429, error("slow down"), {}), "429 slow down"),
    "timeout": ((408, "", {}), "408"),
    "gateway": ((502, "<html>Bad gateway</html>", {}), "502 <html>Bad gateway</html>"),
    "no json": ((200, "not json", {}), "an answer of another form: 'not json'"),
    "html": ((200, "<html>\nlogin</html>", {}), "of another form: '<html> login</html>'"),
    "streamed": ((200, 'data: {"choices": []}\n', {}), "of another form: 'data:"),
    "no choice": ((200, '{"choices": []}', {}), "of another form"),
    "a list": ((200, "[]", {}), "of another form"),
    "other content": ((200, '{"choices": [{"message": {"content": 8}}]}', {}), "of another form"),
    "no message": ((200, '{"choices": [{"message": null}]}', {}), "of another form"),
    "other parts": ((200, '{"choices": [{"message": {"content": ["8"]}}]}', {}), "another form"),
    "failed": ((200, says_failed, {}), "of another form"),
    "deep": ((200, "[" * 100_000, {}), "of another form"),
    "no text": ((200, "\ud800".encode("utf-8", "surrogatepass").decode("latin1"), {}), "form"),
    "error in 200": ((200, error("overloaded"), {}), "500 overloaded"),
    "status in 200": ((200, error("slow down", code=429), {}), "429 slow down"),
    "no http": (b"nonsense\r\n", "RemoteProtocolError"),
    "cut short": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "RemoteProtocolError"),
    "closed": (b"", "RemoteProtocolError"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_may_pass_is_asked_again_a_bounded_number_of_times(serve, fault):
    reply, reason = PASSING[fault]
    with serve(lambda asked, n: reply if n < 2 else "8") as server:
        answered = ask(server.url)
    assert answered.answer.text == "8" and answered.requests == len(server.asked) == 3
    with serve(lambda asked, n: reply) as server:
        failed = ask(server.url, retries=1)
    assert failed.answer is None and failed.requests == len(server.asked) == 2
    assert reason in failed.reason


LASTING = {
    "wrong": ((400, error("temperature does not support 0"), {}), "400 temperature does not"),
    "key": ((401, error("Incorrect API key provided"), {}), "401 Incorrect API key provided"),
    "model": ((404, error("The model `x` does not exist"), {}), "404 The model `x` does not"),
    "fastapi": ((422, '{"detail": [{"msg": "bad"}]}', {}), "422 [{'msg': 'bad'}]"),
    "text": ((403, "no\n entry", {}), "403 no entry"),
    "plain error": ((400, '{"error": "too long"}', {}), "400 too long"),
    "message": ((400, '{"message": "too long"}', {}), "400 too long"),
    "later": ((400, error("too long"), {"Retry-After": "9"}), "400 too long"),
    "spent": ((429, error("You exceeded your quota", code="insufficient_quota"), {}), "429 You"),
    "in 200": ((200, error("no such model", code=404), {}), "404 no such model"),
}


@pytest.mark.parametrize("refusal", LASTING)
def test_a_refusal_is_not_repeated_and_its_reason_is_shown(serve, slept, refusal):
    reply, reason = LASTING[refusal]
    with serve(lambda asked, n: reply) as server:
        refused = ask(server.url)
    assert refused.answer is None and len(server.asked) == 1 and slept == []
    assert refused.reason.startswith(reason)


def test_a_long_reason_is_cut(serve):
    with serve(lambda asked, n: (400, "x" * 5000, {})) as server:
        assert ask(server.url).reason == f"400 {'x' * 200}..."


def test_waits_double(serve, slept):
    with serve(lambda asked, n: (500, "busy", {})) as server:
        ask(server.url, retries=3, wait=0.1)
    assert slept == [0.1, 0.2, 0.4]


def test_no_wait_is_longer_than_ten_minutes(serve, slept):
    with serve(lambda asked, n: (500, "busy", {})) as server:
        ask(server.url, retries=12, wait=1.0)
    assert sum(slept) == 1023 + 2 * 600


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_to_come_back_is_obeyed_and_loses_no_try(serve, slept, status):
    busy = (status, error("slow down"), {"Retry-After": "10"})
    with serve(lambda asked, n: busy if n < 5 else "8") as server:
        reply = ask(server.url, retries=0)
    assert reply.answer.text == "8" and sum(slept) == 50


def test_a_date_to_come_back_is_obeyed(serve, slept):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    busy = (429, "", {"Retry-After": later})
    with serve(lambda asked, n: busy if n < 1 else "8") as server:
        assert ask(server.url, retries=0).answer.text == "8"
    assert 50 < sum(slept) <= 60


@pytest.mark.parametrize(
    "header", ["nan", "inf", "-5", "soon", "1e9", "0", "", "Thu, 01 Jan 1970 00:00:00 GMT", "Foo, 99",
               "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"]
)  # fmt: skip
def test_a_time_to_come_back_that_makes_no_sense_is_an_ordinary_failure(serve, slept, header):
    with serve(lambda asked, n: (429, "", {"Retry-After": header})) as server:
        assert ask(server.url, retries=2, wait=0.1).answer is None
    assert len(server.asked) == 3 and slept == [0.1, 0.2]


def test_a_server_that_always_asks_to_wait_is_left_in_the_end(serve, slept):
    with serve(lambda asked, n: (429, error("full"), {"Retry-After": "86400"})) as server:
        reply = ask(server.url)
    assert reply.reason == "429 full; it asks to wait 86400 s more" and slept == []
    with serve(lambda asked, n: (429, error("full"), {"Retry-After": "100"})) as server:
        ask(server.url)
    assert len(server.asked) == 7 and sum(slept) == 600


def test_a_pause_holds_all_questions(serve, slept):
    """Others wait too: each would only be sent away, and lose a request."""
    busy = (429, "", {"Retry-After": "10"})
    with serve(lambda asked, n: busy if n < 1 else "8") as server, client(server.url) as judge:
        judge.ask(BODY)
        judge._not_before += 7
        judge.ask(BODY)
    assert sum(slept) == 17 and len(server.asked) == 3


def test_a_client_that_is_stopped_sends_nothing_more(serve, monkeypatch):
    monkeypatch.setattr(module, "_SLICE", 0.01)
    with serve(lambda asked, n: (500, "", {})) as server, client(server.url, wait=60.0) as judge:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(judge.ask, BODY)
            while not server.asked:
                time.sleep(0.001)
            judge.stop()
            assert waiting.result(timeout=5).answer is None
        assert judge.ask(BODY).requests == 0
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_the_key_stays(serve, status):
    with serve(lambda asked, n: "8") as thief:
        moved = (status, "", {"Location": f"{thief.url}/chat/completions"})
        with serve(lambda asked, n: moved) as server:
            reply = ask(server.url, SECRET)
    assert thief.asked == [] and len(server.asked) == 1
    place = f"{thief.url}/chat/completions"
    assert reply.reason == f"{status}, a redirect to {place}, which is not followed"


def test_questions_to_this_machine_go_through_no_proxy(serve, monkeypatch):
    with serve(lambda asked, n: "0") as proxy, serve(lambda asked, n: "8") as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        assert ask(server.url, SECRET).answer.text == "8"
    assert proxy.asked == []


def test_the_key_is_sent_and_taken_out_of_all_that_comes_back(serve):
    def echo(asked, n):
        said = asked.headers["Authorization"]
        return [(401, error(f"wrong: {said}"), {}), f"I saw {said}", (200, said, {})][min(n, 2)]

    with serve(echo) as server, client(server.url, SECRET, retries=0) as judge:
        replies = [judge.ask(BODY) for _ in range(3)]
        shown = repr(replies) + repr(judge) + repr(vars(replies[1].answer))
    assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert SECRET not in shown and "wrong: Bearer [key]" in replies[0].reason
    assert replies[1].answer.text == "I saw Bearer [key]"


def test_a_name_without_an_address_is_not_asked_again(slept, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    reply = ask("http://nowhere.invalid/v1")
    assert reply.requests == 1 and slept == [] and "Name or service not known" in reply.reason


def test_a_name_server_that_is_down_is_asked_again(slept, monkeypatch):
    def down(*_, **__):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", down)
    assert ask("http://nowhere.invalid/v1", retries=2).requests == 3


def test_a_server_that_is_not_there_is_asked_again(serve):
    with serve(lambda asked, n: "8") as server:
        pass
    reply = ask(server.url)
    assert reply.requests == 3 and "refused" in reply.reason


@contextmanager
def dripping(start, piece=b" "):
    """A server that sends the start of an answer at once, and the rest piece by piece, for ever."""
    over = threading.Event()
    server = socket.create_server(("127.0.0.1", 0))

    def drip():
        taken, _ = server.accept()
        with taken, suppress(OSError):
            taken.recv(10_000)
            taken.sendall(start)
            while not over.wait(0.01):
                taken.sendall(piece)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
    finally:
        over.set()
        thread.join()
        server.close()


def test_a_slow_server_costs_no_more_than_the_timeout(serve):
    release = threading.Event()
    with serve(lambda asked, n: release.wait(10) and "8") as server:
        assert ask(server.url, retries=0, timeout=0.05).reason == "no whole answer within 0.05 s"
        release.set()


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-More: ",
        b"HTTP/1.1 20",
        b"",
    ],
)
def test_a_server_that_drips_costs_no_more_than_the_timeout(start):
    """Its body, its headers or its first line: each piece comes in time, and the whole never does."""
    piece = b"1\r\n8\r\n" if b"chunked" in start else b"0"
    with dripping(start, piece) as url:
        reply = ask(url, retries=0, timeout=0.1)
    assert reply.reason == "no whole answer within 0.1 s" and reply.requests == 1


def test_the_time_of_one_question_is_not_that_of_the_next(serve):
    """They share a connection."""
    with serve(lambda asked, n: "8") as server, client(server.url, timeout=5) as asking:
        for _ in range(3):
            assert asking.ask(BODY).reason == ""


def test_a_server_reached_through_a_proxy_has_as_much_time(monkeypatch):
    with dripping(b"HTTP/1.1 200 OK\r\nX-More: ", b"0") as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        reply = ask("http://judge.example", retries=0, timeout=0.1)
    assert reply.reason == "no whole answer within 0.1 s"


def test_an_answer_that_is_compressed_is_refused(serve):
    """A few bytes could become gigabytes."""
    with serve(lambda asked, n: (200, "x", {"Content-Encoding": "gzip"})) as server:
        reply = ask(server.url)
        assert server.asked[0].headers["Accept-Encoding"] == "identity"
    assert reply.reason == "an answer encoded as 'gzip', which was not asked for"
    assert len(server.asked) == 1


@pytest.mark.parametrize("depth", [900, 1_000, 5_000, 100_000])
@pytest.mark.parametrize("text", ["[", '{"error":', '{"choices":', '{"error": {"a":'])
def test_an_answer_nested_deep_is_a_failure_and_no_end_of_the_run(serve, depth, text):
    closing = {"[": "]", "{": "}"}
    ends = "".join(closing[each] for each in reversed(text) if each in closing)
    for whole in (text * depth, text * depth + "1" + ends * depth):
        with serve(lambda asked, n, whole=whole: (200, whole, {})) as server:
            reply = ask(server.url, retries=0)
        assert reply.answer is None and reply.reason and len(reply.reason) < 400


def test_an_endless_answer_is_broken_off(serve, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_ANSWER", 1000)
    with serve(lambda asked, n: "8" * 2000) as server:
        reply = ask(server.url)
    assert reply.reason == "an answer of more than 1,000 bytes" and len(server.asked) == 1


def test_an_address_that_no_request_can_be_sent_to_is_refused():
    for url in ("http://host/\x00", "http://host/" + "a" * 100_000):
        with pytest.raises(ValueError, match=r"Endpoint\.url must be an address, got"):
            check_address(url)
