"""Configuration: YAML and `--set` to a checked object, with one sentence for every mistake."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from veriloop.core.checks import is_count
from veriloop.schedules import constant, geometric, linear
from veriloop.study.engine import ENGINES, BadInput
from veriloop.yaml12 import Replaced, parsed, read_text

Whole = Annotated[int, Field(ge=1, le=10**12)]  # no memory holds more rows
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0)]  # NumPy's own generators take no negative seed


# What pydantic calls a key that a model, or a dataclass, does not have.
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
# What it calls a value that is no mapping, where there must be one.
MAPPINGS = ("dict_type", "model_type", "dataclass_type")
RAMPS = {"linear": linear, "geometric": geometric}
DEEP = "nests lists or mappings hundreds deep, which nothing here needs; write it flatter"
DEFAULT = "laptop"  # the preset where none is named


class Config(BaseModel):
    """What every script has. A subclass adds keys. Unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    seed: Seed = 0
    engine: Annotated[str, Field(pattern=ENGINES)] = "processes"
    # Seconds that a unit may take, in worker processes: one that takes more is stopped, and fails.
    unit_timeout: Positive | None = None
    # Of every round, to be filtered again by `veriloop.refilter`.
    store: Literal["candidates"] | None = None

    def may_grow(self) -> Sequence[str]:
        """Return the counts that a resumed run may raise, such as those of seeds and rounds.

        What is done must not depend on them. A run that has not ended may also lower them: what it
        did beyond them is left out. A study's counts may grow without being named.
        """
        return ()

    @classmethod
    def for_data(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the values that replace a preset's because of the data that `values` ask for."""
        return {}


def _numbers(value: object) -> list[object]:
    """A number, a list, or {first, last, count} for evenly spaced values."""
    if isinstance(value, Mapping):
        return list(_spaced(cast("Mapping[str, object]", value)))
    if isinstance(value, list):
        return cast("list[object]", value)
    return [value]


def _spaced(value: Mapping[str, object]) -> list[float]:
    count = value.get("count")
    ends = [value.get("first"), value.get("last")]
    known = set(value) == {"first", "last", "count"} and is_count(count, 1)
    if not known or not all(type(end) in (int, float) for end in ends):
        raise ValueError(
            "must be a number, a list, or a mapping with numbers first, last and count (1 or more)"
        )
    first, last = map(float, cast("list[float]", ends))
    return np.linspace(first, last, cast("int", count)).tolist()


def _distinct(values: list[float]) -> list[float]:
    if len({f"{value:g}" for value in values}) < len(values):
        raise ValueError("must hold no value twice, to six digits")
    return values


NotNegatives = Annotated[
    list[NotNegative], Field(min_length=1), BeforeValidator(_numbers), AfterValidator(_distinct)
]
Positives = Annotated[
    list[Positive], Field(min_length=1), BeforeValidator(_numbers), AfterValidator(_distinct)
]
Shares = Annotated[list[Annotated[float, Field(gt=0, lt=1)]], AfterValidator(_distinct)]


def _sizes(value: object) -> dict[str, object]:
    """Name -> schedule: a count, a list of counts, or a ramp.

    A ramp is {kind: linear | geometric, first, last}, or {kind: linear, first, step}.
    """
    named: dict[str, object] = {"constant": value}
    if isinstance(value, Mapping) and "kind" not in value:
        named = dict(cast("Mapping[str, object]", value))
    if not named:
        raise ValueError("must name at least one schedule")
    for name, schedule in named.items():
        if not _is_schedule(schedule):
            raise ValueError(
                f"{name} must be a count of at least 1, a non-empty list of such counts, "
                "{kind: linear or geometric, first: count, last: count} "
                "or {kind: linear, first: count, step: count}"
            )
    return named


def _is_schedule(schedule: object) -> bool:
    counts = [schedule]
    if isinstance(schedule, list):
        counts = cast("list[object]", schedule)
    if isinstance(schedule, Mapping):
        ramp = cast("Mapping[str, object]", schedule)
        kinds = [("last", list(RAMPS)), ("step", ["linear"])]
        counts = []
        for end, allowed in kinds:
            if set(ramp) == {"kind", "first", end} and ramp["kind"] in allowed:
                counts = [ramp["first"], ramp[end]]
    return bool(counts) and all(is_count(n, 1) for n in counts)


Sizes = Annotated[dict[str, Any], BeforeValidator(_sizes)]


def per_round(sizes: Mapping[str, Any], rounds: int) -> dict[str, list[int]]:
    """Spell every named schedule out, one count a round.

    sizes: schedules by name, as a configuration says them.
    rounds: how many counts each must have.

    Raises:
        ValueError: if a list has another length than `rounds`, or a ramp has one round only.
    """
    return {name: _spelled(name, schedule, rounds) for name, schedule in sizes.items()}


def _spelled(name: str, schedule: object, rounds: int) -> list[int]:
    if isinstance(schedule, Mapping):
        ramp = cast("Mapping[str, Any]", schedule)
        first = ramp["first"]
        if "step" in ramp:
            return linear(first, first + ramp["step"] * (rounds - 1), rounds)
        return RAMPS[ramp["kind"]](first, ramp["last"], rounds)
    if not isinstance(schedule, list):
        return constant(cast("int", schedule), rounds)
    counts = cast("list[int]", schedule)
    if len(counts) != rounds:
        raise ValueError(
            f"must have one count for each of the {rounds} rounds, {name} has {len(counts)}"
        )
    return counts


C = TypeVar("C", bound=Config)


def read_config(
    kind: type[C], path: Path, preset: str | None, settings: Sequence[str] = ()
) -> tuple[C, dict[str, float]]:
    """Return the checked configuration and the values it says to expect.

    A later layer goes before an earlier one: the file that `base` names, the file, the preset, what
    the data ask for, the settings. Files and preset are merged, mapping into mapping; `!replace
    {...}` takes a mapping's place.

    kind: the schema.
    path: the YAML file.
    preset: its name; None takes laptop, or none where the file has no presets.
    settings: KEY=VALUE, with dots for nested keys.

    Raises:
        BadInput: naming the key, what was got and what is allowed.
    """
    _check_once(settings)
    try:
        return _read_config(kind, path, preset, settings)
    except RecursionError:
        raise BadInput(f"{path}, or --set: {DEEP}") from None


def _read_config(
    kind: type[C], path: Path, preset: str | None, settings: Sequence[str]
) -> tuple[C, dict[str, float]]:
    values = read_yaml(path)
    presets = _mapping(values.pop("presets", {}), path, "presets")
    expected = _mapping(values.pop("expected", {}), path, "expected")
    for name, number in expected.items():
        if type(number) not in (int, float):
            raise BadInput(f"{path}: expected.{name}: got {_short(number)}, must be a number")
    values = merged(values, _preset(presets, preset, path))
    _check_plain(values, str(path))
    layered = _layered(kind, values, settings)
    _check_plain(layered, "--set")
    try:
        config = kind.model_validate_json(json.dumps(layered))
    except ValidationError as error:
        blamed = path
        if _is_of_settings(error, kind, values, settings):
            blamed = "--set"
        raise BadInput(f"{blamed}: {_sentence(error, kind)}") from None
    _check_plain(values, str(path), finite=True)
    _check_plain(layered, "--set", finite=True)
    return config, expected


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the values of a YAML file, merged into those of the file that its key `base` names.

    Raises:
        BadInput: if a file cannot be read, is not YAML, or is its own base.
    """
    return _read_yaml(path, ())


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the values of `new`, mapping into mapping.

    >>> merged({"fit": {"steps": 5, "rate": 0.1}}, {"fit": {"steps": 9}})
    {'fit': {'steps': 9, 'rate': 0.1}}
    >>> merged({"fit": {"steps": 5, "rate": 0.1}}, {"fit": Replaced(epochs=2)})
    {'fit': {'epochs': 2}}
    """
    result: dict[str, Any] = dict(old)
    if isinstance(old, Replaced):
        result = Replaced(old)
    for name, value in new.items():
        before = result.get(name)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        if both and not isinstance(value, Replaced):
            result[name] = merged(cast("dict[str, Any]", before), cast("dict[str, Any]", value))
        else:
            result[name] = value
    return result


def _preset(presets: Mapping[str, Any], name: str | None, path: Path) -> dict[str, Any]:
    if name is None and not presets:
        return {}
    chosen = DEFAULT if name is None else name
    if chosen not in presets:
        named = ", ".join(presets) or "none"
        raise BadInput(f"{path}: no preset is called {chosen!r}; it has {named}")
    values = presets[chosen]
    if values is None:  # `smoke:` with nothing after it
        return {}
    return _mapping(values, path, f"presets.{chosen}")


def _layered(
    kind: type[Config], values: Mapping[str, Any], settings: Sequence[str]
) -> dict[str, Any]:
    """Return the values with what the data ask for, and the settings."""
    asked = _with_settings(values, settings)
    return _with_settings({**values, **kind.for_data(asked)}, settings)


def _check_plain(values: Mapping[str, Any], blamed: str, *, finite: bool = False) -> None:
    """Refuse what JSON cannot hold: dates, sets, a list that holds itself, infinite numbers."""
    for name, value in values.items():
        try:
            json.dumps(value, allow_nan=not finite)
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"{blamed}: {name}: {error}; use finite numbers, text, lists and mappings only"
            ) from None


