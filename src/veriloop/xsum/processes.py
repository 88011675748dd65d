"""One run in several processes, as `accelerate launch` or torchrun start them: a share each, the result to all.

Every process runs the same program on the same data. Only generation and the gradient of a batch are divided, and
both are put together again at once, so all processes go on alike. Without a launcher nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist


def process() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are.

    Where a launcher says that there are several, the first call connects them, and gives each a GPU of its own, if
    there are any: make it before a model is put on one.

    >>> process()
    (0, 1)
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return 0, 1
    if not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group()
    return dist.get_rank(), count


def share(items: Any) -> Any:
    """Return every n-th item, of n processes; of what is sorted all have about the same."""
    number, count = process()
    return items[number::count]


def gathered(items: list[Any]) -> list[Any]:
    """Return the items of all processes."""
    count = process()[1]
    if count == 1:
        return items
    parts: list[Any] = [None] * count
    dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def sum_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Put the sum of all processes' gradients in place of each; a process whose share was empty adds nothing."""
    if process()[1] == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            dist.all_reduce(parameter.grad)
