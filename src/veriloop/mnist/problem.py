"""The paper's digits setting as one value: its start, its loop, and how its models are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from veriloop.core import EachRound, Key, Loop, State
from veriloop.core.checks import check_fraction, is_count
from veriloop.core.parts import Filter, Groups, Measure, Pool
from veriloop.core.verdict import Verifier
from veriloop.filters import TopFraction
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.generate import Generate
from veriloop.mnist.images import DIGITS, Images, check_images
from veriloop.mnist.refit import Refit, observe, read_model, write_model
from veriloop.mnist.verifiers import accuracy
from veriloop.store import load_state, save_state

BLOCK = 60_000  # a multiple of 10, so that every round has equally many candidates of each digit


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The digits setting: a generator is fitted to real images, then every round to its own.

    initial: the real images of the first model.
    first: how the first model is fitted.
    refit: how every later model is fitted.
    test: real images, as a verifier sees them; a verifier's accuracy is measured on them.
    keep: share of each digit's candidates that a verified round keeps, in (0, 1].
    measure: (key, model) -> numbers by name; None measures nothing.
    pool: the data policy; None fits to the newest images alone. If real images in it are grey, all
        images of a refit take a byte a pixel; with binary ones they take a bit.
    chunk: the largest number of candidates in memory, see `Loop`.

    Raises:
        TypeError: if `initial` or `test` is no batch of images.
        ValueError: if one of them is empty, or `keep` is out of its range.

    >>> from veriloop import run
    >>> from veriloop.mnist import Training, balanced, load
    >>> digits = load("digits")
    >>> short = Refit(model="mlp", settings={"hidden": [8]}, training=Training(steps=2))
    >>> initial = balanced(Key(0), digits.train, 100)
    >>> problem = Problem(initial=initial, first=short, refit=short, test=digits.test, keep=0.5)
    >>> sizes = [problem.size(kept=20)] * 2
    >>> for state, record in run(problem.loop(), Key(0), problem.start(Key(0)), sizes):
    ...     print(record.round, record.candidates, record.kept)
    0 0 0
    1 40 20
    2 40 20
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
        check_images("Problem.initial", self.initial, least=1)
        check_images("Problem.test", self.test, least=1)
        check_fraction("Problem.keep", self.keep, one=True)

    def start(self, key: Key) -> State[CVAE]:
        """Return the start: a model fitted to the initial images, which pools find in `past`."""
        model = self.first(key.fold("first"), None, self.initial)
        return State(model, past=(self.initial,))

    def loop(
        self,
        *,
        verify: Verifier | EachRound[Verifier] | None = None,
        filter: Filter | EachRound[Filter] | None = None,
    ) -> Loop[CVAE, Images]:
        """Return the loop; give it `self.size(kept)` candidates to keep the best of each digit.

        verify: a verifier for all rounds, or `retrained(train)`, which trains one every round.
            None keeps random images. With one key all arms share their random numbers.
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
        """Return the accuracy of a verifier on the test images and on as many of the model's."""
        synthetic = Generate()(key.fold("accuracy"), model, len(self.test))
        return {"verifier_accuracy": accuracy(key, verify, self.test, synthetic)}

    def size(self, kept: int) -> int:
        """Return how many candidates a round draws to keep `kept` images.

        Raises:
            ValueError: if `kept` is not a multiple of 10.
        """
        if not is_count(kept, DIGITS) or kept % DIGITS:
            raise ValueError(
                f"a round keeps a multiple of {DIGITS} images, equally many of each digit, "
                f"got {kept}"
            )
        return DIGITS * round(kept / self.keep / DIGITS)

    def save(self, state: State[CVAE], folder: Path) -> None:
        """Write a state into a folder: safetensors, JSON and arrays."""
        save_state(state, folder, write_model)

    def load(self, folder: Path) -> State[CVAE]:
        """Read back what `save` wrote, onto the device of `refit`."""
        return load_state(folder, partial(read_model, device=self.refit.device))


def labels_of(images: Images) -> Groups:
    """Return the digits, shape (n,)."""
    return images.labels


def retrained(train: Callable[[Key, CVAE], Verifier]) -> EachRound[Verifier]:
    """Return a verifier that is trained again every round, against the current generator.

    train: (key, model) -> verifier, for instance a `Discriminate`.

    >>> from veriloop import Constant
    >>> retrained(lambda key, model: Constant()).make(Key(0), State(model=None))
    Constant(score=0.0)
    """
    return EachRound(lambda key, state: train(key, state.model))
