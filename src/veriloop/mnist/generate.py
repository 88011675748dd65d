"""Synthetic digits and the images of a figure, drawn from a model by key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from veriloop.core import Key
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.data import DIGITS, PIXELS, Images

CHUNK = 250  # images decoded at once, also of the last ones: rounding depends on it, and no image may depend on n


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
    labels, pixels = _in_turn(n), np.empty((n, PIXELS), dtype=np.uint8)
    for start, brightness in _decoded(key, model, labels):
        pixels[start : start + len(brightness)] = brightness * 255 + 0.5
    return Images(pixels, labels)


def _in_turn(n: int) -> np.ndarray:
    return (np.arange(n) % DIGITS).astype(np.uint8)


def _decoded(key: Key, model: CVAE, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, probabilities of its pixels) chunk by chunk, while others are decoded ahead."""
    device, n = next(model.parameters()).device, len(labels)
    z = key.fold("z").numpy().standard_normal((n, model.latent), dtype=np.float32)

    @torch.inference_mode()
    def brightness(start: int) -> np.ndarray:
        rows = np.minimum(np.arange(start, start + CHUNK), n - 1)
        latent, wanted = (torch.from_numpy(part[rows]).to(device) for part in (z, labels))
        return torch.sigmoid(decode(latent, wanted.long())[: n - start]).cpu().numpy()

    with _one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
        with torch.inference_mode():
            decode = model.decoding()
        ahead: deque[tuple[int, Any]] = deque()
        for start in range(0, n, CHUNK):
            ahead.append((start, pool.submit(brightness, start)))
            if len(ahead) > 2 * threads:
                start, done = ahead.popleft()
                yield start, done.result()
        yield from ((start, done.result()) for start, done in ahead)


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Let PyTorch use one thread in every thread, and yield how many it used before.

    Small products gain little from a second thread, and whole chunks side by side nearly double the pace.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
