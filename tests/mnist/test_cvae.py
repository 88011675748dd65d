"""The models are the functions they say they are, and score the published weights as published."""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from veriloop import Key
from veriloop.mnist import MLPCVAE, ConvCVAE, load, made, nelbo


@pytest.mark.parametrize("latent", [3, 20])
def test_the_fast_decoder_is_the_plain_one(latent):
    """Values and every gradient, in float64, where the order of sums does not show."""
    model = made(Key(0), lambda: ConvCVAE(latent=latent)).double()
    z = torch.randn(7, latent, generator=Key(1).torch(), dtype=torch.float64)
    labels = torch.arange(7)

    def plain():
        hidden = model.decoder["fc"](torch.cat([z, F.one_hot(labels, 10).double()], 1)).view(-1, 64, 7, 7)
        return model.decoder["deconv"](hidden).flatten(1)

    parameters = list(model.decoder.parameters())
    weights = torch.randn(7, 784, generator=Key(2).torch(), dtype=torch.float64)
    results = [
        (out, torch.autograd.grad((out * weights).sum(), parameters)) for out in (model.decode(z, labels), plain())
    ]
    (fast, fast_grads), (slow, slow_grads) = results
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    for one, other in zip(fast_grads, slow_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("make", [ConvCVAE, MLPCVAE, lambda: MLPCVAE(hidden=(30, 20))])
def test_the_elbo_is_that_of_torch_distributions(make):
    model = made(Key(0), make)
    pixels = (torch.rand(5, 784, generator=Key(1).torch()) < 0.3).float()
    labels = torch.tensor([0, 9, 5, 5, 1])
    reconstruction, kl = model.negative_elbo(pixels, labels, Key(3).torch())
    mean, log_var = model.encode(pixels, labels)
    noise = torch.randn(mean.shape, generator=Key(3).torch())
    logits = model.decode(mean + noise * (log_var / 2).exp(), labels)
    one = torch.distributions.Bernoulli(logits=logits).log_prob(pixels).sum(1)
    normal = torch.distributions.Normal
    other = torch.distributions.kl_divergence(normal(mean, (log_var / 2).exp()), normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(reconstruction, -one, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(kl, other, rtol=1e-4, atol=1e-5)


def test_a_model_without_latent_dimensions_is_refused():
    with pytest.raises(ValueError, match="at least 1 latent dimension, got 0"):
        ConvCVAE(latent=0)


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("real-500", 121.09),
        ("real-60000", 92.12),
        ("verified-30k-round40", 111.85),
        ("verified-5k-round50", 112.22),
    ],
)
def test_the_published_models_score_what_was_recorded(name, recorded):
    """Our evaluator against the authors' own, on their weights and the MNIST test set."""
    file = Path(os.environ.get("VERILOOP_DATA", "."), "cvae-reference", f"{name}.safetensors")
    if not file.exists():
        pytest.skip("the authors' models are not in VERILOOP_DATA")
    model, test = ConvCVAE(latent=20), load("mnist").test
    model.load_state_dict(load_file(file))
    total, reconstruction, kl = nelbo(model.eval(), test.pixels, test.labels, Key(0))
    assert abs(total - recorded) < 0.3 and total == pytest.approx(reconstruction + kl)
