"""Configurations: shared bases, presets merged deeply, and what a mistake is blamed on."""

from typing import Annotated, Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass

from veriloop.study import BadInput, Config, Sizes, Whole, per_round, read_config
from veriloop.study.config import read_yaml


class Fit(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    steps: Whole | None = None
    epochs: Whole | None = None
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Way:
    warmup: int = 0


class Mine(Config):
    dim: Whole
    fit: Fit
    way: Way = Field(default_factory=Way)
    maybe: Fit | None = None
    bases: Annotated[list[int], Field(min_length=1)] = Field(default_factory=lambda: [1])
    sizes: Sizes
    free: dict[str, Any] = Field(default_factory=dict)


BASE = """
dim: 3
fit: {steps: 5, rate: 0.2}
sizes: {a: 10}
presets:
  smoke: {fit: {steps: 1}, sizes: !replace {b: 2}}
"""
OWN = """
base: base.yaml
fit: {rate: 0.3}
presets:
  smoke: {dim: 2}
  laptop: {}
  long: {fit: !replace {epochs: 7}}
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "mine.yaml").write_text(OWN)
    return tmp_path / "mine.yaml"


def read(path, preset="smoke", *settings):
    config, _ = read_config(Mine, path, preset, list(settings))
    return config


def test_a_preset_is_merged_into_the_file_and_the_file_into_its_base(path):
    """Mapping into mapping; what is not named stays."""
    config = read(path)
    assert config.dim == 2 and config.fit == Fit(steps=1, rate=0.3)
    assert read(path, "laptop").fit == Fit(steps=5, rate=0.3)


def test_replace_takes_the_mappings_place(path):
    """In the preset of a base and in one of the file."""
    assert read(path).sizes == {"b": 2} and read(path, "laptop").sizes == {"a": 10}
    assert read(path, "long").fit == Fit(epochs=7)


def test_settings_go_before_all(path):
    config = read(path, "smoke", "fit.rate=0.9", "sizes={c: 1}")
    assert config.fit == Fit(steps=1, rate=0.9) and config.sizes == {"c": 1}


def test_without_presets_none_is_needed_and_laptop_is_the_default(path, tmp_path):
    assert read(path, None) == read(path, "laptop")
    (tmp_path / "plain.yaml").write_text("{dim: 1, fit: {}, sizes: 4}")
    assert read(tmp_path / "plain.yaml", None).sizes == {"constant": 4}
    with pytest.raises(BadInput, match="no preset is called 'laptop'; it has only"):
        (tmp_path / "other.yaml").write_text("presets: {only: {}}")
        read(tmp_path / "other.yaml", None)


@pytest.mark.parametrize("base", ["mine.yaml", "circle.yaml"])
def test_a_file_that_is_its_own_base_is_refused(base, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"base: {base}")
    (tmp_path / "circle.yaml").write_text("base: mine.yaml")
    with pytest.raises(BadInput, match="the file is its own base"):
        read_yaml(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("base: 3", "must be the name of a YAML file"), ("base: no.yaml", "no.yaml")],
)
def test_a_base_that_cannot_be_read_is_named(text, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_yaml(tmp_path / "mine.yaml")


def test_yaml_stays_safe(tmp_path):
    """`!replace` is the one tag beside those of data; nothing is built from a file."""
    (tmp_path / "mine.yaml").write_text("dim: !!python/object/apply:os.getcwd []")
    with pytest.raises(BadInput, match="not valid YAML"):
        read_yaml(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("setting", "start"),
    [
        ("dim=0", "--set: dim: got 0"),
        ("fit.steps=x", "--set: fit.steps: "),
        ("fitt=3", "--set: fitt: unknown key; did you mean 'fit'?"),
        ("fit.stepps=3", "--set: fit.stepps: unknown key; did you mean 'steps'?"),
        ("fit.zzz=3", "--set: fit.zzz: unknown key; known keys: epochs, rate, steps"),
        ("way.warmp=3", "--set: way.warmp: unknown key; did you mean 'warmup'?"),
        ("maybe={zzz: 3}", "--set: maybe.zzz: unknown key; leave it out"),
        ("fit=3", "--set: fit: got 3, must be a mapping of keys to values"),
        ("way=3", "--set: way: got 3, must be a mapping of keys to values"),
        ("free=3", "--set: free: got 3, must be a mapping of keys to values"),
        ("bases=[]", "--set: bases: got [], must have at least 1 item"),
        ("sizes=[]", "--set: sizes: "),
        ("free.day=!!timestamp 2024-10-10", "--set: free: "),
        ("free.limit=.inf", "--set: free: "),
        ("free={a: 1, a: 2}", "--set free: the key 'a' is given twice, in line 1; keep one"),
        ("free={1e-2: 1}", "--set free: the key 1e-2 in line 1 is not text; write '1e-2'"),
        ("fit.rate=1:30", '--set: fit.rate: got "1:30", must be a valid number'),
    ],
)
def test_a_wrong_setting_is_blamed_on_the_setting(setting, start, path):
    with pytest.raises(BadInput) as caught:
        read(path, "smoke", setting)
    assert str(caught.value).startswith(start)


def test_a_wrong_file_is_blamed_on_the_file_whatever_the_settings(path):
    path.write_text(OWN.replace("rate: 0.3", "rate: fast"))
    for settings in ([], ["dim=4"], ["fit.steps=3"]):
        with pytest.raises(BadInput) as caught:
            read(path, "smoke", *settings)
        assert str(caught.value).startswith(f"{path}: fit.rate: got ")


def test_a_mistake_that_file_and_setting_share_is_blamed_on_the_setting(path):
    """The setting has taken the place of what the file says."""
    path.write_text(OWN.replace("rate: 0.3", "rate: fast"))
    with pytest.raises(BadInput) as caught:
        read(path, "smoke", "fit.rate=slow")
    assert str(caught.value).startswith('--set: fit.rate: got "slow"')


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dim: 3\nfit: {}\ndim: 4\n", "the key 'dim' is given twice, in lines 1 and 3; keep one"),
        ("free: {a: 1,\n  a: 2}", "the key 'a' is given twice, in lines 1 and 2; keep one"),
        ("presets: {smoke: []}", "presets.smoke: got [], must be a mapping of keys to values"),
        ("base: ''", 'base: got "", must be the name of a YAML file beside this one'),
        ("base: gone.yaml", "base: cannot read "),
        ("true: 3", "the key true in line 1 is not text; write 'true'"),
    ],
)
def test_a_mistake_of_the_file_is_said_with_its_place(text, sentence, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_an_infinite_number_of_the_file_is_blamed_on_the_file(path):
    """Where no type of the configuration refuses it; run.json could not hold it."""
    path.write_text(OWN + "free: {limit: .inf}\n")
    with pytest.raises(BadInput, match="mine.yaml: free: .* use finite numbers"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_another_editor_is_read(encoding, path):
    """With a byte-order mark and the line ends of Windows."""
    path.write_bytes(OWN.replace("\n", "\r\n").encode(encoding))
    assert read(path).fit == Fit(steps=1, rate=0.3)


def test_numbers_as_keys_are_names(path):
    """In the file and in a setting; a setting reaches below either."""
    path.write_text(OWN + "free: {200: {a: 1}}\n")
    config = read(path, "smoke", "free.200.b=2", "sizes={20: 20}")
    assert config.free == {"200": {"a": 1, "b": 2}} and config.sizes["20"] == 20


def test_schedules_are_spelled_out_one_count_a_round():
    """Each way of writing sizes gives the counts it says."""
    sizes = {"a": 7, "b": [1, 2, 3], "c": {"kind": "linear", "first": 1, "last": 5}}
    sizes["d"] = {"kind": "geometric", "first": 1, "last": 9}
    assert per_round(sizes, 3) == {"a": [7, 7, 7], "b": [1, 2, 3], "c": [1, 3, 5], "d": [1, 3, 9]}
    by_step = {"e": {"kind": "linear", "first": 4, "step": 2}}
    assert per_round(by_step, 1) == {"e": [4]}
    assert per_round(by_step, 3) == {"e": [4, 6, 8]}


def test_what_is_resolved_can_be_written(path):
    """A mapping that has taken another's place is a plain one in the end."""
    assert yaml.safe_load(yaml.safe_dump(read(path).model_dump(mode="json")))["sizes"] == {"b": 2}
