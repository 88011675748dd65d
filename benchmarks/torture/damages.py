"""Damage in run folders: bits, lengths, files and whole checkpoints; then the same again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from torture.programs import Program, ended, programs, records, started
from veriloop import Key


def flip(file: Path, random: np.random.Generator) -> None:
    """Flip one bit."""
    data = bytearray(file.read_bytes())
    if data:
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        file.write_bytes(data)


def cut(file: Path, random: np.random.Generator) -> None:
    """Keep the beginning alone."""
    data = file.read_bytes()
    file.write_bytes(data[: int(random.integers(len(data) + 1))])


def delete(file: Path, random: np.random.Generator) -> None:
    """Take the file away."""
    file.unlink()


def overwrite(file: Path, random: np.random.Generator) -> None:
    """Put noise in its place."""
    file.write_bytes(random.bytes(int(random.integers(1, 2000))))


def swap(file: Path, random: np.random.Generator) -> None:
    """Swap the checkpoint of the file with another of the run."""
    mine, other = _two_checkpoints(file, random)
    aside = mine.with_name(f"{mine.name}.aside")
    mine.rename(aside)
    if mine != other:
        other.rename(mine)
        aside.rename(other)
    else:
        aside.rename(mine)


def copy_over(file: Path, random: np.random.Generator) -> None:
    """Copy another checkpoint of the run over that of the file."""
    mine, other = _two_checkpoints(file, random)
    if mine != other:
        shutil.rmtree(mine)
        shutil.copytree(other, mine)


DAMAGES: list[Callable[[Path, np.random.Generator], None]] = [
    flip,
    cut,
    delete,
    overwrite,
    swap,
    copy_over,
]


def _two_checkpoints(file: Path, random: np.random.Generator) -> tuple[Path, Path]:
    run = next(parent for parent in file.parents if (parent / "records.jsonl").exists())
    found = sorted(path for path in run.glob("round_*/[!.]*") if path.is_dir())
    mine = [path for path in found if file.is_relative_to(path)] or found
    return mine[0], found[int(random.integers(len(found)))]


class Damages:
    """Damage a copy of a whole run, with its last round away, and go on with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._programs = programs(folder)

    def __call__(self, number: int, key: Key) -> dict[str, object]:
        random = key.numpy()
        program = self._programs[number % len(self._programs)]
        wanted = self._whole(program)
        out = self._folder / f"damage-{number}"
        shutil.copytree(self._folder / f"sound-{program.name}", out)
        rounds = sorted(out.glob("round_*"))
        if len(rounds) > 2:
            shutil.rmtree(rounds[-1])
        files = sorted(path for path in out.rglob("*") if path.is_file())
        file = files[int(random.integers(len(files)))]
        damage = DAMAGES[int(random.integers(len(DAMAGES)))]
        where = str(file.relative_to(out))
        damage(file, random)
        last = ended(started(program.again, out))
        found = {
            "program": program.name,
            "damage": damage.__name__,
            "file": where,
            "code": last.code,
            "traceback": last.traceback,
            "named": bool(last.stderr.strip()),
            "differs": records(out) != wanted,
        }
        shutil.rmtree(out, ignore_errors=True)
        return found

    def _whole(self, program: Program) -> bytes:
        out = self._folder / f"sound-{program.name}"
        if not out.exists():
            ended(started(program.first, out))
        return records(out)


def verdict(found: dict[str, object]) -> str:
    """Say in one word how a case ended."""
    if found["traceback"]:
        return "traceback"
    if found["code"]:
        return "refused"
    if found["differs"]:
        return "named, differs" if found["named"] else "silent"
    return "named, redone, same" if found["named"] else "no effect"
