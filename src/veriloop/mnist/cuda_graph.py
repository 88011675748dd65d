"""Steps of a fit on a GPU as CUDA graphs: launched one by one a few times, then all at once.

A step on a small batch is dozens of kernels, and launching one takes the processor longer than
running it takes the GPU. A graph records the launches of one step. A replay is one launch.

Captured is all that a step does on the GPU: it picks its rows, and computes the loss, its gradient
and the optimiser's step. What differs between steps lies at addresses that stay: the numbers of the
rows, the rate, the weights, the optimiser's state and those of the random generators. So a replay
runs the kernels of a plain step, in their order, on the same numbers, and draws the same noise.

No step is repeated for the capture: the first ones of each size are plain, and count.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

Work = Callable[[Tensor], None]  # what a step does on the GPU; its argument are the rows' numbers

SWITCH = "VERILOOP_CUDA_GRAPHS"  # 0 turns the graphs off
PLAIN = 3  # steps of a size before it is captured: libraries choose their kernels at the first ones


def wanted(device: torch.device) -> bool:
    """Whether steps on this device are captured.

    >>> wanted(torch.device("cpu"))
    False
    """
    return device.type == "cuda" and os.environ.get(SWITCH, "1") != "0"


class Captured(NamedTuple):
    """A step of one size: its graph, and where the graph looks for the rows' numbers."""

    graph: torch.cuda.CUDAGraph
    rows: Tensor


class Steps:
    """Does the steps of one fit: plain ones at first, then replays, for each size of batch.

    All of them must run within `on_a_stream`. The work must do the same at every call, on the GPU
    alone, and must leave what it computes in tensors that live longer.

    generator: what the work draws from, besides torch's generator of the device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator
        self._plain: Counter[int] = Counter()
        self._captured: dict[int, Captured] = {}

    def do(self, work: Work, rows: Tensor) -> None:
        """Do one step on the rows of these numbers, int64 on the GPU, shape (n,)."""
        size = len(rows)
        if size not in self._captured:
            if self._plain[size] < PLAIN:
                self._plain[size] += 1
                work(rows)
                return
            self._captured[size] = self._capture(work, rows)
        captured = self._captured[size]
        captured.rows.copy_(rows)
        captured.graph.replay()

    def _capture(self, work: Work, rows: Tensor) -> Captured:
        """Record a step without doing it."""
        captured = Captured(torch.cuda.CUDAGraph(), rows.clone())
        captured.graph.register_generator_state(self._generator)
        with torch.cuda.graph(captured.graph, stream=torch.cuda.current_stream()):
            work(captured.rows)
        return captured


@contextmanager
def on_a_stream(device: torch.device) -> Iterator[None]:
    """Put all work on a stream of its own: the default one cannot be captured."""
    before = torch.cuda.current_stream(device)
    own = _stream(device)
    own.wait_stream(before)
    with torch.cuda.stream(own):
        yield
    before.wait_stream(own)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all captures: memory freed on one stream is used again on that alone."""
    return torch.cuda.Stream(device)
