"""Time a judge at a URL: rows asked about a server on this machine that takes 50 ms for an answer.

python benchmarks/judge.py [--rows 10000] [--milliseconds 50]
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from _timing import processor

from veriloop import Endpoint, Key


class Server(ThreadingHTTPServer):
    """A server that thinks for `seconds` and answers 8."""

    daemon_threads = True
    request_queue_size = 128
    seconds = 0.05


class Handler(BaseHTTPRequestHandler):
    """Answer a question."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(Server.seconds)
        choice = {"message": {"content": "8"}, "finish_reason": "stop"}
        body = json.dumps({"choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def serve(milliseconds: float) -> None:
    """Serve until the process is ended; print the port first."""
    Server.seconds = milliseconds / 1000
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def question(rows: np.ndarray) -> list[str]:
    """Ask about numbers."""
    return [f"From 0 to 10, how good is {row}?" for row in rows]


def asked(url: str, rows: int, concurrent: int, folder: str) -> float:
    """Return the seconds that rows take."""
    judge = Endpoint(url, "judge", question, concurrent=concurrent, folder=folder)
    start = time.perf_counter()
    scores = judge(Key(0), np.arange(rows))
    seconds = time.perf_counter() - start
    if not (scores == 3).all():
        raise RuntimeError("the server answers 8, and some score is not 8 - 5")
    return seconds


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--milliseconds", type=float, default=50.0)
    parser.add_argument("--serve", action="store_true", help="be the server")
    given = parser.parse_args()
    if given.serve:
        serve(given.milliseconds)
        return
    command = [sys.executable, __file__, "--serve", "--milliseconds", str(given.milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
            report(url, given.rows, given.milliseconds)
        finally:
            process.terminate()


def report(url: str, rows: int, milliseconds: float) -> None:
    """Ask with 8 requests at once, then again with all answers on disk, then a tenth one by one."""
    print(f"{processor()}, Python {platform.python_version()}, {milliseconds:g} ms an answer\n")
    print("| | rows | seconds |\n|---|--:|--:|")
    tenth = max(rows // 10, 1)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        print(f"| 8 at once | {rows:,} | {asked(url, rows, 8, first):.2f} |")
        print(f"| answers on disk | {rows:,} | {asked(url, rows, 8, first):.2f} |")
        print(f"| one by one | {tenth:,} | {asked(url, tenth, 1, second):.2f} |")


if __name__ == "__main__":
    main()
