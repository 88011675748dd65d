"""One training loop for generators, verifiers and classifiers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from veriloop.core import Batch, Key
from veriloop.core.batch import check_count

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is fitted: Adam on mini-batches, for a number of epochs or of steps.

    epochs: the most passes over the data. steps: exactly so many steps instead; `patience` does not apply then.
    batch: rows a step. rate: Adam's learning rate. warmup: steps over which it rises from 0.
    decay: the rate then falls linearly to 0 at the last step; with early stopping, at the last step allowed.
    patience: stop after so many epochs in a row without a lower loss; None never stops early.
    holdout: share of the rows on which that loss is taken; 0 takes the training loss.
    restore: after stopping early, go back to the weights of the best epoch, or keep the last.
    shuffle: every epoch in a new order, or all in one.
    precision: "bf16" runs the networks, not the loss, under autocast. compiled: through torch.compile.

    Raises:
        ValueError: if a value is out of its range.
    """

    epochs: int = 200
    steps: int | None = None
    batch: int = 128
    rate: float = 1e-3
    warmup: int = 0
    decay: bool = False
    patience: int | None = 5
    holdout: float = 0.0
    restore: bool = True
    shuffle: bool = True
    precision: Literal["float32", "bf16"] = "float32"
    compiled: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch", "patience"):
            if getattr(self, name) is not None:
                check_count(f"Training.{name}", getattr(self, name))
        for name, fits, range in (
            ("rate", 0 < self.rate < float("inf"), "above 0 and finite"),
            ("warmup", type(self.warmup) is int and self.warmup >= 0, "an integer of at least 0"),
            ("holdout", 0 <= self.holdout < 1, "in [0, 1)"),
        ):
            if not fits:
                raise ValueError(f"Training.{name} must be {range}, got {getattr(self, name)}")
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"Training.precision must be float32 or bf16, got {self.precision!r}")


@dataclass(frozen=True)
class Fitted:
    """What a fit did: the mean loss of every epoch, the epoch whose weights were kept, and the steps taken."""

    losses: tuple[float, ...]
    epoch: int
    steps: int


def fit(
    key: Key, network: nn.Module, loss: Callable[[Any, torch.Generator], Tensor], rows: Batch, how: Training
) -> Fitted:
    """Fit `network` in place to `rows`.

    loss: (batch of rows, random generator on the network's device) -> loss of each row, shape (n,).

    Raises:
        ValueError: if no row is left to train on.
        FloatingPointError: if the loss is no longer finite.
    """
    order = key.fold("holdout").numpy().permutation(len(rows))
    held, trained = np.split(order, [round(how.holdout * len(rows))])
    if not len(trained) or (how.holdout and not len(held)):
        raise ValueError(f"a fit with {how.holdout:.0%} held out needs rows on both sides, got {len(rows)} rows")
    per_epoch = -(-len(trained) // how.batch)
    total = how.steps or how.epochs * per_epoch
    epochs, patience = -(-total // per_epoch), None if how.steps else how.patience
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(network.parameters(), lr=how.rate, fused=True)
    value = torch.compile(loss) if how.compiled else loss
    losses: list[float] = []
    best, kept, step = 0, None, 0
    for epoch in range(epochs):
        key_now = key.fold("epoch", epoch)
        order = (key_now if how.shuffle else key).fold("order").numpy().permutation(trained)
        order = order[: (total - step) * how.batch]
        with _seeded(key_now, device) as generator:
            network.train()
            seen = torch.zeros((), device=device)
            for start in range(0, len(order), how.batch):
                for group in optimizer.param_groups:
                    group["lr"] = _rate(how, step, total)
                each = _each(value, rows[order[start : start + how.batch]], generator, how)
                optimizer.zero_grad(set_to_none=True)
                each.mean().backward()
                optimizer.step()
                seen += each.detach().sum()
                step += 1
            mean = float(seen) / len(order)
            network.eval()
            if len(held):
                mean = _mean(value, rows, held, generator, how)
        if not np.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean} after {step} steps; lower the rate, {how.rate:g}")
        losses.append(mean)
        if patience is None or mean < losses[best] or epoch == 0:
            best = epoch
            kept = copy.deepcopy(network.state_dict()) if patience and how.restore else None
        elif epoch - best >= patience:
            break
    if kept is not None:
        network.load_state_dict(kept)
    return Fitted(tuple(losses), best if kept is not None else len(losses) - 1, step)


def made(key: Key, make: Callable[[], N], device: torch.device | str = "cpu") -> N:
    """Return a new network with its weights drawn by `key`, the same on any device."""
    with _seeded(key, "cpu"):
        return make().to(device)


@contextmanager
def _seeded(key: Key, device: torch.device | str) -> Iterator[torch.Generator]:
    """Seed torch's global generator, which weights and dropout draw from, and put it back as it was afterwards."""
    device = torch.device(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(key.fold("global").integer())
        yield key.torch(str(device))


def _each(loss: Callable, rows: Any, generator: torch.Generator, how: Training) -> Tensor:
    with torch.autocast(generator.device.type, torch.bfloat16, enabled=how.precision == "bf16"):
        return loss(rows, generator)


@torch.no_grad()
def _mean(loss: Callable, rows: Any, held: np.ndarray, generator: torch.Generator, how: Training) -> float:
    parts = [rows[held[start : start + 1000]] for start in range(0, len(held), 1000)]
    return float(torch.cat([_each(loss, part, generator, how) for part in parts]).mean())


def _rate(how: Training, step: int, total: int) -> float:
    """Rise over `warmup` steps, then constant or falling to 0 after the last step."""
    if step < how.warmup:
        return how.rate * (step + 1) / (how.warmup + 1)
    return how.rate * (total - step) / (total - how.warmup) if how.decay else how.rate
