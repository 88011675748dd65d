"""Articles with summaries, from the embedded corpus, a folder of JSON lines, or the hub."""

from __future__ import annotations

import gzip
import json
import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from veriloop.core import Key
from veriloop.xsum.embedded import corpus
from veriloop.xsum.rows import Data, Summaries

SPLITS = ("train", "validation", "test")
HUB = "EdinburghNLP/xsum"


def load(source: str, *, train: int | None = None, test: int | None = None) -> Data:
    """Return real articles and summaries by name or folder.

    source: "reports", the embedded generator's; "xsum", the files in $VERILOOP_DATA/xsum where that is set, else
        from the hub by `datasets`; or a folder with train, validation and test as .jsonl or .jsonl.gz, one JSON
        object a line with `document` and `summary`.
    train, test: how many rows of each part, the first ones; None takes all (of "reports", 1,200 and 300).

    Raises:
        ValueError: naming file and line, if one is missing, cut short, or lacks an article or a summary.
    """
    if source == "reports":
        return corpus(Key(0).fold("reports"), train or 1200, test or 300)
    folder = Path(os.environ.get("VERILOOP_DATA", ""), "xsum") if source == "xsum" else Path(source)
    from_hub = source == "xsum" and not os.environ.get("VERILOOP_DATA")
    sizes: dict[str, int | None] = dict(zip(SPLITS, (train, test, test), strict=True))
    parts = {name: (_from_hub if from_hub else _from_folder)(folder, name, size) for name, size in sizes.items()}
    for name, part in parts.items():
        if not len(part):
            raise ValueError(f"{source}: the part {name} is empty; give it at least one article")
        wanted = sizes[name]
        if wanted is not None and len(part) < wanted:
            raise ValueError(f"{source}: {wanted} rows of {name} are asked for, it has {len(part)}; ask for fewer")
    return Data(source, **parts)


def _from_folder(folder: Path, part: str, size: int | None) -> Summaries:
    found = [path for path in (folder / f"{part}.jsonl.gz", folder / f"{part}.jsonl") if path.exists()]
    if not found:
        raise ValueError(f"no {part}.jsonl or {part}.jsonl.gz in {folder}; name a folder with all three parts")
    rows: list[tuple[str, str]] = []
    for number, line in _lines(found[0]):
        if size is not None and len(rows) == size:
            break
        rows.append(_pair(line, f"{found[0]}, line {number}"))
    return Summaries.of(*zip(*rows, strict=True)) if rows else Summaries.of((), ())


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            yield from enumerate(stream, start=1)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"cannot read {path} ({reason}); fetch the file anew") from None


def _pair(line: str, where: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        pair = row["document"], row["summary"]
    except (ValueError, KeyError, TypeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else "is no JSON object"
        raise ValueError(f"{where} {reason}; every line needs document and summary") from None
    for name, text in zip(("document", "summary"), pair, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where} has an empty {name}; leave the row out or fill it in")
    return pair


def hub_answers(seconds: float = 5.0) -> bool:
    """Whether the hub can be reached: asked once, since its own clients try many times before they say no."""
    from huggingface_hub import constants

    try:
        socket.create_connection((urlsplit(constants.ENDPOINT).hostname, 443), seconds).close()
    except OSError:
        return False
    return True


def _from_hub(folder: Path, part: str, size: int | None) -> Summaries:
    from datasets import load_dataset

    try:
        if not hub_answers():
            raise ConnectionError("it does not answer")
        rows: Any = load_dataset(HUB, split=part if size is None else f"{part}[:{size}]")
    except Exception as error:  # whatever the hub's client raises where there is no network
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{HUB} cannot be had from the hub ({reason}); set VERILOOP_DATA, name a folder, or take 'reports'"
        ) from None
    return Summaries.of(rows["document"], rows["summary"])
