"""A verifier that asks a language model at a URL."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from http.client import HTTPException
from typing import Any

import numpy as np

from veriloop.core.arrays import Array, Scores
from veriloop.core.checks import check_count
from veriloop.core.key import Key
from veriloop.verifiers.wrappers import Batched, Retry

# A judge that is down or busy: no connection, no HTTP, no JSON, or JSON of another shape.
FAILURES = (OSError, HTTPException, ValueError, LookupError, TypeError)


@dataclass(frozen=True)
class Endpoint:
    """Score rows by a language model behind an OpenAI-compatible URL.

    The model is asked about each row by itself, and is to answer with a number from 0 to 10. If the
    answer does not begin with such a number, or all requests fail, the row has no verdict (NaN).
    The record counts such rows.

    url: with the version, as in "http://localhost:8000/v1".
    model: its name there.
    question: a text with names of columns of the batch in braces, as in "Is {answers} right for
        {prompts}?"; or a function, batch -> one text a row.
    limit: what is subtracted from the answer. So an answer of at least `limit` accepts.
    timeout: seconds to wait for one answer.
    retries: how many more times a request is made that fails.
    wait: seconds before the second try. The wait doubles from try to try.
    token: the bearer token to send, if given.

    >>> judge = Endpoint("http://localhost:8000/v1", "judge", "Rate {texts} from 0 to 10.", limit=7)
    >>> judge.limit
    7

    Raises:
        ValueError: if the URL is no HTTP address, or a number makes no sense; in a round, if
            `question` does not give one text a row.
    """

    url: str
    model: str
    question: str | Callable[[Any], Iterable[str]]
    limit: float = 5.0
    timeout: float = 30.0
    retries: int = 3
    wait: float = 1.0
    token: str | None = None

    def __post_init__(self) -> None:
        check_count("Endpoint.retries", self.retries, least=0)
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"Endpoint.url must begin with http:// or https://, got {self.url!r}")
        self._patient()  # refuses a wait that makes no sense, now and not in a round

    def __call__(self, key: Key, batch: Any) -> Scores:
        questions = self._questions(batch)
        if len(questions) != len(batch):
            raise ValueError(
                "Endpoint.question must give one text a row, "
                f"got {len(questions)} for {len(batch)} rows"
            )
        for question in questions:
            if not isinstance(question, str):
                raise ValueError(f"Endpoint.question must give one text a row, got {question!r}")
        return self._patient()(key, np.array(questions, dtype=object)).scores

    def _questions(self, batch: Any) -> list[Any]:
        """Return one question a row, not checked yet."""
        if not isinstance(self.question, str):
            return list(self.question(batch))
        names = [field.name for field in fields(batch)]
        columns = [getattr(batch, name) for name in names]
        questions: list[str] = []
        for values in zip(*columns, strict=True):
            row = dict(zip(names, values, strict=True))
            questions.append(self.question.format(**row))
        return questions

    def _patient(self) -> Batched:
        return Batched(Retry(self.judge, self.retries, self.wait, FAILURES), rows=1)

    def judge(self, key: Key, questions: Array) -> Scores:
        """Ask each question once, shape (n,), and raise one of `FAILURES` if that fails."""
        ratings = [self._rating(question) for question in questions]
        return np.array(ratings, dtype=float) - self.limit

    def _rating(self, question: str) -> float:
        messages = [{"role": "user", "content": question}]
        asked = {"model": self.model, "messages": messages, "temperature": 0}
        body = json.dumps(asked).encode()
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            text = json.load(answer)["choices"][0]["message"]["content"]
        try:
            rating = float(text.strip().split()[0].rstrip(".,"))
        except (ValueError, LookupError, AttributeError):
            return float("nan")  # an answer, but no number: asking again does not help
        if 0 <= rating <= 10:
            return rating
        return float("nan")
