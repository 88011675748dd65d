"""What the documents say is so: notebooks and README blocks execute, named files exist, metadata parse."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
IMPORTS = {"veriloop", "numpy", "matplotlib", "torch", "dataclasses", "http", "json", "threading"}
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def readme() -> str:
    text = (ROOT / "README.md").read_text()
    if not text.strip():
        pytest.skip("README.md is empty")
    return text


def python_blocks(markdown: str) -> list[str]:
    return re.findall(r"^```python\b[^\n]*\n(.*?)^```", markdown, flags=re.MULTILINE | re.DOTALL)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2


@each_notebook
def test_notebook_is_short_and_imports_the_library_only(path):
    jupytext = pytest.importorskip("jupytext")
    assert len(jupytext.read(path).cells) < 15
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)]
    assert {name.split(".")[0] for name in names} <= IMPORTS


@each_notebook
def test_notebook_executes(path, tmp_path, monkeypatch):
    jupytext, nbclient = pytest.importorskip("jupytext"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # Find kernels in the running environment alone; jupyter_client starts their "python" by sys.executable.
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    notebook = jupytext.read(path)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300, resources=resources).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_readme_blocks_execute(readme, tmp_path):
    blocks = python_blocks(readme)
    assert blocks, "README.md has no ```python block"
    script = tmp_path / "readme.py"
    script.write_text("\n".join(blocks))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive", script.name],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr


def test_readme_names_files_that_exist(readme):
    named = set(
        re.findall(r"\b(?:experiments|configs|notebooks|tests|benchmarks|docs|src)/[a-z0-9_./-]*\w\.\w+", readme)
    )
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_python_blocks_are_found():
    text = "a\n```python\nx = 1\n```\n```bash\nls\n```\n```python title\ny = x\n\nz = y\n```\n"
    assert python_blocks(text) == ["x = 1\n", "y = x\n\nz = y\n"]


def test_citation_parses():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "title", "authors"} <= set(citation)


def test_there_is_a_changelog():
    assert (ROOT / "CHANGELOG.md").read_text().strip()
