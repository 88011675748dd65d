"""Inception's Frechet distance: its features, resized as published, and real images read once."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from veriloop import Key
from veriloop.mnist import Inception, frechet_distance, probabilities


def test_missing_weights_are_refused_at_construction(digits, tmp_path):
    wanted = f"no Inception weights at {tmp_path / 'none.pth'}; give their file, or leave them out"
    with pytest.raises(ValueError, match=wanted):
        Inception(digits.test, tmp_path / "none.pth")


def test_a_file_that_is_none_of_torch_is_refused_at_construction(digits, tmp_path):
    (tmp_path / "notes.txt").write_text("weights")
    with pytest.raises(ValueError, match=r"notes\.txt are no file of torch; give the one"):
        Inception(digits.test, tmp_path / "notes.txt")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Random weights of torch-fidelity's own architecture, in a file as it reads them.

    Scaled so that activations neither grow nor vanish on their way through the 50 layers.
    """
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    with monkeypatch.context() as patch:  # it cannot be made without weights to load
        patch.setattr(torch.nn.Module, "load_state_dict", lambda self, state: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        extractor = module.FeatureExtractorInceptionV3(
            "random", ["2048"], feature_extractor_weights_path="none"
        )
    generator = Key(0).fold("inception").torch()
    for layer in extractor.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, generator=generator)
    file = tmp_path / "weights.pth"
    torch.save(extractor.state_dict(), file)
    return file


def features(weights, images):
    """The extractor's features of images brought to 299 x 299 by hand, in the bytes that it takes."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = {"feature_extractor_weights_path": str(weights)}
    extractor = FeatureExtractorInceptionV3("own", ["2048"], **file).eval()
    pixels = images.tensors()[0].view(-1, 1, 28, 28)
    large = F.interpolate(pixels, size=(299, 299), mode="bilinear", antialias=True).clamp(0, 1)
    with torch.no_grad():
        return extractor((large.expand(-1, 3, -1, -1) * 255).byte())[0].double().numpy()


@pytest.mark.slow
def test_it_is_the_distance_of_the_extractors_features(weights, cache, monkeypatch, digits, model):
    """The sums over real images are kept by content: a second measure passes none of them through again."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    seen, update = [], FrechetInceptionDistance.update
    sums, compute = [], FrechetInceptionDistance.compute

    def counted(self, images, real):
        seen.append((real, len(images)))
        update(self, images, real=real)

    def once(self):
        """Note the sums of a distance, and compute it the first time alone: it takes seconds."""
        sums.append({name: value.numpy().copy() for name, value in self.metric_state.items()})
        if len(sums) > 1:
            return torch.zeros(())
        return compute(self)

    monkeypatch.setattr(FrechetInceptionDistance, "update", counted)
    monkeypatch.setattr(FrechetInceptionDistance, "compute", once)
    real, made = digits.test[:5], probabilities(Key(1), model, 4)
    first = Inception(real, weights)
    distance = first(made)
    assert seen == [(True, 5), (False, 4)]
    assert np.isfinite(distance) and distance >= 0
    files = list(cache.glob("inception-*.safetensors"))
    assert len(files) == 1
    seen.clear()
    Inception(real, weights)(made)
    assert seen == [(False, 4)] and list(cache.glob("*")) == files
    assert len(sums[0]) == 6
    np.testing.assert_equal(sums[1], sums[0])

    a, b = (features(weights, images) for images in (real, made))
    turn = np.linalg.qr(np.concatenate([a, b]).T)[0]  # nine axes that hold all rows
    a, b = a @ turn, b @ turn
    # torchmetrics takes roots of the eigenvalues of a singular product, 1e-16 of its scale for 0, 2,048 times.
    rounding = 2 * 2048 * 1e-8 * np.sqrt(np.cov(a.T).trace() * np.cov(b.T).trace())
    assert distance == pytest.approx(frechet_distance(a, b), rel=1e-6, abs=rounding)
    apart = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    assert rounding < 0.01 * (distance - apart)  # so a mistake in means or covariances would show
