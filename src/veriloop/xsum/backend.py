"""The loop's parts for summaries: the setting as one value, what is observed of candidates, and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veriloop.core import Key, Loop, State
from veriloop.core.batch import as_batches
from veriloop.core.loop import nothing
from veriloop.core.verdict import Verifier
from veriloop.filters import RandomFraction, TopFraction
from veriloop.pools import Replace
from veriloop.verifiers import Constant
from veriloop.xsum.base import quietly
from veriloop.xsum.data import Summaries
from veriloop.xsum.finetune import FineTune
from veriloop.xsum.generate import Generate
from veriloop.xsum.verifiers import rouge

COLUMNS = ("articles", "references", "summaries", "prompts")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The paper's setting: a model fitted to some real pairs, then round after round to summaries of its own.

    base: the model before any summary. initial: the real pairs it is first fitted to, by `first`.
    generate: writes candidates for all articles every round. refit: how each later model is fitted.
    measure: (key, model) -> named numbers. pool: the data policy.
    """

    base: Any
    initial: Summaries
    generate: Generate
    first: FineTune
    refit: FineTune
    measure: Callable[[Key, Any], Mapping[str, float]] = nothing
    pool: Any = Replace()

    def start(self, key: Key) -> State:
        """Return the state before round 1: a model fitted to the initial pairs, which pools find in `past`."""
        return State(self.first(key.fold("first"), self.base, self.initial), past=(self.initial,))

    def loop(
        self,
        fraction: float,
        *,
        verifier: Verifier | None = None,
        filter: Any = None,
        group: Callable[[Summaries], np.ndarray] | None = None,
    ) -> Loop:
        """Return a round that keeps a `fraction` of the candidates: the best by `verifier`, or, without, at random.

        With one key both arms share their random numbers. filter: in place of the one that `fraction` makes, with
        the candidates of one article as a group, so `TopCount(1)` is the best of each article. group: what is kept
        is kept of each of these groups, as of `kinds`.
        """
        by_article = None if filter is None else lambda rows: rows.prompts
        chosen = TopFraction(fraction) if verifier is not None else RandomFraction(fraction)
        return Loop(
            generate=self.generate,
            verify=Constant() if verifier is None else verifier,
            filter=chosen if filter is None else filter,
            group=by_article if group is None else group,
            refit=self.refit,
            measure=self.measure,
            pool=self.pool,
            observe=observe,
            block=max(len(self.generate), 1),
        )


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
def save_state(state: State, folder: Path) -> None:
    """Write a state: the model as safetensors and JSON by transformers, the pool's past as JSON lines."""
    state.model.save_pretrained(folder / "model")
    past = as_batches(state.past)
    for i, rows in enumerate(past):
        columns = zip(*(getattr(rows, name).tolist() for name in COLUMNS), strict=True)
        (folder / f"past_{i:04d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in columns))
    (folder / "state.json").write_text(json.dumps({"round": state.round, "past": len(past)}))


@quietly()
def load_state(folder: Path, device: str = "cpu") -> State:
    """Read back what `save_state` wrote."""
    from transformers import AutoModelForCausalLM

    about = json.loads((folder / "state.json").read_text())
    model: Any = AutoModelForCausalLM.from_pretrained(folder / "model")
    past = []
    for i in range(about["past"]):
        rows = [json.loads(line) for line in (folder / f"past_{i:04d}.jsonl").read_text().splitlines()]
        articles, references, summaries, prompts = zip(*rows, strict=True)
        past.append(Summaries.of(articles, references, summaries, prompts))
    return State(model.to(device).eval(), about["round"], tuple(past))
