"""The site, built by Sphinx: `make docs`. It needs no network, and neither do its pages."""

import re
import sys
from pathlib import Path

import jupytext
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "_ext"))

project = "veriloop"
author = copyright = "The veriloop developers"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "plain_docstrings",
    "mathml",
]
exclude_patterns = ["_build", "_ext", "**/.ipynb_checkpoints"]
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# A notebook is executed when its code has changed; else its pictures come from the cache.
nb_execution_mode = "cache"
nb_execution_cache_path = str(DOCS / "_build" / "executed")
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 70
add_module_names = False
default_role = "literal"
templates_path = ["_templates"]

html_theme = "furo"
html_title = "veriloop"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def notebooks_as_pages(folder: Path) -> None:
    """Write each notebook, a script in ../notebooks, where Sphinx finds it."""
    folder.mkdir(exist_ok=True)
    for script in sorted((ROOT / "notebooks").glob("*.py")):
        text = jupytext.writes(jupytext.read(script), fmt="ipynb")
        page = folder / f"{script.stem}.ipynb"
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


notebooks_as_pages(DOCS / "notebooks")


def link_notebooks(app: Sphinx, page: str, source: list[str]) -> None:
    """Make links to the scripts of notebooks, which work in the repository, lead to their pages."""
    source[0] = re.sub(r"\]\(\.\./notebooks/(\w+)\.py\)", r"](notebooks/\1.ipynb)", source[0])


# What Python prints in a signature, and what a reader would write.
ARRAY_LIKE = (
    "~numpy._typing._array_like._Buffer | "
    "~numpy._typing._array_like._SupportsArray[~numpy.dtype[~typing.Any]] | "
    "~numpy._typing._nested_sequence._NestedSequence["
    "~numpy._typing._array_like._SupportsArray[~numpy.dtype[~typing.Any]]] | "
    "complex | bytes | str | "
    "~numpy._typing._nested_sequence._NestedSequence[complex | bytes | str]"
)
ARRAY = r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[%s\]\]"
PLAIN = {
    r"<factory>": "...",
    r"<function (?:\w+\.)*(\w+)[^>]*>": r"\1",
    r"<class '(?:\w+\.)*(\w+)'>": r"\1",
    r"mappingproxy\(\{\}\)|MappingProxyType\(\{\}\)": "{}",
    re.escape(ARRAY_LIKE): "~numpy.typing.ArrayLike",
    ARRAY % r"~typing\.Any": "~numpy.ndarray",
    ARRAY % r"~numpy\.(\w+)(?:\[~typing\.Any\])?": r"~numpy.typing.NDArray[\1]",
}


def plain_signature(
    app: Sphinx, what: str, name: str, found: object, options: object, signature: str, result: str
) -> tuple[str, str] | None:
    """Write types and defaults as a reader would; Sphinx reads the signature as Python."""
    for printed, plain in PLAIN.items():
        signature = signature and re.sub(printed, plain, signature)
        result = result and re.sub(printed, plain, result)
    return signature, result


def skip_what_says_nothing(
    app: Sphinx, what: str, name: str, found: object, skip: bool, options: object
) -> bool | None:
    """Leave out fields of tuples, which the arguments name, and functions that are defaults."""
    is_default = what == "class" and getattr(found, "__name__", name) != name
    if is_default or type(found).__name__ == "_tuplegetter" or name == "model_config":
        return True
    return None


def setup(app: Sphinx) -> None:
    """Connect to Sphinx."""
    app.connect("source-read", link_notebooks)
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("autodoc-skip-member", skip_what_says_nothing)
