"""A task in words as one value: the model to start from, its prompts, its fits."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from veriloop.core import EachRound, Key, Loop, State
from veriloop.core.arrays import AnyBatch, Mask, Scores
from veriloop.core.checks import check_count, check_device, check_fraction
from veriloop.core.parts import Filter, Groups, Measure, Observer, Pool
from veriloop.core.verdict import Verifier
from veriloop.filters import TopFraction
from veriloop.store import load_state, save_state
from veriloop.text.finetune import FineTune
from veriloop.text.generate import Generate, R
from veriloop.text.models import check_fit, write_weights
from veriloop.text.prompt import Prompt, check_prompt
from veriloop.text.rows import Rows, check_numbers, check_rows
from veriloop.text.weights import quietly

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FROZEN = "frozen.json"  # names of weights that no fit changes; transformers does not write them


@dataclass(frozen=True, kw_only=True)
class Problem(Generic[R]):
    """A task in words: a model is fitted to some given rows, then every round to its own outputs.

    base: the model before it has seen the task. None is for a `Problem` whose start exists.
    initial: the rows that the first model is fitted to. If there are none, the first model is the
        base as it is.
    generate: writes candidates every round.
    first: how the first model is fitted.
    refit: how every later model is fitted.
    keep: share of the candidates that a round keeps, in (0, 1].
    measure: (key, model) -> numbers by name; None measures nothing.
    observe: what is recorded of the candidates; see `Loop`. None: nothing more than counts. The
        record also has `prompts_cut`, how many inputs of the candidates were too long for the
        prompt.
    pool: the data policy; None fits to the newest rows alone.
    device: where `load` puts a model.

    Raises:
        TypeError: if a part is of another kind.
        ValueError: if `keep` is out of its range, no initial row has an output, the base cannot
            read the prompts, or the machine lacks the device.

    >>> from veriloop import run
    >>> from veriloop.text import Pretraining, Prompt, Texts, pretrain
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> base, tokenizer = pretrain(tiny, lambda key, n: ["2 + 2 = 4"] * n)
    >>> prompt = Prompt(tokenizer, tokens=40, output_tokens=4)
    >>> sums = Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"])
    >>> generate = Generate(rows=sums, prompt=prompt)
    >>> tune = FineTune(prompt=prompt)
    >>> problem = Problem(
    ...     base=base, initial=sums[:1], generate=generate, first=tune, refit=tune, keep=0.5
    ... )
    >>> start = problem.start(Key(0))
    >>> for state, record in run(problem.loop(), Key(0), start, [problem.size(kept=1)]):
    ...     print(record.round, record.candidates, record.kept)
    0 0 0
    1 2 1
    """

    base: PreTrainedModel | None
    initial: R
    generate: Generate[R]
    first: FineTune
    refit: FineTune
    keep: float = 0.1
    measure: Measure[PreTrainedModel] | None = None
    observe: Observer | None = None
    pool: Pool[R] | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_rows("Problem.initial", self.initial)
        check_fraction("Problem.keep", self.keep, one=True)
        check_device("Problem.device", self.device)
        if len(self.initial) and not any(self.initial.outputs):
            raise ValueError(
                f"Problem.initial has no output to learn in its {len(self.initial)} rows; give "
                "outputs or targets, or leave all rows out to start from the base"
            )
        empty = sum(not output for output in self.initial.outputs)
        if empty:
            warnings.warn(
                f"Problem.initial: {empty} of {len(self.initial)} rows have an empty output, so "
                "the model learns to write nothing there; leave them out",
                stacklevel=3,
            )
        if self.base is not None:
            self._check_prompts(self.base)

    def _check_prompts(self, base: PreTrainedModel) -> None:
        """Refuse parts that have no prompt, or one that the base cannot read."""
        for name in ("generate", "first", "refit"):
            prompt: Any = getattr(getattr(self, name), "prompt", None)
            check_prompt(f"Problem.{name}.prompt", prompt)
            check_fit(base, prompt)

    def start(self, key: Key) -> State[PreTrainedModel]:
        """Return the start: a model fitted to the initial rows, which pools find in `past`.

        Raises:
            ValueError: if there is no base.
        """
        if self.base is None:
            raise ValueError("Problem.start needs a base, got None; give the model to start from")
        model = self.base
        if len(self.initial):
            model = self.first(key.fold("first"), self.base, self.initial)
        return State(model, past=(self.initial,))

    def loop(
        self,
        *,
        verify: Verifier | EachRound[Verifier] | None = None,
        filter: Filter | EachRound[Filter] | None = None,
        group: Callable[[R], Groups] | None = None,
    ) -> Loop[PreTrainedModel, R]:
        """Return the loop; give it `self.size(kept)` candidates.

        verify: for instance `Brevity(30)`. None keeps random outputs. With one key all arms
            share their random numbers.
        filter: by default `TopFraction(keep)`.
        group: rank within these groups, for instance `by_input` beside `TopCount(1)`. None ranks
            all rows together.
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
            observe=_WithCut(self.generate.prompt, self._observer()),
            block=max(len(self.generate), 1),
        )

    def _observer(self) -> Observer | None:
        """Return what is recorded of the candidates, beside the prompts that were cut."""
        return self.observe

    def size(self, kept: int) -> int:
        """Return how many candidates a round writes to keep `kept` outputs.

        Raises:
            ValueError: if `kept` is no integer of at least 1.
        """
        check_count("Problem.size: kept", kept)
        return round(kept / self.keep)

    def save(self, state: State[PreTrainedModel], folder: str | Path) -> None:
        """Write a state into a folder: the model as transformers does, the rest as arrays.

        The tokenizer is not written: `prompt.tokenizer.save_pretrained(folder)` does that.
        """
        save_state(state, Path(folder), write_model)

    def load(self, folder: str | Path) -> State[PreTrainedModel]:
        """Read back what `save` wrote, onto `device`."""
        return load_state(Path(folder), partial(read_model, device=self.device))


