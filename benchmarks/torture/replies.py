"""What misbehaving judges send over HTTP, and a server on this machine that sends it."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Sent = bytes | Callable[[], Iterator[bytes]]


def says(content: object, finish: str = "stop") -> bytes:
    """Return the body of an answer of which a model wrote `content`."""
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


def reply(status: int, body: bytes, **headers: str) -> bytes:
    """Return a whole reply; the body's true length is stated, unless a header says otherwise.

    It says that the connection ends with it. Else the next request may be sent on a connection
    that is just being closed.
    """
    stated = {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    stated |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in stated.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def drips() -> Iterator[bytes]:
    """Send a byte now and then, for a minute."""
    yield reply(200, b"", Content_Length="1000")
    for _ in range(600):
        time.sleep(0.1)
        yield b" "


def never() -> Iterator[bytes]:
    """Send nothing for a minute."""
    time.sleep(60)
    yield b""


def headers() -> Iterator[bytes]:
    """Send headers, for a minute."""
    yield b"HTTP/1.1 200 x\r\n"
    for i in range(600):
        time.sleep(0.1)
        yield f"X-{i}: x\r\n".encode()


def huge() -> Iterator[bytes]:
    """Send a gigabyte."""
    yield reply(200, b"", Content_Length=str(2**30))
    for _ in range(1024):
        yield b" " * 2**20


BOMB = gzip.compress(b" " * 2**26)
GOOD = reply(200, says("7"))

# What each sends, and whether its rows have a verdict all the same.
JUDGES: dict[str, tuple[Sent, bool]] = {
    "good": (GOOD, True),
    "wrong content type": (reply(200, says("7"), Content_Type="image/png"), True),
    "drips": (drips, False),
    "never answers": (never, False),
    "endless headers": (headers, False),
    "huge answer": (huge, False),
    "deep JSON": (reply(200, b'{"a":' * 100_000), False),
    "deep list": (reply(200, b"[" * 100_000), False),
    "500": (reply(500, b"no"), False),
    "401": (reply(401, b"no"), False),
    "404, a page": (reply(404, b"<html>no</html>", Content_Type="text/html"), False),
    "Retry-After of an hour": (reply(429, b"", Retry_After="3600"), False),
    "Retry-After of nonsense": (reply(503, b"", Retry_After="soon"), False),
    "redirect to another host": (reply(307, b"", Location="{other}"), False),
    "redirect to a file": (reply(302, b"", Location="file:///etc/hostname"), False),
    "closes the connection": (b"", False),
    "half an answer": (reply(200, says("7")[:40], Content_Length="400"), False),
    "a page": (reply(200, b"<html>7</html>", Content_Type="text/html"), False),
    "empty": (reply(200, b""), False),
    "not UTF-8": (reply(200, b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'), False),
    "not HTTP": (b"\x00\x01\x02" * 100, False),
    "compressed bomb": (reply(200, BOMB, Content_Encoding="gzip"), False),
    "an error under 200": (reply(200, b'{"error": {"message": "busy"}}'), False),
    "off the scale": (reply(200, says("85")), False),
    "NaN": (reply(200, says("NaN")), False),
    "infinite": (reply(200, says("1e999")), False),
    "two numbers": (reply(200, says("7 or 8")), False),
    "null": (reply(200, says(None)), False),
    "a number": (reply(200, says(7)), False),
    "cut off": (reply(200, says("7", finish="length")), False),
}


@contextmanager
def serving(sent: Sent, every: bool) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server that sends that, to every row or to odd ones, and who asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(self.headers.get("Authorization", ""))
            row = int(body["messages"][-1]["content"])
            given = sent if every or row % 2 else GOOD
            for part in [given] if isinstance(given, bytes) else given():
                self.wfile.write(part)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64  # all rows ask at once
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that has gone

    server = Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
