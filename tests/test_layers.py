"""Imports obey the arrows and stay light; names resolve; a missing extra is named."""

import ast
import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

import veriloop

SRC = Path(veriloop.__file__).parent
COMPONENTS = {"core", "filters", "verifiers", "pools", "schedules", "observe", "components"}
ON_COMPONENTS = COMPONENTS | {"store"}
# What each part of the package may import beside itself.
ALLOWED = {
    "core": set(),
    "filters": {"core"},
    "verifiers": {"core"},
    "pools": {"core"},
    "schedules": {"core"},
    "observe": {"core"},
    "components": {"core"},
    "records": {"core"},
    "metrics": set(),
    "plotting": {"records", "metrics"},
    "study": COMPONENTS | {"status", "store", "records", "yaml12"},
    "status": set(),
    "yaml12": set(),
    "new": set(),
    "store": COMPONENTS | {"records"},
    "refilter": {"core", "components", "store", "records", "yaml12"},
    "diagnose": {"core", "records", "metrics"},
    "report": {"records", "metrics", "plotting", "diagnose"},
    "explorer": set(),
    "exact": COMPONENTS,
    "testing": {"core", "store"},
    "linear": ON_COMPONENTS,
    "mnist": ON_COMPONENTS,
    "text": ON_COMPONENTS,
    "xsum": ON_COMPONENTS | {"text"},
}
HEAVY = [
    "scipy",
    "httpx2",
    "torch",
    "torchvision",
    "torchmetrics",
    "safetensors",
    "sklearn",
    "transformers",
    "datasets",
    "pandas",
    "matplotlib",
    "pydantic",
    "yaml",
    "dask",
    "pyarrow",
]
BY_NAME = {
    "import_module",
    "__import__",
    "need",
    "needed",
}  # functions that import what they are given
# What needs the extra of studies beside them.
BESIDE_STUDY = [
    SRC / "records" / "table.py",
    SRC / "plotting.py",
    SRC / "yaml12.py",
    SRC / "store" / "candidates.py",
]
# What the core may use beside the standard library.
CORE = {"numpy", "veriloop"}


def sources(folder):
    found = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
    assert found, f"no source found in {folder}"
    return found


def imported(nodes):
    """The absolute names that import statements among `nodes` name, `from a import b` as a and a.b.

    A call that imports a module by its name, written out, counts as an import of it.
    """
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import; write it absolutely"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in BY_NAME:
            yield from (each.value for each in node.args[:1] if isinstance(each, ast.Constant))


def everywhere(path):
    """All that a file imports, in functions too."""
    return list(imported(ast.walk(ast.parse(path.read_text()))))


def at_load(tree):
    """All nodes that run when the module is loaded: none in functions or under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.Lambda | ast.AsyncFunctionDef)
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not lazy and not typing:
            yield node
            yield from at_load(node)


def layers():
    """Every folder and file of the package but its face."""
    found = {path.stem for path in SRC.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    found |= {path.stem for path in SRC.glob("[!_]*.py")}
    assert {"core", "filters", "pools"} <= found
    return sorted(found)


CODE = """
import top
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typed

def inside():
    import lazy
    from package import name
    importlib.import_module("called")

class Holder:
    def method(self):
        return needed("needed.name")
