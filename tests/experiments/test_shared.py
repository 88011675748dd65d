"""Figures share what they have in common, by the content of what decides it, and no byte changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import last, settings

from _mnist import Digits, _quirks
from _mnist import _shared as shared_arm
from veriloop.study import read_config
from veriloop.study.config import read_yaml

ROOT = Path(__file__).parents[2]
CONFIGS = {
    path.stem: read_yaml(path)
    for path in (ROOT / "configs").glob("*.yaml")
    if not path.stem.endswith("_base")
}
OF_DIGITS = sorted(name for name, values in CONFIGS.items() if "on_digits" in values)
SETTINGS = [
    "replicates=1",
    "rounds=1",
    "sizes={a: 200}",
    "first={steps: 20}",
    "refit={steps: 20}",
    "judge={real: 500, fit: {epochs: 1, patience: null}}",
]


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
        given = settings(*SETTINGS, *more)
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


def addresses(load, name, *given):
    """Return the address of each arm of a digit script at smoke, None where it is not shared."""
    module = load(name)
    own = [each for each in Digits.__subclasses__() if vars(module).get(each.__name__) is each]
    (kind,) = own
    path = ROOT / "configs" / f"{name}.yaml"
    config, _ = read_config(kind, path, "smoke", last(["shared=nowhere", *given]))
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


@pytest.mark.parametrize(
    "setting", ["verifier={call: 'veriloop:Random'}", "store=candidates", "shared=null"]
)
def test_what_the_address_cannot_hold_is_not_shared(setting, load, nowhere):
    """A verifier of the user's own is code that no address knows; candidates lie in the run's own folder."""
    found = addresses(load, "mnist_schedules", *SETTINGS, setting)
    assert set(found.values()) == {None}
