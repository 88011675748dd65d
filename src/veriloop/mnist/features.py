"""The network that reads digits for the metrics, trained once and kept by content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriloop.core import Key
from veriloop.core.parts import Scores
from veriloop.mnist.data import Data
from veriloop.mnist.images import DIGITS, Images, check_images
from veriloop.mnist.training import ROWS, Training, fit, new_network
from veriloop.store.caches import one_thread, read_tensors, write_tensors
from veriloop.store.files import cache_folder

# Of MNIST's training pixels. A distance of features depends on these two numbers.
MEAN = 0.1307
DEVIATION = 0.3081
VERSION = 1  # of the network's layers; another number trains all networks again


class Classifier(nn.Module):
    """Three strided convolutions, 32 - 64 - 128, and a hidden layer of 128 units: the features."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential()
        for before, after in pairwise((1, 32, 64, 128)):
            self.body += nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU())
        self.body += nn.Sequential(nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.ReLU())
        self.head = nn.Linear(128, DIGITS)

    def features(self, pixels: Tensor) -> Tensor:
        """Return non-negative features, shape (n, 128), of pixels in [0, 1], shape (n, 784)."""
        scaled = (pixels - MEAN) / DEVIATION
        return self.body(scaled.view(-1, 1, 28, 28))


@dataclass(frozen=True)
class FeatureNet:
    """A trained classifier of digits; `feature_net` trains one.

    network: the classifier.
    accuracy: the share of the test images that it reads right.
    digest: a name of its training data and settings.

    >>> untrained = FeatureNet(new_network(Key(0), Classifier), accuracy=0.1, digest="untrained")
    >>> blank = Images(np.zeros((2, 784), np.uint8), np.zeros(2, np.uint8))
    >>> features, digits = untrained.read(blank)
    >>> features.shape, digits.shape
    ((2, 128), (2,))
    """

    network: Classifier
    accuracy: float
    digest: str

    @torch.inference_mode()
    def read(self, images: Images) -> tuple[np.ndarray, np.ndarray]:
        """Return features, float32 of shape (n, 128), and the digit read, shape (n,)."""
        features, odds = self._outputs(images)
        return features.numpy(), odds.argmax(1).numpy()

    @torch.inference_mode()
    def log_odds(self, images: Images) -> Scores:
        """Return the log-odds that each image is the digit of its label, shape (n,)."""
        _, odds = self._outputs(images)
        logs = F.log_softmax(odds, dim=1)
        own = F.one_hot(torch.from_numpy(images.labels).long(), DIGITS).bool()
        others = logs.masked_fill(own, -torch.inf).logsumexp(1)
        return (logs[own] - others).numpy()

    def _outputs(self, images: Images) -> tuple[Tensor, Tensor]:
        check_images("FeatureNet: images", images)
        device = next(self.network.parameters()).device
        # Run the network once even on zero images, so that the outputs have the right width.
        starts = range(0, max(len(images), 1), ROWS)
        parts: list[Tensor] = []
        for start in starts:
            pixels, _ = images[start : start + ROWS].tensors(device)
            parts.append(self.network.features(pixels).cpu())
        features = torch.cat(parts)
        return features, self.network.head(features.to(device)).cpu()


@dataclass(frozen=True)
class DigitOracle:
    """Score an image by the log-odds that it is the digit asked for: 0 or more accepts.

    The classifier gives these odds.

    features: the classifier.

    >>> untrained = FeatureNet(new_network(Key(0), Classifier), accuracy=0.1, digest="untrained")
    >>> DigitOracle(untrained)(Key(0), Images(np.zeros((2, 98), np.uint8), np.arange(2))).shape
    (2,)
    """

    features: FeatureNet

    def __call__(self, key: Key, batch: Images) -> Scores:
        return self.features.log_odds(batch)


def feature_net(
    data: Data, steps: int = 1400, *, folder: Path | None = None, device: str = "cpu"
) -> FeatureNet:
    """Return the feature network of `data`, trained once and then read from `folder`.

    The key of the training is always the same, so a network is a function of data and steps.

    data: it learns from `data.train`; its accuracy is measured on `data.test`.
    steps: of 128 training images. 1,400 steps are three epochs of MNIST, after which it read
        98.9 % of the test images right.
    folder: where trained networks are kept, by default `cache_folder()`.
    device: where it is trained, and put.

    >>> import tempfile
    >>> from veriloop.mnist import load
    >>> net = feature_net(load("digits"), steps=2, folder=Path(tempfile.mkdtemp()))
    >>> 0 < net.accuracy < 1
    True
    """
    how = Training(steps=steps, batch=128, rate=1e-3, decay=True)
    digest = _digest(data, how)
    if folder is None:
        folder = cache_folder()
    file = folder / f"features-{digest}.safetensors"
    network = new_network(Key(0).fold("features"), Classifier, device).eval()
    tensors = read_tensors(file, device)
    if tensors is not None:
        accuracy = float(tensors.pop("accuracy"))
        network.load_state_dict(tensors)
        return FeatureNet(network, accuracy, digest)
    _train(network, data.train, how, device)
    untested = FeatureNet(network, float("nan"), digest)
    _, read = untested.read(data.test)
    accuracy = float((read == data.test.labels).mean())
    tested = {"accuracy": torch.tensor(accuracy, dtype=torch.float64)}
    write_tensors({**network.state_dict(), **tested}, file)
    return FeatureNet(network, accuracy, digest)


def _digest(data: Data, how: Training) -> str:
    """Return the name of a network: a digest of its settings and of all images."""
    # "compiled" is a setting of earlier versions; with it, networks in the cache keep their names.
    settings = {**asdict(how), "compiled": False}
    recipe = json.dumps([VERSION, MEAN, DEVIATION, settings])
    digest = hashlib.sha256(recipe.encode())
    for images in (data.train, data.test):
        digest.update(images.pixels.tobytes() + images.labels.tobytes())
    return digest.hexdigest()[:16]


def _train(network: Classifier, images: Images, how: Training, device: str) -> None:
    """Train the classifier in place to read the labels."""

    def loss(rows: Images, generator: torch.Generator) -> Tensor:
        pixels, labels = rows.tensors(device)
        odds = network.head(network.features(pixels))
        return F.cross_entropy(odds, labels, reduction="none")

    with one_thread():
        fit(Key(0).fold("features", "fit"), network, loss, images, how)