"""


def test_imports_are_found_wherever_they_stand():
    """Those in functions and by name are read too; at load only those count that run at load."""
    found = set(imported(ast.walk(ast.parse(CODE))))
    loaded = {"top", "typing", "typing.TYPE_CHECKING"}
    assert set(imported(at_load(ast.parse(CODE)))) == loaded
    assert found == loaded | {"typed", "lazy", "package", "package.name", "called", "needed.name"}


@pytest.mark.parametrize("layer", layers())
def test_imports_obey_the_arrows(layer):
    """Those in functions too; every part of the package has its arrows written above."""
    assert layer in ALLOWED, f"say in ALLOWED what {layer} may import"
    allowed = ALLOWED[layer] | {layer}
    file = SRC / f"{layer}.py"
    for path in sources(file if file.exists() else SRC / layer):
        for name in everywhere(path):
            part = name.split(".")
            if part[0] == "veriloop" and len(part) > 1 and part[1] in ALLOWED:
                assert part[1] in allowed, f"{path} may not import {name}"
            assert name != "veriloop", f"{path} imports the package itself; import from its part"


def test_nothing_in_the_package_imports_experiments_or_tests():
    for path in sources(SRC):
        for name in everywhere(path):
            assert name.split(".")[0] not in {"experiments", "tests", "benchmarks"}, (
                f"{path} may not import {name}"
            )


def test_the_core_imports_the_standard_library_and_numpy_only():
    """In functions too, where torch may stand beside them for whoever gives it torch's rows."""
    for path in sources(SRC / "core"):
        tree = ast.parse(path.read_text())
        named = {name.split(".")[0] for name in imported(ast.walk(tree))}
        loaded = {name.split(".")[0] for name in imported(at_load(tree))}
        wrong = named - CORE - {"torch"} - sys.stdlib_module_names
        assert not wrong, f"{path} may not import {wrong}"
        wrong = loaded - CORE - sys.stdlib_module_names
        assert not wrong, f"{path} may not load {wrong}"


def test_no_assert_statement_outside_testing():
    """`python -O` drops them, so an error check written as one would vanish."""
    for path in sources(SRC):
        lines = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Assert)
        ]
        assert path.name == "testing.py" or not lines, (
            f"{path} has assert statements in lines {lines}"
        )


def fresh(code):
    """What `code` prints as JSON in an interpreter of its own."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def test_importing_veriloop_loads_numpy_alone():
    """Whatever is installed beside it: the bare install has NumPy and SciPy."""
    code = "import json, sys, veriloop, veriloop.testing; print(json.dumps(sorted(sys.modules)))"
    installed = set(packages_distributions())
    loaded = {name.split(".")[0] for name in fresh(code)}
    # What the interpreter loads by itself: pytest-cov, setuptools and editable installs add to it.
    at_start = {
        name.split(".")[0]
        for name in fresh("import json, sys; print(json.dumps(sorted(sys.modules)))")
    }
    assert (loaded - at_start) & installed - {"veriloop"} == {"numpy"}


def test_importing_veriloop_loads_no_backend():
    code = "import json, sys, veriloop; print(json.dumps(sorted(sys.modules)))"
    assert not {f"veriloop.{name}" for name in veriloop._LAZY} & set(fresh(code))


@pytest.mark.parametrize("name", ["linear", "exact"])
def test_what_needs_no_extra_is_loaded_on_first_touch(name):
    code = f"import json, veriloop; print(json.dumps(veriloop.{name}.__name__))"
    assert fresh(code) == f"veriloop.{name}"


def test_the_exact_models_load_numpy_and_scipy_alone():
    """So that the bare install has them."""
    code = "import json, sys, veriloop; veriloop.exact; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in fresh(code)}
    assert loaded & set(HEAVY) == {"scipy"}


def test_every_public_name_resolves_once():
    assert len(veriloop.__all__) == len(set(veriloop.__all__)) > 30
    assert veriloop.__all__ == sorted(veriloop.__all__)
    for name in veriloop.__all__:
        assert getattr(veriloop, name) is not None


MISSING = """
import json
import sys

sys.modules[{missing!r}] = None  # what cannot be found
import veriloop

try:
    veriloop.{backend}
except ImportError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


@pytest.mark.parametrize("backend", ["mnist", "text"])
def test_a_missing_dependency_names_the_extra(backend):
    """Torch, which both need, cannot be found."""
    wanted = f"veriloop.{backend} needs 'torch'; install it with: pip install 'veriloop[{backend}]'"
    assert fresh(MISSING.format(backend=backend, missing="torch")) == ["ImportError", wanted]


