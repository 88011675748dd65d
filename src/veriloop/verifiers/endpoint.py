"""A verifier that asks a language model at a URL."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from http.client import HTTPException
from typing import Any

import numpy as np

from veriloop.core.checks import check_count
from veriloop.core.key import Key
from veriloop.verifiers.wrappers import Batched, Retry

# No connection, no HTTP, no JSON, or JSON of another shape: a judge that is down, busy, or behind a proxy that is.
FAILURES = (OSError, HTTPException, ValueError, LookupError, TypeError)


@dataclass(frozen=True)
class Endpoint:
    """Score rows by a language model behind an OpenAI-compatible URL, asked to answer with a number from 0 to 10.

    url: up to and with the version, as in "http://localhost:8000/v1".
    model: its name there.
    question: a text with the names of columns of the batch in braces, as in "Is {answers} right for {prompts}?",
        or a function, batch -> one text a row.
    limit: subtracted from the answer, so that an answer of at least `limit` is accepted.
    timeout: seconds to wait for one answer.
    retries, wait: a request that fails is made up to `retries` more times, after `wait`, 2 `wait`, ... seconds.
    token: sent as the bearer token, if given.

    Each row is asked about by itself. A row for which all requests fail, or whose answer does not begin with a
    number from 0 to 10, has no verdict (NaN), which the record counts.
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

    def __call__(self, key: Key, batch: Any) -> np.ndarray:
        questions = self._questions(batch)
        if len(questions) != len(batch):
            raise ValueError(
                f"Endpoint.question must give one text a row, got {len(questions)} for {len(batch)} rows"
            )
        if odd := [each for each in questions if not isinstance(each, str)]:
            raise ValueError(f"Endpoint.question must give one text a row, got {odd[0]!r}")
        return self._patient()(key, np.array(questions, dtype=object)).scores

    def _questions(self, batch: Any) -> list[str]:
        if not isinstance(self.question, str):
            return list(self.question(batch))
        names = [field.name for field in fields(batch)]
        questions = []
        for values in zip(*(getattr(batch, name) for name in names), strict=True):
            row = dict(zip(names, values, strict=True))
            questions.append(self.question.format(**row))
        return questions

    def _patient(self) -> Batched:
        return Batched(Retry(self.judge, self.retries, self.wait, FAILURES), rows=1)

    def judge(self, key: Key, questions: np.ndarray) -> np.ndarray:
        """Ask each question once, shape (n,), and raise one of `FAILURES` if that fails."""
        return (
            np.array([self._rating(question) for question in questions], dtype=float) - self.limit
        )

    def _rating(self, question: str) -> float:
        messages = [{"role": "user", "content": question}]
        body = json.dumps({"model": self.model, "messages": messages, "temperature": 0}).encode()
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=self.timeout) as answer:
            text = json.load(answer)["choices"][0]["message"]["content"]
        try:
            rating = float(text.strip().split()[0].rstrip(".,"))
        except (
            ValueError,
            LookupError,
            AttributeError,
        ):  # an answer, but no number: asking again is no help
            return float("nan")
        return rating if 0 <= rating <= 10 else float("nan")
