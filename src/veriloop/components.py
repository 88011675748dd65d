"""Components by name, for a notebook, a configuration file, or a package of somebody else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import Parameter, isclass, signature
from numbers import Real
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from veriloop.core.checks import is_integer, nearest

GROUP = "veriloop.verifiers"
LIBRARY = "veriloop"


def describe(component: object) -> dict[str, Any] | str:
    """Return the spec from which `build` makes an equal component, or its name alone.

    A spec can be written for a dataclass whose fields are numbers, strings, lists of them, integers
    by integer, or such dataclasses. Of anything else only the name is returned. A field with
    `repr=False`, such as a key that nobody may read, is left out.

    component: a verifier, a filter, or any other component.

    >>> from veriloop import Noisy, Random
    >>> build(describe(Noisy(Random(), false_accept=0.1)))
    Noisy(verifier=Random(), false_accept=0.1, false_reject=0.0)
    """
    kind = component if hasattr(component, "__qualname__") else type(component)
    module = getattr(kind, "__module__", None)
    qualname = getattr(kind, "__qualname__", None)
    name = f"{module}:{qualname}"
    if not is_dataclass(component) or isinstance(component, type):
        return name
    spec: dict[str, Any] = {"call": name}
    for each in fields(component):
        if each.init and each.repr:
            spec[each.name] = _written(getattr(component, each.name))
    if any(value is _UNWRITABLE for value in spec.values()):
        return name
    return spec


class _Unwritable:
    """What stands for a value that a spec cannot hold."""


_UNWRITABLE = _Unwritable()


def _written(value: object) -> object:
    if is_dataclass(value):
        spec = describe(value)
        if isinstance(spec, str):
            return _UNWRITABLE
        return spec
    if isinstance(value, Mapping) and _is_of_integers(cast("Mapping[object, object]", value)):
        counts = cast("Mapping[int, int]", value)
        return {int(key): int(number) for key, number in counts.items()}
    if isinstance(value, list):
        items = [_written(item) for item in cast("list[object]", value)]
        if any(item is _UNWRITABLE for item in items):
            return _UNWRITABLE
        return items
    if isinstance(value, np.bool_ | np.integer | np.floating | np.str_):
        return cast("np.generic", value).item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _UNWRITABLE


def _is_of_integers(value: Mapping[object, object]) -> bool:
    return all(map(is_integer, (*value.keys(), *value.values())))


def build(spec: object, **context: object) -> Callable[..., Any]:
    """Return the component that `spec` describes.

    spec: the component itself, or `{"call": NAME, **arguments}`. NAME is "module:attribute", or an
        entry point of the group `veriloop.verifiers`. Arguments that are such mappings are built
        first, also in lists. NAME may stand for a class, for a function that makes a component, or,
        without arguments, for a component.
    context: arguments given beside those of the spec.

    >>> noisy = {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}}
    >>> build(noisy, false_accept=0.1)
    Noisy(verifier=Random(), false_accept=0.1, false_reject=0.0)

    Raises:
        ValueError: if the name is unknown, which says what is near, the arguments do not fit, or
            what is made is no function.
    """
    made = _built(spec, context)
    if not callable(made):
        name = cast("Mapping[str, object]", spec)["call"]
        raise ValueError(
            f"{name} makes {made!r:.60}, and a component must be a function; name another"
        )
    return cast("Callable[..., Any]", made)


def _built(spec: object, context: Mapping[str, object]) -> object:
    """Return what a spec describes: a component, or an argument of one."""
    if callable(spec):
        return spec
    settings = cast("Mapping[str, object]", spec)
    name = settings.get("call") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        raise ValueError(
            f"a component is a callable or a mapping with a name under 'call', got {spec!r}"
        )
    arguments: dict[str, object] = {}
    for key, value in settings.items():
        if key == "call":
            continue
        arguments[str(key)] = _argument(value)
    found = _find(name)
    if not arguments and not context and _is_component(found):
        return found
    arguments = _with_numbers_as_keys(found, arguments)
    _check_arguments(name, found, arguments)
    try:
        return found(**arguments, **context)
    except TypeError as error:
        raise ValueError(f"{name} does not take the arguments given: {error}") from None


def _argument(value: object) -> object:
    """Return an argument with every spec in it built, those in a list too."""
    if isinstance(value, Mapping) and "call" in value:
        return _built(cast("object", value), {})
    if isinstance(value, list):
        return [_argument(each) for each in cast("list[object]", value)]
    return cast("object", value)


def _with_numbers_as_keys(found: object, arguments: Mapping[str, object]) -> dict[str, object]:
    """Return arguments with whole numbers as keys where they are asked for; JSON has texts."""
    hints = _hints(found)
    changed: dict[str, object] = {}
    for argument, value in arguments.items():
        changed[argument] = value
        hint = hints.get(argument)
        if isinstance(value, Mapping) and any(map(_is_by_number, (hint, *get_args(hint)))):
            entries = cast("Mapping[object, object]", value).items()
            changed[argument] = {_whole(key): each for key, each in entries}
    return changed


def _is_by_number(hint: object) -> bool:
    return get_origin(hint) in (dict, Mapping) and get_args(hint)[0] is int


def _whole(key: object) -> object:
    """Return the text of a whole number as that number, and anything else as it is."""
    if isinstance(key, str) and key.removeprefix("-").isdecimal() and str(int(key)) == key:
        return int(key)
    return key


def class_in_file(name: object, trust: Sequence[str] = ()) -> type:
    """Return the class that a file of a run names, and call nothing.

    A file may come from a stranger, so it does not decide which code is imported. The class must be
    a public one that a module of veriloop defines.

    name: "module:Class", as `describe` writes it.
    trust: names of modules whose classes and functions are found too.

    >>> class_in_file("veriloop.filters.ranking:TopFraction")
    <class 'veriloop.filters.ranking.TopFraction'>
    >>> class_in_file("os:system")
    Traceback (most recent call last):
    ValueError: the file names 'os:system', which is no class of veriloop, so it is not imported; if
    you trust its module, give --trust os, or trust=('os',) in Python

    Raises:
        ValueError: if it is none of veriloop and of no trusted module, or is not there.
    """
    module, _, attribute = str(name).partition(":")
    if module in trust:
        return cast("type", _find(str(name)))
    own = module.startswith(f"{LIBRARY}.") and not attribute.startswith("_")
    found: object = None
    if own:
        found = getattr(_module_of(str(name)), attribute, None)
    if not isinstance(found, type) or found.__module__ != module:
        raise ValueError(
            f"the file names {name!r:.80}, which is no class of veriloop, so it is not imported; "
            f"if you trust its module, give --trust {module:.80}, or trust=({module!r:.80},) in "
            "Python"
        )
    return found


def check_spec_in_file(
    spec: object, allowed: Callable[[type], bool], trust: Sequence[str] = ()
) -> None:
    """Refuse a spec that a file holds, unless all it calls may be called, arguments too.

    spec: as `describe` writes it, read from a file.
    allowed: class -> whether one of veriloop may be called here.
    trust: names of modules that may be called from too.

    >>> check_spec_in_file({"call": "veriloop.filters.ranking:KeepAll"}, callable)

    Raises:
        ValueError: naming the first that is refused.
    """
    if isinstance(spec, Mapping):
        settings = cast("Mapping[str, object]", spec)
        if "call" in settings:
            name = str(settings["call"])
            found = class_in_file(name, trust)
            if name.partition(":")[0] not in trust and not allowed(found):
                raise ValueError(
                    f"the file names {name!r:.80}, which has no place there, so it is not called; "
                    "name another on the command line, or as an argument in Python"
                )
        inner = list(settings.values())
    elif isinstance(spec, Sequence) and not isinstance(spec, str):
        inner = list(cast("Sequence[object]", spec))
    else:
        return
    for each in inner:
        check_spec_in_file(each, allowed, trust)


def _check_arguments(name: str, found: object, arguments: Mapping[str, object]) -> None:
    """Refuse a value of another type than the component's annotations ask for."""
    hints = _hints(found)
    for argument, value in arguments.items():
        hint = hints.get(argument, hints.get("**"))
        if hint is not None and not _fits(hint, value):
            raise ValueError(f"{name}: {argument} must be {_called(hint)}, got {value!r:.60}")


