"""What is built installs into an empty environment, and runs there, far from the source tree."""

import os
import re
import subprocess
import sys
import tarfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from hatchling.build import build_{0}; build_{0}(sys.argv[1])"
BARE = ["numpy", "scipy", "matplotlib"]
STUDY = ["pydantic", "pyyaml", "tqdm", "joblib", "cloudpickle", "filelock"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("hatchling") is None, reason="hatchling, which builds the wheel, is not installed"
    ),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sources")
    subprocess.run([sys.executable, "-c", BUILD.format("sdist"), folder], cwd=ROOT, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (unpacked,) = [path for path in folder.iterdir() if path.is_dir()]
    return unpacked


@pytest.fixture(scope="module")
def bare(sources, tmp_path_factory) -> Path:
    """An environment of the wheel, which is built from the sources, NumPy, SciPy and matplotlib."""
    built = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-c", BUILD.format("wheel"), built], cwd=sources, check=True)
    (wheel,) = built.glob("*.whl")
    folder = tmp_path_factory.mktemp("bare")
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*line, "--target", folder, wheel], check=True)
    link(folder, BARE)
    return folder


@pytest.fixture(scope="module")
def with_study(bare, tmp_path_factory) -> Path:
    """The same with what the extra [study] needs here."""
    folder = tmp_path_factory.mktemp("study")
    for path in bare.iterdir():
        (folder / path.name).symlink_to(path)
    link(folder, STUDY)
    return folder


def link(folder: Path, names: list[str]) -> None:
    """Put installed packages, and what they require, into a folder."""
    for name in required(names):
        package = metadata.distribution(name)
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] != ".."}
        for top in tops - {"__pycache__"}:
            place = folder / top
            if not place.exists():
                place.symlink_to(package.locate_file(top))


def required(names: list[str]) -> set[str]:
    """Return the packages of these names, with all that they require."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                left.append(requirement.name)
    return found


def ran(packages: Path, folder: Path, *arguments: object) -> str:
    """Run Python in a folder with these packages alone, and return what it printed."""
    kept = ("PATH", "HOME", "OMP_NUM_THREADS", "TMPDIR")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment |= {"PYTHONPATH": str(packages), "MPLBACKEND": "Agg"}
    line = [sys.executable, "-S", "-W", "error", *map(str, arguments)]
    done = subprocess.run(
        line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(page: Path) -> str:
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return "\n".join(found)


def test_the_environment_is_empty(bare, tmp_path):
    """Only the wheel is found, and nothing that an extra brings."""
    code = "import veriloop, importlib.util as u; print(veriloop.__file__, u.find_spec('pydantic'))"
    assert ran(bare, tmp_path, "-c", code).split() == [f"{bare}/veriloop/__init__.py", "None"]


@pytest.mark.parametrize("name", ["mnist", "study", "text", "xsum"])
def test_what_needs_an_extra_says_so_however_it_is_imported(bare, tmp_path, name):
    """`from veriloop.study import Study` ended in a plain ModuleNotFoundError."""
    code = f"""
try:
    import veriloop.{name}
except ImportError as error:
    print(error)
"""
    said = ran(bare, tmp_path, "-c", code)
    assert said.endswith(f"; install it with: pip install 'veriloop[{name}]'\n")


def test_the_readme_runs_in_a_bare_environment(bare, tmp_path):
    script = tmp_path / "readme.py"
    script.write_text(blocks(ROOT / "README.md"))
    assert "no alarm" in ran(bare, tmp_path, script)


def test_a_study_runs_into_a_folder(with_study, tmp_path):
    script = tmp_path / "study.py"
    script.write_text(blocks(ROOT / "docs" / "study.md"))
    assert "round 10" in ran(with_study, tmp_path, script)
    assert (tmp_path / "runs" / "first" / "records.jsonl").exists()


def test_a_figure_is_drawn_from_the_sources(with_study, sources, tmp_path):
    """Its script finds its parts beside itself, whatever the current folder."""
    script = sources / "experiments" / "linear_rounds.py"
    ran(with_study, tmp_path, script, "--preset", "smoke", "--engine", "serial", "--out", "smoke")
    assert (tmp_path / "smoke" / "figure.png").read_bytes().startswith(b"\x89PNG")
