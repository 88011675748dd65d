"""Verifiers that misbehave, in a loop: each must be refused, or cost its rows their verdict."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from veriloop import Batched, Key, Loop, State, Threshold, TimeLimit, run

Verify = Callable[[Key, np.ndarray], Any]


def _spoils(key: Key, batch: np.ndarray) -> np.ndarray:
    batch *= 0
    return batch


def _leaves(key: Key, batch: np.ndarray) -> np.ndarray:
    sys.exit(0)


def _hangs(key: Key, batch: np.ndarray) -> np.ndarray:
    time.sleep(5)
    return batch


def _raises(key: Key, batch: np.ndarray) -> np.ndarray:
    raise OSError("no route to the judge")


def _warns(key: Key, batch: np.ndarray) -> np.ndarray:
    warnings.warn("the judge is old", stacklevel=2)
    return batch


# What each is expected to come to: refused (an error), or judged.
VERIFIERS: dict[str, tuple[Verify, str]] = {
    "good": (lambda key, batch: batch, "judged"),
    "list": (lambda key, batch: batch.tolist(), "judged"),
    "float16": (lambda key, batch: batch.astype(np.float16), "judged"),
    "a view": (lambda key, batch: batch[:], "judged"),
    "half NaN": (lambda key, batch: np.where(batch > 0, batch, np.nan), "judged"),
    "masked": (lambda key, batch: np.ma.masked_greater(batch, 1.0), "judged"),
    "None for some": (lambda key, batch: [None if x > 1 else x for x in batch], "judged"),
    "warns": (_warns, "judged"),
    "hangs, limited": (Batched(TimeLimit(_hangs, 0.05), 20), "refused"),
    "all NaN": (lambda key, batch: batch * np.nan, "refused"),
    "infinite": (lambda key, batch: batch * np.inf, "refused"),
    "booleans": (lambda key, batch: batch > 0, "refused"),
    "text": (lambda key, batch: batch.astype(str), "refused"),
    "complex": (lambda key, batch: batch.astype(complex), "refused"),
    "one number": (lambda key, batch: 1.0, "refused"),
    "a column": (lambda key, batch: batch[:, None], "refused"),
    "a row less": (lambda key, batch: batch[1:], "refused"),
    "a row more": (lambda key, batch: np.append(batch, 1.0), "refused"),
    "nothing": (lambda key, batch: None, "refused"),
    "a generator": (lambda key, batch: (x for x in batch), "refused"),
    "a mapping": (lambda key, batch: {"score": batch}, "refused"),
    "ragged": (lambda key, batch: [[1.0], [1.0, 2.0]] * (len(batch) // 2), "refused"),
    "raises": (_raises, "refused"),
    "ends the process": (_leaves, "refused"),
    "changes the batch": (_spoils, "refused"),
}


class Verifiers:
    """Run a loop of three rounds on each, under debug."""

    def __init__(self, folder: Path) -> None:
        self._names = list(VERIFIERS)

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        name = self._names[number % len(self._names)]
        verify, wanted = VERIFIERS[name]
        loop: Loop[Any, Any] = Loop(
            generate=lambda key, model, n: model + key.numpy().standard_normal(n),
            verify=verify,
            filter=Threshold(),
            refit=lambda key, model, batch: float(np.mean(batch)),
        )
        outcome = "judged"
        told = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                list(run(loop, key, State(0.0), [40] * 3, debug=True))
        except (Exception, SystemExit) as error:
            outcome = "refused"
            told = f"{type(error).__name__}: {error}"
        found = {"verifier": name, "outcome": outcome, "wanted": wanted, "told": told[:300]}
        return {"where": "verifiers", **found}


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    if found["outcome"] == found["wanted"] and "\n" not in str(found["told"]):
        return str(found["outcome"])
    return "not as wanted"
