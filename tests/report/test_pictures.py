"""Drawings take the colours of the page, and any name."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import pytest

from veriloop import Records
from veriloop.report.pictures import by_round


def drawn(*names):
    """A drawing of arms of some names."""
    arms = []
    for name in names:
        rows = [
            {"arm": name, "seed": seed, "round": k, "recall": k + seed}
            for seed in range(3)
            for k in range(3)
        ]
        arms.append(Records(rows))
    return by_round("recall", arms)


def test_it_writes_in_the_colour_of_the_page_and_has_no_names_of_its_own():
    drawing = drawn("a", "b").svg
    assert "currentColor" in drawing and "#010203" not in drawing
    assert "var(--line-0, #0072b2)" in drawing and "var(--line-1, #d55e00)" in drawing
    assert not re.search(r"<g id=|<metadata|<\?xml|DejaVu", drawing)


@pytest.mark.parametrize("name", ["_hidden", "$\\frac$", "<b>&", "日本", "x" * 200])
def test_any_name_is_in_the_legend(name):
    """Those that matplotlib would hide, take for mathematics, or lacks letters for."""
    words = "".join(ElementTree.fromstring(drawn(name, "other").svg).itertext())
    assert name[:20] in words and "other (n = 3)" in words


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"install it with: pip install 'veriloop\[study\]'"):
        drawn("a")