def _hints(found: object) -> dict[str, object]:
    """Return the types that a class or a function takes; those of **arguments under "**"."""
    function = cast("type", found).__init__ if isclass(found) else found
    try:
        hints: dict[str, object] = dict(get_type_hints(function))
        parameters = signature(cast("Callable[..., object]", found)).parameters
    except (TypeError, ValueError, NameError, AttributeError):  # it has none, or they are not there
        return {}
    taken: dict[str, object] = {}
    for name, parameter in parameters.items():
        if name not in hints or parameter.kind is Parameter.VAR_POSITIONAL:
            continue
        named = "**" if parameter.kind is Parameter.VAR_KEYWORD else name
        taken[named] = hints[name]
    return taken


_PLAIN: dict[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    NoneType: "null",
}


def _fits(hint: object, value: object) -> bool:
    """Tell whether a value can be of a type; of types that are not known here it can."""
    if hint in _PLAIN:
        return _is_plain(hint, value)
    origin = get_origin(hint)
    inner = get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(each, value) for each in inner)
    if origin is Literal:
        return value in inner
    if _is_called(hint):
        return callable(value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    if origin in (list, Sequence):
        items = cast("Sequence[object]", value)
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        return isinstance(value, np.ndarray) or (
            listed and all(_fits(inner[0], item) for item in items)
        )
    return True


def _is_plain(hint: object, value: object) -> bool:
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is int:
        return is_integer(value)
    if hint is float:
        return not isinstance(value, bool) and isinstance(value, Real)
    if hint is str:
        return isinstance(value, str)
    return value is None


def _is_called(hint: object) -> bool:
    """Tell whether a type is that of a function or of another component."""
    if hint is Callable or get_origin(hint) is Callable:
        return True
    protocol = get_origin(hint) or hint
    return bool(getattr(protocol, "_is_protocol", False)) and "__call__" in vars(protocol)


def _called(hint: object) -> str:
    """Say a type in words."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    inner = get_args(hint)
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return " or ".join(_called(each) for each in inner)
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if _is_called(hint):
        return "a component, {call: NAME, argument: value}"
    if origin in (dict, Mapping):
        return "a mapping"
    if origin in (list, Sequence):
        return f"a list, each entry {_called(inner[0])}"
    return getattr(hint, "__name__", str(hint))


def _find(name: str) -> Callable[..., Any]:
    module, colon, attribute = name.partition(":")
    if not colon:
        return _offered(name)
    found = _module_of(name)
    if not hasattr(found, attribute):
        public = [each for each in dir(found) if not each.startswith("_")]
        raise ValueError(f"module {module!r} has no {attribute!r}; {nearest(attribute, public)}")
    return getattr(found, attribute)


def _module_of(name: str) -> ModuleType:
    module = name.partition(":")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{name!r} needs the module {error.name!r}, which is not there; check the path"
        ) from None
    except (Exception, SystemExit) as error:  # whatever somebody's module raises
        told = f"{type(error).__name__}: {error}".rstrip(": ")
        raise ValueError(
            f"{name!r} needs the module {module!r}, which cannot be imported ({told:.200}); "
            "correct it"
        ) from error


def _offered(name: str) -> Callable[..., Any]:
    """Find the verifier that a package offers under this name."""
    from importlib.metadata import entry_points  # slow to import, seldom needed

    points = entry_points(group=GROUP)
    offers = [point for point in points if point.name == name]
    values = sorted({f"{point.module}:{point.attr}" for point in offers})
    if not values:
        hint = nearest(name, {point.name for point in points})
        raise ValueError(f"no verifier is called {name!r}, {hint}; or write module:attribute")
    if len(values) > 1:
        raise ValueError(
            f"{len(values)} verifiers are called {name!r}; write one of {', '.join(values)}"
        )
    return _find(values[0])


def _is_component(found: Callable[..., Any]) -> bool:
    """Tell a verifier from what makes one: a verifier takes a `key` first."""
    try:
        return next(iter(signature(found).parameters), None) == "key"
    except (TypeError, ValueError):  # not callable, or a builtin that does not say what it takes
        return False
