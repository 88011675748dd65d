"""How time, memory and the folder grow: with units, with rounds, and with candidates.

python benchmarks/growth.py                      all sizes, half an hour on two cores
python benchmarks/growth.py --small              one tenth of each
python benchmarks/growth.py --figure growth.png  draw what OUT/growth.jsonl holds

Each size has a process of its own, so its highest memory is its own. OUT/run.json names the commit
and the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _timing import forget_peak, peak, processor

import veriloop as vl
from veriloop import Accumulate, Key, Loop, Replace, RunDir, State, TopFraction

SIZES = {
    "units": [1, 100, 10_000],
    "rounds, Replace": [10, 50, 200],
    "rounds, Accumulate": [10, 50, 200],
    "candidates": [10_000, 100_000, 1_000_000, 10_000_000],
    "candidates, chunk 65,536": [10_000, 100_000, 1_000_000, 10_000_000],
}
SHOWN = {
    "cpu": "seconds of the processor",
    "again_cpu": "the same, to read it again",
    "memory": "memory beyond the imports, MB",
    "folder": "folder, MB",
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
    """Do one size of one kind; a second call reads what the first has committed."""
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


def timed(what: str, size: int, folder: Path) -> tuple[float, float]:
    """Return the seconds that one size of one kind takes, and those of the processor."""
    begun = time.perf_counter()
    work = time.process_time()
    do(what, size, folder)
    return time.perf_counter() - begun, time.process_time() - work


def measured(what: str, size: int) -> dict[str, object]:
    """Return times, those of reading it again, highest memory, and the folder's bytes and entries.

    Times are seconds by the clock, and of the processor, which other work hardly changes.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        forget_peak()
        before = peak()
        seconds, work = timed(what, size, folder)
        memory = peak() - before
        again, reading = timed(what, size, folder)
        entries = list(folder.rglob("*"))
        held = sum(path.stat().st_size for path in entries if path.is_file())
    megabytes = {"memory": memory / 1e6, "folder": held / 1e6}
    times = {"seconds": seconds, "cpu": work, "again": again, "again_cpu": reading}
    return {"what": what, "size": size, **times, **megabytes, "entries": len(entries)}


def figure(rows: list[dict[str, float]], file: Path) -> None:
    """Draw each measure against size, on logarithmic axes."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 3.2), layout="constrained")
    panels = drawn.subplots(1, len(SHOWN))
    for axes, (name, label) in zip(panels, SHOWN.items(), strict=True):
        for what in SIZES:
            mine = sorted((row["size"], row[name]) for row in rows if row["what"] == what)
            if mine:
                axes.loglog(*zip(*mine, strict=True), marker="o", markersize=3, label=what)
        axes.set_xlabel("size")
        axes.set_title(label, fontsize=9)
        axes.tick_params(labelsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=len(SIZES), fontsize=8)
    drawn.savefig(file, dpi=150, metadata={"Software": None})


def about() -> dict[str, object]:
    """Return the commit and the machine."""
    here = Path(__file__).parent
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    found = subprocess.run(asked, cwd=here, capture_output=True, text=True, check=False)
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    return {
        "commit": found.stdout.strip(),
        "processor": processor(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[1],
        "versions": versions,
    }


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
    else:
        (arguments.out / "run.json").write_text(json.dumps(about(), indent=1) + "\n")
    done = {(row["what"], row["size"]) for row in rows}
    for what, sizes in SIZES.items():
        for whole in sizes:
            size = max(whole // 10, 1) if arguments.small else whole
            if (what, size) not in done:
                line = [sys.executable, __file__, "--one", what, str(size)]
                ran = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
                rows.append(json.loads(ran.stdout))
                with open(file, "a") as stream:
                    stream.write(ran.stdout)
    print("| what | size | s | cpu, s | again, s | cpu, s | MB | folder, MB | entries |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        print(
            f"| {row['what']} | {row['size']:,} | {row['seconds']:.2f} | {row['cpu']:.2f} | "
            f"{row['again']:.2f} | {row['again_cpu']:.2f} | {row['memory']:.0f} | "
            f"{row['folder']:.2f} | {row['entries']:,} |"
        )
    if arguments.figure:
        figure(rows, arguments.figure)


if __name__ == "__main__":
    main()
