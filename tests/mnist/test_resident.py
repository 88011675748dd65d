"""Images on a device are the same numbers, picked row by row, and a fit on them is the same fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.mnist import MLPCVAE, Discriminate, Images, Refit, Training, fit, new_network
from veriloop.mnist.verifiers import Examples


def plainly(images):
    """Pixels and labels by NumPy alone, shape (n, 784) and (n,)."""
    if images.binary:
        return np.unpackbits(images.pixels, axis=1).astype(np.float32), images.labels.astype(int)
    return images.pixels.astype(np.float32) / np.float32(255), images.labels.astype(int)


@pytest.fixture(scope="module", params=["binary", "grey"])
def images(request):
    """Thirty images; the grey ones hold every level."""
    lots = Key(0).numpy()
    pixels = lots.integers(0, 256, (30, 784), dtype=np.uint8)
    if request.param == "binary":
        pixels = pixels > 127
    return Images(pixels, np.arange(30) % 10)


def test_every_pick_is_the_images_themselves_to_the_bit(images):
    order = Key(1).numpy().permutation(len(images))
    picked = images.resident("cpu")[torch.from_numpy(order)]
    for found, wanted in zip(picked.tensors(), plainly(images[order]), strict=True):
        assert found.numpy().dtype == wanted.dtype
        np.testing.assert_array_equal(found.numpy(), wanted)
    assert len(picked) == len(images)


def test_all_bytes_have_their_pixels():
    """Each of the 256 bytes, the first pixel in the highest bit."""
    packed = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 98, axis=1)
    pixels, _ = Images(packed, np.zeros(256, np.uint8)).tensors()
    np.testing.assert_array_equal(pixels.numpy(), np.unpackbits(packed, axis=1))


def test_what_is_computed_of_them_leaves_the_images_as_they_are(images):
    """They share memory on a CPU, and arrays that must not be written to are copied first."""
    locked = replace(images)
    for column in (locked.pixels, locked.labels):
        column.flags.writeable = False
    pixels, labels = locked.tensors()
    before = images.pixels.copy(), images.labels.copy()
    pixels.zero_(), labels.zero_()
    np.testing.assert_array_equal(images.pixels, before[0])
    np.testing.assert_array_equal(images.labels, before[1])


@pytest.mark.parametrize("holdout", [0.0, 0.25])
def test_a_fit_is_the_same_to_the_bit(images, same_bytes, holdout):
    """Rows picked as tensors or as arrays; 30 rows in batches of 8 end in a smaller one."""
    how = Training(epochs=3, batch=8, holdout=holdout, warmup=2, decay=True)
    made = []
    for rows in (images, images.resident("cpu")):
        model = new_network(Key(0), lambda: MLPCVAE(latent=2, hidden=(8,)))

        def loss(some, generator, model=model):
            return sum(model.negative_elbo(*some.tensors(), generator))

        made.append((model, fit(Key(2), model, loss, rows, how)))
    (one, fitted), (other, again) = made
    assert fitted == again and same_bytes(one, other)


def test_examples_keep_each_flag_with_its_image(digits):
    few = digits.train[:12]
    examples = Examples.of(few, few.grey())
    order = torch.arange(23, -1, -1)
    picked = examples.resident("cpu")[order]
    np.testing.assert_array_equal(picked.real.numpy(), examples.real[::-1])
    wanted, labels = plainly(examples.images[order.numpy()])
    pixels, digits = picked.images.tensors()
    np.testing.assert_array_equal(pixels.numpy(), wanted)
    np.testing.assert_array_equal(digits.numpy(), labels)
    assert len(picked) == 24


# A GPU that is not there: fake tensors know a device and a shape, and refuse to mix devices.


@pytest.fixture(scope="module")
def fake_mode():
    """Made once: it takes a second."""
    from torch._subclasses import FakeTensorMode

    return FakeTensorMode()


@pytest.fixture
def gpu(fake_mode, monkeypatch):
    """Fake tensors on a GPU, where a fit does one step without its gradient, and waits for nothing.

    To wait is to ask for a value, which a fake tensor does not have, and so refuses.
    """
    from contextlib import contextmanager, nullcontext

    from veriloop.mnist import features, refit, training, verifiers

    generator = torch.Generator

    def made_there(key, make, device="cpu"):
        with torch.device(device):
            return make()

    @contextmanager
    def autocast(kind, dtype, enabled):
        """PyTorch's own asks whether there is a GPU."""
        torch.set_autocast_enabled(kind, enabled)
        torch.set_autocast_dtype(kind, dtype)
        yield
        torch.set_autocast_enabled(kind, False)
        torch.clear_autocast_cache()

    def one_step(self, key, epoch, trained, held):
        self._network.train()
        self._one_step(self._numbers(trained))
        assert self._seen.device.type == "cuda"
        return 1.0

    def no_gradient(losses):
        """PyTorch asks the GPU for its streams here."""
        for network in fitted:
            for weights in network.parameters():
                weights.grad = torch.zeros_like(weights)

    def adam(weights, *lists, lr, **settings):
        """PyTorch's own has no fake."""
        held = [lr, *weights]
        for each in lists:
            held.extend(each)
        assert {each.device.type for each in held} == {"cuda"}

    fitted = []
    fit_of = training._Fit.__init__

    def noted(self, network, *rest):
        fitted[:] = [network]
        fit_of(self, network, *rest)

    monkeypatch.setenv("VERILOOP_CUDA_GRAPHS", "0")
    monkeypatch.setattr(torch, "Generator", lambda device=None: generator())
    monkeypatch.setattr(torch, "autocast", autocast)
    monkeypatch.setattr(torch.Tensor, "backward", no_gradient)
    monkeypatch.setattr(torch, "_fused_adam_", adam)
    monkeypatch.setattr(training, "on_a_stream", lambda device: nullcontext())
    monkeypatch.setattr(training, "_is_finite", lambda network: True)
    monkeypatch.setattr(training._Fit, "__init__", noted)
    monkeypatch.setattr(training._Fit, "epoch", one_step)
    for module in (features, refit, verifiers):
        monkeypatch.setattr(module, "new_network", made_there)
        monkeypatch.setattr(module, "check_device", lambda what, device: None)
    with fake_mode:
        yield "cuda:0"


