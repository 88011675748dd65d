"""Configuration: YAML and `--set` to a checked, frozen object, with one sentence for every mistake."""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from veriloop import schedules

Whole = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0)]  # NumPy's own generators take no negative seed


class BadInput(Exception):
    """Something the user can put right, in one sentence; the runner exits with code 2."""


class Config(BaseModel):
    """What every experiment has. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: int = 0
    engine: Annotated[str, Field(pattern=r"^(serial|processes(:[1-9]\d*)?|dask://[^/]+:\d+)$")] = "processes"
    store: Literal["candidates"] | None = None  # of every round, to be filtered again by `veriloop.refilter`

    @classmethod
    def for_data(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the values that replace those of the preset because of the data that `values` ask for."""
        return {}


def _numbers(value: Any) -> Any:
    """A number, a list, or {first, last, count} for evenly spaced values."""
    if isinstance(value, Mapping):
        ends, count = [value.get("first"), value.get("last")], value.get("count")
        known = set(value) == {"first", "last", "count"} and type(count) is int and count >= 1
        if not known or not all(type(end) in (int, float) for end in ends):
            raise ValueError(
                "must be a number, a list, or a mapping with numbers first, last and count (1 or more)"
            )
        return np.linspace(value["first"], value["last"], value["count"]).tolist()
    return value if isinstance(value, list) else [value]


def _distinct(values: list[float]) -> list[float]:
    if len({f"{value:g}" for value in values}) < len(values):
        raise ValueError("must hold no value twice, to six digits")
    return values


NotNegatives = Annotated[
    list[NotNegative], Field(min_length=1), BeforeValidator(_numbers), AfterValidator(_distinct)
]
Positives = Annotated[list[Positive], Field(min_length=1), BeforeValidator(_numbers), AfterValidator(_distinct)]
Shares = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], AfterValidator(_distinct)]


def _sizes(value: Any) -> dict[str, Any]:
    """Name -> schedule: a count, a list of counts, or {kind: linear | geometric, first, last}."""
    named = value if isinstance(value, Mapping) and "kind" not in value else {"constant": value}
    if not named:
        raise ValueError("must name at least one schedule")
    for name, schedule in named.items():
        ramp = isinstance(schedule, Mapping) and set(schedule) == {"kind", "first", "last"}
        counts = [schedule["first"], schedule["last"]] if ramp else schedule
        counts = counts if isinstance(counts, list) else [counts]
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in counts)
        if not counts or not whole or (ramp and schedule["kind"] not in ("linear", "geometric")):
            raise ValueError(
                f"{name} must be a count of at least 1, a non-empty list of such counts, "
                "or {kind: linear or geometric, first: count, last: count}"
            )
    return dict(named)


class OnRealDesign(Config):
    """One real design, and verifiers of several radii and biases on it."""

    rows: Whole
    dim: Whole
    replicates: Whole
    noise: Positives
    radius: NotNegatives
    bias: NotNegatives
    design_seed: Seed
    direction_seed: Seed

    @model_validator(mode="after")
    def _determined(self) -> Self:
        if self.rows < self.dim:
            raise ValueError(f"rows: got {self.rows}, must be at least dim = {self.dim}")
        return self


Sizes = Annotated[dict[str, Any], BeforeValidator(_sizes)]


def per_round(sizes: Mapping[str, Any], rounds: int) -> dict[str, list[int]]:
    """Spell every named schedule out, one count a round.

    Raises:
        ValueError: if a list has another length than `rounds`, or a ramp has one round only.
    """
    spelled: dict[str, list[int]] = {}
    for name, schedule in sizes.items():
        if isinstance(schedule, Mapping):
            ramp = getattr(schedules, schedule["kind"])
            spelled[name] = ramp(schedule["first"], schedule["last"], rounds)
        else:
            spelled[name] = schedule if isinstance(schedule, list) else schedules.constant(schedule, rounds)
        if len(spelled[name]) != rounds:
            raise ValueError(f"must have one count for each of the {rounds} rounds, {name} has {len(schedule)}")
    return spelled


C = TypeVar("C", bound=Config)


def read_config(kind: type[C], path: Path, preset: str, settings: list[str]) -> tuple[C, dict[str, float]]:
    """Return the checked configuration and the values it says to expect.

    A later layer replaces an earlier one: the file, the preset, what the data ask for, the settings.

    Raises:
        BadInput: naming the key, what was got and what is allowed.
    """
    values = _read_yaml(path)
    presets, expected = _mapping(values.pop("presets", {}), path, "presets"), values.pop("expected", {})
    for name, number in _mapping(expected, path, "expected").items():
        if type(number) not in (int, float):
            raise BadInput(f"{path}: expected.{name}: got {_short(number)}, must be a number")
    if preset not in presets:
        raise BadInput(f"{path}: no preset is called {preset!r}; it has {', '.join(presets) or 'none'}")
    values.update(_mapping(presets[preset] or {}, path, f"presets.{preset}"))
    asked = _with_settings(values, settings)
    values.update(kind.for_data(asked))
    values = _with_settings(values, settings)
    for name, value in values.items():
        try:
            json.dumps({name: value})
        except (TypeError, ValueError) as error:
            raise BadInput(f"{path}: {name}: {error}; use numbers, strings, lists and mappings only") from None
    try:
        return kind.model_validate_json(json.dumps(values)), expected
    except ValidationError as error:
        raise BadInput(f"{path}: {_sentence(error, kind)}") from None


def _mapping(value: Any, path: Path, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {name}: got {_short(value)}, must be a mapping of keys to values")
    return value


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"--config: cannot read {path} ({getattr(error, 'strerror', error)}); name a YAML file"
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a bare ValueError
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable text"
        raise BadInput(f"{path}: not valid YAML{where}: {problem}; correct the file") from None
    if not isinstance(values, dict):
        raise BadInput(f"{path}: must be a mapping of keys to values, got {type(values).__name__}")
    return values


def _with_settings(values: Mapping[str, Any], settings: list[str]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(values))
    for setting in settings:
        _apply(changed, setting)
    return changed


def _apply(values: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise BadInput(f"--set: got {setting!r}, must be key=value, with dots for nested keys: --set a.b=1")
    *parents, last = name.split(".")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise BadInput(f"--set {name}: the value {text!r} is not valid YAML; quote it") from None
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise BadInput(
                f"--set {name}: {parent} is not a mapping, so it has no key below it; set {parent} itself"
            )
    values[last] = value


def _sentence(error: ValidationError, kind: type[Config]) -> str:
    # Unknown keys first: a misspelt key also leaves the right one missing, and the hint says which is the mistake.
    first, *others = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = [name for name in kind.model_fields]
        close = difflib.get_close_matches(where, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(sorted(known))}"
        text = f"{where}: unknown key; {hint}"
    elif first["type"] == "missing":
        text = f"{where}: missing; give it a value"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "must")
        got = "" if not where else f"got {_short(first['input'])}, "
        text = f"{where + ': ' if where else ''}{got}{message}"
    return text + (f" (and {len(others)} more)" if others else "")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
