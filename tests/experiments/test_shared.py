"""Figures share what they have in common, by the content of what decides it, and no byte changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml

from _config import read_config
from _mnist import Digits, _quirks
from _mnist import _shared as shared_arm
from _shared import Shared, described, source_digest

ROOT = Path(__file__).parents[2]
CONFIGS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "configs").glob("*.yaml")}
OF_DIGITS = sorted(name for name, values in CONFIGS.items() if "on_digits" in values)
SETTINGS = [
    "replicates=1",
    "rounds=1",
    "sizes={a: 200}",
    "first={steps: 20}",
    "refit={steps: 20}",
    "judge={real: 500, fit: {epochs: 1, patience: null}}",
]


PROGRAM = """
import time
from _shared import Shared

one = Shared({folder!r}, {{"seed": 1}})
with one.held() as rows:
    if rows is None:
        time.sleep(0.3)
        open({log!r}, "a").write("computed\\n")
        rows = [{{"round": 0}}]
        one.write(rows)
print(rows)
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One feature network for all runs, and none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERILOOP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def figure(here, tmp_path):
    """Return a function that runs a digit script at the common settings."""

    def run(name, out, *more):
        given = [part for setting in (*SETTINGS, *more) for part in ("--set", setting)]
        ran = here(name, *given, out=tmp_path / out, figure=False)
        assert ran.code == 0, ran.stderr
        return ran

    return run


def taken(run):
    """Return the arms that a run took from another figure."""
    lines = run.stderr.splitlines()
    return [line.partition(":")[0] for line in lines if "another figure has the same arm" in line]


@pytest.mark.slow
def test_a_figure_takes_the_arms_of_another_and_its_records_are_the_same_bytes(figure, tmp_path):
    """Unverified and verified anew every round: arms of both figures. What is trained once is not."""
    alone = figure("mnist_fixed_verifier", "alone")
    shared = f"shared={tmp_path / 'shared'}"
    first = figure("mnist_schedules", "first", shared)
    second = figure("mnist_fixed_verifier", "second", shared)
    assert taken(first) == [] and taken(alone) == []
    assert taken(second) == ["a-each round-seed1", "a-unverified-seed1"]
    assert second.records == alone.records


def addresses(load, name, *settings):
    """Return the address of each arm of a digit script at smoke, None where it is not shared."""
    module = load(name)
    own = [each for each in Digits.__subclasses__() if vars(module).get(each.__name__) is each]
    (kind,) = own
    path = ROOT / "configs" / f"{name}.yaml"
    config, _ = read_config(kind, path, "smoke", ["shared=nowhere", *settings])
    found = {}
    for unit in module.units(config):
        arm, seed = unit.arguments
        shared = shared_arm("arm", config, _quirks(arm.config), arm, seed)
        found[unit.name] = shared.address if shared.folder else None
    return found


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A current folder of one's own: an address makes the folder that it is in."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "setting",
    [
        "refit={steps: 21}",
        "first={steps: 21}",
        "images=200",
        "rounds=2",
        "initial=200",
        "model_settings={latent: 9}",
        "threads=2",
    ],
)
def test_an_arm_of_other_settings_has_another_address(setting, load, nowhere):
    """What changes the rows of an arm changes its address; the names of the arms stay."""
    one = addresses(load, "mnist_schedules", *SETTINGS)
    other = addresses(load, "mnist_schedules", *SETTINGS, setting)
    names = ["a-unverified-seed1", "a-verified-seed1"]
    for name in names:
        assert one[name] != other[name]


def test_arms_of_one_figure_have_addresses_of_their_own(load, nowhere):
    """Policies, ways to train a verifier, sets of real images, seeds: no two arms are taken for one."""
    for name in OF_DIGITS:
        found = addresses(load, name, "replicates=2")
        assert len(set(found.values())) == len(found) >= 4, name


def test_another_judge_changes_the_verified_arm_alone(load, nowhere):
    """The unverified arm has no judge, so it is the same arm whatever the judge."""
    one = addresses(load, "mnist_schedules", *SETTINGS)
    other = addresses(load, "mnist_schedules", *SETTINGS, "judge.real=300")
    same = {name for name in one if one[name] == other[name]}
    assert same == {"real-seed1", "a-unverified-seed1"}


@pytest.mark.parametrize("setting", ["verifier={call: 'veriloop:Random'}", "store=candidates", "shared=null"])
def test_what_the_address_cannot_hold_is_not_shared(setting, load, nowhere):
    """A verifier of the user's own is code that no address knows; candidates lie in the run's own folder."""
    found = addresses(load, "mnist_schedules", *SETTINGS, setting)
    assert set(found.values()) == {None}


def test_what_is_damaged_is_named_and_computed_again(tmp_path):
    """A byte of the shared rows is flipped: they are not used."""
    shared = Shared(tmp_path, {"seed": 1})
    shared.write([{"round": 0}])
    with shared.held() as rows:
        assert rows == [{"round": 0}]
    file = shared.folder / "rows.jsonl"
    file.write_text(file.read_text().replace("0", "9"))
    with pytest.warns(UserWarning, match="is damaged"), shared.held() as rows:
        assert rows is None


def test_two_processes_compute_one_address_once(tmp_path):
    """The second waits until the first has written, and then reads."""
    program = PROGRAM.format(folder=str(tmp_path / "shared"), log=str(tmp_path / "log"))
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "experiments")}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [each.communicate(timeout=60)[0] for each in started]
    assert printed == ["[{'round': 0}]\n"] * 3
    assert (tmp_path / "log").read_text() == "computed\n"


def test_the_address_holds_the_settings_and_the_source(tmp_path, monkeypatch):
    """Other settings, or another version of the code, is another address."""
    one = Shared(tmp_path, {"seed": 1}).address
    assert Shared(tmp_path, {"seed": 1}).address == one
    assert Shared(tmp_path, {"seed": 2}).address != one
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("x = 1")
    monkeypatch.setattr("_shared.SOURCES", (source,))
    digests = []
    for text in ("x = 1", "x = 2"):
        (source / "a.py").write_text(text)
        source_digest.cache_clear()
        digests.append(Shared(tmp_path, {"seed": 1}).address)
    source_digest.cache_clear()
    assert len({one, *digests}) == 3


def test_functions_are_told_apart_by_file_and_name_and_lambdas_are_refused():
    """Two lambdas would have one name, so they would share rows that are not theirs."""
    assert described([json.dumps, partial(json.loads, s="1")]) != described([json.dumps, json.loads])
    assert described(test_another_judge_changes_the_verified_arm_alone).startswith("test_shared:")
    for value in (lambda real: real, object()):
        with pytest.raises(TypeError, match="must have a name of its own"):
            described(value)
