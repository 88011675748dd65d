"""The paper's summaries setting as one value, and what is observed of the candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from veriloop.core import EachRound, Key, Loop, State
from veriloop.core.parts import Filter, Measure, Pool
from veriloop.core.verdict import Verifier
from veriloop.filters import TopFraction
from veriloop.store import load_state, save_state
from veriloop.xsum.base import quietly
from veriloop.xsum.finetune import FineTune
from veriloop.xsum.generate import Generate
from veriloop.xsum.rows import Summaries
from veriloop.xsum.verifiers import rouge


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The paper's setting: a model fitted to some real pairs, then round after round to summaries of its own.

    base: the model before any summary.
    initial: the real pairs that it is first fitted to, by `first`.
    generate: writes candidates for all articles every round.
    refit: how each later model is fitted.
    keep: share of the candidates that a round keeps.
    measure: (key, model) -> named numbers. pool: the data policy, by default the newest rows alone.
    """

    base: Any
    initial: Summaries
    generate: Generate
    first: FineTune
    refit: FineTune
    keep: float = 0.1
    measure: Measure[Any] | None = None
    pool: Pool[Summaries] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"Problem.keep must be in (0, 1], got {self.keep}")

    def start(self, key: Key) -> State[Any]:
        """Return the start: a model fitted to the initial pairs, which pools find in `past`."""
        return State(self.first(key.fold("first"), self.base, self.initial), past=(self.initial,))

    def loop(
        self,
        *,
        verify: Verifier | EachRound[Verifier] | None = None,
        filter: Filter | EachRound[Filter] | None = None,
        group: Callable[[Summaries], np.ndarray] | None = None,
    ) -> Loop[Any, Summaries]:
        """Return the loop; give it `self.size(kept)` candidates.

        verify: for instance `RougeVerifier()`. None: no verifier, so the summaries kept are random ones. With one
            key the arms share their random numbers.
        filter: by default `TopFraction(keep)`.
        group: rank within these groups, for instance `by_article` beside `TopCount(1)`, or `kinds`. None: all rows
            are one group.
        """
        if filter is None:
            filter = TopFraction(self.keep)
        return Loop(
            generate=self.generate,
            verify=verify,
            filter=filter,
            group=group,
            refit=self.refit,
            measure=self.measure,
            pool=self.pool,
            observe=observe,
            block=max(len(self.generate), 1),
        )

    def size(self, kept: int) -> int:
        """Return how many candidates a round writes to keep `kept` summaries."""
        return round(kept / self.keep)

    def save(self, state: State[Any], folder: Path) -> None:
        """Write a state into a folder: the model as transformers does, the rest as arrays."""
        save_state(state, folder, write_model)

    def load(self, folder: Path) -> State[Any]:
        """Read back what `save` wrote, onto `device`."""
        return load_state(folder, partial(read_model, device=self.device))


def by_article(rows: Summaries) -> np.ndarray:
    """Return the number of each row's article, shape (n,): the group of the candidates of one article."""
    return rows.prompts


def observe(key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray) -> Mapping[str, float]:
    """Return the ROUGE-1 of all candidates and of those kept, and the mean length of the kept."""
    rows = batch[np.ones(len(batch), dtype=bool)]
    quality = rouge("rouge1", rows.references, rows.summaries)
    lengths = [len(summary.split()) for summary in rows.summaries[mask]]
    return {
        "candidates_rouge1": float(quality.mean()),
        "kept_rouge1": float(quality[mask].mean()),
        "kept_words": float(np.mean(lengths)),
    }


@quietly()
def write_model(model: Any, folder: Path) -> None:
    """Write a model as safetensors and JSON, by transformers."""
    model.save_pretrained(folder / "model")


@quietly()
def read_model(folder: Path, device: str = "cpu") -> Any:
    """Read back what `write_model` wrote."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder / "model")
    return model.to(device).eval()
