"""A digest of the parts of a run, the same in every process, to compare a resumed run."""

# It looks into objects of any type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import copyreg
import hashlib
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from veriloop.core.batch import is_tensor

CONSTANT = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    tuple,
    frozenset,
    np.ndarray,
    np.generic,
)
INSTALLED = {"site-packages", "dist-packages"}
BY_TYPE_ALONE = ("transformers", "tokenizers")  # objects that note things as they are used


def fingerprint(value: object, unseen: set[str] | None = None) -> str:
    """Return a digest that differs where values differ.

    Numbers, texts, arrays, tensors, torch modules, objects with attributes, and collections of them
    count with all they hold. A function counts by its code, its defaults, what it encloses, and the
    constants and functions of its module that it uses; an object also by the code of its class, if
    that is not of an installed package. An object without attributes, such as a pattern of `re`,
    counts by how it is pickled. A dataclass field with `compare=False` does not count, and
    an object with a method `__fingerprint__` counts by what that returns.

    value: anything.
    unseen: the names of types that count by their name alone are added here.

    >>> fingerprint({"cut": 0.5}) == fingerprint({"cut": 0.5}), fingerprint(1) == fingerprint(2)
    (True, False)
    """
    fed = _Digest()
    fed.feed(value)
    if unseen is not None:
        unseen |= fed.unseen
    return fed.sha256.hexdigest()[:32]