SHORT = Training(steps=1, warmup=3, precision="bf16")


def on(device, network):
    return {str(each.device) for each in network.state_dict().values()} == {device}


@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_a_generators_step_stays_on_the_gpu(gpu, images, model):
    fitted = Refit(model=model, training=SHORT, device=gpu)(Key(0), None, images)
    assert on(gpu, fitted)
    logits = fitted.decode(torch.zeros(5, 20, device=gpu), images[:5].tensors(gpu)[1])
    assert logits.shape == (5, 784) and str(logits.device) == gpu


def test_a_verifiers_step_stays_on_the_gpu(gpu, images):
    settings = {"spectral": True, "dropout": 0.1, "smoothing": 0.1}
    train = Discriminate(real=images, view="grey", training=SHORT, device=gpu, **settings)
    judge = train.fit(Key(0), Examples.of(images, images))
    assert on(gpu, judge.network)
    assert str(judge.network(*images.tensors(gpu)).device) == gpu


@pytest.mark.parametrize("name", ["small", "published"])
def test_the_feature_networks_step_stays_on_the_gpu(gpu, images, name):
    from veriloop.mnist import features

    network = features.new_network(Key(0), features.RECIPES[name].classifier, gpu)
    features._train(Key(0), network, images, SHORT, gpu)
    assert on(gpu, network)


def test_the_gradient_of_strokes_stays_on_the_gpu(gpu):
    from veriloop.mnist.cvae import AddedStrokes

    gradient = AddedStrokes.backward(None, torch.zeros(3, 784, device=gpu))
    assert gradient.shape == (3, 196, 16) and str(gradient.device) == gpu


def test_a_loss_that_forgets_the_device_is_found(gpu, images):
    """So the tests above can fail."""
    network = MLPCVAE(latent=2, hidden=(8,))  # on the CPU
    with pytest.raises(RuntimeError, match="same device|cuda:0 and cpu|cpu and cuda:0"):
        network.negative_elbo(*images.tensors(gpu), torch.Generator())
