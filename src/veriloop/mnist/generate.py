"""Synthetic digits and the images of a figure, drawn from a model by key."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from veriloop.core import Key
from veriloop.core.checks import check_count
from veriloop.mnist.cvae import CVAE
from veriloop.mnist.images import DIGITS, PIXELS, Images

# Images decoded at once, on a CPU or a GPU. The last chunk has as many: rounding depends on their
# number, and no image may depend on how many are drawn.
CHUNK = 250
GPU_CHUNK = 10_000


@dataclass(frozen=True)
class Generate:
    """Draw binary images, the digits 0 to 9 in turn: `(key, model, n) -> Images`.

    First z is drawn from N(0, I), then every pixel from its Bernoulli distribution. An image does
    not depend on how many are drawn with it.

    row: the number, from 0, that the first image has among all images of the round. It decides
        with which digit the turn begins.

    Raises:
        ValueError: if `row` is negative or no integer.
        FloatingPointError: when it draws, if the decoder's probabilities are NaN.

    >>> from veriloop.mnist import MLPCVAE
    >>> images = Generate()(Key(0), MLPCVAE(latent=2, hidden=(8,)), 12)
    >>> images.binary, images.labels
    (True, array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1], dtype=uint8))
    """

    row: int = 0

    def __post_init__(self) -> None:
        check_count("Generate.row", self.row, least=0)

    def starting_at(self, row: int) -> Self:
        """Return this generator for a block that begins with row `row` of the round.

        The digits go on where the block before it ended. The loop calls this for every later block.

        row: counted from 0 over all rows that the round draws.

        >>> from veriloop.mnist import MLPCVAE
        >>> Generate().starting_at(8)(Key(0), MLPCVAE(latent=2, hidden=(8,)), 4).labels
        array([8, 9, 0, 1], dtype=uint8)
        """
        return replace(self, row=row)

    def __call__(self, key: Key, model: CVAE, n: int) -> Images:
        labels = _in_turn(n, self.row)
        lots = key.fold("pixels").numpy()
        packed = np.empty((n, PIXELS // 8), dtype=np.uint8)
        for start, brightness in _decoded(key, model, labels):
            uniform = lots.random(brightness.shape, dtype=np.float32)
            packed[start : start + len(brightness)] = np.packbits(uniform < brightness, axis=1)
        return Images(packed, labels)


def probabilities(key: Key, model: CVAE, n: int) -> Images:
    """Return grey images: the decoder's probabilities, not draws from them, the digits in turn.

    key: with the key of `Generate` these are the probabilities that its pixels are drawn from.
    model: the decoder, and the number of latent dimensions.
    n: how many images.

    Raises:
        FloatingPointError: if the probabilities are NaN.

    >>> from veriloop.mnist import MLPCVAE
    >>> probabilities(Key(0), MLPCVAE(latent=2, hidden=(8,)), 12).pixels.shape
    (12, 784)
    """
    labels = _in_turn(n)
    pixels = np.empty((n, PIXELS), dtype=np.uint8)
    for start, brightness in _decoded(key, model, labels):
        pixels[start : start + len(brightness)] = brightness * 255 + 0.5
    return Images(pixels, labels)


def _in_turn(n: int, row: int = 0) -> np.ndarray:
    """Return the digits of `n` rows, of which the first is row `row`."""
    check_count("the number of images", n, least=0)
    return (np.arange(row, row + n) % DIGITS).astype(np.uint8)


def _decoded(key: Key, model: CVAE, labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, probabilities of its pixels) chunk by chunk; others are decoded ahead."""
    device = next(model.parameters()).device
    n = len(labels)
    chunk = CHUNK
    if device.type == "cuda":
        chunk = GPU_CHUNK
    z = key.fold("z").numpy().standard_normal((n, model.latent), dtype=np.float32)

    @torch.inference_mode()
    def brightness(start: int) -> np.ndarray:
        rows = np.minimum(np.arange(start, start + chunk), n - 1)
        latent = torch.from_numpy(z[rows]).to(device)
        wanted = torch.from_numpy(labels[rows]).to(device).long()
        logits = decode(latent, wanted)[: n - start]
        values = torch.sigmoid(logits).cpu().numpy()
        if np.isnan(values).any():
            raise FloatingPointError(
                f"the decoder's probabilities are NaN from image {start} on, so its weights have "
                "diverged; lower the rate of its training"
            )
        return values

    with _one_thread_each() as threads, ThreadPoolExecutor(threads) as pool:
        with torch.inference_mode():
            decode = model.decoding()
        ahead: deque[tuple[int, Future[np.ndarray]]] = deque()
        for start in range(0, n, chunk):
            ahead.append((start, pool.submit(brightness, start)))
            if len(ahead) > 2 * threads:
                first, decoded = ahead.popleft()
                yield first, decoded.result()
        for first, decoded in ahead:
            yield first, decoded.result()


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """Let PyTorch use one thread in every thread, and yield how many it used before.

    Small products gain little from a second thread. Whole chunks side by side take about half the
    time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
