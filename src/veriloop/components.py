"""Components by name: the same verifier from a notebook, a config file, or somebody else's package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from veriloop.core.checks import nearest

GROUP = "veriloop.verifiers"


def describe(component: Any) -> dict[str, Any] | str:
    """Return the spec that `build` makes an equal component from, or only its name where none can be written.

    A spec can be written of a dataclass whose fields are numbers, strings, lists of them, or such
    dataclasses.

    >>> from veriloop import Noisy, Random
    >>> build(describe(Noisy(Random(), false_accept=0.1)))
    Noisy(verifier=Random(), false_accept=0.1, false_reject=0.0)
    """
    kind = component if hasattr(component, "__qualname__") else type(component)
    name = f"{kind.__module__}:{kind.__qualname__}"
    if not is_dataclass(component) or isinstance(component, type):
        return name
    arguments = {
        each.name: _written(getattr(component, each.name))
        for each in fields(component)
        if each.init
    }
    return (
        name
        if any(value is _UNWRITABLE for value in arguments.values())
        else {"call": name, **arguments}
    )


_UNWRITABLE = object()


def _written(value: Any) -> Any:
    if is_dataclass(value):
        spec = describe(value)
        return _UNWRITABLE if isinstance(spec, str) else spec
    if isinstance(value, list):
        items = [_written(item) for item in value]
        return _UNWRITABLE if any(item is _UNWRITABLE for item in items) else items
    return value if value is None or isinstance(value, bool | int | float | str) else _UNWRITABLE


def build(spec: Any, **context: Any) -> Any:
    """Return the component that `spec` describes.

    spec: the component itself, or `{"call": NAME, **arguments}` with NAME either "module:attribute"
        or an entry
        point of the group `veriloop.verifiers`. Arguments that are such mappings themselves are
        loaded first. What is called may be a class, a function that makes a component, or, without
        arguments, a component.
    context: arguments given beside those of the spec.

    >>> build({"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}, "false_accept": 0.1})
    Noisy(verifier=Random(), false_accept=0.1, false_reject=0.0)

    Raises:
        ValueError: if the name is unknown (what is known and the nearest are named) or the
        arguments do not fit.
    """
    if callable(spec):
        return spec
    name = spec.get("call") if isinstance(spec, Mapping) else None
    if not isinstance(name, str):
        raise ValueError(
            f"a component is a callable or a mapping with a name under 'call', got {spec!r}"
        )
    nested = {
        key: build(v) if isinstance(v, Mapping) and "call" in v else v for key, v in spec.items()
    }
    del nested["call"]
    found = _find(name)
    if not nested and not context and _is_component(found):
        return found
    try:
        return found(**nested, **context)
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
    """Find what the one package that offers a verifier of this name means by it."""
    from importlib.metadata import entry_points  # slow to import, seldom needed

    points = entry_points(group=GROUP)
    values = sorted({f"{point.module}:{point.attr}" for point in points if point.name == name})
    if not values:
        hint = nearest(name, {point.name for point in points})
        raise ValueError(f"no verifier is called {name!r}, {hint}; or write module:attribute")
    if len(values) > 1:
        raise ValueError(
            f"{len(values)} verifiers are called {name!r}; write one of {', '.join(values)}"
        )
    return _find(values[0])


def _is_component(found: Any) -> bool:
    """Tell a verifier from what makes one: like all of the loop's parts, it takes a `key` first."""
    try:
        return next(iter(signature(found).parameters), None) == "key"
    except (TypeError, ValueError):  # not callable, or a builtin that does not say what it takes
        return False
