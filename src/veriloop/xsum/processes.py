"""One run in several processes, as `accelerate launch` or torchrun start them: a share each, the result to all.

Every process runs the same program on the same data. Only generation and the gradient of a batch are divided, and
both are put together again at once, so all processes go on alike. Without a launcher nothing here does anything.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch


def process() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are.

    Where a launcher says that there are several, the first call connects them, and gives each a GPU of its own, if
    there are any: make it before a model is put on one.

    >>> process()
    (0, 1)
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return 0, 1
    return _connected()


@cache
def _connected() -> tuple[int, int]:
    """Connect with the other processes until this one ends; return the number of this one and how many they are."""
    from accelerate import PartialState  # loaded where there are several alone: it is slow, and warns in notebooks

    gpu = torch.cuda.is_available()
    # Where there are GPUs, a model may be on the CPU all the same.
    state = PartialState(cpu=not gpu, **({"backend": "cpu:gloo,cuda:nccl"} if gpu else {}))
    atexit.register(state.destroy_process_group)  # left to the interpreter, its threads can abort a finished run
    return state.process_index, state.num_processes


def share(items: Any) -> Any:
    """Return every n-th item, of n processes; of what is sorted all have about the same."""
    number, count = process()
    return items[number::count]


def gathered(items: list[Any]) -> list[Any]:
    """Return the items of all processes."""
    if process()[1] == 1:
        return items
    from accelerate.utils import gather_object

    return gather_object(items)


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Put the sum of all processes' gradients in place of each; a process whose share was empty adds nothing."""
    if process()[1] == 1:
        return
    from accelerate.utils import reduce

    for parameter in parameters:
        if parameter.requires_grad:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            total: Any = reduce(own, "sum")
            parameter.grad = total
