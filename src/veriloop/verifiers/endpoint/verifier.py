"""A verifier that asks a language model at a URL."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import numpy as np

from veriloop.core.arrays import Mask, Scores
from veriloop.core.batch import Batch
from veriloop.core.candidates import Candidates
from veriloop.core.checks import check_count, check_positive, need
from veriloop.core.key import Key
from veriloop.verifiers.endpoint.answers import (
    Answer,
    Held,
    KeptAnswers,
    Reply,
    address_of,
    default_folder,
)
from veriloop.verifiers.endpoint.questions import Ask, check_question, messages_of
from veriloop.verifiers.endpoint.ratings import Scale
from veriloop.verifiers.endpoint.reading import FAULTS, Reading, Watch, reading_of, warnings_of
from veriloop.verifiers.endpoint.urls import check_url, is_loopback

if TYPE_CHECKING:
    from veriloop.verifiers.endpoint.client import Client

_CLIENT = "veriloop.verifiers.endpoint.client"
_OWN = ("model", "messages", "stream", "n", "temperature", "max_tokens")
_SECRET = ("api_key", "api-key", "apikey", "authorization", "extra_headers", "headers")
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 86_400  # seconds to wait for an answer
_KEY = re.compile("[!-~]+")  # what a header can hold


@dataclass(frozen=True)
class Endpoint:
    """Score rows by a language model behind an OpenAI-compatible URL.

    The model is asked about each row by itself. The score is its rating minus `limit`. A row has no
    verdict (NaN) if the answer holds no rating, if the rating is off the scale, or if there is no
    answer. The record counts such rows, and a warning quotes one of each kind. If the first answers
    hold no rating at all, or most ratings are off the scale, the round ends with an error that
    quotes one. As the loop's `observe`, the method `observe` counts each kind, and the tokens.

    A question is asked once: equal questions have one answer, which is kept on disk. So a run that
    was killed pays for no answer twice, and neither do processes that share the folder. The key of
    the round is not used, and the scores do not depend on which answer comes first. The questions
    themselves are not kept. The API key is in no file, message or repr.

    A request that fails (408, 429, 5xx, no connection) is made again. One that the server refuses
    (any other 4xx) is not, and the warning gives the server's reason.

    url: with the version, as in "http://localhost:8000/v1".
    model: its name there.
    question: a text with names of columns of the batch in braces, as in "Is {answers} right for
        {prompts}?"; or a function, batch -> one text a row, or one list of messages a row, such as
        `[{"role": "user", "content": "Is 2 even?"}]`.
    limit: a rating of at least `limit` accepts. None: the middle of the scale.
    scale: the lowest and the highest rating, as in "0 to 10", "1 to 5" or "0 to 100"; or "yes/no",
        where yes is 1 and no is 0. The question must ask for it.
    parse: answer -> rating. It returns NaN or raises a ValueError if there is none. None reads the
        answer strictly, as `read_rating` and `read_yes_or_no` in `veriloop.verifiers.endpoint` do.
    system: the text of a message with the role system, sent before each question. None: none.
    max_tokens: the longest answer. One that is cut off there is not read. None: the server's own.
    temperature: sent to the server. None leaves it out.
    fields: anything else to be sent, as in `{"seed": 1}` or `{"max_completion_tokens": 500}`.
    api_key_env: the name of the environment variable that holds the API key. None sends none.
    allow_http: send the API key over http:// to another machine, where others can read it.
    concurrent: how many requests are made at once.
    timeout: seconds for one request and its answer, in all, at most a day.
    retries: how many more times a request is made that fails.
    wait: seconds before the second try. The wait doubles from try to try. Where the server says
        how long to wait, it is obeyed, up to ten minutes for a question, and that is no failed try.
    folder: where answers are kept. "default" is `answers` in $VERILOOP_CACHE, or in
        ~/.cache/veriloop. None keeps nothing. Delete it, or name another, when the server has a new
        model of the same name.
    log: a file for JSON lines, one a call: requests, tokens, answers found on disk, and seconds.
        None writes none. What depends on time or chance is here, and in no record.

    >>> judge = Endpoint("http://localhost:8000/v1", "judge", "Rate {texts} from 0 to 10.", limit=7)
    >>> judge.limit, judge.scale
    (7, '0 to 10')

    Raises:
        ValueError: if the URL is no HTTP address, the question names no column, a number makes no
            sense, or the variable of the API key is not set; in a round, if the question does not
            fit the batch.
        RoundError: in a round, if none of the first answers holds a rating, most ratings are off
            the scale, or 20 questions in a row have no answer.
        ImportError: without the extra [judge].
    """

    url: str
    model: str
    question: Ask
    limit: float | None = None
    scale: str = "0 to 10"
    parse: Callable[[str], float] | None = None
    system: str | None = None
    max_tokens: int | None = 64
    temperature: float | None = 0.0
    fields: Mapping[str, object] | None = None
    # Another value of these gives the same scores, so a run may go on with it.
    api_key_env: str | None = field(default=None, compare=False)
    allow_http: bool = field(default=False, compare=False)
    concurrent: int = field(default=8, compare=False)
    timeout: float = field(default=30.0, compare=False)
    retries: int = field(default=3, compare=False)
    wait: float = field(default=1.0, compare=False)
    folder: str | Path | None = field(default="default", compare=False)
    log: str | Path | None = field(default=None, compare=False)
    _past: _Past = field(default_factory=lambda: _Past(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_numbers()
        _check_text("model", self.model)
        if self.system is not None:
            _check_text("system", self.system)
        check_question(self.question)
        _check_flag("allow_http", self.allow_http)
        if self.parse is not None and not callable(self.parse):
            raise ValueError(f"Endpoint.parse must be a function of the answer, got {self.parse!r}")
        _check_fields(self.fields)
        for name in ("folder", "log"):
            _check_path(name, getattr(self, name))
        address = check_url(self.url)
        if self._secret() is not None and not self.allow_http:
            _check_encrypted(address)
        need(_CLIENT, "veriloop[judge]", "Endpoint").check_address(address)

    def __call__(self, key: Key, batch: Batch) -> Scores:
        start = time.perf_counter()
        self._check_log()
        rows, questions = self._asked(batch)
        replies: dict[str, Reply] = {}
        try:
            found = self._readings(questions, replies)
        finally:  # what a round that fails has cost is logged too
            if self.log is not None:
                self._write_log(key, len(rows), list(replies.values()), start)
        readings = [found[address] for address in rows]
        ratings = np.array([reading.rating for reading in readings], dtype=float)
        for text in warnings_of(readings, self.scale):
            warnings.warn(f"Endpoint: {text}", stacklevel=2)
        return ratings - self._limit

    def observe(self, key: Key, batch: Batch, scores: Scores, mask: Mask) -> dict[str, float]:
        """Count the questions about the candidates of a round and their tokens, for the record.

        It reads the answers kept on disk. So the numbers are the same however often the run was
        killed, and whether an answer was paid for now or before.

        key, scores, mask: not used.
        batch: the candidates.

        >>> judge = Endpoint("http://localhost:8000/v1", "judge", "Rate {texts} from 0 to 10.")
        >>> from veriloop import Loop, Threshold
        >>> loop = Loop(
        ...     generate=lambda key, model, n: model,
        ...     refit=lambda key, model, batch: model,
        ...     verify=judge,
        ...     filter=Threshold(),
        ...     observe=judge.observe,
        ... )

        Raises:
            ValueError: if the answers are kept nowhere.
        """
        kept = self._kept()
        if kept.folder is None:
            raise ValueError("Endpoint.observe reads answers on disk; give Endpoint.folder")
        counts: dict[str, float] = dict.fromkeys(FAULTS, 0)
        answers: dict[str, Answer | None] = {}
        for block in _blocks(batch):
            rows, _ = self._asked(block)
            for address in rows:
                if address not in answers:
                    answers[address] = kept.get(address)
                reading = self._reading(Reply(answers[address]))
                if reading.fault:
                    counts[reading.fault] += 1
        given = [answer for answer in answers.values() if answer is not None]
        return {
            **counts,
            "questions": len(answers),
            "prompt_tokens": sum(answer.prompt_tokens for answer in given),
            "answer_tokens": sum(answer.answer_tokens for answer in given),
        }

    @property
    def _limit(self) -> float:
        if self.limit is None:
            return Scale.of(self.scale).middle
        return float(self.limit)

    def _check_numbers(self) -> None:
        scale = Scale.of(self.scale)
        for name in ("limit", "timeout", "wait", "temperature"):
            _check_real(name, getattr(self, name), optional=name in ("limit", "temperature"))
        if self._limit not in scale:
            raise ValueError(
                f"Endpoint.limit must be on the scale, {self.scale}, got {self.limit}; else every "
                "row or none is accepted"
            )
        check_positive("Endpoint.timeout", self.timeout)
        if self.timeout > _LONGEST:
            raise ValueError(
                f"Endpoint.timeout must be at most {_LONGEST:,} seconds, a day, got "
                f"{self.timeout!r:.60}"
            )
        check_positive("Endpoint.wait", self.wait, zero=True)
        if self.temperature is not None:
            check_positive("Endpoint.temperature", self.temperature, zero=True)
        check_count("Endpoint.retries", self.retries, least=0)
        check_count("Endpoint.concurrent", self.concurrent)
        if self.max_tokens is not None:
            check_count("Endpoint.max_tokens", self.max_tokens)

    def _asked(self, batch: Batch) -> tuple[list[str], dict[str, dict[str, object]]]:
        """Return the address of each row's question, and what is sent for each address."""
        url = check_url(self.url)
        rows: list[str] = []
        questions: dict[str, dict[str, object]] = {}
        for messages in messages_of(self.question, self.system, batch):
            body: dict[str, object] = {"model": self.model, "messages": messages, "stream": False}
            if self.temperature is not None:
                body["temperature"] = float(self.temperature)
            if self.max_tokens is not None:
                body["max_tokens"] = int(self.max_tokens)
            body.update(self.fields or {})
            address = address_of(url, body)
            rows.append(address)
            questions[address] = body
        return rows, questions

    def _readings(
        self, questions: Mapping[str, dict[str, object]], replies: dict[str, Reply]
    ) -> dict[str, Reading]:
        """Return the rating in the answer to each question; add what became of all to `replies`."""
        found: dict[str, Reading] = {}
        who = f"the model {self.model!r} at {self.url}"
        watch = Watch(who, self.scale, self._past.rated)
        with closing(self._asking(questions, replies)) as addresses:
            for address in addresses:
                found[address] = self._reading(replies[address])
                watch.see(found[address])
        self._past.rated = watch.rated
        watch.end()
        return found

    def _asking(
        self, questions: Mapping[str, dict[str, object]], replies: dict[str, Reply]
    ) -> Generator[str]:
        """Ask all that is not on disk; yield each address, in order, once it is in `replies`."""
        kept = self._kept()
        for address in questions:
            answer = kept.get(address)
            if answer is not None:
                replies[address] = Reply(answer)
        if len(replies) == len(questions):
            yield from questions
            return
        kept.check()
        client = self._client()

        def ask(address: str) -> None:
            while not client.stopped:
                with suppress(Held), kept.alone(address):
                    replies[address] = self._reply(client, kept, address, questions[address])
                    return

        with client, ThreadPoolExecutor(self.concurrent) as pool:
            new = [address for address in questions if address not in replies]
            waiting = {address: pool.submit(ask, address) for address in new}
            try:
                for address in questions:
                    if address in waiting:
                        waiting[address].result()
                    yield address
            finally:
                client.stop()
                pool.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _reply(
        client: Client, kept: KeptAnswers, address: str, body: Mapping[str, object]
    ) -> Reply:
        """Ask one question, unless another process has been answered meanwhile."""
        answer = kept.get(address)
        if answer is not None:
            return Reply(answer)
        reply = client.ask(body)
        if reply.answer is not None:
            kept.put(address, reply.answer)  # at once: the run may be killed at any time
        return reply

    def _client(self) -> Client:
        from veriloop.verifiers.endpoint.client import Client

        return Client(
            check_url(self.url),
            self._secret(),
            timeout=self.timeout,
            retries=self.retries,
            wait=self.wait,
            concurrent=self.concurrent,
        )

    def _reading(self, reply: Reply) -> Reading:
        return reading_of(reply.answer, reply.reason, Scale.of(self.scale), self.parse)

    def _kept(self) -> KeptAnswers:
        if self.folder is None:
            return KeptAnswers(None)
        if self.folder == "default":
            return KeptAnswers(default_folder())
        return KeptAnswers(Path(self.folder).expanduser())

    def _secret(self) -> str | None:
        """Return the API key; an error shows only the name of the variable."""
        name = self.api_key_env
        if name is None:
            return None
        if not _NAME.fullmatch(str(name)):
            raise ValueError(
                "Endpoint.api_key_env must be the name of an environment variable, such as "
                "OPENAI_API_KEY, and not the key itself"
            )
        secret = os.environ.get(name, "").strip()
        if not secret and name != name.upper():  # it may be a key, as gsk_1a2B is: never show it
            raise ValueError(
                "Endpoint.api_key_env must be the name of an environment variable that is set, "
                "such as OPENAI_API_KEY, and not the key itself"
            )
        if not secret:
            raise ValueError(
                f"Endpoint.api_key_env names {name}, which is not set; set it to the API key"
            )
        if not _KEY.fullmatch(secret):
            raise ValueError(
                f"the environment variable {name} must hold the API key alone, in plain ASCII "
                "without spaces; set it again"
            )
        return secret

    def _write_log(self, key: Key, rows: int, replies: list[Reply], start: float) -> None:
        """Append one line about a call."""
        answers = [reply.answer for reply in replies if reply.answer is not None]
        asked = [reply.seconds for reply in replies if reply.requests]
        line: dict[str, object] = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "key": [key.seed, *key.path],
            "rows": rows,
            "questions": len(replies),
            "on_disk": len(replies) - len(asked),
            "requests": sum(reply.requests for reply in replies),
            "answers": len(answers),
            "prompt_tokens": sum(answer.prompt_tokens for answer in answers),
            "answer_tokens": sum(answer.answer_tokens for answer in answers),
            "seconds": round(time.perf_counter() - start, 3),
        }
        if asked:
            line["median_latency"] = round(float(np.median(asked)), 3)
            line["longest_latency"] = round(max(asked), 3)
        with self._open_log() as stream:
            stream.write(json.dumps(line) + "\n")

    def _open_log(self) -> TextIO:
        file = Path(str(self.log)).expanduser()
        file.parent.mkdir(parents=True, exist_ok=True)
        return open(file, "a")

    def _check_log(self) -> None:
        """Refuse a log that cannot be written, before an answer is paid for."""
        if self.log is None:
            return
        try:
            self._open_log().close()
        except OSError as error:
            raise ValueError(
                f"Endpoint.log cannot be written to {self.log} ({error.strerror}); "
                "name a file in a folder that is writable"
            ) from None


