"""What cannot be run is refused in one sentence, before any work: exit code 2, and no folder."""

import io
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

SCRIPT = '''"""A script with a component of the user's."""

from typing import Any

from veriloop import build
from veriloop.study import BadInput, Config, Positives, Sizes, Unit, Whole, main


class Settings(Config):
    rounds: Whole = 1
    bias: Positives = [1.0]
    sizes: Sizes = {"constant": 5}
    verifier: dict[str, Any] | None = None
    data: Any = None


def work(config, name):
    return [{"round": 1, "arm": name, "seed": 0, "bias": config.bias[0]}]


def units(config):
    if config.verifier is not None:
        try:
            build(config.verifier)
        except ValueError as error:
            raise BadInput(f"verifier: {error}") from None
    return [Unit(name, 1, work, (name,)) for name in config.sizes]


def draw(records):
    from matplotlib.figure import Figure

    return Figure()


if __name__ == "__main__":
    main(Settings, units, draw)
'''

MODULES = {
    "leaves_when_loaded": "import sys\nsys.exit(0)\n",
    "fails_when_loaded": "raise RuntimeError('no licence')\n",
    "no_python": "def (\n",
    "makes_a_number": "def make():\n    return 3\n\n\ndef leave():\n    raise SystemExit(0)\n",
}


@pytest.fixture
def script(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(SCRIPT)
    (tmp_path / "mine.yaml").write_text("engine: serial\n")
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mine.py", *arguments])
        stdout, stderr = io.StringIO(), io.StringIO()
        code = 0
        with redirect_stdout(stdout), redirect_stderr(stderr):
            try:
                runpy.run_path("mine.py", run_name="__main__")
            except SystemExit as ended:
                code = ended.code or 0
        return code, stderr.getvalue()

    return run


NESTED = "[" * 2000 + "]" * 2000
REFUSED = {
    "called, it is no component": (
        "verifier={call: 'os:getpid'}",
        "and a component must be a function; name another",
    ),
    "makes no component": (
        "verifier={call: 'makes_a_number:make'}",
        "makes 3, and a component must be a function",
    ),
    "its module ends the process": (
        "verifier={call: 'leaves_when_loaded:x'}",
        "needs the module 'leaves_when_loaded', which cannot be imported (SystemExit: 0)",
    ),
    "it ends the process": (
        "verifier={call: 'makes_a_number:leave'}",
        "names code that ends the process (sys.exit(0))",
    ),
    "its module fails": (
        "verifier={call: 'fails_when_loaded:x'}",
        "which cannot be imported (RuntimeError: no licence); correct it",
    ),
    "its module is no Python": (
        "verifier={call: 'no_python:x'}",
        "which cannot be imported (SyntaxError: ",
    ),
    "a name with a null": (r'sizes={"a\0b": 5}', "leave out line ends and control characters"),
    "a long name": (f"sizes={{{'a' * 300}: 5}}", "shorten it to 200 bytes"),
    "a number above all memory": (f"rounds={2**63 - 1}", "must be less than or equal to 1000"),
    "nested too deep": (f"data={NESTED}", "deep"),
    "a limit without processes": ("unit_timeout=5", "unit_timeout: got 5 with engine=serial"),
    "a limit of 0": ("unit_timeout=0", "unit_timeout: got 0, must be greater than 0"),
    "nobody at the address": ("engine=dask://localhost:1", "no dask scheduler answers at dask://l"),
    "no port": ("engine=dask://localhost:99999", "no dask scheduler answers at dask://localhost:9"),
}


@pytest.mark.parametrize(("setting", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_run_is_refused_in_one_sentence(setting, told, script, tmp_path):
    code, stderr = script("--set", setting, "--out", "run")
    assert code == 2, stderr
    assert stderr.startswith("mine: ") and stderr.count("\n") == 1 and told in stderr
    assert len(stderr) < 500 and not (tmp_path / "run").exists()


TWICE = [
    ("rounds=1", "rounds=2"),
    ("verifier.call=b", "verifier={call: a}"),
]


@pytest.mark.parametrize("settings", TWICE)
def test_a_key_set_twice_is_refused(settings, script):
    code, stderr = script("--set", settings[0], "--set", settings[1])
    assert code == 2 and "is set before; give it once" in stderr
    assert script("--engine", "serial", "--set", "engine=processes:1")[0] == 2


def test_a_ramp_of_large_whole_numbers_is_one_of_numbers(script):
    """NumPy takes no whole numbers above 64 bits."""
    code, stderr = script("--set", "bias={first: 1, last: 1000000000000000000000, count: 2}")
    assert code == 0, stderr


def test_a_file_in_a_folders_place_is_refused(script, tmp_path):
    (tmp_path / "run").write_text("")
    code, stderr = script("--out", "run")
    assert code == 2 and stderr.count("\n") == 1 and "run" in stderr


def test_records_that_the_figure_cannot_be_made_of_are_one_sentence(script, tmp_path):
    """Whatever the error of the drawing: those of a script's own code among them."""
    assert script("--out", "run")[0] == 0
    text = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(text.replace("return Figure()", "return 'a' > 1"))
    code, stderr = script("--redraw", "run")
    assert code == 2 and stderr.count("\n") == 1 and "mine cannot draw the records" in stderr


def test_an_empty_engine_is_refused_and_not_left_out(script):
    code, stderr = script("--engine", "")
    assert code == 2 and stderr.count("\n") == 1 and "got " in stderr


def test_a_figure_that_cannot_be_written_is_one_sentence(script, tmp_path):
    """A new one is refused with 1, as the records are safe; a redrawn one with 2."""
    (tmp_path / "run").mkdir()
    assert script("--out", "run")[0] == 0
    (tmp_path / "run" / "figure.png").unlink()
    (tmp_path / "run" / "figure.png").mkdir()
    code, stderr = script("--redraw", "run")
    assert code == 2 and "mine: --redraw: cannot write to run (" in stderr
    code, stderr = script("--out", "run", "--resume")
    assert code == 1 and stderr.count("\n") == 1 and "cannot write to run (" in stderr
