"""Every script has a configuration whose presets all hold, and stays thin."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml

from _config import Config, per_round, read_config
from veriloop.mnist import have_mnist

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "experiments").glob("[!_]*.py"))
PLOTS = sorted((ROOT / "experiments" / "plots").glob("*.py"))
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
PRESETS = ("smoke", "laptop", "evidence", "paper")


def stem(path):
    return path.stem


def kind_of(module):
    """Return the configuration class that a script defines."""
    kinds = [
        each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__
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
    assert {path.stem for path in PLOTS} == names | {"common", "_mnist", "_seeds"}


@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_a_config_is_short_and_names_the_four_presets(path):
    """A config can be read at one glance, and its first comment says what to run and what to expect."""
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert f"python experiments/{path.stem}.py" in "\n".join(lines[:3])
    values = yaml.safe_load("\n".join(lines))
    assert [name for name in values["presets"] if name in PRESETS] == list(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_every_preset_of_every_config_holds_and_yields_units(path, preset, load):
    """The presets that no test has the time to run are at least valid; no two units share a checkpoint."""
    module = load(path.stem)
    config, expected = read_config(kind_of(module), path, preset, [])
    if getattr(config, "data", None) == "mnist" and not have_mnist():
        pytest.skip("MNIST is not on this machine")
    if "/" in getattr(config, "model", ""):
        pytest.skip(f"the weights of {config.model} are on the hub")
    units = module.units(config)
    names = [unit.name for unit in units]
    assert len(names) > 1 and len(set(names)) == len(names)
    for unit in units:
        assert Path(unit.name).name == unit.name and not unit.name.startswith(".")
        assert unit.round >= 0 and callable(unit.work)
    assert all(isinstance(number, int | float) for number in expected.values())


@pytest.mark.parametrize("path", CONFIGS, ids=stem)
def test_evidence_uses_a_seed_of_its_own(path, load):
    """The committed evidence is not made with the seed that the settings were chosen with."""
    module = load(path.stem)
    seeds = {preset: read_config(kind_of(module), path, preset, [])[0].seed for preset in PRESETS}
    assert seeds["evidence"] not in {seeds["smoke"], seeds["laptop"], seeds["paper"]}


@pytest.mark.parametrize("path", SCRIPTS, ids=stem)
def test_scripts_do_not_draw(path):
    """Drawing lives in plots/: a script neither imports matplotlib nor defines a `draw` of its own."""
    tree = ast.parse(path.read_text())
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not defined & {"draw", "plot", "summarise"}
    assert not [name for name in imports(path) if name.split(".")[0] == "matplotlib"]
    assert f"plots.{path.stem}" in imports(path)


@pytest.mark.parametrize("path", PLOTS, ids=stem)
def test_plots_read_records_only(path):
    """A plot cannot compute anything new: it knows neither the library nor the runner nor a script."""
    forbidden = {"veriloop", "_run", "_folder", "_engine", "_config", "joblib", "distributed", *map(stem, SCRIPTS)}
    assert not [name for name in imports(path) if name.split(".")[0] in forbidden]


def test_settings_override_the_preset_and_the_preset_the_file(load):
    """File, then preset, then --set; a dotted key reaches into a mapping and leaves its other keys."""
    module = load("linear_landscape")
    path = ROOT / "configs" / "linear_landscape.yaml"
    read = [
        read_config(kind_of(module), path, "smoke", settings)[0] for settings in ([], ["radius.count=3", "dim=5"])
    ]
    assert len(read[0].radius) == 4 and read[0].dim == 8
    assert read[1].radius == pytest.approx([0.01, 0.255, 0.5]) and read[1].dim == 5
    with pytest.raises(ValueError, match="frozen"):
        read[0].seed = 3


def test_schedules_are_spelled_out_one_count_a_round():
    """Each way of writing sizes gives the counts it says."""
    sizes = {"a": 7, "b": [1, 2, 3], "c": {"kind": "linear", "first": 1, "last": 5}}
    sizes["d"] = {"kind": "geometric", "first": 1, "last": 9}
    assert per_round(sizes, 3) == {"a": [7, 7, 7], "b": [1, 2, 3], "c": [1, 3, 5], "d": [1, 3, 9]}
