"""A digest of the parts of a run, the same in every process, to compare a resumed run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from veriloop.core.batch import is_tensor
from veriloop.core.key import Key

CONSTANT = (
    type(None),
    bool,
    int,
    float,
    str,
    bytes,
    np.ndarray,
    np.generic,
    type,
    FunctionType,
    partial,
    Key,
)


def fingerprint(value: Any, unseen: set[str] | None = None, *, settings: bool = False) -> str:
    """Return a digest that differs where values differ.

    Numbers, texts, arrays, tensors, torch modules, functions (by their code and what they enclose),
    objects with attributes, and collections of them count with all they hold. Any other object
    counts by its type alone.

    unseen: the names of those types are added here.
    settings: leave out what may change as a run goes on: private attributes, and the lists, dicts
        and other objects
        that a function encloses, as those of a cache or a counter.

    >>> fingerprint({"cut": 0.5}) == fingerprint({"cut": 0.5}), fingerprint(1) == fingerprint(2)
    (True, False)
    """
    fed = _Digest(settings)
    fed.feed(value)
    if unseen is not None:
        unseen |= fed.unseen
    return fed.sha256.hexdigest()[:32]


class _Digest:
    def __init__(self, settings: bool) -> None:
        self._settings = settings
        self.sha256 = hashlib.sha256()
        self.unseen: set[str] = set()
        self._inside: set[int] = set()  # what is being fed, so that a circle ends

    def feed(self, value: Any) -> None:
        """Count a value."""
        kind = type(value)
        self._text(f"<{kind.__module__}.{kind.__qualname__}>")
        if value is None or isinstance(value, bool | int | float | str | bytes):
            self._text(repr(value))
            return
        if id(value) in self._inside:
            return
        self._inside.add(id(value))
        self._feed_object(value)
        self._inside.discard(id(value))

    def _text(self, text: str) -> None:
        self.sha256.update(text.encode())

    def _feed_object(self, value: Any) -> None:
        if isinstance(value, np.ndarray | np.generic):
            self._feed_array(np.asarray(value))
        elif is_tensor(value):
            self._feed_array(value.detach().cpu().double().numpy())
        elif isinstance(value, Mapping):
            for key, each in value.items():
                self.feed(key)
                self.feed(each)
        elif isinstance(value, list | tuple):
            for each in value:
                self.feed(each)
        elif isinstance(value, set | frozenset):
            self._text(repr(sorted(map(repr, value))))
        elif isinstance(value, partial):
            self.feed([value.func, value.args, dict(value.keywords)])
        elif isinstance(value, type):
            self._text(f"{value.__module__}.{value.__qualname__}")
        elif hasattr(value, "__code__"):
            self._feed_function(value)
        elif hasattr(value, "state_dict"):
            self.feed(dict(value.state_dict()))
        elif is_dataclass(value):
            self._feed_attributes(
                {each.name: getattr(value, each.name, None) for each in fields(value)}
            )
        elif isinstance(value, ModuleType):
            self._text(value.__name__)
        elif hasattr(value, "__dict__"):
            self._feed_attributes(vars(value))
        else:
            self.unseen.add(type(value).__name__)

    def _feed_attributes(self, attributes: Mapping[str, Any]) -> None:
        for name, each in attributes.items():
            if self._settings and name.startswith("_"):
                continue
            self._text(name)
            self.feed(each)

    def _feed_array(self, array: np.ndarray) -> None:
        self._text(f"{array.dtype}{array.shape}")
        if array.dtype == object:
            for each in array.ravel():
                self.feed(each)
            return
        self.sha256.update(np.ascontiguousarray(array).tobytes())

    def _feed_function(self, function: Any) -> None:
        """Count the code, the defaults, the enclosed values, and the names of globals."""
        self.feed(getattr(function, "__self__", None))
        self._feed_code(function.__code__, function.__doc__)
        self.feed(function.__defaults__)
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # one that is not filled yet
                self._feed_enclosed(cell.cell_contents)

    def _feed_enclosed(self, value: Any) -> None:
        frozen = is_dataclass(value) or is_tensor(value) or isinstance(value, CONSTANT)
        if self._settings and not frozen:
            self._text(type(value).__name__)
            return
        self.feed(value)

    def _feed_code(self, code: CodeType, doc: str | None = None) -> None:
        self.sha256.update(code.co_code)
        self._text(repr(code.co_names))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._feed_code(constant)
            elif constant != doc:
                self.feed(constant)
