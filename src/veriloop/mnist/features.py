"""The network that reads digits for the metrics, trained once and kept by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriloop.core import Key
from veriloop.core.checks import check_device
from veriloop.core.parts import Scores
from veriloop.mnist.data import Data
from veriloop.mnist.images import DIGITS, Images, check_images
from veriloop.mnist.resident import ResidentImages
from veriloop.mnist.training import ROWS, Training, fit, new_network
from veriloop.store.caches import one_thread, read_tensors, write_tensors
from veriloop.store.files import cache_folder

# Of MNIST's training pixels. A distance of features depends on these two numbers.
MEAN = 0.1307
DEVIATION = 0.3081
VERSION = 1  # of the networks' layers; another number trains all networks again
KEY = Key(0)  # of the training, unless another is given


class Classifier(nn.Module):
    """Three strided convolutions, 32 - 64 - 128, and a hidden layer of 128 units: the features."""

    width: ClassVar[int] = 128  # of the features

    def __init__(self) -> None:
        super().__init__()
        self.body = self._layers()
        self.head = nn.Linear(self.width, DIGITS)

    def _layers(self) -> nn.Sequential:
        layers = nn.Sequential()
        for before, after in pairwise((1, 32, 64, 128)):
            layers += nn.Sequential(nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU())
        return layers + nn.Sequential(nn.Flatten(), nn.Linear(128 * 4 * 4, self.width), nn.ReLU())

    def features(self, pixels: Tensor) -> Tensor:
        """Return non-negative features, shape (n, width), of pixels in [0, 1], shape (n, 784)."""
        scaled = (pixels - MEAN) / DEVIATION
        return self.body(scaled.view(-1, 1, 28, 28))


class PublishedClassifier(Classifier):
    """The published network of MNIST-FID v2: convolutions of 64, 128, 256, 512, and 256 units.

    The convolutions are 3 x 3, with strides 1, 2, 2, 2, batch normalisation and ReLU. Their output
    is averaged over the image. How borders are padded is not published; here it is by 1.
    """

    width: ClassVar[int] = 256

    def _layers(self) -> nn.Sequential:
        layers = nn.Sequential()
        sizes = pairwise((1, 64, 128, 256, 512))
        for (before, after), stride in zip(sizes, (1, 2, 2, 2), strict=True):
            convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1)
            layers += nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())
        averaged = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return layers + averaged + nn.Sequential(nn.Linear(512, self.width), nn.ReLU())


class Recipe(NamedTuple):
    """A feature network that `feature_net` knows: its layers, and how it is trained."""

    classifier: type[Classifier]
    training: Training


RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(Classifier, Training(steps=1400, batch=128, rate=1e-3, decay=True)),
    "published": Recipe(
        PublishedClassifier, Training(steps=2814, batch=128, rate=1e-3, precision="bf16")
    ),
}


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
        """Return features, float32 of shape (n, width), and the digit read, shape (n,)."""
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
            parts.append(self.network.features(pixels))
        features = torch.cat(parts)  # a GPU is waited for once, and not chunk by chunk
        return features.cpu(), self.network.head(features).cpu()


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
    data: Data,
    steps: int | None = None,
    *,
    network: Literal["small", "published"] = "small",
    key: Key = KEY,
    folder: Path | None = None,
    device: str = "cpu",
) -> FeatureNet:
    """Return a feature network of `data`, trained once and then read from `folder`.

    data: it learns from `data.train`; its accuracy is measured on `data.test`.
    steps: of 128 training images. None takes the network's own length: 1,400 steps for the small
        one and 2,814 for the published one, which are three and six epochs of MNIST.
    network: "small" has 128 features and reads 98.9 % of MNIST's test images right. "published"
        is the network of the authors' MNIST-FID v2, with 256 features and a constant rate. It
        takes ten minutes or more of one core, and is trained in bf16, which is not published.
    key: draws its weights and the order of the images. A network is a function of the arguments.
    folder: where trained networks are kept, by default `cache_folder()`.
    device: where it is trained, and put.

    Raises:
        ValueError: if there is no such network, `steps` is no positive integer, or the machine
            lacks the device.

    >>> import tempfile
    >>> from veriloop.mnist import load
    >>> net = feature_net(load("digits"), steps=2, folder=Path(tempfile.mkdtemp()))
    >>> 0 < net.accuracy < 1
    True
    """
    check_device("feature_net: device", device)
    if network not in RECIPES:
        raise ValueError(
            f"feature_net: network must be one of {', '.join(RECIPES)}, got {network!r}"
        )
    classifier, how = RECIPES[network]
    if steps is not None:
        how = replace(how, steps=steps)
    digest = _digest(data, how, network, key)
    if folder is None:
        folder = cache_folder()
    file = folder / f"features-{digest}.safetensors"
    made = new_network(key.fold("features"), classifier, device).eval()
    tensors = read_tensors(file, device)
    if tensors is not None:
        accuracy = float(tensors.pop("accuracy"))
        made.load_state_dict(tensors)
        return FeatureNet(made, accuracy, digest)
    _train(key, made, data.train, how, device)
    untested = FeatureNet(made, float("nan"), digest)
    _, read = untested.read(data.test)
    accuracy = float((read == data.test.labels).mean())
    tested = {"accuracy": torch.tensor(accuracy, dtype=torch.float64)}
    write_tensors({**made.state_dict(), **tested}, file)
    return FeatureNet(made, accuracy, digest)


def _digest(data: Data, how: Training, network: str, key: Key) -> str:
    """Return the name of a network: a digest of its settings and of all images."""
    # "compiled" is a setting of earlier versions; with it, networks in the cache keep their names.
    settings = {**asdict(how), "compiled": False}
    recipe: list[object] = [VERSION, MEAN, DEVIATION, settings]
    if network != "small" or key != KEY:  # so that a small one keeps its name too
        recipe += [network, repr(key)]
    digest = hashlib.sha256(json.dumps(recipe).encode())
    for images in (data.train, data.test):
        digest.update(images.pixels.tobytes() + images.labels.tobytes())
    return digest.hexdigest()[:16]


def _train(key: Key, network: Classifier, images: Images, how: Training, device: str) -> None:
    """Train the classifier in place to read the labels."""

    def loss(rows: ResidentImages, generator: torch.Generator) -> Tensor:
        pixels, labels = rows.tensors()
        odds = network.head(network.features(pixels))
        return F.cross_entropy(odds, labels, reduction="none")

    with one_thread():
        fit(key.fold("features", "fit"), network, loss, images.resident(device), how)
