"""What the benchmarks share: works timed in turn, and the machine's name."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from veriloop.study.folder import processor as processor


def seconds(*works: Callable[[], object], repeats: int = 7) -> np.ndarray:
    """Return wall times, shape (repeats, works), the works taken in turn after one round that is not counted."""
    times = np.empty((repeats + 1, len(works)))
    for row in times:
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            row[i] = time.perf_counter() - start
    return times[1:]
