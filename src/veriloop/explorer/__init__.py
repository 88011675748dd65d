"""The explorer: one HTML page with sliders that shows when a verifier helps, from exact theory."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["page"]


def page() -> str:
    """Return the page as HTML; it holds all that it needs, and computes everything itself.

    The formulas in it are those of `veriloop.linear.theory` and `veriloop.linear.expected_path`.

    >>> page().splitlines()[0]
    '<!doctype html>'
    """
    here = files("veriloop.explorer")
    text = (here / "page.html").read_text(encoding="utf-8")
    for place, name in (("style", "style.css"), ("theory", "theory.js"), ("page", "page.js")):
        part = (here / name).read_text(encoding="utf-8")
        text = text.replace(f"/* {place} */", part)
    return text
