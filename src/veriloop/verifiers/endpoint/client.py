"""Requests to a model server: sent, sent again where that can help, and read."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Self, cast

import httpx2

from veriloop.verifiers.endpoint.answers import Answer, Reply
from veriloop.verifiers.endpoint.deadline import keep_time
from veriloop.verifiers.endpoint.urls import is_loopback

LONGEST_PAUSE = 600.0  # seconds that one question waits, in all, because the server asks for it
LARGEST_ANSWER = 4 * 2**20  # bytes
_SLICE = 0.5  # seconds slept at once, so that a run that is stopped stops soon
_AGAIN = (408, 429)  # the refusals that may pass
_SPENT = ("insufficient_quota", "billing_hard_limit_reached")  # a 429 that does not pass


def check_address(url: str) -> None:
    """Refuse an address that no request can be sent to.

    url: where questions are sent, the whole address.

    >>> check_address("http://localhost:8000/v1/chat/completions")

    Raises:
        ValueError: with what is wrong.
    """
    try:
        httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"Endpoint.url must be an address, got {url!r}: {error}") from None


class _Failed(Exception):
    """A request failed. It may be made again, after `pause` seconds if the server names them."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _Refused(Exception):
    """A request failed, and would fail again."""


class Client:
    """Ask a server many questions, from several threads.

    url: where questions are sent, the whole address.
    secret: the key to send, or None.
    timeout: seconds for one request and its answer, in all.
    retries: how many more times a request is made that fails.
    wait: seconds before the second try; doubled from try to try.
    concurrent: the most requests at once.
    """

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        timeout: float,
        retries: int,
        wait: float,
        concurrent: int,
    ) -> None:
        self._url = url
        self._secret = secret
        self._timeout = timeout
        self._retries = retries
        self._wait = wait
        self._not_before = 0.0
        self.stopped = False  # whether `stop` was called
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # a small answer could become a large one
        }
        if secret is not None:
            headers["Authorization"] = f"Bearer {secret}"
        self._http = httpx2.Client(
            headers=headers,
            timeout=timeout,
            verify=_certificates(),
            limits=httpx2.Limits(max_connections=concurrent, max_keepalive_connections=concurrent),
            follow_redirects=False,  # the key stays with the host that the user named
            trust_env=not is_loopback(url),  # what goes to this machine goes through no proxy
        )
        self._clock = keep_time(self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True
        self._http.close()

    def stop(self) -> None:
        """End all waiting; what is asked from now on is not sent."""
        self.stopped = True

    def ask(self, body: Mapping[str, object]) -> Reply:
        """Send a question until it is answered, refused, or has failed too often."""
        content = json.dumps(body).encode()
        requests = 0
        tries = 0
        paused = 0.0
        while True:
            self._sleep(self._not_before - time.monotonic())
            if self.stopped:
                return Reply(None, "stopped", requests)
            requests += 1
            start = time.monotonic()
            try:
                answer = self._answer(content)
                return Reply(answer, "", requests, time.monotonic() - start)
            except _Refused as refusal:
                return Reply(None, str(refusal), requests, time.monotonic() - start)
            except _Failed as failure:
                pause, reason = failure.pause, str(failure)
            took = time.monotonic() - start
            if pause >= 1:  # the server says when to come back: that is no failed try
                paused += pause
                if paused > LONGEST_PAUSE:
                    reason = f"{reason}; it asks to wait {pause:.0f} s more"
                    return Reply(None, reason, requests, took)
                self._not_before = max(self._not_before, time.monotonic() + pause)
                continue
            if tries == self._retries:
                return Reply(None, reason, requests, took)
            self._sleep(min(self._wait * 2.0 ** min(tries, 99), LONGEST_PAUSE))
            tries += 1

    def _sleep(self, seconds: float) -> None:
        while seconds > 0 and not self.stopped:
            time.sleep(min(seconds, _SLICE))
            seconds -= _SLICE

    def _answer(self, content: bytes) -> Answer:
        """Make one request and return the answer; raise `_Failed` or `_Refused`."""
        received = bytearray()
        self._clock.start(self._timeout)
        try:
            with self._http.stream("POST", self._url, content=content) as response:
                encoding = response.headers.get("Content-Encoding", "identity")
                if encoding != "identity":
                    shown = self._shown(encoding)
                    raise _Refused(f"an answer encoded as {shown!r}, which was not asked for")
                for part in response.iter_raw():
                    received += part
                    if len(received) > LARGEST_ANSWER:
                        raise _Refused(f"an answer of more than {LARGEST_ANSWER:,} bytes")
        except httpx2.TimeoutException:
            raise _Failed(f"no whole answer within {self._timeout:g} s") from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            reason = self._shown(f"{type(error).__name__}: {error}")
            if _is_lasting(error):
                raise _Refused(reason) from None
            raise _Failed(reason) from None
        return self._read(response, bytes(received))

    def _read(self, response: httpx2.Response, received: bytes) -> Answer:
        """Return the answer in a response."""
        status = response.status_code
        try:
            found = json.loads(received)
        except (ValueError, RecursionError):
            found = None
        error, code, kind = _error(found)
        if response.is_success and error:  # some servers report a failure this way
            status = code if 400 <= code <= 599 else 500
        if 200 <= status < 300:
            try:
                return self._redacted(_answer_in(found))
            except (LookupError, TypeError, ValueError, AttributeError):
                text = received.decode(errors="replace")
                raise _Failed(f"an answer of another form: {self._shown(text)!r}") from None
        if not error:
            error = received.decode(errors="replace")
        reason = f"{status} {self._shown(error)}".rstrip()
        if 300 <= status < 400:
            place = self._shown(response.headers.get("Location", "nowhere"))
            raise _Refused(f"{status}, a redirect to {place}, which is not followed")
        if kind in _SPENT or (status < 500 and status not in _AGAIN):
            raise _Refused(reason)
        raise _Failed(reason, _pause(response.headers.get("Retry-After", "")))

    def _shown(self, text: str) -> str:
        """Return a text of the server in one short line without the key."""
        line = " ".join(self._without_secret(text).split())
        if len(line) > 200:
            return f"{line[:200]}..."
        return line

    def _redacted(self, answer: Answer) -> Answer:
        return Answer(
            self._without_secret(answer.text),
            self._without_secret(answer.finish),
            answer.prompt_tokens,
            answer.answer_tokens,
        )

    def _without_secret(self, text: str) -> str:
        """Take the key out of a text. A short one, such as EMPTY, is no secret."""
        if self._secret is None or len(self._secret) < 8:
            return text
        return text.replace(self._secret, "[key]")


@cache
def _certificates() -> ssl.SSLContext:
    """Return the certificates that this machine trusts: reading them takes a tenth of a second."""
    return httpx2.create_ssl_context()


def _answer_in(found: object) -> Answer:
    """Return the answer in the JSON that a server sent."""
    body = cast("dict[str, object]", found)
    choices = cast("list[dict[str, object]]", body["choices"])
    message = cast("dict[str, object]", choices[0]["message"])
    finish = choices[0].get("finish_reason")
    if finish == "error":
        raise ValueError("the server says that the answer failed")
    text = _text(message.get("content"))
    refusal = message.get("refusal")
    if message.get("tool_calls"):
        finish = "tool_calls"
    elif isinstance(refusal, str) and refusal:
        text, finish = refusal, "refusal"
    if not isinstance(finish, str):
        finish = ""
    usage = body.get("usage")
    return Answer(
        text,
        finish,
        _tokens(usage, "prompt_tokens"),
        _tokens(usage, "completion_tokens"),
    )


def _text(content: object) -> str:
    """Return the text of a message: a string, nothing, or a list of parts with texts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = cast("list[dict[str, str]]", content)
        return "".join(part["text"] for part in parts if part.get("type") == "text")
    raise TypeError("content is neither a text nor a list")


def _tokens(usage: object, name: str) -> int:
    if not isinstance(usage, dict):
        return 0
    count = cast("dict[str, object]", usage).get(name)
    if not isinstance(count, int) or count < 0:
        return 0
    return int(count)


def _error(found: object) -> tuple[str, int, str]:
    """Return what a server says is wrong: its words, a status or 0, and the kind of error."""
    if not isinstance(found, dict):
        return "", 0, ""
    body = cast("dict[str, object]", found)
    error = body.get("error") or ""
    if not error and "choices" not in body:
        error = body.get("detail") or body.get("message") or ""
    if not isinstance(error, dict):
        return str(error), 0, ""
    about = cast("dict[str, object]", error)
    text = str(about.get("message") or json.dumps(about))
    code = about.get("code") or about.get("type")
    if isinstance(code, int):
        return text, code, str(about.get("type"))
    return text, 0, str(code)


def _pause(text: str) -> float:
    """Return the seconds that a Retry-After header names, as a number or a date; 0 if neither."""
    if re.fullmatch("[0-9]{1,9}(\\.[0-9]+)?", text.strip()):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


def _is_lasting(error: BaseException) -> bool:
    """Tell a failure that no second try can mend: an unknown host, a certificate."""
    for each in _causes(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return True
        if isinstance(each, socket.gaierror) and each.errno == socket.EAI_NONAME:
            return True
    return isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
