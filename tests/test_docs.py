"""What the documents say is so: README blocks execute, files and links exist, metadata agree."""

import ast
import doctest
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import veriloop

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PAGES += sorted(DOCS.glob("results/*.md"))
RESULTS = sorted((DOCS / "results").glob("*.md"))
GUIDES = ["start", "verifier", "model", "study", "records", "collapse"]
BACKENDS = ["linear", "exact", "study", "text", "mnist", "xsum"]


@pytest.fixture
def readme() -> str:
    text = (ROOT / "README.md").read_text()
    assert text.strip(), "README.md is empty"
    return text


def python_blocks(markdown: str) -> list[str]:
    return re.findall(r"^```python\b[^\n]*\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def execute(tmp_path, monkeypatch) -> Iterator[Callable[[Path], dict[str, object]]]:
    """Run the Python blocks of a page one after the other, and return their names."""
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path / "cache"))

    def run(page: Path) -> dict[str, object]:
        names: dict[str, object] = {"__name__": "__main__"}
        for block in python_blocks(page.read_text()):
            exec(compile(block, str(page), "exec"), names)
        return names

    yield run
    pyplot.close("all")


def test_readme_is_read_to_the_end(readme):
    """It has at most 900 words, code and tables among them."""
    assert len(readme.split()) <= 900


def test_readme_blocks_execute(execute, capsys):
    """As pasted, one after the other; the two arms are those of the text."""
    names = execute(ROOT / "README.md")
    difference = names["records"].difference("verified", "unverified", "error_truth")
    assert difference.high[-1] < 0  # the verified arm ends lower
    assert "no alarm" in capsys.readouterr().out


@pytest.mark.parametrize("page", GUIDES)
def test_blocks_of_a_guide_execute(execute, page):
    assert "vl" in execute(DOCS / f"{page}.md")


@pytest.mark.slow
def test_blocks_of_the_guide_to_language_models_execute(execute):
    pytest.importorskip("transformers")
    assert execute(DOCS / "text.md")["record"].kept == 10


def test_readme_names_files_that_exist(readme):
    folders = "experiments|configs|notebooks|tests|benchmarks|docs|src"
    named = set(re.findall(rf"\b(?:{folders})/[a-z0-9_./-]*\w\.\w+", readme))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_figure_of_the_readme_is_drawn_from_the_records(tmp_path, monkeypatch):
    """The committed file is what its command draws."""
    monkeypatch.syspath_prepend(DOCS)
    drawn = tmp_path / "drawn.svg"
    importlib.import_module("first_figure").draw(drawn)
    assert drawn.read_bytes() == (DOCS / "first_figure.svg").read_bytes()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_figures_of_a_page_are_there(page):
    """Of every `](TARGET)` that is not an address: the file, and the heading after a #."""
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        file = page
        if name:
            file = page.parent / name
        assert file.is_file(), target  # a folder has no page on the site
        if heading:
            assert heading in slugs(file.read_text()), target


def slugs(text: str) -> set[str]:
    """Return what links to the headings of a page are called."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.name)
def test_code_of_a_page_imports_what_exists(page):
    """The code itself trains for minutes, so only its imports are tried."""
    for block in python_blocks(page.read_text()):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("veriloop"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.name)
def test_lines_of_a_page_have_at_most_100_characters(page):
    """But for tables and figures, which cannot be broken."""
    free = ("|", "!")
    lines = page.read_text().splitlines()
    assert [line for line in lines if len(line) > 100 and not line.startswith(free)] == []


def test_readme_names_functions_that_exist(readme):
    """Every `vl.NAME`, also outside the blocks that run."""
    named = set(re.findall(r"\bvl\.(\w+)", readme))
    assert len(named) > 5
    assert [name for name in sorted(named) if not hasattr(veriloop, name)] == []


def test_readme_says_first_what_accepts(readme):
    """In its first example, as 0 for wrong and 1 for right would be a trap."""
    assert "score of 0 or more" in python_blocks(readme)[0]


def test_python_blocks_are_found():
    text = "a\n```python\nx = 1\n```\n```bash\nls\n```\n```python title\ny = x\n\nz = y\n```\n"
    assert python_blocks(text) == ["x = 1\n", "y = x\n\nz = y\n"]


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "title", "authors"} <= set(citation)
    assert citation["version"] == veriloop.__version__


def test_the_changelog_begins_with_what_is_not_released_or_with_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[:1] in (["Unreleased"], [veriloop.__version__])


def test_every_page_is_in_a_table_of_contents():
    """A page that is not is on the site, and nobody finds it: add its name to docs/index.md."""
    index = (DOCS / "index.md").read_text()
    listed = set(re.findall(r"^([\w/]+)$", index, flags=re.MULTILINE))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.glob("*.md")}
    pages |= {f"results/{page.stem}" for page in RESULTS}
    assert pages - {"index"} == listed - {"api/index"}


def test_every_public_name_is_in_the_reference():
    """Add a new one to the page of docs/api that it belongs to."""
    text = "\n".join(page.read_text() for page in DOCS.glob("api/*.md"))
    listed = set(re.findall(r"^   (?:\w+\.)?(\w+)$", text, flags=re.MULTILINE))
    types = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)  # of settings, in a table
    listed |= set(re.findall(r"`(\w+)`", " ".join(types)))
    public = {name for name in veriloop.__all__ if name != "schedules"} | {"Study", "plot"}
    for backend in BACKENDS:
        try:
            module = importlib.import_module(f"veriloop.{backend}")
        except ImportError as error:
            pytest.skip(f"the extra is not installed: {error}")
        public |= {name for name in module.__all__ if is_its_own(module, name)}
    assert sorted(public - listed) == []


def is_its_own(module: ModuleType, name: str) -> bool:
    """Tell a name from a module, and from what another backend has and shows."""
    value = getattr(module, name)
    home = getattr(value, "__module__", "")
    shown = home.startswith("veriloop.") and not home.startswith(module.__name__)
    return not inspect.ismodule(value) and not shown


def test_docstrings_are_made_into_what_sphinx_reads(monkeypatch):
    """The examples of the two extensions hold."""
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    for name in ("plain_docstrings", "mathml"):
        tried = doctest.testmod(importlib.import_module(name))
        assert tried.attempted and not tried.failed


def test_every_formula_of_a_docstring_can_be_drawn(monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    mathml = importlib.import_module("mathml").mathml
    found = 0
    for file in sorted((ROOT / "src").rglob("*.py")):
        for text in docstrings(file):
            formulas = re.findall(r":math:`([^`]*)`", text)
            formulas += re.findall(r"\.\. math:: (.*?)(?:\n\n|\Z)", text, flags=re.DOTALL)
            for formula in formulas:
                assert mathml(formula).startswith("<math"), formula
                found += 1
    assert found > 50


def docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize("form", ["bug", "idea", "claim"])
def test_an_issue_form_asks_for_what_is_needed(form):
    asked = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())
    assert {"name", "description", "body"} <= set(asked)
    assert any(each.get("validations", {}).get("required") for each in asked["body"])
