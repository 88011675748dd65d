"""Judges that misbehave, over HTTP on this machine: rows without verdict, or one refused sentence."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from veriloop import Key, Loop, RoundError, State, Threshold, run
from veriloop.verifiers import Endpoint

ROWS = 8  # every other row is answered well, or none is
TIMEOUT = 2.0  # seconds for a request of a judge that is slow
LATE = 60.0  # seconds for all rows, on a machine with other work; two tries are far less
SLOW = ("drips", "never answers", "endless headers")


def says(content: object, finish: str = "stop") -> bytes:
    """Return the body of an answer of which a model wrote `content`."""
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


def reply(status: int, body: bytes, **headers: str) -> bytes:
    """Return a whole reply; the body's true length is stated, unless a header says otherwise."""
    stated = {"Content-Type": "application/json", "Content-Length": str(len(body))}
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
JUDGES: dict[str, tuple[bytes | Callable[[], Iterator[bytes]], bool]] = {
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


class Judges:
    """Ask each about eight rows, in a loop of one round: half of them well answered, or none."""

    def __init__(self, folder: Path) -> None:
        self._names = list(JUDGES)
        self._folder = folder
        os.environ["TORTURE_KEY"] = "a-key-that-stays-here"

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        name = self._names[number % len(self._names)]
        sent, is_good = JUDGES[name]
        every = number // len(self._names) % 2 == 1
        with serving(GOOD, True) as (other, elsewhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(sent, bytes):
                sent = sent.replace(b"{other}", f"{other}/v1".encode())
            with serving(sent, every) as (url, _):
                judge = Endpoint(
                    f"{url}/v1",
                    "judge",
                    lambda batch: [str(int(row)) for row in batch],
                    api_key_env="TORTURE_KEY",
                    timeout=TIMEOUT if name in SLOW else LATE,
                    retries=1,
                    wait=0.01,
                    folder=None,
                )
                found = _asked(judge, key)
        wanted = 0 if is_good else ROWS // 2
        if every and not is_good:
            wanted = ROWS
        rows = "every row" if every else "every other row"
        return {"where": "judges", "judge": f"{name}, {rows}", "wanted": wanted, **found,
                "elsewhere": len(elsewhere)}  # fmt: skip


def _asked(judge: Endpoint, key: Key) -> dict[str, object]:
    loop: Loop[Any, Any] = Loop(
        generate=lambda key, model, n: np.arange(n, dtype=float),
        verify=judge,
        filter=Threshold(),
        refit=lambda key, model, batch: model,
    )
    begun = time.monotonic()
    outcome: object = "ended"
    told = ""
    try:
        rounds = list(run(loop, key, State(0.0), [ROWS]))
        outcome = rounds[-1][1].row()["no_verdict"]
    except (RoundError, ValueError) as error:
        outcome = "refused"
        told = str(error)
    except (Exception, SystemExit) as error:
        outcome = "traceback"
        told = f"{type(error).__name__}: {error}"
    took = time.monotonic() - begun
    return {"outcome": outcome, "told": told[:500], "long": len(told) > 500, "took": round(took, 1)}


@contextmanager
def serving(
    sent: bytes | Callable[[], Iterator[bytes]], every: bool
) -> Iterator[tuple[str, list[str]]]:
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


def verdict(found: dict[str, Any]) -> str:
    """Say in one word how a case ended."""
    if found["outcome"] == "traceback" or found["long"] or "\n" in found["told"]:
        return "traceback"
    if found["elsewhere"] or found["took"] > LATE:
        return "late or elsewhere"
    if found["outcome"] == "refused":
        return "refused" if found["wanted"] == ROWS else "not as wanted"
    if found["outcome"] != found["wanted"]:
        return "not as wanted"
    return "rows without verdict" if found["wanted"] else "judged"