class _Past:
    """Whether a model has given a rating in this process."""

    def __init__(self) -> None:
        self.rated = False


def _blocks(batch: Batch) -> Iterator[Batch]:
    """Yield the rows of a batch that may be larger than memory."""
    if isinstance(batch, Candidates):
        yield from batch.blocks()
    else:
        yield batch


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"Endpoint.{name} must be a text that is not empty, got {value!r}")


def _check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False, as the text 'no' that would count as yes."""
    if not isinstance(value, bool):
        raise ValueError(f"Endpoint.{name} must be True or False, got {value!r}")


def _check_path(name: str, value: object) -> None:
    if value is None or isinstance(value, Path):
        return
    if not isinstance(value, str) or not value:
        raise ValueError(f"Endpoint.{name} must be a path or None, got {value!r}")


def _check_real(name: str, value: object, *, optional: bool) -> None:
    """Refuse what is no number, as a text from a configuration file is."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"Endpoint.{name} must be a number, got {value!r}")


def _check_fields(given: object) -> None:
    """Refuse fields that Endpoint sends itself, and what is no JSON."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ValueError(f"Endpoint.fields must be a mapping of names to values, got {given!r}")
    own = [name for name in _OWN if name in given]
    if own:
        raise ValueError(
            f"Endpoint.fields must leave out {', '.join(own)}: one whole answer is asked of "
            "Endpoint.model, with Endpoint.temperature and Endpoint.max_tokens"
        )
    names = [str(name) for name in cast("Mapping[object, object]", given)]
    secret = [name for name in names if name.lower() in _SECRET]
    if secret:
        raise ValueError(
            f"Endpoint.fields must leave out {', '.join(secret)}, which would stand in the run's "
            "files; put the API key into an environment variable, and its name into api_key_env"
        )
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Endpoint.fields must be JSON, got {given!r}: {error}") from None


def _check_encrypted(address: str) -> None:
    """Refuse to send a key where others can read it."""
    if address.startswith("http://") and not is_loopback(address):
        raise ValueError(
            "Endpoint would send the API key unencrypted to another machine; give a url that "
            "begins with https://, or allow_http=True in a network that you trust"
        )
