"""Articles with summaries, from the embedded corpus, a folder of JSON lines, or the hub."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.text.rows import flaw
from veriloop.text.weights import hub_answers
from veriloop.xsum.embedded import corpus
from veriloop.xsum.rows import Data, Summaries

HUB = "EdinburghNLP/xsum"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # the marks that files in it begin with
NO_OBJECT = "is no JSON object; every line needs document and summary"


def load(
    source: str,
    *,
    train: int | None = None,
    test: int | None = None,
    validation: int | None = None,
) -> Data:
    """Return real articles and summaries by name or folder.

    source: "reports", the embedded generator's; "xsum", the files in $VERILOOP_DATA/xsum where that
        is set, else from the hub by `datasets`; or a folder with train, validation and test as
        .jsonl or .jsonl.gz in UTF-8, where each line is a JSON object with `document` and
        `summary`. Blank lines are skipped.
    train: how many rows to learn from, the first ones. None takes all; of "reports" 1,200.
    test: how many rows to test on. None takes all; of "reports" 300.
    validation: how many rows to validate on. None takes as many as `test`.

    Raises:
        ValueError: with file and line, if one is missing, cut short, or lacks an article or a
            summary. Also if a number of rows is no integer of at least 1.

    >>> data = load("reports", train=20, test=5)
    >>> len(data.train), len(data.validation), len(data.test)
    (20, 5, 5)
    """
    for name, size in (("train", train), ("test", test), ("validation", validation)):
        if size is not None:
            check_count(f"load: {name}", size)
    if validation is None:
        validation = test
    if source == "reports":
        return _reports(train, test, validation)
    return Data(
        source,
        train=_part(source, "train", train),
        validation=_part(source, "validation", validation),
        test=_part(source, "test", test),
    )


def _reports(train: int | None, test: int | None, validation: int | None) -> Data:
    if train is None:
        train = 1200
    if test is None:
        test = 300
    if validation is None:
        validation = test
    return corpus(Key(0).fold("reports"), train, test, validation)


def _part(source: str, name: str, size: int | None) -> Summaries:
    """Return the first `size` rows of a part, and refuse fewer."""
    given = os.environ.get("VERILOOP_DATA")
    if source != "xsum":
        part = _from_folder(Path(source).expanduser(), name, size)
    elif given:
        part = _from_folder(Path(given, "xsum"), name, size)
    else:
        part = _from_hub(name, size)
    if not len(part):
        raise ValueError(f"{source}: the part {name} is empty; give it at least one article")
    if size is not None and len(part) < size:
        raise ValueError(
            f"{source}: {size} rows of {name} are asked for, it has {len(part)}; ask for fewer"
        )
    return part


def _from_folder(folder: Path, part: str, size: int | None) -> Summaries:
    names = (f"{part}.jsonl.gz", f"{part}.jsonl")
    found = [folder / name for name in names if (folder / name).exists()]
    if len(found) > 1:
        raise ValueError(f"{folder} holds both {names[0]} and {names[1]}; remove one of them")
    if not found:
        raise ValueError(
            f"no {part}.jsonl or {part}.jsonl.gz in {folder}; name a folder with all three parts"
        )
    articles: list[str] = []
    summaries: list[str] = []
    for number, line in _lines(found[0]):
        if len(articles) == size:
            break
        article, summary = _pair(line, f"{found[0]}, line {number}")
        articles.append(article)
        summaries.append(summary)
    return Summaries.of(articles, summaries)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not blank, with their numbers, from 1."""
    opener: Any = open
    if path.suffix == ".gz":
        opener = gzip.open
    try:
        with opener(path, "rb") as stream:
            mark = stream.read(2)
        if mark in UTF_16:
            raise ValueError(f"{path} is written in UTF-16; save it as UTF-8")
        with opener(path, "rt", encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason}); save it as such") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read {path} ({reason}); download the file again") from None


def _pair(line: str, where: str) -> tuple[str, str]:
    """Return the article and the summary of a line."""
    try:
        row = json.loads(line)
        pair = row["document"], row["summary"]
    except KeyError as error:
        raise ValueError(f"{where} lacks {error}; every line needs document and summary") from None
    except json.JSONDecodeError as error:
        whole = line.endswith("\n") or error.msg == "Extra data"
        if line.startswith("{") and not whole:
            raise ValueError(
                f"{where}, the last, is cut short; remove it, or download the file again"
            ) from None
        raise ValueError(f"{where} {NO_OBJECT}") from None
    except TypeError:
        raise ValueError(f"{where} {NO_OBJECT}") from None
    for name, text in zip(("document", "summary"), pair, strict=True):
        wrong = flaw(text)
        if wrong is not None:
            raise ValueError(f"{where}: {name} {wrong}; leave the row out or fill it in")
        if not text.strip():
            raise ValueError(f"{where} has an empty {name}; leave the row out or fill it in")
    return pair


def _from_hub(part: str, size: int | None) -> Summaries:
    from datasets import load_dataset

    split = part
    if size is not None:
        split = f"{part}[:{size}]"
    try:
        if not hub_answers():
            raise ConnectionError("it does not answer")
        rows: Any = load_dataset(HUB, split=split)
    except Exception as error:  # whatever the hub's client raises where there is no network
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{HUB} cannot be loaded from the hub ({reason}); set VERILOOP_DATA, name a folder, "
            "or take 'reports'"
        ) from None
    return Summaries.of(rows["document"], rows["summary"])
