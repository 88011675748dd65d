"""Articles with summaries, from the embedded corpus, a folder of JSON lines, or the hub."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from veriloop.core import Key
from veriloop.core.checks import check_count, check_path
from veriloop.text.lines import json_lines
from veriloop.text.rows import text_of
from veriloop.text.weights import hub_answers
from veriloop.xsum.embedded import corpus
from veriloop.xsum.rows import Data, Summaries

HUB = "EdinburghNLP/xsum"


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
        part = _from_folder(check_path("load", source).expanduser(), name, size)
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
    for where, row in json_lines(found[0], ("document", "summary")):
        articles.append(_text(row, "document", where))
        summaries.append(_text(row, "summary", where))
        if len(articles) == size:
            break
    return Summaries.of(articles, summaries)


def _text(row: Mapping[str, object], name: str, where: str) -> str:
    """Return the article or the summary of a line."""
    text = text_of(row[name], f"{where}: {name}")
    if not text.strip():
        raise ValueError(f"{where} has an empty {name}; leave the row out or fill it in")
    return text


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
