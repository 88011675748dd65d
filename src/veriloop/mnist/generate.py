"""Synthetic digits and the images of a figure, drawn from a model by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from veriloop.core import Key
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, Images

CHUNK = 1000  # images decoded at once; rounding may depend on it, so it is fixed


@dataclass(frozen=True)
class Generate:
    """Draw binary images, the digits 0 to 9 in turn: z ~ N(0, I), then every pixel from its Bernoulli."""

    def __call__(self, key: Key, model: CVAE, n: int) -> Images:
        labels = _in_turn(n)
        lots, packed = key.fold("pixels").numpy(), np.empty((n, 98), dtype=np.uint8)
        for start, brightness in _decoded(key, model, labels):
            uniform = lots.random(brightness.shape, dtype=np.float32)
            packed[start : start + len(brightness)] = np.packbits(uniform < brightness, axis=1)
        return Images(packed, labels)


def probabilities(key: Key, model: CVAE, n: int) -> Images:
    """Return what the decoder says, not a draw from it: grey images, the digits in turn."""
    labels = _in_turn(n)
    parts = [(brightness * 255 + 0.5).astype(np.uint8) for _, brightness in _decoded(key, model, labels)]
    return Images(np.concatenate(parts), labels)


def _in_turn(n: int) -> np.ndarray:
    return (np.arange(n) % DIGITS).astype(np.uint8)


@torch.inference_mode()
def _decoded(key: Key, model: CVAE, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, probabilities of its pixels) chunk by chunk."""
    device = next(model.parameters()).device
    z = torch.from_numpy(key.fold("z").numpy().standard_normal((len(labels), model.latent), dtype=np.float32))
    decode, wanted = model.decoding(), torch.from_numpy(labels).long()
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        yield start, torch.sigmoid(decode(z[rows].to(device), wanted[rows].to(device))).cpu().numpy()
