"""Judges that misbehave, over HTTP here: rows without verdict, or one refused sentence."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from torture.replies import GOOD, JUDGES, serving
from veriloop import Key, Loop, RoundError, State, Threshold, run
from veriloop.verifiers import Endpoint

ROWS = 8  # every other row is answered well, or none is
TIMEOUT = 2.0  # seconds for a request of a judge that is slow
LATE = 60.0  # seconds for all rows, on a machine with other work; two tries are far less
SLOW = ("drips", "never answers", "endless headers")


class Judges:
    """Ask each about eight rows, in a loop of one round: half of them well answered, or none."""

    def __init__(self, folder: Path) -> None:
        self._names = list(JUDGES)
        self._folder = folder
        os.environ["TORTURE_KEY"] = "a-key-that-stays-here"

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        name = self._names[number % len(self._names)]
        sent, is_good = JUDGES[name]
        every = number // len(self._names) % 2 == 1
        with serving(GOOD, True) as (other, elsewhere), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if isinstance(sent, bytes):
                sent = sent.replace(b"{other}", f"{other}/v1".encode())
            with serving(sent, every) as (url, _):
                judge = Endpoint(
                    f"{url}/v1",
                    "judge",
                    lambda batch: [str(int(row)) for row in batch],
                    api_key_env="TORTURE_KEY",
                    timeout=TIMEOUT if name in SLOW else LATE,
                    retries=1,
                    wait=0.01,
                    folder=None,
                )
                found = _asked(judge, key)
        wanted = 0 if is_good else ROWS // 2
        if every and not is_good:
            wanted = ROWS
        rows = "every row" if every else "every other row"
        return {"where": "judges", "judge": f"{name}, {rows}", "wanted": wanted, **found,
                "elsewhere": len(elsewhere)}  # fmt: skip


def _asked(judge: Endpoint, key: Key) -> dict[str, object]:
    loop: Loop[Any, Any] = Loop(
        generate=lambda key, model, n: np.arange(n, dtype=float),
        verify=judge,
        filter=Threshold(),
        refit=lambda key, model, batch: model,
    )
    begun = time.monotonic()
    outcome: object = "ended"
    told = ""
    try:
        rounds = list(run(loop, key, State(0.0), [ROWS]))
        outcome = rounds[-1][1].row()["no_verdict"]
    except (RoundError, ValueError) as error:
        outcome = "refused"
        told = str(error)
    except (Exception, SystemExit) as error:
        outcome = "traceback"
        told = f"{type(error).__name__}: {error}"
    took = time.monotonic() - begun
    return {"outcome": outcome, "told": told[:500], "long": len(told) > 500, "took": round(took, 1)}


def verdict(found: dict[str, Any]) -> str:
    """Say in one word how a case ended."""
    if found["outcome"] == "traceback" or found["long"] or "\n" in found["told"]:
        return "traceback"
    if found["elsewhere"] or found["took"] > LATE:
        return "late or elsewhere"
    if found["outcome"] == "refused":
        return "refused" if found["wanted"] == ROWS else "not as wanted"
    if found["outcome"] != found["wanted"]:
        return "not as wanted"
    return "rows without verdict" if found["wanted"] else "judged"
