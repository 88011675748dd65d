"""Say how far runs are: python -m veriloop.status RUN [RUN ...]

A plain table for each run folder: units done, running and failed; rounds; time left; memory;
warnings; the last lines. It reads the folder and writes nothing, while the run goes on or after.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

BEATS = ".running"  # the folder of the signs of life, in a run's folder
MAIN = "main.json"  # of the process that was started
LINES = "lines.txt"  # what was said, and warned of
PERIOD = 5.0  # seconds between two signs of life
SILENT = 60.0  # seconds after which a process counts as silent
SHOWN = 5  # how many of the last lines are shown

Facts = Mapping[str, object]


class Beat(NamedTuple):
    """A sign of life of one process, as it was left in the folder.

    unit: what the process does; None of the main one.
    round, rounds: how many are done, of how many.
    age: seconds since it was left.
    life: "alive", "silent" or "gone".
    """

    unit: str | None
    round: int
    rounds: int
    host: str
    pid: int
    rss: int | None
    age: float
    life: str


def status(folder: str | Path) -> str:
    """Return what is known of the run in a folder, as text of several lines.

    folder: of a study, of a script, or of `RunDir.run`.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> print(status(folder).partition("  ")[2])
    no run here yet

    Raises:
        ValueError: if there is no such folder.
    """
    place = Path(folder)
    if not os.path.isdir(place):  # also False where no folder can have that name
        raise ValueError(f"{place}: no such folder; name the folder of a run")
    now = time.time()
    about = _read(place / "run.json")
    main = _read(place / BEATS / MAIN)
    beats = _beats(place / BEATS, now)
    committed = _committed(place)
    lines = [f"{place}  {_state(about, main, committed, now)}"]
    lines += _units(about, main, beats, committed)
    lines += _rounds(committed)
    lines += _times(about, main, beats, now)
    lines += _running(beats)
    lines += _failed(place, main)
    lines += _said(place / BEATS / LINES)
    return "\n".join(lines)


def main() -> None:
    """Print the status of every folder that the command line names; exit with 2 if one is none."""
    folders = sys.argv[1:]
    if not folders or folders[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(0 if folders else 2)
    try:
        for folder in folders:
            print(status(folder))
    except ValueError as error:
        print(f"veriloop.status: {error}", file=sys.stderr)
        sys.exit(2)


def _state(about: Facts, main: Facts, committed: Mapping[str, set[int]], now: float) -> str:
    """Say in one word or two what the run does."""
    name = str(about.get("experiment", "a loop"))
    preset = about.get("preset")
    if preset:
        name = f"{name}, preset {preset}"
    if not about and not main:
        if not committed:
            return "no run here yet"
        return "a loop without signs of life; what it has committed is below"
    if about.get("finished"):
        return f"finished: {name}"
    if not main:
        return f"not begun, or of an older version: {name}"
    beat = _beat(main, now)
    ended = main.get("ended")
    if ended:
        told = "failed" if main.get("failed") else f"stopped {ended}"
        return f"{told}: {name}; go on with --resume"
    if beat.life == "gone":
        return (
            f"dead: {name}; process {beat.pid} on {beat.host} is gone, last sign "
            f"{_span(beat.age)} ago; go on with --resume"
        )
    if beat.life == "silent":
        return (
            f"silent: {name}; no sign of process {beat.pid} on {beat.host} for "
            f"{_span(beat.age)}; look there whether it still runs"
        )
    return f"running: {name}, engine {main.get('engine')}"


def _units(
    about: Facts, main: Facts, beats: Sequence[Beat], committed: Mapping[str, set[int]]
) -> list[str]:
    due = _mapping(main, "due")  # the last rounds of units that were done up to other ones
    done: float = 0
    for name, rounds in committed.items():
        if name.endswith(("-model", ".unfinished")):
            continue
        if name not in due or due[name] in rounds:
            done += 1
    units = about.get("units", main.get("units"))
    if about.get("finished"):
        done = _number(about, "units", done)
    if not about:
        return []
    running = len([beat for beat in beats if beat.life == "alive"])
    failed = len(_mapping(main, "failed"))
    told = f"{done} done"
    if units is not None:
        told = f"{done} of {units} done"
    return [f"  units     {told}, {running} running, {failed} failed"]


def _rounds(committed: Mapping[str, set[int]]) -> list[str]:
    """Say the last committed round of each unit that commits its rounds."""
    last = {name: max(rounds) for name, rounds in committed.items()}
    each = [(name, k) for name, k in last.items() if "-seed" not in name]
    each += [(name, k) for name, k in last.items() if name.endswith("-model")]
    shown = [f"{name.removesuffix('-model')} {k}" for name, k in sorted(set(each))[:SHOWN]]
    if not shown:
        return []
    more = ""
    if len(set(each)) > SHOWN:
        more = f", and {len(set(each)) - SHOWN} more"
    return [f"  rounds    committed: {', '.join(shown)}{more}"]


def _times(about: Facts, main: Facts, beats: Sequence[Beat], now: float) -> list[str]:
    if about.get("finished"):
        seconds = _mapping(about, "seconds")
        spans = [f"{name} {_span(_number(seconds, name, 0))}" for name in seconds]
        return [f"  time      {', '.join(spans)}"] if spans else []
    if not main:
        return []
    last = _number(main, "time", now)
    passed = last - _number(main, "started", last)
    told = f"{_span(passed)} so far"
    units = _number(main, "units", 0)
    done = _number(main, "done", 0)
    under_way = sum(beat.round / beat.rounds for beat in beats if beat.rounds)
    new = done - _number(main, "before", 0) + under_way
    if new > 0 and not main.get("ended"):
        left = (units - done - under_way) * passed / new
        told += f", about {_span(max(left, 0))} left"
    return [f"  time      {told}"]


def _running(beats: Sequence[Beat]) -> list[str]:
    if not beats:
        return []
    rows = [("unit", "round", "memory", "last sign", "process")]
    for beat in beats:
        memory = "?"
        if beat.rss is not None:
            memory = f"{beat.rss / 1e6:.0f} MB"
        sign = f"{_span(beat.age)} ago"
        if beat.life != "alive":
            sign = f"{sign}, {beat.life}"
        rounds = f"{beat.round} of {beat.rounds}"
        rows.append((str(beat.unit), rounds, memory, sign, f"{beat.host}:{beat.pid}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"  {'  '.join(cells)}".rstrip())
    return lines


def _failed(folder: Path, main: Facts) -> list[str]:
    failed = _mapping(main, "failed")
    return [_plain(f"  failed    {name}: {error}") for name, error in list(failed.items())[:SHOWN]]


def _said(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    warned = len([line for line in lines if line.startswith("warning: ")])
    return [f"  warnings  {warned}", *(_plain(f"  | {line}") for line in lines[-SHOWN:])]


def _beats(folder: Path, now: float) -> list[Beat]:
    """Return the signs of the units that are under way."""
    found: list[Beat] = []
    for file in sorted(folder.glob("*.json")):
        facts = _read(file)
        if file.name != MAIN and facts:
            found.append(_beat(facts, now))
    return found


def _beat(facts: Facts, now: float) -> Beat:
    host = str(facts.get("host", "?"))
    pid = int(_number(facts, "pid", 0))
    age = max(now - _number(facts, "time", 0), 0)
    rss = facts.get("rss")
    life = "alive"
    if age > SILENT:
        life = "silent"
    if host == socket.gethostname() and not _is_there(pid):
        life = "gone"
    unit = facts.get("unit")
    return Beat(
        None if unit is None else str(unit),
        int(_number(facts, "round", 0)),
        int(_number(facts, "rounds", 0)),
        host,
        pid,
        rss if isinstance(rss, int) else None,
        age,
        life,
    )


def _is_there(pid: int) -> bool:
    """Tell whether a process of this machine is there; where that cannot be told, it is."""
    if os.name != "posix" or pid <= 0:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def _committed(folder: Path) -> dict[str, set[int]]:
    """Return the committed rounds of each name."""
    rounds: dict[str, set[int]] = {}
    for file in folder.glob("round_*/*/sha256.json"):
        name = file.parent.name
        number = file.parent.parent.name.removeprefix("round_")
        if not name.startswith(".") and number.isdigit():
            rounds.setdefault(name, set()).add(int(number))
    return rounds


def _read(file: Path) -> Facts:
    """Return what a file of JSON says; nothing where there is none, or it is not whole."""
    try:
        found: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return cast("dict[str, object]", found)


def _mapping(facts: Facts, name: str) -> Facts:
    value = facts.get(name)
    if not isinstance(value, dict):
        return {}
    return cast("dict[str, object]", value)


def _plain(text: str) -> str:
    """Return text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _number(facts: Facts, name: str, default: float) -> float:
    value = facts.get(name)
    if isinstance(value, int | float):
        return value
    return default


def _span(seconds: float) -> str:
    """Write a time in words.

    >>> _span(5), _span(200), _span(7300)
    ('5 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


if __name__ == "__main__":
    main()
