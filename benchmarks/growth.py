"""How time, memory and the folder grow: with units, with rounds, and with candidates.

python benchmarks/growth.py                      all sizes, half an hour on two cores
python benchmarks/growth.py --small              one tenth of each
python benchmarks/growth.py --figure growth.png  draw what OUT/growth.jsonl holds

Each size has a process of its own, so its highest memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import veriloop as vl
from veriloop import Accumulate, Key, Loop, Replace, RunDir, State, TopFraction

SIZES = {
    "units": [1, 100, 10_000],
    "rounds, Replace": [10, 50, 200],
    "rounds, Accumulate": [10, 50, 200],
    "candidates": [10_000, 100_000, 1_000_000, 10_000_000],
    "candidates, chunk 65,536": [10_000, 100_000, 1_000_000, 10_000_000],
}


def loop(dim: int = 10, **parts: object) -> Loop[np.ndarray, np.ndarray]:
    """Return a loop on normal rows that keeps the best tenth."""
    given = {"pool": Replace(), "chunk": None, **parts}
    return Loop(
        generate=lambda key, model, n: model + key.numpy().standard_normal((n, dim)),
        verify=lambda key, batch: -np.abs(batch).sum(axis=1),
        filter=TopFraction(0.1),
        refit=lambda key, model, batch: batch.mean(axis=0),
        measure=lambda key, model: {"size": float(np.abs(model).sum())},
        **given,  # type: ignore[arg-type]
    )


def do(what: str, size: int, folder: Path) -> None:
    """Do one size of one kind."""
    start = State(np.zeros(10))
    if what == "units":
        study = vl.Study(arms={"a": loop()}, start=lambda key: start, sizes=[20], seeds=range(size))
        study.run(folder, progress=False)
        return
    if what.startswith("rounds"):
        pool = Accumulate() if what.endswith("Accumulate") else Replace()
        runs = RunDir(folder).run(loop(pool=pool), Key(0), start, [10_000] * size)
    else:
        chunk = 65_536 if "chunk" in what else None
        whole = loop(chunk=chunk)
        runs = RunDir(folder).run(whole, Key(0), start, [size])
    for _ in runs:
        pass


def measured(what: str, size: int) -> dict[str, object]:
    """Return seconds, highest memory, and the folder's bytes and entries."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        do(what, size, folder)
        seconds = time.perf_counter() - begun
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        entries = list(folder.rglob("*"))
        held = sum(path.stat().st_size for path in entries if path.is_file())
    megabytes = {"memory": (most - before) / 1024, "folder": held / 1e6}
    return {"what": what, "size": size, "seconds": seconds, **megabytes, "entries": len(entries)}


def figure(rows: list[dict[str, float]], file: Path) -> None:
    """Draw seconds, memory and folder against size, each on logarithmic axes."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 3.4), layout="constrained")
    panels = drawn.subplots(1, 3)
    shown = {
        "seconds": "seconds",
        "memory": "memory beyond the imports, MB",
        "folder": "folder, MB",
    }
    for axes, (name, label) in zip(panels, shown.items(), strict=True):
        for what in SIZES:
            mine = sorted((row["size"], row[name]) for row in rows if row["what"] == what)
            if mine:
                axes.loglog(*zip(*mine, strict=True), marker="o", label=what)
        axes.set_xlabel("size")
        axes.set_title(label, fontsize=9)
    panels[0].legend(fontsize=7)
    drawn.savefig(file, dpi=150, metadata={"Software": None})


def main() -> None:
    """Measure what is not measured yet, print a table, and draw if asked to."""
    parser = argparse.ArgumentParser(prog="growth", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    parser.add_argument("--small", action="store_true", help="a tenth of each size")
    parser.add_argument("--figure", type=Path, help="where to draw")
    parser.add_argument("--one", nargs=2, metavar=("WHAT", "SIZE"), help="measure one size, here")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measured(arguments.one[0], int(arguments.one[1]))))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "growth.jsonl"
    rows: list[dict[str, float]] = []
    if file.exists():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    done = {(row["what"], row["size"]) for row in rows}
    print("| what | size | s | MB | folder, MB | entries |\n|---|--:|--:|--:|--:|--:|")
    for what, sizes in SIZES.items():
        for whole in sizes:
            size = max(whole // 10, 1) if arguments.small else whole
            if (what, size) not in done:
                line = [sys.executable, __file__, "--one", what, str(size)]
                ran = subprocess.run(line, capture_output=True, text=True, check=True)
                rows.append(json.loads(ran.stdout))
                with open(file, "a") as stream:
                    stream.write(ran.stdout)
    for row in rows:
        print(
            f"| {row['what']} | {row['size']:,} | {row['seconds']:.2f} | {row['memory']:.0f} | "
            f"{row['folder']:.2f} | {row['entries']:,} |"
        )
    if arguments.figure:
        figure(rows, arguments.figure)


if __name__ == "__main__":
    main()
