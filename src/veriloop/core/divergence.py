"""Models that have diverged: numbers that are NaN or infinite after a refit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Protocol, cast

import numpy as np

from veriloop.core.batch import is_tensor

_DEEPEST = 8  # collections inside one another


class _Flags(Protocol):
    """What is used of a torch tensor of booleans."""

    def all(self) -> bool: ...


class _Tensor(Protocol):
    """What is used of a torch tensor."""

    device: object

    def isfinite(self) -> _Flags: ...


def is_finite(model: object, depth: int = 0) -> bool:
    """Tell whether no number of a model is NaN or infinite.

    It looks at numbers, arrays, tensors, the parameters of torch modules, and at mappings, lists,
    tuples and dataclasses of them. Anything else counts as finite.

    >>> is_finite({"mean": np.zeros(2)}), is_finite({"mean": np.array([0.0, np.nan])})
    (True, False)
    """
    if depth > _DEEPEST:
        return True
    if isinstance(model, float | complex | np.ndarray | np.generic):
        return _is_finite_array(np.asarray(model))
    if is_tensor(model):
        return _is_finite_tensor(cast(_Tensor, model))
    return all(is_finite(each, depth + 1) for each in _inside(model))


def _is_finite_array(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def _is_finite_tensor(tensor: _Tensor) -> bool:
    if str(tensor.device) == "meta":  # it has no values
        return True
    return bool(tensor.isfinite().all())


def _inside(model: object) -> Iterable[object]:
    """Return the values that a model holds."""
    if isinstance(model, Mapping):
        return cast("Mapping[object, object]", model).values()
    if isinstance(model, list | tuple):
        return cast("list[object]", model)
    if isinstance(model, type):
        return []
    parameters = getattr(model, "parameters", None)
    if callable(parameters) and hasattr(model, "state_dict"):
        return cast("Callable[[], Iterable[object]]", parameters)()
    if is_dataclass(model):
        return [getattr(model, each.name, None) for each in fields(model)]
    return []


def check_model(where: str, old: object, new: object) -> None:
    """Refuse what refit returned where it is no model, or has diverged.

    where: the round, for the error.
    old, new: the model before and after the refit.

    Raises:
        ValueError: if it is None.
        FloatingPointError: if a number of it is not finite, and all numbers of the old one are.
    """
    if new is None and old is not None:
        raise ValueError(f"{where}: refit returned None; return the new model")
    if not is_finite(new) and is_finite(old):
        raise FloatingPointError(
            f"{where}: refit returned a model with numbers that are NaN or infinite, and the model "
            "before it had none, so it has diverged; lower the learning rate, or check refit"
        )