@pytest.mark.parametrize(("backend", "missing"), [("linear", "model"), ("mnist", "training")])
def test_a_fault_of_our_own_is_not_blamed_on_an_extra(backend, missing):
    """A module of the package that cannot be found is said as Python says it."""
    if backend != "linear" and find_spec("torch") is None:
        pytest.skip("the extra [mnist] is not installed")
    kind, text = fresh(MISSING.format(backend=backend, missing=f"veriloop.{backend}.{missing}"))
    assert kind == "ModuleNotFoundError"
    assert f"veriloop.{backend}.{missing}" in text and "pip" not in text


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="module 'veriloop' has no attribute 'nowhere'"):
        _ = veriloop.nowhere
    assert not hasattr(veriloop, "nowhere")


def test_extras_are_declared_for_every_backend_that_needs_one():
    """The error above must name an extra that exists."""
    import tomllib

    project = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert set(veriloop._BACKENDS) - {"linear"} <= extras
    assert any(need.startswith("scipy") for need in project["dependencies"]) or "linear" in extras


def test_every_backend_named_is_there():
    """A backend that is not written yet is an unknown name, not a missing dependency."""
    assert veriloop._BACKENDS == tuple(
        name for name in ("linear", "mnist", "text", "xsum") if (SRC / name).is_dir()
    )


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="the extra [mnist] is not installed")
def test_the_mnist_backend_is_loaded_on_first_touch_and_only_with_what_it_always_needs():
    """Reading scikit-learn's digits, downloading, and Inception load their packages when they are asked for."""
    code = (
        "import json, sys, veriloop; veriloop.mnist.Refit; print(json.dumps(sorted(sys.modules)))"
    )
    loaded = fresh(code)
    assert {"veriloop.mnist", "torch", "safetensors"} <= set(loaded)
    assert not {"sklearn", "torchvision", "torchmetrics", "torch_fidelity"} & set(loaded)
    assert "veriloop.linear" not in loaded


def test_what_a_backend_imports_is_declared_in_its_extra():
    """So that `pip install 'veriloop[NAME]'` is enough."""
    import tomllib

    project = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text())["project"]
    named = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
    optional = {
        "rouge_score_rs",
        "evaluate",
        "vllm",
    }  # of extras of their own: [fast], [metrics], [vllm]
    files = {
        layer: sources(SRC / layer)
        for layer in ("exact", "linear", "mnist", "text", "xsum", "study")
    }
    files["study"] += BESIDE_STUDY
    for layer, paths in files.items():
        needs = [*project["dependencies"], *project["optional-dependencies"].get(layer, [])]
        if layer == "xsum":
            needs += project["optional-dependencies"]["text"]
        declared = {re.split(r"[\[<>=~!; ]", need)[0] for need in needs} | {"veriloop"}
        for path in paths:
            for name in everywhere(path):
                top = name.split(".")[0]
                known = top in sys.stdlib_module_names or top in optional
                assert known or named.get(top, top.replace("_", "-")) in declared, (
                    f"{path} imports {name}"
                )


def test_the_extra_of_studies_brings_nothing_that_is_not_imported():
    import tomllib

    project = tomllib.loads((SRC.parents[1] / "pyproject.toml").read_text())["project"]
    brought = {
        re.split(r"[<>=~!; ]", need)[0] for need in project["optional-dependencies"]["study"]
    }
    files = [*sources(SRC / "study"), *BESIDE_STUDY]
    tops = {name.split(".")[0] for path in files for name in everywhere(path)}
    assert brought <= {{"yaml": "pyyaml"}.get(top, top) for top in tops}


@pytest.mark.parametrize("name", ["study", "Study"])
def test_a_study_without_its_extra_says_what_to_install(name):
    wanted = "veriloop.study needs 'pydantic'; install it with: pip install 'veriloop[study]'"
    assert fresh(MISSING.format(backend=name, missing="pydantic")) == ["ImportError", wanted]


@pytest.mark.skipif(find_spec("torch") is None, reason="the extra [mnist] is not installed")
def test_every_public_name_of_the_mnist_backend_resolves():
    mnist = veriloop.mnist
    assert sorted(mnist.__all__) == sorted(set(mnist.__all__))
    for name in mnist.__all__:
        assert getattr(mnist, name).__doc__, f"{name} says nothing of itself"