class _Digest:
    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.unseen: set[str] = set()
        self._inside: set[int] = set()  # what is being fed, so that a circle ends

    def feed(self, value: object) -> None:
        """Count a value."""
        kind = type(value)
        self._text(f"<{kind.__qualname__}>")
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            self._text(repr(value))
            return
        if id(value) in self._inside:
            return
        self._inside.add(id(value))
        self._feed_object(value)
        self._inside.discard(id(value))

    def _text(self, text: str) -> None:
        self.sha256.update(text.encode())

    def _feed_object(self, given: object) -> None:
        value: Any = given
        if isinstance(value, np.ndarray | np.generic):
            self._feed_array(np.asarray(value))
            if isinstance(value, np.ma.MaskedArray):
                self._feed_array(np.ma.getmaskarray(value))
        elif isinstance(value, date | timedelta):
            self._text(repr(value))
        elif hasattr(value, "iloc") and hasattr(value, "axes"):
            self._feed_frame(value)
        elif is_tensor(value):
            self._feed_tensor(value)
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
            self._feed_class(value)
        elif hasattr(value, "__code__"):
            self._feed_function(value)
        elif isinstance(value, BuiltinFunctionType | np.ufunc):
            self._text(f"{getattr(value, '__module__', None)}.{value.__name__}")
            self.feed(getattr(value, "__self__", None))
        elif isinstance(value, ModuleType):
            self._text(value.__name__)
        else:
            self._feed_instance(value)

    def _feed_instance(self, given: object) -> None:
        """Count an object by its class and its attributes."""
        value: Any = given
        kind = type(value)
        self._feed_class(kind)
        if hasattr(kind, "__fingerprint__"):
            self.feed(value.__fingerprint__())
        elif hasattr(value, "state_dict"):
            self.feed(dict(value.state_dict()))
        elif kind.__module__.partition(".")[0] in BY_TYPE_ALONE:
            return
        elif is_dataclass(value):
            for each in fields(value):
                if each.compare:
                    self._text(each.name)
                    self.feed(getattr(value, each.name, None))
        elif hasattr(value, "__dict__"):
            self.feed(vars(value))
        else:
            self._feed_state(value)

    def _feed_frame(self, given: object) -> None:
        """Count a table or a column of pandas by its labels and its values."""
        frame: Any = given
        for axis in frame.axes:
            self._feed_array(np.asarray(axis))
        columns = [frame]
        if len(frame.axes) > 1:
            columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
        for column in columns:
            self._text(str(column.dtype))
            self._feed_array(np.asarray(column))

    def _feed_state(self, value: object) -> None:
        """Count an object without attributes, such as a pattern or a path, by how it is pickled."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                registered = copyreg.dispatch_table.get(type(value))
                state: Any = registered(value) if registered else value.__reduce_ex__(2)
        except Exception:  # whatever a type raises that cannot be pickled
            self.unseen.add(type(value).__name__)
            return
        if isinstance(state, str):
            self._text(state)
            return
        _, arguments, *rest = state
        if arguments == (type(value),) and not any(rest):  # it says nothing but its type
            self.unseen.add(type(value).__name__)
            return
        self.feed(arguments)
        for part in rest:
            if isinstance(part, Iterator):
                part = list(part)
            self.feed(part)

    def _feed_class(self, kind: type) -> None:
        """Count a class by its name; one that is not of an installed package by its code too."""
        self._text(kind.__qualname__)
        for each in kind.__mro__:
            if is_installed(each.__module__):
                continue
            for name, attribute in sorted(vars(each).items()):
                found = getattr(attribute, "__func__", getattr(attribute, "fget", attribute))
                generated = (
                    isinstance(found, FunctionType) and found.__code__.co_filename == "<string>"
                )
                if generated or (name.startswith("__") and not isinstance(found, FunctionType)):
                    continue
                if isinstance(found, (FunctionType, *CONSTANT)):
                    self._text(name)
                    self.feed(found)

    def _feed_array(self, array: np.ndarray) -> None:
        self._text(f"{array.dtype}{array.shape}")
        if array.dtype == object:
            for each in array.ravel():
                self.feed(each)
            return
        self.sha256.update(np.ascontiguousarray(array).tobytes())

    def _feed_tensor(self, given: object) -> None:
        """Count a tensor of torch by its type, its shape, and the bytes of its values."""
        tensor: Any = given
        self._text(f"{tensor.dtype}{tuple(tensor.shape)}")
        tensor = tensor.detach().cpu()
        if tensor.layout != sys.modules["torch"].strided:
            tensor = tensor.to_dense()
        if tensor.is_quantized:  # its bytes do not tell the scale
            tensor = tensor.dequantize()
        values = tensor.resolve_conj().resolve_neg().contiguous()
        # Of one value the last stride may be any; that of a dimension behind it is 1.
        values = values.unsqueeze(-1).view(sys.modules["torch"].uint8)
        self.sha256.update(values.numpy(force=True))

    def _feed_function(self, given: Callable[..., object]) -> None:
        """Count a function by its code and by what it uses."""
        self.feed(getattr(given, "__self__", None))
        function: Any = getattr(given, "__func__", given)
        if is_installed(function.__module__):
            self._text(f"{function.__module__}.{function.__qualname__}")
        else:
            self._feed_code(function.__code__, function.__doc__)
            self._feed_globals(function)
        self.feed(function.__defaults__)
        self.feed(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # one that is not filled yet
                self.feed(cell.cell_contents)

    def _feed_code(self, code: CodeType, doc: str | None = None) -> None:
        self.sha256.update(code.co_code)
        self._text(repr(code.co_names))
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._feed_code(constant)
            elif constant != doc:
                self.feed(constant)

    def _feed_globals(self, function: FunctionType) -> None:
        """Count the constants, functions and classes of a module that a function of it uses."""
        for name in sorted(_names(function.__code__)):
            used = function.__globals__.get(name)
            if isinstance(used, (FunctionType, type, *CONSTANT)):
                self._text(name)
                self.feed(used)


def _names(code: CodeType) -> set[str]:
    """Return the names that a function, and those inside it, look up."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


@cache
def is_installed(module: str | None) -> bool:
    """Tell whether a module is of Python, of this package or of an installed one."""
    if module is None:
        return True
    if module == "__main__":  # a script or a notebook, whatever program runs it
        return False
    if module.partition(".")[0] in ("builtins", "veriloop"):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.modules
    place = Path(file).resolve()
    if INSTALLED.intersection(place.parts):  # of this interpreter, or of one that lends it packages
        return True
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return any(place.is_relative_to(folder) for folder in folders)
