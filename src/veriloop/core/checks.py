"""Checks of arguments, and what an error says: one wording for one mistake."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np

SHOWN = 30  # names at most in a hint


def is_integer(value: object) -> bool:
    """Tell whether a value is an integer, of Python or of NumPy; True and False are none."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def is_count(value: object, least: int = 0) -> bool:
    """Tell whether a value is an integer of at least `least`.

    >>> is_count(3), is_count(np.int64(3)), is_count(3.0), is_count(True)
    (True, True, False, False)
    """
    if not isinstance(value, Integral):
        return False
    return is_integer(value) and int(value) >= least


def check_count(what: str, value: object, least: int = 1) -> None:
    """Refuse what cannot be a number of rows, rounds or tries.

    what: the name of the argument, for the error.
    value: must be an integer.
    least: the smallest number allowed.

    >>> check_count("Window.n", 0)
    Traceback (most recent call last):
    ValueError: Window.n must be an integer of at least 1, got 0
    """
    if not is_count(value, least):
        raise ValueError(f"{what} must be an integer of at least {least}, got {value!r:.60}")


def check_finite(what: str, value: object) -> None:
    """Refuse what is no finite number; True and False are none.

    what: the name of the argument, for the error.
    value: the number.

    >>> check_finite("Shifted.by", "1")
    Traceback (most recent call last):
    ValueError: Shifted.by must be a finite number, got '1'
    """
    if not _is_real(value) or not np.isfinite(float(cast(float, value))):
        raise ValueError(f"{what} must be a finite number, got {value!r:.60}")


def _is_real(value: object) -> bool:
    return not isinstance(value, bool | np.bool_) and isinstance(value, Real)


def check_fraction(what: str, value: float, *, zero: bool = False, one: bool = False) -> None:
    """Refuse a number outside 0 to 1, and the ends too unless they are allowed.

    what: the name of the argument, for the error.
    value: the number.
    zero, one: allow 0, allow 1.

    >>> check_fraction("TopFraction.fraction", 0.0, one=True)
    Traceback (most recent call last):
    ValueError: TopFraction.fraction must be in (0, 1], got 0.0
    """
    number = _is_real(value)
    if number and (0 < value < 1 or (zero and value == 0) or (one and value == 1)):
        return
    start = "[" if zero else "("
    end = "]" if one else ")"
    raise ValueError(f"{what} must be in {start}0, 1{end}, got {value!r:.60}")


def check_positive(what: str, value: float, *, zero: bool = False) -> None:
    """Refuse a number that is negative, 0, infinite or NaN.

    what: the name of the argument, for the error.
    value: the number.
    zero: allow 0.

    >>> check_positive("Luce.temperature", -1.0)
    Traceback (most recent call last):
    ValueError: Luce.temperature must be positive and finite, got -1.0
    """
    if _is_real(value) and (0 < value < np.inf or (zero and value == 0)):
        return
    allowed = "at least 0" if zero else "positive"
    raise ValueError(f"{what} must be {allowed} and finite, got {value!r:.60}")


def check_device(what: str, value: object) -> None:
    """Refuse a device that torch does not have on this machine.

    what: the name of the argument, for the error.
    value: its name, "cpu" for instance, or a torch.device.

    >>> check_device("Refit.device", "gpu")
    Traceback (most recent call last):
    ValueError: Refit.device must be one that torch has on this machine, cpu..., got 'gpu'
    """
    import torch  # pyright: ignore[reportMissingImports]

    known = ["cpu"]
    found = torch.accelerator.current_accelerator()
    if found is not None and torch.accelerator.is_available():
        name = found.type
        numbered = [f"{name}:{i}" for i in range(torch.accelerator.device_count())]
        known += [name, *numbered]
    if str(value) not in known:
        raise ValueError(
            f"{what} must be one that torch has on this machine, {', '.join(known)}, got "
            f"{str(value)!r:.60}"
        )


def check_path(what: str, value: str | Path) -> Path:
    """Return a path, and refuse one that no file can have, as no system looks for it.

    what: who asks for it, for the error.
    value: the path; it need not be there.

    >>> check_path("load", "a" * 300)
    Traceback (most recent call last):
    ValueError: load: no file can be called 'aaa... (File name too long); give another name
    """
    path = Path(value)
    try:
        os.stat(path)
        return path
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            return path
        reason = error.strerror
    except ValueError as error:  # a null byte, or half a character
        reason = str(error)
    raise ValueError(
        f"{what}: no file can be called {str(value)!r:.60} ({reason}); give another name"
    )


def kind(value: object) -> str:
    """Name a value's type, and show the value where it is short."""
    text = repr(value)
    if len(text) > 30:
        return type(value).__name__
    return f"{type(value).__name__} {text}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for a name that is unknown: the nearest known one, or the first of them.

    >>> nearest("Treshold", ["Threshold", "TopCount"])
    "did you mean 'Threshold'?"
    >>> nearest("x", ["Threshold", "TopCount"])
    'known: Threshold, TopCount'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        shown += f" and {len(names) - SHOWN} more"
    return f"known: {shown or 'none'}"


def check_installed(package: str, *modules: str) -> None:
    """Say at the door of a package which part of its extra is not installed.

    package: as in `veriloop.study`, whose extra is `veriloop[study]`.
    modules: what it cannot do without.

    >>> check_installed("veriloop.study", "json")

    Raises:
        ImportError: with the line that installs it.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        extra = package.rpartition(".")[2]
        raise ImportError(
            f"{package} needs {missing[0]!r}; install it with: pip install 'veriloop[{extra}]'"
        )


def need(module: str, install: str, what: str) -> ModuleType:
    """Import an optional module, or say what to install.

    module: its name, as in `import`.
    install: what pip installs it with, as in `veriloop[mnist]`.
    what: who needs it, for the error.

    >>> need("json", "veriloop[mnist]", "this example").dumps([1])
    '[1]'

    Raises:
        ImportError: if a package is missing. A missing module of veriloop itself is not renamed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split(".")[0] == "veriloop":
            raise
        raise ImportError(
            f"{what} needs {missing!r}; install it with: pip install '{install}'"
        ) from error
