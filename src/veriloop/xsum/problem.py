"""The paper's summaries setting as one value, and what is observed of the candidates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from veriloop.core import EachRound, Key, Loop, State
from veriloop.core.candidates import Candidates
from veriloop.core.checks import check_count, check_fraction
from veriloop.core.parts import Filter, Groups, Mask, Measure, Observer, Pool, Scores
from veriloop.core.verdict import Verifier
from veriloop.filters import TopFraction
from veriloop.store import load_state, save_state
from veriloop.xsum.base import quietly
from veriloop.xsum.finetune import FineTune
from veriloop.xsum.generate import Generate
from veriloop.xsum.models import check_fit, check_whole
from veriloop.xsum.rows import Summaries, check_summaries
from veriloop.xsum.words import Tokenizer, rouge, words

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FROZEN = "frozen.json"  # names of weights that no fit changes; transformers does not write them


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The summaries setting: a model is fitted to some real pairs, then every round to its own.

    base: the model before it has seen any summary. None is for a `Problem` whose start exists.
    initial: the real pairs that the first model is fitted to.
    generate: writes candidates for all articles every round.
    first: how the first model is fitted.
    refit: how every later model is fitted.
    keep: share of the candidates that a round keeps, in (0, 1].
    measure: (key, model) -> numbers by name; None measures nothing.
    pool: the data policy; None fits to the newest rows alone.
    device: where `load` puts a model.
    tokenizer: makes words of texts, for the ROUGE that is observed of the candidates; see `rouge`.

    Raises:
        ValueError: if `keep` is out of its range, or the base cannot read the prompts.

    >>> from veriloop import run
    >>> from veriloop.xsum import Pretraining, Prompt, pretrained, reports
    >>> import tempfile
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> base, tokenizer = pretrained(tiny, folder=Path(tempfile.mkdtemp()))
    >>> prompt = Prompt(tokenizer, tokens=40, summary_tokens=4)
    >>> pairs = reports(Key(0), 8)
    >>> generate = Generate(articles=pairs, prompt=prompt)
    >>> tune = FineTune(prompt=prompt)
    >>> problem = Problem(
    ...     base=base, initial=pairs[:4], generate=generate, first=tune, refit=tune, keep=0.5
    ... )
    >>> start = problem.start(Key(0))
    >>> for state, record in run(problem.loop(), Key(0), start, [problem.size(kept=4)]):
    ...     print(record.round, record.candidates, record.kept)
    0 0 0
    1 8 4
    """

    base: PreTrainedModel | None
    initial: Summaries
    generate: Generate
    first: FineTune
    refit: FineTune
    keep: float = 0.1
    measure: Measure[PreTrainedModel] | None = None
    pool: Pool[Summaries] | None = None
    device: str = "cpu"
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        check_summaries("Problem.initial", self.initial)
        check_fraction("Problem.keep", self.keep, one=True)
        if self.base is not None:
            for part in (self.generate, self.first, self.refit):
                check_fit(self.base, part.prompt)

    def start(self, key: Key) -> State[PreTrainedModel]:
        """Return the start: a model fitted to the initial pairs, which pools find in `past`.

        Raises:
            ValueError: if there is no base.
        """
        if self.base is None:
            raise ValueError("Problem.start needs a base, got None; give the model to start from")
        model = self.first(key.fold("first"), self.base, self.initial)
        return State(model, past=(self.initial,))

    def loop(
        self,
        *,
        verify: Verifier | EachRound[Verifier] | None = None,
        filter: Filter | EachRound[Filter] | None = None,
        group: Callable[[Summaries], Groups] | None = None,
    ) -> Loop[PreTrainedModel, Summaries]:
        """Return the loop; give it `self.size(kept)` candidates.

        verify: for instance `RougeVerifier()`. None keeps random summaries. With one key all arms
            share their random numbers.
        filter: by default `TopFraction(keep)`.
        group: rank within these groups, for instance `by_article` beside `TopCount(1)`, or `kinds`.
            None ranks all rows together.
        """
        if filter is None:
            filter = TopFraction(self.keep)
        observed: Observer = observe
        if self.tokenizer is not None:
            observed = partial(observe, tokenizer=self.tokenizer)
        return Loop(
            generate=self.generate,
            verify=verify,
            filter=filter,
            group=group,
            refit=self.refit,
            measure=self.measure,
            pool=self.pool,
            observe=observed,
            block=max(len(self.generate), 1),
        )

    def size(self, kept: int) -> int:
        """Return how many candidates a round writes to keep `kept` summaries.

        Raises:
            ValueError: if `kept` is no integer of at least 1.
        """
        check_count("Problem.size: kept", kept)
        return round(kept / self.keep)

    def save(self, state: State[PreTrainedModel], folder: Path) -> None:
        """Write a state into a folder: the model as transformers does, the rest as arrays."""
        save_state(state, folder, write_model)

    def load(self, folder: Path) -> State[PreTrainedModel]:
        """Read back what `save` wrote, onto `device`."""
        return load_state(folder, partial(read_model, device=self.device))


def by_article(rows: Summaries) -> Groups:
    """Return the number of each row's article, shape (n,): the candidates of one are a group.

    rows: the candidates.

    >>> by_article(Summaries.of(["Rain."] * 3, ["-"] * 3, prompts=[0, 0, 1]))
    array([0, 0, 1])
    """
    return rows.prompts


def observe(
    key: Key,
    batch: Summaries | Candidates[Summaries],
    scores: Scores,
    mask: Mask,
    tokenizer: Tokenizer | None = None,
) -> Mapping[str, float]:
    """Return the mean ROUGE-1 of all candidates and of those kept, and the mean words of the kept.

    key: not used.
    batch: the candidates.
    scores: not used.
    mask: which rows are kept, booleans, shape (n,).
    tokenizer: makes words of texts; see `rouge`.

    >>> rows = Summaries.of(["-"] * 2, ["Rain fell."] * 2, ["Rain fell.", "Snow."])
    >>> observe(Key(0), rows, np.zeros(2), np.array([True, False]))
    {'candidates_rouge1': 0.5, 'kept_rouge1': 1.0, 'kept_words': 2.0}
    """
    rows = batch[np.ones(len(batch), dtype=bool)]
    quality = rouge("rouge1", rows.references, rows.summaries, tokenizer)
    lengths = [len(words(summary, tokenizer)) for summary in rows.summaries[mask]]
    return {
        "candidates_rouge1": float(quality.mean()),
        "kept_rouge1": float(quality[mask].mean()),
        "kept_words": float(np.mean(lengths)),
    }


@quietly()
def write_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as safetensors and JSON, by transformers, and which weights are frozen."""
    check_whole(model)
    model.save_pretrained(folder / "model")
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    if frozen:
        (folder / "model" / FROZEN).write_text(json.dumps(frozen, indent=1) + "\n")


@quietly()
def read_model(folder: Path, device: str = "cpu") -> PreTrainedModel:
    """Read back what `write_model` wrote."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder / "model")
    frozen = folder / "model" / FROZEN
    if frozen.exists():
        weights = dict(model.named_parameters())
        for name in json.loads(frozen.read_text()):
            weights[name].requires_grad_(False)
    return model.to(device).eval()
