"""The paper's digits setting as one value: where the generator starts, how it is refitted, and how it is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from veriloop.core import EachRound, Key, Loop, State
from veriloop.core.parts import Filter, Measure, Pool
from veriloop.core.verdict import Verifier
from veriloop.filters import TopFraction
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, Images
from veriloop.mnist.generate import Generate
from veriloop.mnist.refit import Refit, observe, read_model, write_model
from veriloop.mnist.verifiers import accuracy
from veriloop.store import load_state, save_state

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
    measure: Measure[CVAE] | None = None
    pool: Pool[Images] | None = None
    chunk: int | None = 2_000_000

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"Problem.keep must be in (0, 1], got {self.keep}")

    def start(self, key: Key) -> State[CVAE]:
        """Return the start: a model fitted to the initial images, which pools find in `past`."""
        return State(self.first(key.fold("first"), None, self.initial), past=(self.initial,))

    def loop(
        self, *, verify: Verifier | EachRound[Verifier] | None = None, filter: Filter | None = None
    ) -> Loop[CVAE, Images]:
        """Return the loop; give it `self.size(kept)` candidates to keep the best `keep` of each digit.

        verify: a verifier for all rounds, or `retrained(train)`, one that is trained anew every round. None: no
            verifier, so the images kept are random ones. With one key the arms share their random numbers.
        filter: by default `TopFraction(keep)`.
        """
        if filter is None:
            filter = TopFraction(self.keep)
        return Loop(
            generate=Generate(),
            verify=verify,
            filter=filter,
            refit=self.refit,
            measure=self.measure,
            pool=self.pool,
            group=labels_of,
            observe=observe,
            assess=self.assess,
            block=BLOCK,
            chunk=self.chunk,
        )

    def assess(self, key: Key, model: CVAE, verify: Verifier) -> Mapping[str, float]:
        """Return the accuracy of a verifier on the real test images and on as many of the model's."""
        synthetic = Generate()(key.fold("accuracy"), model, len(self.test))
        return {"verifier_accuracy": accuracy(key, verify, self.test, synthetic)}

    def size(self, kept: int) -> int:
        """Return how many candidates a round draws to keep `kept` images.

        Raises:
            ValueError: if `kept` is no multiple of 10.
        """
        if kept < DIGITS or kept % DIGITS:
            raise ValueError(f"a round keeps a multiple of {DIGITS} images, equally many of each digit, got {kept}")
        return DIGITS * round(kept / self.keep / DIGITS)

    def save(self, state: State[CVAE], folder: Path) -> None:
        """Write a state into a folder: safetensors, JSON and arrays."""
        save_state(state, folder, write_model)

    def load(self, folder: Path) -> State[CVAE]:
        """Read back what `save` wrote, onto the device of `refit`."""
        return load_state(folder, partial(read_model, device=self.refit.device))


def labels_of(images: Images) -> np.ndarray:
    """Return the digits, shape (n,)."""
    return images.labels


def retrained(train: Callable[[Key, CVAE], Verifier]) -> EachRound[Verifier]:
    """Return a verifier that is trained anew every round, against the current generator.

    train: (key, model) -> verifier, for instance a `Discriminate`.
    """
    return EachRound(lambda key, state: train(key, state.model))
