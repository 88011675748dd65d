"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# Sizes of brackets, which MathML chooses by itself.
SIZES = re.compile(r"\\[bB]igg?[lrm]?(?![a-zA-Z])")


def mathml(formula: str, *, block: bool = False) -> str:
    r"""Return a formula of LaTeX as MathML.

    >>> "<mo>(</mo>" in mathml(r"\Big(x\Big)").replace("\n", "")
    True
    """
    return tex2mathml(SIZES.sub("", formula), as_block=block)


def in_a_line(page: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a sentence."""
    page.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def by_itself(page: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on a line of its own."""
    page.body.append(f'<div class="formula">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer to conf.py by its name."""
    app.add_html_math_renderer("mathml", (in_a_line, None), (by_itself, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
