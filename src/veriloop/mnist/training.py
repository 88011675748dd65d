"""One training loop for generators, verifiers and classifiers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from veriloop.core import Key
from veriloop.core.batch import B
from veriloop.core.bf16 import bf16_is_fast
from veriloop.core.checks import check_count, check_fraction, check_positive
from veriloop.mnist.cuda_graph import Steps, on_a_stream, wanted
from veriloop.mnist.resident import Resident

N = TypeVar("N", bound=nn.Module)
Rows = np.ndarray | Tensor  # numbers of rows, shape (n,)
# (rows, generator) -> the loss of each row, shape (n,)
Loss = Callable[[B, torch.Generator], Tensor]

ROWS = 1000  # rows in one pass where nothing is learnt


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is fitted: Adam on mini-batches, for a number of epochs or of steps.

    epochs: the largest number of passes over the data.
    steps: the exact number of steps, in place of `epochs`; `patience` does not apply then.
    batch: rows in one step.
    rate: Adam's learning rate, above 0.
    warmup: the number of steps over which the rate rises from 0.
    decay: whether the rate falls linearly after the warm-up, to 0 at the last step. A fit that
        stops early does not reach 0.
    patience: stop after this number of epochs in a row without a lower loss. None never stops
        early.
    holdout: share of the rows, in [0, 1), on which that loss is measured. 0 uses the training loss.
    restore: whether a fit that stopped early goes back to the weights of its best epoch.
    shuffle: whether every epoch has a new order.
    precision: "bf16" runs the networks under autocast; the loss stays in float32. A processor
        without instructions for bfloat16 runs them in float32, which is ten times as fast there.

    Raises:
        ValueError: if a value is out of its range.

    >>> Training(steps=100, rate=2e-3, decay=True).batch
    128
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

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            check_count(f"Training.{name}", getattr(self, name))
        for name in ("steps", "patience"):
            count = getattr(self, name)
            if count is not None:
                check_count(f"Training.{name}", count)
        check_count("Training.warmup", self.warmup, least=0)
        check_positive("Training.rate", self.rate)
        check_fraction("Training.holdout", self.holdout, zero=True)
        if self.precision not in ("float32", "bf16"):
            raise ValueError(f"Training.precision must be float32 or bf16, got {self.precision!r}")


@dataclass(frozen=True)
class Fitted:
    """How a fit went; `fit` returns it.

    losses: the mean loss of every epoch.
    epoch: the number, from 0, of the epoch whose weights the network ends with.
    steps: the number of steps.

    >>> Fitted(losses=(3.0, 1.0, 2.0), epoch=1, steps=30).losses[1]
    1.0
    """

    losses: tuple[float, ...]
    epoch: int
    steps: int


def fit(key: Key, network: nn.Module, loss: Loss[B], rows: B, how: Training) -> Fitted:
    """Fit `network` in place to `rows`.

    key: decides the order of the rows, the dropout, and the generator that `loss` is given.
    network: what is fitted; it ends in evaluation mode.
    loss: (rows, random generator on the network's device) -> the loss of each row, shape (n,).
    rows: any batch that can be picked from by integers. `Images.resident(device)` puts images on a
        device once; a step on a GPU is then captured and replayed.
    how: the settings of the fit.

    Raises:
        ValueError: if no row is left to train on.
        FloatingPointError: if the loss or the weights are no longer finite.

    >>> line = new_network(Key(0), lambda: nn.Linear(1, 1))
    >>> def loss(x, generator):
    ...     return (line(torch.from_numpy(x)) - 3).square().squeeze(1)
    >>> fitted = fit(Key(0), line, loss, np.ones((8, 1), np.float32), Training(steps=200, rate=0.1))
    >>> fitted.steps, fitted.losses[-1] < 1e-3 < fitted.losses[0]
    (200, True)
    """
    with _repeatable(next(network.parameters()).device):
        return _fit(key, network, loss, rows, how)


def _fit(key: Key, network: nn.Module, loss: Loss[B], rows: B, how: Training) -> Fitted:
    trained, held = _split(key, len(rows), how.holdout)
    per_epoch = math.ceil(len(trained) / how.batch)
    total = how.steps
    patience = None
    if total is None:
        total = how.epochs * per_epoch
        patience = how.patience
    run = _Fit(network, loss, rows, how, total)
    best = _Best(patience, how.restore)
    for epoch in range(math.ceil(total / per_epoch)):
        mean = run.epoch(key, epoch, trained, held)
        if not np.isfinite(mean):
            raise FloatingPointError(
                f"the loss is {mean} after {run.step} steps; lower the rate, {how.rate:g}"
            )
        if best.offer(mean, network):
            break
    if best.weights is not None:
        network.load_state_dict(best.weights)
    if not _is_finite(network):
        raise FloatingPointError(
            f"the weights are not finite after {run.step} steps; lower the rate, {how.rate:g}"
        )
    return Fitted(tuple(best.losses), best.epoch, run.step)


def _is_finite(network: nn.Module) -> bool:
    """Whether all weights are finite: the last step can spoil them after the last loss."""
    return all(bool(torch.isfinite(weights).all()) for weights in network.parameters())


def _split(key: Key, n: int, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows to train on, and of those held out."""
    check_holdout(n, holdout)
    order = key.fold("holdout").numpy().permutation(n)
    held, trained = np.split(order, [round(holdout * n)])
    return trained, held


def check_holdout(n: int, holdout: float) -> None:
    """Refuse a share of rows to hold out that leaves none on a side.

    n: how many rows there are.
    holdout: the share, in [0, 1).

    Raises:
        ValueError: saying what to do.

    >>> check_holdout(20, 0.01)
    Traceback (most recent call last):
    ValueError: a fit with 0.01 of its rows held out needs rows on both sides, got 20; ...
    """
    if not n:
        raise ValueError("a fit needs rows to learn from, got none; give at least one")
    held = round(holdout * n)
    if held == n or (holdout and not held):
        raise ValueError(
            f"a fit with {holdout:.3g} of its rows held out needs rows on both sides, got {n}; "
            "give more rows, or another share"
        )


class _Fit(Generic[B]):
    """A fit on its way: the network, its optimizer, and the number of steps so far."""

    def __init__(
        self, network: nn.Module, loss: Loss[B], rows: B, how: Training, total: int
    ) -> None:
        self.step = 0
        self._network = network
        self._loss = loss
        self._rows = rows
        self._how = how
        self._total = total
        self._device = next(network.parameters()).device
        self._bf16 = how.precision == "bf16" and bf16_is_fast(self._device)
        self._resident = isinstance(rows, Resident)
        self._generator = torch.Generator(self._device)
        self._seen = torch.zeros((), device=self._device)  # the sum of this epoch's losses
        self._optimizer = _adam(network, how.rate, self._device)
        self._rate = how.rate
        self._steps: Steps | None = None
        if self._resident and wanted(self._device):
            self._steps = Steps(self._generator)

    def epoch(self, key: Key, epoch: int, trained: np.ndarray, held: np.ndarray) -> float:
        """Do the steps of one epoch; return its mean loss, on held-out rows if there are any."""
        batch = self._how.batch
        key_now = key.fold("epoch", epoch)
        order_key = key
        if self._how.shuffle:
            order_key = key_now
        order = order_key.fold("order").numpy().permutation(trained)
        order = order[: (self._total - self.step) * batch]
        numbers = self._numbers(order)
        self._generator.manual_seed(key_now.integer())
        with _seeded(key_now, self._device):
            self._network.train()
            self._seen.zero_()
            for start in range(0, len(order), batch):
                self._one_step(numbers[start : start + batch])
            mean = float(self._seen) / len(order)
            self._network.eval()
            if len(held):
                mean = self._mean(self._numbers(held))
        return mean

    def _numbers(self, rows: np.ndarray) -> Rows:
        """Return the numbers of rows, on the device of the rows if they lie on one."""
        if self._resident:
            return torch.from_numpy(rows).to(self._device)
        return rows

    def _one_step(self, rows: Rows) -> None:
        """Do one step, plainly or as a replay."""
        self._set_rate(_rate(self._how, self.step, self._total))
        if self._steps is not None and isinstance(rows, Tensor):
            self._steps.do(self._update, rows)
        else:
            self._update(rows)
        self.step += 1

    def _update(self, rows: Rows) -> None:
        """Do what a step does on the device: nothing here waits for it."""
        losses = self._losses(rows)
        self._optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        if self._steps is not None:
            self._allow_capture()
        self._optimizer.step()
        self._seen += losses.detach().sum()

    def _allow_capture(self) -> None:
        """Tell PyTorch that the step may be captured; of plain steps it warns of such a setting."""
        for group in self._optimizer.param_groups:
            group["capturable"] = torch.cuda.is_current_stream_capturing()

    def _set_rate(self, rate: float) -> None:
        if rate == self._rate:
            return
        self._rate = rate
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @torch.no_grad()
    def _mean(self, held: Rows) -> float:
        """Return the mean loss of the rows held out."""
        parts: list[Tensor] = []
        for start in range(0, len(held), ROWS):
            parts.append(self._losses(held[start : start + ROWS]))
        return float(torch.cat(parts).mean())

    def _losses(self, rows: Rows) -> Tensor:
        """Return the loss of each of these rows, shape (n,)."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            return self._loss(self._rows[rows], self._generator)


def _adam(network: nn.Module, rate: float, device: torch.device) -> torch.optim.Adam:
    """Return the optimiser; on a GPU its rate lies there too, where a graph finds it."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    if device.type == "cuda":
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(rate, device=device)
    return optimizer


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
        """Note an epoch's loss; return whether to stop: the best is `patience` epochs ago."""
        epoch = len(self.losses)
        self.losses.append(loss)
        if self._patience is None or epoch == 0 or loss < self.losses[self._best]:
            self._best = epoch
            if self._keeps:
                self.weights = copy.deepcopy(network.state_dict())
            return False
        return epoch - self._best >= self._patience


def new_network(key: Key, make: Callable[[], N], device: torch.device | str = "cpu") -> N:
    """Return a new network whose first weights are drawn by `key`.

    key: the same key draws the same weights, on any device.
    make: the network's class, or a function without arguments that returns one.
    device: where the network is put.

    >>> one = new_network(Key(0), lambda: nn.Linear(3, 2))
    >>> again = new_network(Key(0), lambda: nn.Linear(3, 2))
    >>> torch.equal(one.weight, again.weight)
    True
    """
    with _seeded(key, "cpu"):
        return make().to(device)


@contextmanager
def _seeded(key: Key, device: torch.device | str) -> Iterator[None]:
    """Seed torch's global generator for a while; new weights and dropout draw from it."""
    device = torch.device(device)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(gpus):
        torch.manual_seed(key.fold("global").integer())
        yield


@contextmanager
def _repeatable(device: torch.device) -> Iterator[None]:
    """On a GPU, allow only kernels that give the same numbers again, on a stream of their own."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        with on_a_stream(device):
            yield
    finally:
        torch.backends.cudnn.deterministic = before


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Switch dropout off for a while, whatever mode the network and its parts are in."""
    in_training = [each for each in network.modules() if each.training]
    for each in in_training:
        each.training = False
    try:
        yield
    finally:
        for each in in_training:
            each.training = True


def _rate(how: Training, step: int, total: int) -> float:
    """Return the rate of a step: it rises over `warmup` steps, then stays or falls to 0."""
    if step < how.warmup:
        return how.rate * (step + 1) / (how.warmup + 1)
    if how.decay:
        return how.rate * (total - step) / (total - how.warmup)
    return how.rate
