"""Damage in run folders and caches: bits, lengths, files, whole folders; then the same again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from torture.caches import CACHES, Remade, remade
from torture.processes import Ended, cache_of, content, ended, forked, records, started
from torture.programs import SHARES, Program, programs, turns
from veriloop import Key

PROGRESS = re.compile(r": round \d+ of \d+|is new|Loading weights|^\s*$")
# Of sixty cases in a row, how many are of which cache; that of gguf holds 500 megabytes.
CACHE_SHARES = {"features": 8, "pretrained": 6, "shared": 3, "answers": 2, "gguf": 1}

Damage = Callable[[Path, Path, np.random.Generator], None]


def flip(file: Path, other: Path, random: np.random.Generator) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    if data:
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        file.write_bytes(data)


def cut(file: Path, other: Path, random: np.random.Generator) -> None:
    """Keep the beginning alone."""
    data = file.read_bytes()
    file.write_bytes(data[: int(random.integers(len(data) + 1))])


def delete(file: Path, other: Path, random: np.random.Generator) -> None:
    """Take the file away."""
    file.unlink()


def overwrite(file: Path, other: Path, random: np.random.Generator) -> None:
    """Put noise in its place."""
    file.write_bytes(random.bytes(int(random.integers(1, 2000))))


def swap(file: Path, other: Path, random: np.random.Generator) -> None:
    """Let two checkpoints, or two kept networks, change places: each is sound in itself."""
    mine = _unit(file, other)
    if mine == other:
        return
    aside = mine.with_name(f"{mine.name}.aside")
    mine.rename(aside)
    other.rename(mine)
    aside.rename(other)


def copy_over(file: Path, other: Path, random: np.random.Generator) -> None:
    """Copy another checkpoint or kept network over that of the file."""
    mine = _unit(file, other)
    if mine == other:
        return
    if mine.is_dir():
        shutil.rmtree(mine)
        shutil.copytree(other, mine)
    else:
        shutil.copy(other, mine)


DAMAGES: list[Damage] = [flip, cut, delete, overwrite, swap, copy_over]


def _unit(file: Path, other: Path) -> Path:
    """Return what stands where `other` could: the folder or file of the same kind that has it."""
    around = [path for path in (file, *file.parents) if path.is_dir() == other.is_dir()]
    mine = [path for path in around if path.suffix == other.suffix and _level(path, other)]
    return mine[0] if mine else other


def _level(path: Path, other: Path) -> bool:
    """Tell whether two stand side by side: in one folder, or in two folders of rounds."""
    one, two = path.parent, other.parent
    rounds = one.name.startswith("round_") and two.name.startswith("round_")
    return one == two or (rounds and one.parent == two.parent)


class Damages:
    """Damage a copy of a whole run, with its last round away, or of a cache, and go on with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = programs(folder)
        runs = {name: 2 * n for name, n in SHARES.items() if not self._programs[name].worker}
        caches = {f"cache, {name}": n for name, n in CACHE_SHARES.items()}
        self._turns = turns({**runs, **caches})

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        where = self._turns[number % len(self._turns)]
        out = self._folder / f"damage-{number}"
        if where.startswith("cache, "):
            found = self._of_a_cache(where.removeprefix("cache, "), out, key.numpy())
        else:
            found = self._of_a_run(self._programs[where], out, key.numpy())
        shutil.rmtree(out, ignore_errors=True)
        return {"where": where, **found}

    def _of_a_run(
        self, program: Program, out: Path, random: np.random.Generator
    ) -> dict[str, object]:
        sound = self._folder / f"sound-{program.name}"
        if not sound.exists():
            ended(started(program.first, sound))
        shutil.copytree(sound, out)
        rounds = sorted(out.glob("round_*"))
        if len(rounds) > 2:
            shutil.rmtree(rounds[-1])
        units = sorted(path for path in out.glob("round_*/[!.]*") if path.is_dir())
        done = damaged(out, units or rounds, random)
        last = self._again(program, out, cache_of(sound))
        return {
            **done,
            "code": last.code,
            "traceback": last.traceback,
            "named": last.code == 0 and _named(last.stderr),
            "differs": records(out) != records(sound),
            "told": last.stderr[-500:],
        }

    @staticmethod
    def _again(program: Program, out: Path, cache: Path) -> Ended:
        """Go on with a run; what starts workers is started as a new process."""
        if program.name == "study":
            return ended(started(program.again, out, cache))
        return forked(program.again, out, cache)

    def _of_a_cache(self, name: str, out: Path, random: np.random.Generator) -> dict[str, object]:
        sound = self._folder / f"sound-cache-{name}"
        wanted = self._sound(name, sound)
        shutil.copytree(sound, out)
        units = sorted(path for path in out.iterdir() if path.suffix != ".lock")
        done = damaged(out, units, random)
        now = remade(CACHES[name], out)
        return {
            **done,
            "code": 2 if now.refused else 0,
            "traceback": now.traceback,
            "named": bool(now.warned) and content(out) == content(sound),
            "differs": not now.refused and now.value != wanted.value,
            "told": now.told[-500:],
        }

    def _sound(self, name: str, folder: Path) -> Remade:
        if not folder.exists():
            folder.mkdir()
            remade(CACHES[name], folder)
        return remade(CACHES[name], folder)


def damaged(out: Path, units: list[Path], random: np.random.Generator) -> dict[str, object]:
    """Damage one file or folder at random; say which and how."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.suffix != ".lock")
    file = files[int(random.integers(len(files)))]
    others = [unit for unit in units if not file.is_relative_to(unit)] or units
    other = others[int(random.integers(len(others)))]
    damage = DAMAGES[int(random.integers(len(DAMAGES)))]
    damage(file, other, random)
    return {"damage": damage.__name__, "file": str(file.relative_to(out))}


def _named(stderr: str) -> bool:
    """Tell whether anything but the progress of a run was written."""
    return any(not PROGRESS.search(line) for line in stderr.splitlines())


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    if found["traceback"]:
        return "traceback"
    if found["code"] == 124:
        return "hangs"
    if found["code"]:
        return "refused"
    if found["differs"]:
        return "named, differs" if found["named"] else "silent"
    return "named, redone, same" if found["named"] else "no effect"
