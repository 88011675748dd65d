"""One training loop for generators, verifiers and classifiers."""

from __future__ import annotations

import copy
import math
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
    per_epoch = math.ceil(len(trained) / how.batch)
    total = how.steps or how.epochs * per_epoch
    patience = how.patience
    if how.steps:
        patience = None
    if how.compiled:
        loss = torch.compile(loss)
    run = _Fit(network, loss, rows, how, total)
    best = _Best(patience, how.restore)
    for epoch in range(math.ceil(total / per_epoch)):
        mean = run.epoch(key, epoch, trained, held)
        if not np.isfinite(mean):
            raise FloatingPointError(f"the loss is {mean} after {run.step} steps; lower the rate, {how.rate:g}")
        if best.offer(mean, network):
            break
    if best.weights is not None:
        network.load_state_dict(best.weights)
    return Fitted(tuple(best.losses), best.epoch, run.step)


class _Fit:
    """A fit on its way: the network, its optimizer, and the steps taken."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Any, torch.Generator], Tensor],
        rows: Batch,
        how: Training,
        total: int,
    ) -> None:
        self.step = 0
        self._network = network
        self._loss = loss
        self._rows = rows
        self._how = how
        self._total = total
        self._device = next(network.parameters()).device
        self._optimizer = torch.optim.Adam(network.parameters(), lr=how.rate, fused=True)

    def epoch(self, key: Key, epoch: int, trained: np.ndarray, held: np.ndarray) -> float:
        """Take the steps of one epoch; return the mean loss of the rows held out, or else of those trained on."""
        how = self._how
        key_now = key.fold("epoch", epoch)
        shuffled_by = key_now if how.shuffle else key
        order = shuffled_by.fold("order").numpy().permutation(trained)
        order = order[: (self._total - self.step) * how.batch]
        with _seeded(key_now, self._device) as generator:
            self._network.train()
            seen = torch.zeros((), device=self._device)
            for start in range(0, len(order), how.batch):
                seen += self._one_step(order[start : start + how.batch], generator)
            mean = float(seen) / len(order)
            self._network.eval()
            if len(held):
                mean = _mean(self._loss, self._rows, held, generator, how)
        return mean

    def _one_step(self, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """Take one step; return the sum of the losses of its rows."""
        for group in self._optimizer.param_groups:
            group["lr"] = _rate(self._how, self.step, self._total)
        each = _each(self._loss, self._rows[rows], generator, self._how)
        self._optimizer.zero_grad(set_to_none=True)
        each.mean().backward()
        self._optimizer.step()
        self.step += 1
        return each.detach().sum()


class _Best:
    """The losses of all epochs, and the weights of the best one where they are to be restored."""

    def __init__(self, patience: int | None, restore: bool) -> None:
        self.losses: list[float] = []
        self.weights: dict[str, Tensor] | None = None
        self._best = 0
        self._patience = patience
        self._keeps = bool(patience) and restore

    @property
    def epoch(self) -> int:
        """The epoch whose weights the network ends with."""
        if self.weights is None:
            return len(self.losses) - 1
        return self._best

    def offer(self, loss: float, network: nn.Module) -> bool:
        """Note an epoch's loss; return whether to stop, as the best one is `patience` epochs ago."""
        epoch = len(self.losses)
        self.losses.append(loss)
        if self._patience is None or epoch == 0 or loss < self.losses[self._best]:
            self._best = epoch
            if self._keeps:
                self.weights = copy.deepcopy(network.state_dict())
            return False
        return epoch - self._best >= self._patience


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
