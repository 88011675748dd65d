"""Every script has a configuration whose presets all hold, and stays thin."""

from __future__ import annotations

import ast
import gzip
from pathlib import Path

import numpy as np
import pytest

from veriloop.mnist.data import FILES
from veriloop.study import Config, read_config
from veriloop.study.config import read_yaml

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "experiments").glob("[!_]*.py"))
PLOTS = sorted((ROOT / "experiments" / "figures").glob("*.py"))
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if not path.stem.endswith("_base")
)
PRESETS = ("smoke", "laptop", "evidence", "paper")
OF_DIGITS = [path for path in CONFIGS if "on_digits" in read_yaml(path)]
DIGIT_COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


def stem(path):
    return path.stem


def kind_of(module):
    """Return the configuration class that a script defines."""
    kinds = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    ]
    (kind,) = [each for each in kinds if issubclass(each, Config)]
    return kind


def imports(path):
    """Return the dotted names a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module)
    return found


def test_the_collectors_find_the_files_and_every_script_has_its_config_and_its_plot():
    """A new script without a config, a config in a subfolder or an empty list cannot slip by unnoticed."""
    names = {path.stem for path in SCRIPTS}
    assert {"linear_landscape", "linear_rounds", "linear_designs", "linear_policies"} <= names
    assert {path.stem for path in CONFIGS} == names and len(CONFIGS) == len(SCRIPTS)
    assert {path.stem for path in PLOTS} == names | {"style", "_mnist", "_seeds"}


@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_a_config_is_short_and_names_the_four_presets(path):
    """A config can be read at one glance, and its first comment says what to run and what to expect."""
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert f"python experiments/{path.stem}.py" in "\n".join(lines[:3])
    values = read_yaml(path)
    assert [name for name in values["presets"] if name in PRESETS] == list(PRESETS)


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory):
    """A folder such as VERILOOP_DATA names, with black images in the numbers and with the labels of MNIST."""
    folder = tmp_path_factory.mktemp("data")
    raw = folder / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, counts in DIGIT_COUNTS.items():
        labels = np.repeat(np.arange(10, dtype=np.uint8), counts)
        images = np.zeros((len(labels), 28, 28), dtype=np.uint8)
        for array, file in zip((images, labels), FILES[part], strict=True):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4) for n in array.shape)
            (raw / file).write_bytes(gzip.compress(header + array.tobytes(), compresslevel=1))
    return folder


@pytest.fixture
def without_mnist(tmp_path, monkeypatch):
    """The state of a fresh machine: no data folder and an empty cache."""
    monkeypatch.delenv("VERILOOP_DATA", raising=False)
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path))


def check_units(module, path, preset):
    """Assert that the preset yields units that share no checkpoint; return the configuration."""
    config, expected = read_config(kind_of(module), path, preset, [])
    assert all(isinstance(number, int | float) for number in expected.values())
    units = module.units(config)
    names = [unit.name for unit in units]
    assert len(names) > 1 and len(set(names)) == len(names)
    for unit in units:
        assert Path(unit.name).name == unit.name and not unit.name.startswith(".")
        assert unit.round >= 0 and callable(unit.work)
    return config


@pytest.mark.parametrize("preset", ("smoke", "laptop"))
@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_smoke_and_laptop_need_no_data(path, preset, load, without_mnist):
    """On a machine without MNIST, every script has work to do at both; the digits take MNIST's place."""
    config = check_units(load(path.stem), path, preset)
    assert getattr(config, "data", None) in (None, "digits", "reports")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_every_preset_yields_units_where_mnist_is_found(
    path, preset, load, mnist_folder, monkeypatch
):
    """The presets that no test has the time to run are at least valid."""
    monkeypatch.setenv("VERILOOP_DATA", str(mnist_folder))
    if preset == "paper" and path.stem in ("xsum_rouge", "xsum_references"):
        pytest.skip("real XSum is not in this folder")
    config = check_units(load(path.stem), path, preset)
    if path in OF_DIGITS and preset != "smoke":
        assert config.data == "mnist"


def test_there_are_digit_configs_with_values_for_both_kinds_of_data():
    """The two tests above meet `data: auto`: eleven scripts have it, and values for the digits."""
    assert len(OF_DIGITS) == 11
    for path in OF_DIGITS:
        values = read_yaml(path)
        assert values["data"] == "auto" and values["presets"]["smoke"]["on_digits"] is None


def test_values_for_the_digits_lie_between_preset_and_settings(
    load, without_mnist, mnist_folder, monkeypatch
):
    """They replace the preset's where digits are the data, by name or by `auto`; a setting replaces theirs."""
    module = load("mnist_schedules")
    path = ROOT / "configs" / "mnist_schedules.yaml"

    def read(*settings):
        return read_config(kind_of(module), path, "laptop", list(settings))[0]

    small = read_yaml(path)["on_digits"]
    assert read().initial == small["initial"] and read().data == "digits"
    assert read("initial=100", "refit.steps=7").initial == 100
    assert read("refit.steps=7").refit.steps == 7
    monkeypatch.setenv("VERILOOP_DATA", str(mnist_folder))
    assert read().data == "mnist" and read().initial == 500
    assert read("data=digits").initial == small["initial"]
    assert read("data=digits", "on_digits=null").initial == 500


@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_evidence_uses_a_seed_of_its_own(path, load):
    """The committed evidence is not made with the seed that the settings were chosen with."""
    module = load(path.stem)
    seeds = {preset: read_config(kind_of(module), path, preset, [])[0].seed for preset in PRESETS}
    assert seeds["evidence"] not in {seeds["smoke"], seeds["laptop"], seeds["paper"]}


@pytest.mark.parametrize("path", SCRIPTS, ids=stem)
def test_a_script_is_thin(path):
    """It says what runs; laws are in the library, and what one figure alone computes is in a module beside it."""
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("path", SCRIPTS, ids=stem)
def test_scripts_do_not_draw(path):
    """Drawing lives in figures/: a script neither imports matplotlib nor defines a `draw` of its own."""
    tree = ast.parse(path.read_text())
    defined = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not defined & {"draw", "plot", "summarise"}
    assert not [name for name in imports(path) if name.split(".")[0] == "matplotlib"]
    assert f"figures.{path.stem}" in imports(path)


@pytest.mark.parametrize("path", PLOTS, ids=stem)
def test_plots_read_records_only(path):
    """A plot cannot compute anything new: of the library it knows the records alone, and no script."""
    forbidden = {"joblib", "distributed", *map(stem, SCRIPTS)}
    assert not [name for name in imports(path) if name.split(".")[0] in forbidden]
    known = {"veriloop.records", "veriloop.study", "veriloop.plotting", "veriloop.metrics"}
    assert {name for name in imports(path) if name.split(".")[0] == "veriloop"} <= known


def test_settings_override_the_preset_and_the_preset_the_file(load):
    """File, then preset, then --set; a dotted key reaches into a mapping and leaves its other keys."""
    module = load("linear_landscape")
    path = ROOT / "configs" / "linear_landscape.yaml"
    read = [
        read_config(kind_of(module), path, "smoke", settings)[0]
        for settings in ([], ["radius.count=3", "dim=5"])
    ]
    assert len(read[0].radius) == 4 and read[0].dim == 8
    assert read[1].radius == pytest.approx([0.01, 0.255, 0.5]) and read[1].dim == 5
    with pytest.raises(ValueError, match="frozen"):
        read[0].seed = 3
