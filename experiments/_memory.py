"""What memory the arms of a run need, said before they start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import joblib
import psutil

from veriloop.study import Config
from veriloop.text import FineTune, fit_memory

GIGABYTE = 1e9
LESS = "give fewer workers (--engine processes:N), a lower micro, or checkpointing: true"


def about_memory(
    config: Config, arms: int, base: Any, fits: Sequence[FineTune], less: str = LESS
) -> dict[str, str]:
    """Return what to say of memory: nothing where each arm needs less than a gigabyte and has it.

    arms: how many there are in all. base: what is fitted. fits: how, in a round or before.
    less: what to do where it is too much.
    """
    need = max(fit_memory(base, fit) for fit in fits)
    count = at_once(config.engine, arms)
    free = psutil.virtual_memory().available
    enough = count * need <= free
    if enough and need <= GIGABYTE:
        return {}
    said = f"about {need / GIGABYTE:.1f} GB an arm"
    if config.engine.startswith("dask"):
        return {"memory": f"{said}; give each worker of the cluster that much"}
    said += f", {count} at once, of {free / GIGABYTE:.1f} GB that are free"
    if not enough:
        said += f": too much; {less}"
    return {"memory": said}


def at_once(engine: str, arms: int) -> int:
    """Return how many arms run at once here, or how many launched processes share one."""
    name, _, count = engine.partition(":")
    if name == "processes":
        return min(int(count or joblib.cpu_count()), arms)
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
