"""The parts of a loop, plain functions: what each is called with, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from inspect import Signature, getattr_static, signature
from types import FunctionType, MethodType
from typing import Any, Generic, Protocol, TypeVar, cast

from veriloop.core.arrays import AnyBatch, AnyPast
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
    """Let the model write n candidates.

    The loop draws a round in blocks, each under a key of its own. If the rows come in turn, so that
    row i is about prompt i, a generator needs to know where its block begins. It then has a method
    `starting_at(row)` too. It returns the same generator whose first row is the round's row `row`,
    counted from 0 over all rows drawn in this round. The loop calls it for every block whose first
    row is not 0, under a `Quota` too, and where rows are drawn again.

    >>> from dataclasses import dataclass, replace
    >>> import numpy as np
    >>> from veriloop import Key, Loop, State
    >>> @dataclass(frozen=True)
    ... class InTurn:
    ...     prompts: int
    ...     first: int = 0
    ...     def starting_at(self, row):
    ...         return replace(self, first=row)
    ...     def __call__(self, key, model, n):
    ...         return (self.first + np.arange(n)) % self.prompts
    >>> loop = Loop(generate=InTurn(5), refit=lambda key, model, rows: rows.tolist(), block=3)
    >>> loop.step(Key(0), State([]), 8)[0].model
    [0, 1, 2, 3, 4, 0, 1, 2]
    """

    def __call__(self, key: Key, model: M_in, n: int, /) -> B_out: ...


class Filter(Protocol):
    """Decide which rows are kept: scores and groups in, a boolean mask out, shape (n,) each."""

    def __call__(self, key: Key, scores: Scores, groups: Groups, /) -> Mask: ...


class Pool(Protocol[B]):
    """Make the training batch of the kept rows and the past; return it and the new past."""

    def __call__(self, key: Key, past: AnyPast, kept: B, /) -> tuple[B, AnyPast]: ...


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
        self, key: Key, batch: AnyBatch, scores: Scores, mask: Mask, /
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

    Raises:
        TypeError: if `make` is no function of (key, state).
    """

    make: Callable[[Key, Any], Part]

    def __post_init__(self) -> None:
        check_part("EachRound.make", self.make, "(key, state)")


def check_part(name: str, part: object, called_with: str) -> None:
    """Refuse a part that cannot be called so, and a class in place of a value of it.

    called_with: the names of its arguments, as in "(key, batch)".

    Raises:
        TypeError: saying what the part is called with, and what to write.
    """
    given: object = part
    if isinstance(part, EachRound) and name != "EachRound.make":
        return
    if isinstance(part, type):
        raise TypeError(
            f"{name} is the class {part.__name__}; make a value of it: {part.__name__}(...)"
        )
    if not callable(given):
        raise TypeError(f"{name} must be a function of {called_with}, got {_short(given)}")
    if not called_with.startswith("("):
        return
    takes = _signature(given)
    if takes is not None and not _fits(takes, called_with.count(",") + 1):
        raise TypeError(
            f"{name} must be a function of {called_with}, got {_named(given)}, which takes "
            f"{takes}; give what is called so"
        )


def _signature(function: object) -> Signature | None:
    """Return what a function takes, or None where that is not known."""
    plain = function
    if not isinstance(function, FunctionType | MethodType | partial):
        # Of the class, not what an instance passes on.
        call = getattr_static(type(function), "__call__", None)
        if not isinstance(call, FunctionType):
            return None
        plain = MethodType(call, function)
    try:
        return signature(cast("Callable[..., object]", plain), follow_wrapped=False)
    except ValueError:  # of a builtin
        return None


def _fits(takes: Signature, count: int) -> bool:
    """Tell whether a function can be called with so many arguments."""
    try:
        takes.bind(*range(count))
    except TypeError:
        return False
    return True


def _named(function: object) -> str:
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _short(value: object) -> str:
    text = repr(value)
    if len(text) > 60:
        text = f"{text[:60]}..."
    return f"{type(value).__name__} {text}"
