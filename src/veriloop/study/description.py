"""What a value is made of, as JSON: equal where values are equal, in every process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that differ where the descriptions of values differ.

    >>> digest(lambda x: x + 1) == digest(lambda x: x + 1)
    True
    >>> digest(lambda x: x + 1) == digest(lambda x: x + 2)
    False
    """
    text = json.dumps(described(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def described(value: Any, *, strict: bool = False) -> Any:
    """Return JSON that differs where values differ.

    A function is its name, a digest of its code, its defaults, and the values it closes over. A
    dataclass is its fields, an array a digest of its bytes. Of any other object only the name of
    its type is known.

    strict: refuse an object of which only the type's name is known.

    >>> described({"rate": 0.1, "sizes": (1, 2)})
    {'rate': 0.1, 'sizes': [1, 2]}

    Raises:
        TypeError: if `strict`, and a value cannot be described.
    """
    return _described(value, strict, ())


def _described(value: Any, strict: bool, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if id(value) in above:
        return "itself"
    above = (*above, id(value))

    def each(part: Any) -> Any:
        return _described(part, strict, above)

    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, Mapping):
        return {str(name): each(part) for name, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(each(part)) for part in value)
    if isinstance(value, Sequence):
        return [each(part) for part in value]
    if isinstance(value, partial):
        return [each(value.func), each(value.args), each(value.keywords)]
    if isinstance(value, MethodType):
        return [each(value.__self__), each(value.__func__)]
    if isinstance(value, FunctionType):
        names = value.__code__.co_freevars
        closed = dict(zip(names, value.__closure__ or (), strict=True))
        cells = {name: each(cell.cell_contents) for name, cell in closed.items()}
        defaults = [each(value.__defaults__), each(value.__kwdefaults__)]
        return [value.__qualname__, _code(value.__code__), defaults, cells]
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return f"{value.__module__}:{value.__qualname__}"
    name = f"{type(value).__module__}:{type(value).__qualname__}"
    if is_dataclass(value):
        parts = {field.name: each(getattr(value, field.name)) for field in fields(value) if field.init}
        return [name, parts]
    if strict:
        raise TypeError(
            f"what decides a result must be numbers, text or functions, got {value!r:.80}; leave it out"
        )
    return name


def _code(code: CodeType) -> str:
    """Return a digest of what a function does, whatever the lines it stands in."""
    found = hashlib.sha256(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            text = _code(constant)
        elif isinstance(constant, frozenset):  # its order differs from process to process
            text = repr(sorted(map(repr, constant)))
        else:
            text = repr(constant)
        found.update(text.encode())
    found.update(" ".join(code.co_names).encode())
    return found.hexdigest()[:16]
