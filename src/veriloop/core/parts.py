"""The parts of a loop, plain functions: what each is called with, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from veriloop.core.arrays import Groups as Groups
from veriloop.core.arrays import Mask as Mask
from veriloop.core.arrays import Scores as Scores
from veriloop.core.batch import B
from veriloop.core.key import Key
from veriloop.core.verdict import Verifier

M = TypeVar("M")  # a model: opaque to the loop
Part = TypeVar("Part")
M_in = TypeVar("M_in", contravariant=True)
B_in = TypeVar("B_in", contravariant=True)
B_out = TypeVar("B_out", covariant=True)


class Generate(Protocol[M_in, B_out]):
    """Let the model write n candidates."""

    def __call__(self, key: Key, model: M_in, n: int, /) -> B_out: ...


class Filter(Protocol):
    """Decide which rows are kept: scores and groups in, a boolean mask out, shape (n,) each."""

    def __call__(self, key: Key, scores: Scores, groups: Groups, /) -> Mask: ...


class Pool(Protocol[B]):
    """Make the training batch of the kept rows and the past; return it and the new past."""

    def __call__(self, key: Key, past: Any, kept: B, /) -> tuple[B, Any]: ...


class Refit(Protocol[M, B_in]):
    """Fit a new model to a batch. The model given must not change."""

    def __call__(self, key: Key, model: M, batch: B_in, /) -> M: ...


class Measure(Protocol[M_in]):
    """Measure a model: numbers by name."""

    def __call__(self, key: Key, model: M_in, /) -> Mapping[str, float]: ...


class Assess(Protocol[M_in]):
    """Measure the verifier of a round before it judges: numbers by name."""

    def __call__(self, key: Key, model: M_in, verify: Verifier, /) -> Mapping[str, float]: ...


class Observer(Protocol):
    """Measure the candidates of a round: numbers by name."""

    def __call__(
        self, key: Key, batch: Any, scores: Scores, mask: Mask, /
    ) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class EachRound(Generic[Part]):
    """A part of the loop that is made again in every round, from the state before it.

    Use it for a verifier that is retrained, for a filter that grows stricter, or for a model that
    judges itself.

    make: (key, state) -> the part. The key is the round's own, so a resumed run makes the same
        part.

    >>> from veriloop import Key, State, Threshold
    >>> stricter = EachRound(lambda key, state: Threshold(cut=0.1 * state.round))
    >>> stricter.make(Key(0), State(model=None, round=3))
    Threshold(cut=0.30000000000000004)
    """

    make: Callable[[Key, Any], Part]


def check_part(name: str, part: Any, called_with: str) -> None:
    """Refuse a part that cannot be called, and a class in place of a value of it.

    Raises:
        TypeError: saying what the part is called with, and what to write.
    """
    if isinstance(part, EachRound):
        return
    if isinstance(part, type):
        raise TypeError(
            f"{name} is the class {part.__name__}; make a value of it: {part.__name__}(...)"
        )
    if not callable(part):
        raise TypeError(f"{name} must be a function of {called_with}, got {_short(part)}")


def _short(value: Any) -> str:
    text = repr(value)
    if len(text) > 60:
        text = f"{text[:60]}..."
    return f"{type(value).__name__} {text}"
