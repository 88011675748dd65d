"""Notebooks are short, import the library and little else, and each has a test that executes it."""

import ast
import re
from importlib import import_module
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.py"))
IMPORTS = {"veriloop", "numpy", "matplotlib", "torch", "dataclasses", "http", "json", "threading"}
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2


@each_notebook
def test_each_notebook_is_executed(path):
    assert f'"{path.name}"' in Path(__file__).with_name(f"test_{path.name}").read_text()


@each_notebook
def test_notebook_is_short(path):
    assert len(jupytext.read(path).cells) < 15
    assert [line for line in path.read_text().splitlines() if len(line) > 100] == []


@each_notebook
def test_notebook_names_what_the_library_has(path):
    """In its text too, where nothing runs: every `vl.NAME`, and every name of a backend."""
    for short, part in re.findall(r"\b(vl|linear|mnist|xsum)\.(\w+)", path.read_text()):
        module = "veriloop"
        if short != "vl":
            module = f"veriloop.{short}"
        try:
            library = import_module(module)
        except ImportError as error:
            pytest.skip(f"the extra is not installed: {error}")
        assert hasattr(library, part), f"{short}.{part} is not there"


@each_notebook
def test_notebook_imports_the_library_only(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= IMPORTS
