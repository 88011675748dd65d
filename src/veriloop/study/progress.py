"""What a run says to whoever waits, on stderr: a bar with the time left, and lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from tqdm import tqdm

from veriloop.store.files import first_process
from veriloop.study.heartbeat import at_round, note_line

Progress = bool | Literal["always"]


def bar(units: Sequence[Any], progress: Progress) -> Iterable[Any]:
    """Return the units, with a progress bar on stderr that says the time left.

    progress: True shows the bar where stderr is a terminal, "always" shows it anywhere, as in a
        notebook.
    """
    disable: bool | None = None  # tqdm: where there is no terminal
    if progress == "always":
        disable = False
    if progress is False or not first_process():
        disable = True
    return tqdm(units, disable=disable, unit="unit", file=sys.stderr)


def tell(name: str, row: Mapping[str, Any], rounds: int, shown: Sequence[str]) -> None:
    """Print some numbers of a round as soon as it ends, for whoever waits for the others."""
    at_round(row["round"])
    known = [each for each in shown if row.get(each) is not None]
    numbers = ", ".join(f"{each} {row[each]:.4g}" for each in known)
    say(f"{name}: round {row['round']} of {rounds}: {numbers}")


def say(text: str) -> None:
    """Print a line for whoever waits; of several launched processes only the first does."""
    if first_process():
        note_line(text)
        print(text, file=sys.stderr, flush=True)
