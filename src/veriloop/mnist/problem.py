"""The paper's digits setting as one value: where the generator starts, how it is refitted, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from veriloop.core import Key, Loop, State
from veriloop.core.loop import nothing
from veriloop.core.verdict import Verifier
from veriloop.filters import KeepAll, TopFraction
from veriloop.mnist.backend import Refit, observe
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, Images
from veriloop.mnist.generate import Generate
from veriloop.mnist.verifiers import accuracy
from veriloop.pools import Replace
from veriloop.verifiers import Constant

BLOCK = 60_000  # a multiple of 10, so that every round has equally many candidates of each digit


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A generator first fitted to real images, then round after round to its own.

    initial: real images of the first model. first, refit: how the first and every later model is fitted.
    test: real images, as a verifier sees them, on which its accuracy is measured.
    keep: share of each digit's candidates that a verified round keeps.
    measure: (key, model) -> named numbers. chunk: the most candidates held, see `Loop`.
    pool: the data policy. With grey real images among them all images of a refit take a byte a pixel; binary ones,
        of `Images.bernoulli` or `Images.threshold`, take a bit.
    """

    initial: Images
    first: Refit
    refit: Refit
    test: Images
    keep: float = 0.1
    measure: Callable[[Key, CVAE], Mapping[str, float]] = nothing
    pool: Any = Replace()
    chunk: int | None = 2_000_000

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"Problem.keep must be in (0, 1], got {self.keep}")

    def start(self, key: Key) -> State[CVAE]:
        """Return the state before round 1: a model fitted to the initial images, which pools find in `past`."""
        return State(self.first(key.fold("first"), None, self.initial), past=(self.initial,))

    def candidates(self, kept: int) -> int:
        """Return how many candidates a verified round draws to keep `kept` images; unverified it draws `kept`."""
        if kept < DIGITS or kept % DIGITS:
            raise ValueError(f"a round keeps a multiple of {DIGITS} images, equally many of each digit, got {kept}")
        return DIGITS * round(kept / self.keep / DIGITS)

    def loop(
        self,
        *,
        verifier: Verifier | None = None,
        retrain: Callable[[Key, CVAE], Verifier] | None = None,
        filter: Any = None,
    ) -> Callable[[Key, State[CVAE]], Loop]:
        """Return what `veriloop.run` takes: (key, state) -> the round's loop.

        verifier: one for all rounds. retrain: (key, model) -> this round's verifier, as `Discriminate` is. Neither:
        the unverified arm, which keeps all candidates. With one key the arms share their random numbers.
        filter: by default the top `keep` of each digit.
        """
        if verifier is not None and retrain is not None:
            raise ValueError("a loop has a fixed verifier or one retrained every round, got both")
        if verifier is None and retrain is None:
            return lambda key, state: self._loop(Constant(), filter or KeepAll(), observe=None)

        def this_round(key: Key, state: State[CVAE]) -> Loop:
            judge: Any = verifier if retrain is None else retrain(key.fold("retrain"), state.model)
            synthetic = Generate()(key.fold("accuracy"), state.model, len(self.test))
            measured = {"verifier_accuracy": accuracy(key, judge, self.test, synthetic)}

            def seen(key: Key, batch: Any, scores: np.ndarray, mask: np.ndarray) -> Mapping[str, float]:
                return {**measured, **observe(key, batch, scores, mask)}

            return self._loop(judge, filter or TopFraction(self.keep), observe=seen)

        return this_round

    def _loop(self, judge: Verifier, filter: Any, observe: Any) -> Loop:
        return Loop(
            generate=Generate(),
            verify=judge,
            filter=filter,
            refit=self.refit,
            measure=self.measure,
            pool=self.pool,
            group=lambda batch: batch.labels,
            observe=observe,
            block=BLOCK,
            chunk=self.chunk,
        )