@dataclass(frozen=True)
class _WithCut:
    """Record how many inputs were too long for the prompt, and what another observer does.

    prompt: cuts the inputs.
    observe: the other one; None records nothing more.
    """

    prompt: Prompt
    observe: Observer | None

    def __call__(
        self, key: Key, batch: AnyBatch, scores: Scores, mask: Mask
    ) -> Mapping[str, float]:
        rows: Any = batch[np.ones(len(batch), dtype=bool)]
        _, first = np.unique(rows.numbers, return_index=True)
        cut = self.prompt.cut(rows.inputs[first])
        others: Mapping[str, float] = {}
        if self.observe is not None:
            others = self.observe(key, batch, scores, mask)
        return {"prompts_cut": int(cut.sum()), **others}


def by_input(rows: Rows) -> Groups:
    """Return the number of each row's input, shape (n,): the candidates of one are a group.

    rows: the candidates.

    Raises:
        ValueError: if two different inputs have one number, as in two sets put together.

    >>> from veriloop.text import Texts
    >>> by_input(Texts.of(["2 + 2 ="] * 3, numbers=[0, 0, 1]))
    array([0, 0, 1])
    """
    check_rows("by_input: rows", rows)
    check_numbers("by_input", rows, "input")
    return rows.numbers


def write_model(model: PreTrainedModel, folder: Path) -> None:
    """Write a model as safetensors and JSON, by transformers, and which weights are frozen."""
    write_weights(model, folder / "model")
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    if frozen:
        (folder / "model" / FROZEN).write_text(json.dumps(frozen, indent=1) + "\n")


@quietly()
def read_model(folder: Path, device: str = "cpu") -> PreTrainedModel:
    """Read back what `write_model` wrote."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(
        folder / "model", local_files_only=True, trust_remote_code=False
    )
    frozen = folder / "model" / FROZEN
    if frozen.exists():
        weights = dict(model.named_parameters())
        for name in json.loads(frozen.read_text()):
            weights[name].requires_grad_(False)
    return model.to(device).eval()
