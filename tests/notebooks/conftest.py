"""Execute a notebook as a script of this process, or as Jupyter does, in a cache of its own."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
from matplotlib import pyplot

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    """Nothing made before hides what is broken."""
    for name in (
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "VERILOOP_CACHE",
    ):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def execute(empty_home, capsys, monkeypatch) -> Callable[..., None]:
    """Return (name of a notebook, claims) -> None: it runs, writes nothing to stderr and shows a picture.

    A notebook is a script, so it needs no kernel, which would import torch once more. Any warning is an error.
    claims: what must be true after the last cell, in the notebook's own names.
    """
    shown = []

    def show() -> None:
        shown.extend(pyplot.get_fignums())
        pyplot.close("all")

    def run(name: str, *claims: str) -> None:
        if importlib.util.find_spec("torch") is not None:
            import torch

            torch.set_num_threads(1)  # numbers depend on the thread count
        code = compile((FOLDER / name).read_text(), name, "exec")
        names = {"__name__": "__main__"}
        with pyplot.rc_context(), monkeypatch.context() as patch:
            patch.setattr(pyplot, "show", show)
            exec(code, names)
        for claim in claims:
            assert eval(claim, names), claim
        assert capsys.readouterr().err == ""
        assert shown

    return run


@pytest.fixture
def execute_in_kernel(empty_home, tmp_path, monkeypatch) -> Callable[..., None]:
    """Do as `execute` in a kernel of its own, cell by cell, as Jupyter does."""
    # Find kernels in the running environment alone; jupyter_client starts their "python" by sys.executable.
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")

    def run(name: str, *claims: str) -> None:
        notebook = jupytext.read(FOLDER / name)
        notebook.cells += [nbformat.v4.new_code_cell(f"assert {claim}") for claim in claims]
        resources = {"metadata": {"path": str(tmp_path)}}
        nbclient.NotebookClient(
            notebook, kernel_name="python3", timeout=900, resources=resources
        ).execute()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert [output.text for output in outputs if output.get("name") == "stderr"] == []
        assert any("image/png" in output.get("data", {}) for output in outputs)

    return run
