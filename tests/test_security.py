"""What is read is data: no pickle, no code, wherever the package reads a file."""

import ast
from pathlib import Path

import pytest

import veriloop

SRC = Path(veriloop.__file__).parent
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "security.md"
# Modules that make objects of bytes by calling what the bytes name.
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "jsonpickle"}
LOADS = {"torch.load", "joblib.load", "pd.read_pickle", "pandas.read_pickle", "yaml.load"}
LOADS |= {"yaml.unsafe_load", "yaml.full_load", "torch.jit.load", "torch.hub.load"}
RUNS = {"eval", "exec", "compile", "os.system", "os.popen"}
# What the main process sends to its own workers, where they find modules, and a loader that is safe.
ALLOWED = {
    ("study/engine.py", "cloudpickle"),
    ("study/engine.py", "exec"),
    ("yaml12.py", "yaml.load"),
}


def reads(tree):
    """The names that could run what they read, in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] in PICKLES)
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PICKLES:
            yield node.module
        elif isinstance(node, ast.Name) and node.id in RUNS:
            yield node.id
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in LOADS | RUNS:
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
            settings = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if settings.get("allow_pickle") != "False":
                yield "np.load without allow_pickle=False"
        elif isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            if ast.unparse(node.value) != "False":
                yield "trust_remote_code"


READERS = """
import pickle
from dill import loads
torch.load(file)
np.load(file)
np.load(file, allow_pickle=True)
np.load(file, allow_pickle=False)
yaml.load(text, Loader)
eval(text)
from_pretrained(folder, trust_remote_code=True)
from_pretrained(folder, trust_remote_code=False)
"""


def test_what_could_run_a_file_is_found():
    found = sorted(reads(ast.parse(READERS)))
    bare = "np.load without allow_pickle=False"
    assert found == [
        "dill",
        "eval",
        bare,
        bare,
        "pickle",
        "torch.load",
        "trust_remote_code",
        "yaml.load",
    ]


def test_nothing_that_is_read_is_run():
    files = sorted(SRC.rglob("*.py"))
    found = set()
    for file in files:
        place = file.relative_to(SRC).as_posix()
        found |= {(place, name) for name in reads(ast.parse(file.read_text()))}
    assert len(files) > 50 and found <= ALLOWED


def test_a_configuration_makes_plain_values_alone():
    yaml = pytest.importorskip("yaml")
    from veriloop import yaml12

    assert issubclass(yaml12._Loader, yaml.SafeLoader)
    with pytest.raises(ValueError):
        yaml12.parsed("!!python/object/apply:os.system ['true']")


def test_the_page_is_short_and_names_the_ways():
    text = PAGE.read_text()
    assert len(text.split()) < 500
    for name in ("--trust", "allow_pickle=False", "allow_http", "VERILOOP_CACHE", "call:"):
        assert name in text
