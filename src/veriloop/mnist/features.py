"""The network whose features and readings of digits the metrics are made of, trained once and kept by content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from veriloop.core import Key
from veriloop.mnist.data import DIGITS, Data, Images
from veriloop.mnist.training import Training, fit, made
from veriloop.store.folder import cache_folder

MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's training pixels; part of what a distance of features means


class Classifier(nn.Module):
    """Three strided convolutions, 32 - 64 - 128, and a hidden layer of 128 units whose outputs are the features."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 32, 64, 128)
        self.body = nn.Sequential()
        for before, after in pairwise(widths):
            self.body += nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU())
        self.body += nn.Sequential(nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU())
        self.head = nn.Linear(128, DIGITS)

    def features(self, pixels: Tensor) -> Tensor:
        """Return non-negative features, shape (n, 128), of pixels in [0, 1], shape (n, 784)."""
        return self.body(((pixels - MEAN) / DEVIATION).view(-1, 1, 28, 28))


@dataclass(frozen=True)
class FeatureNet:
    """A trained classifier with its accuracy on the test images and the digest of what it was trained on."""

    network: Classifier
    accuracy: float
    digest: str

    @torch.inference_mode()
    def read(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Return features, float32 of shape (n, 128), and the digit read, shape (n,)."""
        features, odds = self._outputs(images)
        return features.numpy(), odds.argmax(1).numpy()

    @torch.inference_mode()
    def log_odds(self, images: Images) -> np.ndarray:
        """Return the log-odds that each image is the digit of its label, shape (n,)."""
        logs = F.log_softmax(self._outputs(images)[1], dim=1)
        own = F.one_hot(torch.from_numpy(images.labels).long(), DIGITS).bool()
        others = logs.masked_fill(own, -torch.inf).logsumexp(1)
        return (logs[own] - others).numpy()

    def _outputs(self, images: Images) -> tuple[Tensor, Tensor]:
        device = next(self.network.parameters()).device
        # At least one part, so that no images have no outputs of the right width.
        starts = range(0, max(len(images), 1), 1000)
        parts = [images[start : start + 1000].tensors(device)[0] for start in starts]
        features = torch.cat([self.network.features(pixels).cpu() for pixels in parts])
        return features, self.network.head(features.to(device)).cpu()


@dataclass(frozen=True)
class DigitOracle:
    """Score an image by the classifier's log-odds that it is the digit asked for: 0 or more accepts."""

    features: FeatureNet

    def __call__(self, key: Key, batch: Images) -> np.ndarray:
        return self.features.log_odds(batch)


def feature_net(data: Data, steps: int = 1400, *, folder: Path | None = None, device: str = "cpu") -> FeatureNet:
    """Return the feature network of `data`: from `folder` if it was trained on the same bytes before, else trained.

    steps: of 128 training images; 1,400, three epochs of MNIST, read 98.9 % of its test images right.
    folder: by default `cache_folder()`. The key is always the same: a network is a function of data and steps.
    """
    how = Training(steps=steps, batch=128, rate=1e-3, decay=True)
    digest = hashlib.sha256(
        json.dumps([1, MEAN, DEVIATION, asdict(how)]).encode()
    )  # 1: this version of the network
    for images in (data.train, data.test):
        digest.update(images.pixels.tobytes() + images.labels.tobytes())
    name = digest.hexdigest()[:16]
    file = (cache_folder() if folder is None else folder) / f"features-{name}.safetensors"
    network = made(Key(0).fold("features"), Classifier, device).eval()
    if file.exists():
        tensors = load_file(file, device=device)
        accuracy = float(tensors.pop("accuracy"))
        network.load_state_dict(tensors)
        return FeatureNet(network, accuracy, name)

    def loss(rows: Images, generator: torch.Generator) -> Tensor:
        pixels, labels = rows.tensors(device)
        return F.cross_entropy(network.head(network.features(pixels)), labels, reduction="none")

    fit(Key(0).fold("features", "fit"), network, loss, data.train, how)
    untested = FeatureNet(network, float("nan"), name)
    accuracy = float((untested.read(data.test)[1] == data.test.labels).mean())
    write_tensors({**network.state_dict(), "accuracy": torch.tensor(accuracy, dtype=torch.float64)}, file)
    return FeatureNet(network, accuracy, name)


def write_tensors(tensors: dict[str, Tensor], file: Path) -> None:
    """Write a safetensors file under another name first: another process may be looking for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    os.close(handle)
    save_file(tensors, temporary)
    os.replace(temporary, file)