def _is_of_settings(
    error: ValidationError,
    kind: type[Config],
    values: Mapping[str, Any],
    settings: Sequence[str],
) -> bool:
    """Tell whether the mistake that is told is one of the settings, and not of the file."""
    first = _in_order(error)[0]
    place = tuple(map(str, first["loc"]))
    for setting in settings:
        name, _, _ = setting.partition("=")
        path = tuple(name.split("."))
        if place[: len(path)] == path:
            return True
    if not settings:
        return False
    try:
        kind.model_validate_json(json.dumps(_layered(kind, values, ())))
    except ValidationError as without:
        mistakes = {(each["loc"], each["type"]) for each in without.errors()}
        return (first["loc"], first["type"]) not in mistakes
    return True


def _in_order(error: ValidationError) -> list[Any]:
    """Put unknown keys first: a misspelt key also leaves the right one missing."""
    return sorted(error.errors(), key=lambda each: each["type"] not in UNKNOWN)


def _mapping(value: object, path: Path, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{path}: {name}: got {_short(value)}, must be a mapping of keys to values")
    return cast("dict[str, Any]", value)


def _read_yaml(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise BadInput(f"{path}: base: the file is its own base; leave out one of the bases")
    values = _parsed_yaml(path, above)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or not base:
        raise BadInput(
            f"{path}: base: got {_short(base)}, must be the name of a YAML file beside this one"
        )
    base_values = _read_yaml(path.parent / base, (*above, path.resolve()))
    return merged(base_values, values)


def _parsed_yaml(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        blamed = "--config"
        if above:
            blamed = f"{above[-1]}: base"
        raise BadInput(f"{blamed}: cannot read {path} ({reason}); name a YAML file") from None
    try:
        values = parsed(text)
    except ValueError as error:
        raise BadInput(f"{path}: {error}; correct the file") from None
    if not isinstance(values, dict):
        raise BadInput(f"{path}: must be a mapping of keys to values, got {type(values).__name__}")
    return cast("dict[str, Any]", _with_text_keys(cast("object", values)))


def _with_text_keys(value: object) -> object:
    """Return a value whose mappings have text alone as keys, as in JSON: 200 becomes "200"."""
    if not isinstance(value, dict):
        return value
    values: dict[str, object] = {}
    for name, each in cast("dict[object, object]", value).items():
        values[str(name)] = _with_text_keys(each)
    if isinstance(value, Replaced):
        return Replaced(values)
    return values


def _check_once(settings: Sequence[str]) -> None:
    """Refuse a key that is set again, by itself or as a whole: the first would be lost."""
    names = [setting.partition("=")[0] for setting in settings]
    for place, name in enumerate(names):
        for before in names[:place]:
            if f"{before}.".startswith(f"{name}."):
                raise BadInput(f"--set {name}: {before} is set before; give it once")


def _with_settings(values: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    changed = copy.deepcopy(dict(values))
    for setting in settings:
        _apply(changed, setting)
    return changed


def _apply(values: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals or not name:
        raise BadInput(
            f"--set: got {setting!r}, must be key=value, with dots for nested keys: --set a.b=1"
        )
    *parents, last = name.split(".")
    try:
        value = parsed(text)
    except ValueError as error:
        raise BadInput(f"--set {name}: {error}; correct {text!r:.60}, or quote it") from None
    for parent in parents:
        below: object = values.setdefault(parent, {})
        if not isinstance(below, dict):
            raise BadInput(
                f"--set {name}: {parent} is not a mapping, so it has no key below it; set "
                f"{parent} itself"
            )
        values = cast("dict[str, Any]", below)
    values[last] = _with_text_keys(value)


def _sentence(error: ValidationError, kind: type[Config]) -> str:
    first, *others = _in_order(error)
    where = ".".join(map(str, first["loc"]))
    if first["type"] in UNKNOWN:
        text = f"{where}: unknown key; {_hint(first['loc'], kind)}"
    elif first["type"] == "missing":
        text = f"{where}: missing; give it a value"
    else:
        text = _wrong_value(where, first)
    if others:
        text += f" (and {len(others)} more)"
    return text


def _hint(place: Sequence[object], kind: type[Config]) -> str:
    *parents, name = map(str, place)
    known = _known(parents, kind)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not known:
        return "leave it out"
    return f"known keys: {', '.join(sorted(known))}"


def _known(parents: Sequence[str], kind: type[Config]) -> list[str]:
    """Return the keys of a configuration, or of the settings that lie below these keys."""
    fields: Mapping[str, FieldInfo] = kind.model_fields
    for parent in parents:
        if parent not in fields:
            return []
        # Those of a model or of a dataclass; a list or a choice has none.
        fields = getattr(fields[parent].annotation, "__pydantic_fields__", {})
    return list(fields)


def _wrong_value(where: str, mistake: Mapping[str, Any]) -> str:
    """Say what a value must be; `where` is empty for a mistake in several of them."""
    message = mistake["msg"].removeprefix("Value error, ")
    message = re.sub(r"\b(Input|List|Tuple|String|Dictionary) should", "must", message)
    if mistake["type"] == "bool_type":
        message = "must be true or false"
    if mistake["type"] in MAPPINGS:
        message = "must be a mapping of keys to values"
    if where == "engine":
        message = "must be serial, processes, processes:N or dask://HOST:PORT"
    if not where:
        return message
    return f"{where}: got {_short(mistake['input'])}, {message}"


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
