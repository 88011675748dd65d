"""Time the filtering of a stored round again: 200,000 images of digits, on one thread.

Each measurement has a process of its own.

python benchmarks/refilter.py [--rows 200000]
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import processor

from veriloop import Key, Loop, RunDir, State, TopFraction
from veriloop.mnist import MLPCVAE, Discriminator, Generate, Images, Judge
from veriloop.store.candidates import FILE

FILTERED = ["--filter", "{call: TopFraction, fraction: 0.05}"]
JUDGED = ["--verifier", "{call: 'refilter:Ink', limit: 0.5}"]


@dataclass(frozen=True)
class Ink:
    """Accept images with at most `limit` of their pixels on."""

    limit: float

    def __call__(self, key: Key, batch: Images) -> np.ndarray:
        return self.limit - np.unpackbits(batch.pixels, axis=1).mean(axis=1)


def stored(folder: str, rows: int) -> float:
    """Run and store one round of a network that has learnt nothing; return its seconds."""
    loop: Loop[Any, Images] = Loop(
        generate=Generate(),
        verify=Judge(Discriminator().eval()),
        filter=TopFraction(0.1),
        group=lambda images: images.labels,
        refit=lambda key, model, images: model,
        block=60_000,
    )
    options: dict[str, Any] = {
        "save": lambda state, folder: None,
        "load": lambda folder: None,
        "candidates": True,
    }
    start = time.perf_counter()
    list(RunDir(folder).run(loop, Key(0), State(MLPCVAE().eval()), [rows], **options))
    return time.perf_counter() - start


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    torch.set_num_threads(1)
    print(f"{processor()}, Python {platform.python_version()}, one thread, {rows:,} images\n")
    print("| | seconds |\n|---|--:|")
    with tempfile.TemporaryDirectory() as folder:
        print(f"| draw, judge, filter and store | {stored(folder, rows):.2f} |")
        size = (Path(folder) / "round_0001" / "loop" / FILE).stat().st_size / rows
        for name, options in (
            ("filter again", FILTERED),
            ("judge and filter again", FILTERED + JUDGED),
        ):
            command = [sys.executable, "-m", "veriloop.refilter", folder, *options]
            own = {**os.environ, "OMP_NUM_THREADS": "1"}
            start = time.perf_counter()
            subprocess.run(
                command, check=True, capture_output=True, cwd=Path(__file__).parent, env=own
            )
            print(f"| {name} | {time.perf_counter() - start:.2f} |")
    print(f"\n{size:.0f} bytes an image on disk.")


if __name__ == "__main__":
    main()
