"""Images that lie on a device as bytes, where every step of a fit picks its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BYTE = np.arange(256, dtype=np.uint8)


class Resident:
    """Base of rows that are tensors on one device, picked from there by a tensor of integers.

    They are a promise to `fit` as well: a loss over them works on that device alone, and waits for
    nothing. So a step on a GPU can be captured.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, rows: Tensor) -> Self:
        raise NotImplementedError


@dataclass(frozen=True)
class ResidentImages(Resident):
    """Images on a device; `Images.resident` makes them.

    pixels: uint8, shape (n, 784) or packed (n, 98).
    labels: the digits, int64, shape (n,).
    bits: the eight pixels of each byte, float32, shape (256, 8), where the images are packed.
    """

    pixels: Tensor
    labels: Tensor
    bits: Tensor | None

    @classmethod
    def of(
        cls, pixels: np.ndarray, labels: np.ndarray, device: torch.device | str, *, packed: bool
    ) -> Self:
        """Put pixels and labels, as `Images` keeps them, on a device."""
        bits = None
        if packed:
            table = np.unpackbits(BYTE[:, None], axis=1).astype(np.float32)
            bits = torch.from_numpy(table).to(device)
        return cls(to_device(pixels, device), to_device(labels, device).long(), bits)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> Self:
        return type(self)(self.pixels[rows], self.labels[rows], self.bits)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return pixels as float32 in [0, 1], shape (n, 784), and labels as int64, shape (n,)."""
        if self.bits is None:
            return self.pixels.float().div_(255), self.labels
        return F.embedding(self.pixels.int(), self.bits).flatten(1), self.labels


def to_device(values: np.ndarray, device: torch.device | str) -> Tensor:
    """Return an array as a tensor on a device; on the CPU it shares memory where it can."""
    held = np.ascontiguousarray(values)
    if not held.flags.writeable:  # torch warns of memory that it may not write to
        held = held.copy()
    return torch.from_numpy(held).to(device)
