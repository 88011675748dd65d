"""A made-up model server on this machine, and a folder of its own for the answers of each test."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from veriloop import Columns


@dataclass(frozen=True)
class Pairs(Columns):
    prompts: np.ndarray
    answers: np.ndarray


@dataclass
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def text(self) -> str:
        return self.body["messages"][-1]["content"]


@dataclass
class Server:
    url: str
    asked: list[Asked] = field(default_factory=list)


def says(text: object, **more: object) -> tuple[int, str, dict[str, str]]:
    """The reply of a model that writes `text`; `more` stands beside it in the message."""
    finish = more.pop("finish_reason", "stop")
    choice = {"message": {"role": "assistant", "content": text, **more}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    return 200, json.dumps({"choices": [choice], "usage": usage}), {}


@contextmanager
def serving(answer: Callable[[Asked, int], Any]) -> Iterator[Server]:
    """A server whose replies are `answer(request, how many there were before)`.

    A reply is a text of the model, a status with a body and headers, or bytes that are sent as
    they are, after which the connection is closed.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one packet a reply: the second would wait 40 ms for the first

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked = Asked(self.path, dict(self.headers), body)
            with lock:
                count = len(server.asked)
                server.asked.append(asked)
            reply = answer(asked, count)
            if isinstance(reply, bytes):
                self.wfile.write(reply)
                self.close_connection = True
                return
            if not isinstance(reply, tuple):
                reply = says(reply)
            status, text, headers = reply
            content = text.encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a client that has gone
            pass

    lock = threading.Lock()
    http = Quiet(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{http.server_port}/v1")
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def serve():
    return serving


@pytest.fixture(name="says")
def says_fixture():
    return says


@pytest.fixture(autouse=True)
def answers(tmp_path, monkeypatch):
    """The folder of kept answers, new for each test."""
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "answers"


@pytest.fixture
def texts():
    """(texts) -> rows with these answers."""

    def rows(*texts: object) -> Pairs:
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        prompts = np.array([f"prompt {i}" for i in range(len(texts))], dtype=object)
        return Pairs(prompts, column)

    return rows
