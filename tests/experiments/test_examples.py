"""The examples in the docstrings of experiments give what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest
from helpers import EXPERIMENTS

MODULES = sorted([*EXPERIMENTS.glob("_*.py"), *(EXPERIMENTS / "figures").glob("*.py")])
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def written(path):
    """Return how many examples a file has."""
    return sum(line.strip().startswith(">>> ") for line in path.read_text().splitlines())


def test_there_are_examples():
    """In modules beside the scripts; scripts have none, as nothing imports them."""
    counts = {path.stem: written(path) for path in MODULES}
    assert counts
    assert not [path for path in EXPERIMENTS.glob("[!_]*.py") if written(path)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_give_what_they_say(path):
    """Every one that is written is found and run."""
    name = ".".join(path.relative_to(EXPERIMENTS).with_suffix("").parts)
    module = importlib.import_module(name)
    failed, attempted = doctest.testmod(module, optionflags=OPTIONS)
    assert (failed, attempted) == (0, written(path))
