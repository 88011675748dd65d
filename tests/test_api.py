"""Every public name says what it is in one line, names each of its parameters, and has an example.

NOT_YET lists the names that do not, and may only shrink: a listed name that passes fails the test.
"""

import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

import veriloop
import veriloop.exact
import veriloop.linear

NOT_YET: dict[str, set[str]] = {
    "veriloop.linear.Accepted": {"example"},
    "veriloop.linear.ExpectedPath": {"example"},
    "veriloop.exact.gaussian.SelectedMoments": {"example"},
    "veriloop.exact.noisy_labels.LabelledPoints": {"example"},
    "veriloop.exact.noisy_labels.KeptMean": {"example"},
}


def public(module: ModuleType) -> Iterator[tuple[str, object]]:
    """All classes and functions that a module offers, and those of the modules among its names."""
    for name, value in named(module).items():
        if isinstance(value, ModuleType):
            yield from public(value)
        elif inspect.isclass(value) or inspect.isfunction(value):
            yield f"{module.__name__}.{name}", value


def named(module: ModuleType) -> dict[str, object]:
    """The names that `__all__` lists, or those that the module itself defines."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    own: dict[str, object] = {}
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            own[name] = value
    return own


PUBLIC = dict(
    pair for module in (veriloop, veriloop.linear, veriloop.exact) for pair in public(module)
)


def parameters(value: object) -> list[str]:
    """What a function is called with, or a class is made with."""
    if inspect.isclass(value) and (issubclass(value, Exception) or is_protocol(value)):
        return []
    try:
        names = inspect.signature(value).parameters  # type: ignore[arg-type]
    except ValueError:  # a class without a constructor of its own
        return []
    return [name for name in names if not name.startswith("_")]


def is_protocol(value: type) -> bool:
    return getattr(value, "_is_protocol", False)


def faults(value: object) -> set[str]:
    """What the docstring of a public name lacks."""
    text = inspect.getdoc(value) or ""
    if inspect.isclass(value) and not value.__doc__:
        text = ""
    found: set[str] = set()
    first = text.partition("\n")[0]
    if not re.search(r"[.:]$", first):
        found.add("first line")
    for name in parameters(value):
        if not re.search(rf"\b{name}\b", text):
            found.add(name)
    if ">>>" not in text:
        found.add("example")
    return found


def test_all_public_names_are_looked_at():
    assert len(PUBLIC) > 100
    assert {"veriloop.run", "veriloop.linear.Problem", "veriloop.linear.theory.plateau"} <= set(
        PUBLIC
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_help_says_what_it_is_names_each_parameter_and_has_an_example(name):
    assert faults(PUBLIC[name]) == NOT_YET.get(name, set())


def test_the_list_of_what_is_not_there_yet_holds_public_names_alone():
    assert set(NOT_YET) <= set(PUBLIC)


def made(n):
    """Make something."""


def test_faults_are_found():
    assert faults(made) == {"n", "example"}
    assert faults(lambda: None) == {"first line", "example"}
