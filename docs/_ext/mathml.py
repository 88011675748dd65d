"""Formulas as MathML, which browsers draw by themselves: no script, no font, no network."""

import re
from html import unescape
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# Sizes of brackets, which MathML chooses by itself.
SIZES = re.compile(r"\\[bB]igg?[lrm]?(?![a-zA-Z])")
DIGITS = re.compile(r"\\(t?)frac(\d)(\d)")  # one digit over another
WORDS = re.compile(r"\\text\{[^}]*\}")
ENTITY = re.compile(r"&(?!lt;|gt;|amp;)\w+;")  # such as that of a function's application
NAMESPACE = "http://www.w3.org/1998/Math/MathML"
FENCES = ("{", "}", "|", "\N{PARALLEL TO}", "\N{DOUBLE VERTICAL LINE}")
ACCENTS = "ˉˆ˜¯^~"
ElementTree.register_namespace("", NAMESPACE)


def mathml(formula: str, *, block: bool = False) -> str:
    r"""Return a formula of LaTeX as MathML.

    >>> mathml(r"\Big(x\Big)").count("<mo")
    2
    >>> mathml(r"\hat x_k").count("msub"), mathml(r"\frac12 x").count("<mn>")
    (2, 2)
    >>> "error_truth" in mathml(r"\text{error\_truth}")
    True
    >>> mathml(r"\min_i \{i\}").count('stretchy="false"')
    2
    """
    plain = DIGITS.sub(r"\\\1frac{\2}{\3}", SIZES.sub("", formula))
    plain = WORDS.sub(lambda found: found[0].replace(r"\_", "_"), plain)
    text = tex2mathml(plain, as_block=block)
    tree = ElementTree.fromstring(ENTITY.sub(lambda found: unescape(found[0]), text))
    for node in tree.iter(f"{{{NAMESPACE}}}munderover"):
        put_index_beside(node)
    if tree.find(f".//{{{NAMESPACE}}}mtable") is None:  # a brace before cases grows with them
        keep_fences_small(tree)
    return ElementTree.tostring(tree, encoding="unicode")


def put_index_beside(node: ElementTree.Element) -> None:
    """Change a letter with an accent above and its index below into one with the index beside."""
    letter, index, accent = node
    if accent.text not in ACCENTS:
        return
    marked = ElementTree.Element(f"{{{NAMESPACE}}}mover", {"accent": "true"})
    marked.extend([letter, accent])
    node.tag = f"{{{NAMESPACE}}}msub"
    node[:] = [marked, index]


def keep_fences_small(tree: ElementTree.Element) -> None:
    """Do not let braces and bars grow with what else is on the line, such as an index."""
    for node in tree.iter(f"{{{NAMESPACE}}}mo"):
        if node.text in FENCES:
            node.set("stretchy", "false")


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
