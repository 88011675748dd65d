"""Values in one line: an array is shown by its type and shape, not by its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from veriloop.core.batch import is_tensor

_LONGEST = 60  # characters of a value of another kind
_MOST = 4  # entries of a collection


def shown(value: object) -> str:
    """Return a value in one line.

    >>> shown([np.zeros((100, 8)), 3, "text"])
    "[float64[100,8], 3, 'text']"
    """
    same: Any = value  # of which a type checker does not narrow the type
    if isinstance(value, np.generic):
        return repr(same.item())
    if isinstance(value, np.ndarray) or is_tensor(value):
        kind = str(same.dtype).removeprefix("torch.")
        shape = ",".join(map(str, same.shape))
        return f"{kind}[{shape}]"
    if isinstance(value, type | FunctionType):
        return same.__name__
    if isinstance(value, MethodType):
        return f"{type(value.__self__).__name__}.{value.__name__}"
    if is_dataclass(value):
        return one_line(same)
    if isinstance(value, Mapping):
        return "{" + _some(f"{name!r}: {shown(each)}" for name, each in same.items()) + "}"
    if isinstance(value, list):
        return "[" + _some(map(shown, same)) + "]"
    if isinstance(value, tuple):
        end = ",)" if len(same) == 1 else ")"
        return "(" + _some(map(shown, same)) + end
    text = " ".join(repr(value).split())
    if len(text) > _LONGEST:
        return f"{text[:_LONGEST]}..."
    return text


def one_line(value: object, *, defaults: bool = True) -> str:
    """Return a dataclass in one line, for its `__repr__`.

    value: the dataclass.
    defaults: show fields that have their default value too.

    >>> from veriloop.core import State
    >>> one_line(State(np.zeros(2)), defaults=False)
    'State(model=float64[2])'
    """
    dataclass: Any = value  # of which a type checker does not know that it is one
    parts: list[str] = []
    for each in fields(dataclass):
        held = getattr(value, each.name)
        usual = each.default is not MISSING and held is each.default
        if each.repr and (defaults or not usual):
            parts.append(f"{each.name}={shown(held)}")
    return f"{type(value).__name__}({', '.join(parts)})"


def _some(parts: Iterable[str]) -> str:
    """Join the first few parts."""
    all_parts = list(parts)
    if len(all_parts) > _MOST:
        all_parts = [*all_parts[:_MOST], "..."]
    return ", ".join(all_parts)
