"""Components by name, for a notebook, a configuration file, or a package of somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from veriloop.core.checks import nearest

GROUP = "veriloop.verifiers"


def describe(component: Any) -> dict[str, Any] | str:
    """Return the spec from which `build` makes an equal component, or its name alone.

    A spec can be written for a dataclass whose fields are numbers, strings, lists of them, or such
    dataclasses. Of anything else only the name is returned.

    component: a verifier, a filter, or any other component.

    >>> from veriloop import Noisy, Random
    >>> build(describe(Noisy(Random(), false_accept=0.1)))
    Noisy(verifier=Random(), false_accept=0.1, false_reject=0.0)
    """
    kind: Any = component
    if not hasattr(component, "__qualname__"):
        kind = type(component)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not is_dataclass(component) or isinstance(component, type):
        return name
    spec: dict[str, Any] = {"call": name}
    for each in fields(component):
        if each.init:
            spec[each.name] = _written(getattr(component, each.name))
    if _UNWRITABLE in spec.values():
        return name
    return spec


class _Unwritable:
    """What stands for a value that a spec cannot hold."""


_UNWRITABLE = _Unwritable()


def _written(value: Any) -> Any:
    if is_dataclass(value):
        spec = describe(value)
        if isinstance(spec, str):
            return _UNWRITABLE
        return spec
    if isinstance(value, list):
        items = [_written(item) for item in value]
        if _UNWRITABLE in items:
            return _UNWRITABLE
        return items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return _UNWRITABLE


def build(spec: Any, **context: Any) -> Any:
    """Return the component that `spec` describes.

    spec: the component itself, or `{"call": NAME, **arguments}`. NAME is "module:attribute", or an
        entry point of the group `veriloop.verifiers`. Arguments that are such mappings are built
        first. NAME may stand for a class, for a function that makes a component, or, without
        arguments, for a component.
    context: arguments given beside those of the spec.

    >>> noisy = {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}}
    >>> build(noisy, false_accept=0.1)
    Noisy(verifier=Random(), false_accept=0.1, false_reject=0.0)

    Raises:
        ValueError: if the name is unknown, which says what is near, or the arguments do not fit.
    """
    if callable(spec):
        return spec
    name: Any = None
    if isinstance(spec, Mapping):
        name = spec.get("call")
    if not isinstance(name, str):
        raise ValueError(
            f"a component is a callable or a mapping with a name under 'call', got {spec!r}"
        )
    arguments: dict[str, Any] = {}
    for key, value in spec.items():
        nested = isinstance(value, Mapping) and "call" in value
        arguments[key] = build(value) if nested else value
    del arguments["call"]
    found = _find(name)
    if not arguments and not context and _is_component(found):
        return found
    try:
        return found(**arguments, **context)
    except TypeError as error:
        raise ValueError(f"{name} does not take the arguments given: {error}") from None


def _find(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        return _offered(name)
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{name!r} needs the module {error.name!r}, which is not there; check the path"
        ) from None
    if not hasattr(found, attribute):
        raise ValueError(
            f"module {module!r} has no {attribute!r}; {nearest(attribute, dir(found))}"
        )
    return getattr(found, attribute)


def _offered(name: str) -> Any:
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


def _is_component(found: Any) -> bool:
    """Tell a verifier from what makes one: a verifier takes a `key` first."""
    try:
        return next(iter(signature(found).parameters), None) == "key"
    except (TypeError, ValueError):  # not callable, or a builtin that does not say what it takes
        return False
