"""Execute a notebook in a kernel and a cache of its own, so that nothing made before hides what is broken."""

from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Return (name of a notebook, claims) -> None: it runs, writes nothing to stderr and shows a picture.

    claims: what must be true after the last cell, in the notebook's own names.
    """
    # Find kernels in the running environment alone; jupyter_client starts their "python" by sys.executable.
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "VERILOOP_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # numbers depend on the thread count

    def run(name: str, *claims: str) -> None:
        notebook = jupytext.read(FOLDER / name)
        notebook.cells += [nbformat.v4.new_code_cell(f"assert {claim}") for claim in claims]
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(notebook, kernel_name="python3", timeout=900, resources=resources).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == []
        assert any("image/png" in output.get("data", {}) for output in outputs)

    return run
