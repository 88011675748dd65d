"""One run in several processes, as `accelerate launch` or torchrun start them.

Every process runs the same program on the same data. Only generation and the gradient of a batch
are divided, and both are put together again at once. So all processes have the same models and
records. Without a launcher nothing here does anything.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")


def process() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are.

    If a launcher started several, the first call connects them. Where there are GPUs it gives each
    process its own, so call it before a model is put on one.

    >>> process()
    (0, 1)
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    return _connected()


@cache
def _connected() -> tuple[int, int]:
    """Connect with the other processes until this one ends; return what `process` does."""
    from accelerate import PartialState  # it is slow to load, and warns in notebooks

    gpu = torch.cuda.is_available()
    options: dict[str, Any] = {}
    if gpu:
        options["backend"] = "cpu:gloo,cuda:nccl"  # a model may be on the CPU all the same
    state = PartialState(cpu=not gpu, **options)
    # Left to the interpreter, the threads of the connection can abort a finished run.
    atexit.register(state.destroy_process_group)
    return state.process_index, state.num_processes


def own_part(rows: np.ndarray) -> np.ndarray:
    """Return this process's part of `rows`: every n-th row, starting at its own number.

    If the rows are sorted by length, all processes get about the same work.

    >>> own_part(np.arange(3))
    array([0, 1, 2])
    """
    number, count = process()
    return rows[number::count]


def gathered(items: list[T]) -> list[T]:
    """Return the items of all processes.

    >>> gathered(["a"])
    ['a']
    """
    if process()[1] == 1:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by the sum over all processes; an empty part adds nothing."""
    if process()[1] == 1:
        return
    from accelerate.utils import reduce

    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        own = parameter.grad
        if own is None:
            own = torch.zeros_like(parameter)
        total: Any = reduce(own, "sum")
        parameter.grad = total
