"""What the documents say is so: README blocks execute, files and links exist, metadata agree."""

import ast
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import veriloop

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
RESULTS = sorted((ROOT / "docs" / "results").glob("*.md"))


@pytest.fixture
def readme() -> str:
    text = (ROOT / "README.md").read_text()
    assert text.strip(), "README.md is empty"
    return text


def python_blocks(markdown: str) -> list[str]:
    return re.findall(r"^```python\b[^\n]*\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)


def test_readme_blocks_execute(readme, tmp_path):
    blocks = python_blocks(readme)
    assert blocks, "README.md has no ```python block"
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))
    allowed = "ignore:FigureCanvasAgg is non-interactive"
    line = [sys.executable, "-W", "error", "-W", allowed, script.name]
    without_window = {**os.environ, "MPLBACKEND": "Agg"}
    ran = subprocess.run(
        line, cwd=tmp_path, env=without_window, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr


def test_readme_names_files_that_exist(readme):
    folders = "experiments|configs|notebooks|tests|benchmarks|docs|src"
    named = set(re.findall(rf"\b(?:{folders})/[a-z0-9_./-]*\w\.\w+", readme))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_figures_of_a_page_are_there(page):
    """Of every `](TARGET)` that is not an address: the file, and the heading after a #."""
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        name, _, heading = target.partition("#")
        file = page
        if name:
            file = page.parent / name
        assert file.exists(), target
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
    assert "score 0 or more" in python_blocks(readme)[0]


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
