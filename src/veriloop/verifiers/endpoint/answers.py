"""What a model has answered, kept on disk by the question, so that none is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

PATIENCE = 0.5  # seconds that `alone` waits for another that asks


class Held(Exception):
    """Another process or thread asks this question at the moment."""


@dataclass(frozen=True)
class Answer:
    """What a model answered to one question.

    text: what it wrote.
    finish: why it stopped, in the words of the server: "stop", "length", and so on.
    prompt_tokens, answer_tokens: what the server counted; 0 where it does not say.

    >>> Answer("8").answer_tokens
    0
    """

    text: str
    finish: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0


@dataclass(frozen=True)
class Reply:
    """What became of one question.

    answer: None if there is none.
    reason: why there is none.
    requests: how many were made.
    seconds: how long the last one took.

    >>> Reply(None, "500 busy", requests=4).requests
    4
    """

    answer: Answer | None
    reason: str = ""
    requests: int = 0
    seconds: float = 0.0


def address_of(url: str, body: Mapping[str, object]) -> str:
    """Return the name of a question: a digest of the address and all that is sent to it.

    url: where the question is sent. The same name at another server is another model.
    body: the model, the messages and the settings.

    >>> address_of("http://localhost/v1", {"model": "small"})[:8]
    '5f4a111a'
    """
    content = json.dumps([url, body], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def default_folder() -> Path:
    """Return where answers are kept unless the user says: `answers` in the cache of veriloop."""
    given = os.environ.get("VERILOOP_CACHE")
    if given:
        return Path(given, "answers")
    return Path.home() / ".cache" / "veriloop" / "answers"


class KeptAnswers:
    """Answers in a folder, one file each, named by the question.

    A file is written whole or not at all, so several processes may share the folder. A file that
    is damaged counts as missing. The questions are not stored.

    folder: where the files are. None keeps nothing.

    >>> import tempfile
    >>> kept = KeptAnswers(Path(tempfile.mkdtemp()))
    >>> kept.put("ab12", Answer("8"))
    >>> kept.get("ab12"), kept.get("ffff")
    (Answer(text='8', finish='', prompt_tokens=0, answer_tokens=0), None)
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def check(self) -> None:
        """Refuse a folder that cannot be written, before an answer is paid for.

        Raises:
            ValueError: with the folder and the reason.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise ValueError(
                f"answers cannot be kept in {self.folder} ({error.strerror}); make it writable, "
                "or give Endpoint.folder"
            ) from None

    def get(self, address: str) -> Answer | None:
        """Return the answer to a question, or None if there is none that is whole."""
        if self.folder is None:
            return None
        try:
            entry = json.loads(self._file(self.folder, address).read_bytes())
            answer = Answer(**entry["answer"])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        if entry.get("sha256") != _digest(address, answer):
            return None
        return answer

    def put(self, address: str, answer: Answer) -> None:
        """Write an answer down."""
        if self.folder is None:
            return
        file = self._file(self.folder, address)
        file.parent.mkdir(parents=True, exist_ok=True)
        entry = {"answer": asdict(answer), "sha256": _digest(address, answer)}
        written = file.with_suffix(f".{uuid.uuid4().hex}.tmp")
        try:
            written.write_text(json.dumps(entry))
            os.replace(written, file)
        finally:
            written.unlink(missing_ok=True)

    @contextmanager
    def alone(self, address: str) -> Generator[None]:
        """Hold a question, so that no other process or thread asks it meanwhile.

        Where the folder's file system has no locks, nothing is held.

        Raises:
            Held: if another holds it and does not end soon.
        """
        if self.folder is None:
            yield
            return
        from filelock import FileLock, Timeout  # here, as `import veriloop` needs NumPy alone

        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / f"{address}.lock")
        try:
            lock.acquire(timeout=PATIENCE)
        except Timeout:
            raise Held(address) from None
        except (OSError, NotImplementedError):
            pass
        try:
            yield
        finally:
            lock.release()
            if self._file(self.folder, address).exists():  # who comes next finds the answer
                Path(lock.lock_file).unlink(missing_ok=True)

    @staticmethod
    def _file(folder: Path, address: str) -> Path:
        return folder / address[:2] / f"{address[2:]}.json"


def _digest(address: str, answer: Answer) -> str:
    """Return a digest of an entry, which shows damage and a file under another name."""
    content = json.dumps([address, asdict(answer)], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()
