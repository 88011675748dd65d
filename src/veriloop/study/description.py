"""What a study is made of, as JSON for run.json, and in words what two studies differ in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, cast

from veriloop.components import describe
from veriloop.core.candidates import Quota
from veriloop.core.fingerprints import fingerprint
from veriloop.core.loop import Loop

Description = dict[str, Any]
PARTS = [each.name for each in fields(Loop) if each.name != "chunk"]  # chunk changes no result


def description(
    arms: Mapping[str, Loop[Any, Any]],
    sizes: Mapping[str, Sequence[int | Quota]],
    seeds: Sequence[int],
    start: Callable[..., object],
) -> Description:
    """Return what decides the records, as JSON: each part by its spec or its name, and a digest.

    arms: the loops by name.
    sizes: of every arm, one a round.
    seeds: whole numbers.
    start: key -> state.
    """
    loops: dict[str, object] = {}
    counts: dict[str, object] = {}
    for arm, loop in arms.items():
        parts = {part: getattr(loop, part) for part in PARTS}
        loops[arm] = {part: _told(value) for part, value in parts.items() if value is not None}
        counts[arm] = [_size(size) for size in sizes[arm]]
    whole = [int(seed) for seed in seeds]
    return {"arms": loops, "sizes": counts, "seeds": whole, "start": _told(start)}


def differs(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """Say what keeps a new study from going on where an old one ended; None if nothing does.

    It may have more arms, seeds and rounds; what the old one has must be the same.

    old, new: their descriptions.
    """
    told = _part_differs("start", old["start"], new["start"])
    if told:
        return told
    for arm, parts in old["arms"].items():
        told = _arm_differs(arm, parts, new["arms"].get(arm))
        if told:
            return told
        before = old["sizes"][arm]
        now = new["sizes"][arm]
        if now[: len(before)] != before:
            return (
                f"sizes of the arm {arm!r} were {_short(before)} and are {_short(now)}, "
                "which must begin with the old ones"
            )
    missing = [seed for seed in old["seeds"] if seed not in new["seeds"]]
    if missing:
        return f"seeds were {_short(old['seeds'])} and lack {_short(missing)} now"
    return None


def _arm_differs(arm: str, old: Mapping[str, Any], new: Mapping[str, Any] | None) -> str | None:
    if new is None:
        return f"arms had {arm!r}, which is missing now"
    for part in PARTS:
        told = _part_differs(f"{part} of the arm {arm!r}", old.get(part), new.get(part))
        if told:
            return told
    return None


def _part_differs(what: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> str:
    if old == new:
        return ""
    before = _words(old)
    now = _words(new)
    if before == now:
        return f"{what} is {now} with other code or other values"
    return f"{what} was {before} and is {now}"


def _told(value: object) -> dict[str, object]:
    """Return a part by what it is, for the reader, and by its digest, which decides."""
    shown = value
    if not isinstance(value, bool | int | float | str):
        shown = _strict(describe(value))
    return {"is": shown, "digest": fingerprint(value)[:16]}


def _strict(spec: object) -> object:
    """Return a spec without infinite numbers, which JSON lacks: they become text."""
    if isinstance(spec, dict):
        settings = cast("dict[str, object]", spec)
        return {name: _strict(value) for name, value in settings.items()}
    if isinstance(spec, list):
        return [_strict(value) for value in cast("list[object]", spec)]
    if isinstance(spec, float) and not math.isfinite(spec):
        return str(spec)
    return spec


def _words(part: Mapping[str, Any] | None) -> str:
    """Write a part as in Python: Threshold(cut=0.0)."""
    if part is None:
        return "not given"
    return _call(part["is"])


def _call(spec: object) -> str:
    if isinstance(spec, Mapping):
        settings = dict(cast("Mapping[str, object]", spec))
        name = str(settings.pop("call")).rpartition(":")[2]
        given = ", ".join(f"{key}={_call(value)}" for key, value in settings.items())
        return f"{name}({given})"
    if isinstance(spec, str):
        return spec.rpartition(":")[2]
    return str(spec)


def _size(size: int | Quota) -> int | dict[str, Any]:
    if isinstance(size, Quota):
        return asdict(size)
    return int(size)


def _short(values: Sequence[object]) -> str:
    text = json.dumps(values)
    if len(text) > 60:
        return f"{text[:40]}... ({len(values)} in all)"
    return text
