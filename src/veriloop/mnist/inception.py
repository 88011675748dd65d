"""Frechet distance of Inception features, the paper's main metric, for whoever has the weights."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from veriloop.core.checks import check_device, check_path
from veriloop.mnist.images import Images, check_images
from veriloop.store.caches import one_thread, read_tensors, write_tensors
from veriloop.store.files import cache_folder

if TYPE_CHECKING:
    from torchmetrics.image.fid import FrechetInceptionDistance

STARTS = (b"PK", b"\x80\x02")  # first bytes of torch's files, now and in earlier versions
SUMS = ("real_features_sum", "real_features_cov_sum", "real_features_num_samples")
BATCH = 100  # images in one pass, at most


@dataclass(frozen=True)
class Inception:
    """Measure the Inception FID of generated images against real ones: `images -> distance`.

    The distance is torchmetrics'. Images are enlarged to 299 x 299 by antialiased bilinear
    interpolation, in three equal channels, as in the published code. The sums over real features
    are kept in `cache_folder()`, by the content of weights and images.

    real: the real images.
    weights: the file of torch-fidelity's Inception weights. None lets torch-fidelity download them.
    device: where the network runs.

    Raises:
        TypeError: when it is made, if `real` is no batch of images.
        ValueError: when it is made, if `real` has fewer than two images, there is no such file, or
            the machine lacks the device.

    >>> blank = Images(np.zeros((2, 98), np.uint8), np.zeros(2, np.uint8))
    >>> Inception(blank, Path("none.pth"))
    Traceback (most recent call last):
    ValueError: no Inception weights at none.pth; give their file, or leave them out
    """

    real: Images
    weights: Path | None
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_images("Inception.real", self.real, least=2)
        check_device("Inception.device", self.device)
        if self.weights is not None and not check_path("Inception", self.weights).is_file():
            raise ValueError(
                f"no Inception weights at {self.weights}; give their file, or leave them out"
            )
        if self.weights is not None:
            _check_weights(Path(self.weights))

    def __call__(self, images: Images) -> float:
        check_images("Inception: images", images, least=2)
        metric = self._metric
        metric.reset()
        self._update(metric, images, real=False)
        return float(metric.compute())

    @cached_property
    def _metric(self) -> FrechetInceptionDistance:
        """The metric, with the sums over real features, which `reset` keeps."""
        metric = self._empty()
        file = cache_folder() / f"inception-{self._digest(metric)}.safetensors"
        sums = read_tensors(file, self.device)
        if sums is not None:
            for name, value in sums.items():
                setattr(metric, name, value)
        else:
            with one_thread():
                self._update(metric, self.real, real=True)
            write_tensors({name: getattr(metric, name).cpu() for name in SUMS}, file)
        return metric

    def _empty(self) -> FrechetInceptionDistance:
        from torchmetrics.image.fid import FrechetInceptionDistance

        path = None
        if self.weights is not None:
            path = str(self.weights)
        metric = FrechetInceptionDistance(
            2048,
            reset_real_features=False,
            normalize=True,
            feature_extractor_weights_path=path,
        )
        return metric.to(self.device)

    def _digest(self, metric: FrechetInceptionDistance) -> str:
        """Return a name for the sums: a digest of the real images and of the network's weights."""
        digest = hashlib.sha256(self.real.pixels.tobytes())
        for value in metric.inception.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.inference_mode()
    def _update(self, metric: FrechetInceptionDistance, images: Images, *, real: bool) -> None:
        batches = math.ceil(len(images) / BATCH)
        for rows in np.array_split(np.arange(len(images)), batches):
            pixels, _ = images[rows].tensors(self.device)
            large = F.interpolate(
                pixels.view(-1, 1, 28, 28), size=(299, 299), mode="bilinear", antialias=True
            )
            metric.update(large.clamp_(0, 1).expand(-1, 3, -1, -1), real=real)


def _check_weights(file: Path) -> None:
    """Refuse a file that is none of torch's, before a model is fitted."""
    with open(file, "rb") as stream:
        start = stream.read(2)
    if start not in STARTS:
        raise ValueError(
            f"the Inception weights at {file} are no file of torch; give the one that "
            "torch-fidelity downloads, or leave them out"
        )
