"""Frechet distance of Inception features, the paper's main metric, where its weights are to be had."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from veriloop.mnist.data import Images
from veriloop.mnist.features import write_tensors
from veriloop.store.folder import cache_folder

STATES = ("real_features_sum", "real_features_cov_sum", "real_features_num_samples")


@dataclass(frozen=True)
class Inception:
    """Measure generated images by torchmetrics' Inception FID against `real` ones: images -> distance.

    weights: the file of torch-fidelity's Inception weights, or None to let torch-fidelity download them.
    Images are brought to 299 x 299 by antialiased bilinear interpolation, in three equal channels, as the published
    code does. The sums over real features are kept in `cache_folder()`, by the content of weights and images.

    Raises:
        ValueError: at once, if there is no such file.
    """

    real: Images
    weights: Path | None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.weights is not None and not Path(self.weights).is_file():
            raise ValueError(f"no Inception weights at {self.weights}; give their file, or leave them out")

    def __call__(self, images: Images) -> float:
        metric = self._metric
        metric.reset()
        self._update(images, real=False)
        return float(metric.compute())

    @cached_property
    def _metric(self) -> Any:
        from torchmetrics.image.fid import FrechetInceptionDistance

        path = None if self.weights is None else str(self.weights)
        metric = FrechetInceptionDistance(
            2048, reset_real_features=False, normalize=True, feature_extractor_weights_path=path
        ).to(self.device)
        self.__dict__["_metric"] = metric  # `_update` needs it before this returns
        digest = hashlib.sha256(self.real.pixels.tobytes())
        for value in metric.inception.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        file = cache_folder() / f"inception-{digest.hexdigest()[:16]}.safetensors"
        if file.exists():
            for name, value in load_file(file, device=self.device).items():
                setattr(metric, name, value)
        else:
            self._update(self.real, real=True)
            write_tensors({name: getattr(metric, name).cpu() for name in STATES}, file)
        return metric

    @torch.inference_mode()
    def _update(self, images: Images, *, real: bool) -> None:
        for rows in np.array_split(np.arange(len(images)), -(-len(images) // 100)):
            pixels = images[rows].tensors(self.device)[0].view(-1, 1, 28, 28)
            large = F.interpolate(pixels, size=(299, 299), mode="bilinear", antialias=True).clamp_(0, 1)
            self._metric.update(large.expand(-1, 3, -1, -1), real=real)
