"""What the benchmarks share: works timed in turn, the highest memory, and the machine's name."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from veriloop.study.folder import processor as processor


def seconds(*works: Callable[[], object], repeats: int = 7) -> np.ndarray:
    """Return wall times, shape (repeats, works): the works in turn, after one uncounted round."""
    times = np.empty((repeats + 1, len(works)))
    for row in times:
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            row[i] = time.perf_counter() - start
    return times[1:]


def forget_peak() -> None:
    """Let the highest memory begin anew from what the process holds now, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Return the most bytes that this program has held since it began or since `forget_peak`.

    On Linux it is VmHWM, which is the program's own: ru_maxrss starts from what the process before
    it held. Elsewhere it is ru_maxrss.
    """
    try:
        told = Path("/proc/self/status").read_text()
    except OSError:
        told = ""
    for line in told.splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return most
    return 1024 * most
