"""A loop whose parts are watched: one that changes what it was given is named at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from veriloop.core.batch import B
from veriloop.core.fingerprints import fingerprint
from veriloop.core.key import Key
from veriloop.core.parts import EachRound, M
from veriloop.core.positions import InTurn

if TYPE_CHECKING:
    from veriloop.core.loop import Loop

# What each part is called with, for whoever writes one.
CALLED_WITH = {
    "generate": "(key, model, n)",
    "verify": "(key, batch)",
    "filter": "(key, scores, groups)",
    "refit": "(key, model, batch)",
    "measure": "(key, model)",
    "pool": "(key, past, kept)",
    "group": "(batch)",
    "observe": "(key, batch, scores, mask)",
    "assess": "(key, model, verify)",
}


class Watched:
    """A part of a loop that refuses to have changed its arguments.

    name: of the part, as in `Loop`.
    part: the function.
    """

    def __init__(self, name: str, part: Callable[..., object]) -> None:
        self._name = name
        self._part = part

    def __call__(self, *arguments: object) -> object:
        before = [fingerprint(argument) for argument in arguments]
        answer = self._part(*arguments)
        names = CALLED_WITH[self._name].strip("()").split(", ")
        for name, argument, then in zip(names, arguments, before, strict=True):
            if fingerprint(argument) != then:
                raise AssertionError(
                    f"{self._name} changed the {name} it was given; return a new one"
                )
        return answer

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):  # also before there is a part, as when it is unpickled
            raise AttributeError(name)
        return getattr(self._part, name)


class WatchedInTurn(Watched):
    """A generator whose rows come in turn, watched from wherever it begins."""

    def starting_at(self, row: int) -> WatchedInTurn:
        moved = cast("InTurn", self._part).starting_at(row)
        return WatchedInTurn(self._name, cast("Callable[..., object]", moved))


def watched(loop: Loop[M, B]) -> Loop[M, B]:
    """Return the loop with every part watched.

    loop: gives the same rounds, as long as no part changes its arguments.
    """
    parts: dict[str, Any] = {}
    for name in CALLED_WITH:
        part: Any = getattr(loop, name)
        if isinstance(part, EachRound):
            parts[name] = _watched_each_round(name, cast("EachRound[Any]", part))
        elif part is not None:
            parts[name] = _watch(name, part)
    return replace(loop, **parts)


def _watch(name: str, part: Callable[..., object]) -> Watched:
    if name == "generate" and isinstance(cast("object", part), InTurn):
        return WatchedInTurn(name, part)
    return Watched(name, part)


def _watched_each_round(name: str, part: EachRound[Any]) -> EachRound[Any]:
    def make(key: Key, state: object) -> Watched:
        before = fingerprint(state)
        made = part.make(key, state)
        if fingerprint(state) != before:
            raise AssertionError(
                f"the EachRound of {name} changed the state it was given; return a new part"
            )
        return _watch(name, made)

    return EachRound(make)
