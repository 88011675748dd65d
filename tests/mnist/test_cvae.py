"""The models compute what their formulas say: the fast decoder, the ELBO, the shapes of the published weights."""

import math
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.distributions import Bernoulli, Normal, kl_divergence

from veriloop import Key
from veriloop.mnist import CVAE, MLPCVAE, ConvCVAE, Training, load, nelbo, new_network
from veriloop.mnist.cvae import AddedStrokes, BernoulliNLL
from veriloop.mnist.training import fit

LABELS = torch.arange(24) % 10
REFERENCE = {
    "encoder.conv.0.weight": (32, 1, 4, 4),
    "encoder.conv.0.bias": (32,),
    "encoder.conv.2.weight": (64, 32, 4, 4),
    "encoder.conv.2.bias": (64,),
    "encoder.fc.weight": (40, 3146),
    "encoder.fc.bias": (40,),
    "decoder.fc.weight": (3136, 30),
    "decoder.fc.bias": (3136,),
    "decoder.deconv.0.weight": (64, 32, 4, 4),
    "decoder.deconv.0.bias": (32,),
    "decoder.deconv.2.weight": (32, 1, 4, 4),
    "decoder.deconv.2.bias": (1,),
}


def conv(latent=20):
    """In double precision, so that two ways to one result differ by rounding far below any mistake."""
    return new_network(Key(0).fold("conv", latent), lambda: ConvCVAE(latent)).double()


def uniform(*shape, key=0):
    return torch.from_numpy(Key(key).fold("uniform").numpy().random(shape))


def layer_by_layer(model, z, labels):
    """The decoder as published, on the parameters of `model`."""
    weights = dict(model.named_parameters())
    condition = torch.cat([z, torch.eye(10, dtype=z.dtype)[labels]], dim=1)
    hidden = F.linear(condition, weights["decoder.fc.weight"], weights["decoder.fc.bias"]).view(
        -1, 64, 7, 7
    )
    for i in (0, 2):
        kernel, bias = (weights[f"decoder.deconv.{i}.{name}"] for name in ("weight", "bias"))
        hidden = F.conv_transpose2d(
            hidden if i == 0 else F.gelu(hidden), kernel, bias, stride=2, padding=1
        )
    return hidden.flatten(1)


@pytest.mark.parametrize("latent", [1, 7, 20])
def test_the_fast_decoder_is_the_decoder_layer_by_layer(latent):
    """Logits, and the gradients of a random combination of them, with respect to z and to every parameter."""
    model, z = conv(latent), (uniform(24, latent) - 0.5).requires_grad_()
    fast, plain = model.decode(z, LABELS), layer_by_layer(model, z, LABELS)
    assert fast.shape == (24, 784)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)
    weights = uniform(24, 784, key=1)
    wanted = [z, *model.decoder.parameters()]
    for one, other in zip(
        torch.autograd.grad((fast * weights).sum(), wanted),
        torch.autograd.grad((plain * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_a_decoder_kept_for_many_batches_is_the_decoder():
    model, z = conv(), uniform(24, 20)
    decode = model.decoding()
    parts = [decode(z[rows], LABELS[rows]) for rows in (slice(0, 10), slice(10, 24))]
    torch.testing.assert_close(
        torch.cat(parts), layer_by_layer(model, z, LABELS), rtol=1e-10, atol=1e-12
    )


def encoded_layer_by_layer(model, pixels):
    """Mean and log variance as published: two strided convolutions, then the label beside the features."""
    weights = dict(model.named_parameters())
    hidden = pixels.view(-1, 1, 28, 28)
    for i in (0, 2):
        kernel, bias = (weights[f"encoder.conv.{i}.{name}"] for name in ("weight", "bias"))
        hidden = F.gelu(F.conv2d(hidden, kernel, bias, stride=2, padding=1))
    both = torch.cat([hidden.flatten(1), torch.eye(10, dtype=torch.double)[LABELS]], dim=1)
    return F.linear(both, weights["encoder.fc.weight"], weights["encoder.fc.bias"])


@pytest.mark.parametrize("latent", [1, 20])
def test_the_fast_encoder_is_the_encoder_layer_by_layer(latent):
    """Mean, log variance, and the gradients of a random combination of them, for every parameter."""
    model, pixels = conv(latent), uniform(24, 784)
    mean, log_var = model.encode(pixels, LABELS)
    assert mean.shape == log_var.shape == (24, latent)
    fast, plain = torch.cat([mean, log_var], dim=1), encoded_layer_by_layer(model, pixels)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-12)
    weights = uniform(24, 2 * latent, key=1)
    wanted = list(model.encoder.parameters())
    for one, other in zip(
        torch.autograd.grad((fast * weights).sum(), wanted),
        torch.autograd.grad((plain * weights).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_under_autocast_a_convolutional_model_computes_in_bf16_and_learns_in_float32():
    """To the rounding of bf16, whose unit is 1/256; the gradients are those of the weights."""
    model, pixels = new_network(Key(0), ConvCVAE), uniform(24, 784).float()
    mean, _ = model.encode(pixels, LABELS)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, _ = model.encode(pixels, LABELS)
        logits = model.decode(mean, LABELS)
    assert rounded.dtype == logits.dtype == torch.bfloat16
    assert (rounded.float() - mean).norm() < mean.norm() * 8 / 256
    plain = model.decode(mean, LABELS)
    assert (logits.float() - plain).norm() < plain.norm() * 8 / 256
    logits.float().sum().backward()
    assert all(each.grad.dtype == torch.float32 for each in model.decoder.parameters())


class LayerByLayer(ConvCVAE):
    """The same model as its layers say, for comparison."""

    def encode(self, pixels, labels):
        features = self.encoder["conv"](pixels.view(-1, 1, 28, 28)).flatten(1)
        inputs = torch.cat([features, F.one_hot(labels, 10)], dim=1)
        return self.encoder["fc"](inputs).chunk(2, dim=1)

    def decoding(self):
        def decode(z, labels):
            hidden = self.decoder["fc"](torch.cat([z, F.one_hot(labels, 10)], dim=1))
            return self.decoder["deconv"](hidden.view(-1, 64, 7, 7)).flatten(1)

        return decode


@pytest.mark.slow
def test_a_fit_in_bf16_ends_where_the_layers_in_float32_do(has_bf16):
    """The loss after the same steps on the same images, within the noise of four seeds."""
    rows, seeds, ends = load("digits").train[:64], 4, {}
    for kind, precision in ((LayerByLayer, "float32"), (ConvCVAE, "bf16")):
        for seed in range(seeds):
            model = new_network(Key(seed), partial(kind, latent=4))

            def loss(images, generator, model=model):
                return sum(model.negative_elbo(*images.tensors(), generator))

            how = Training(steps=16, batch=32, rate=3e-3, precision=precision)
            losses = fit(Key(seed), model, loss, rows, how).losses
            assert losses[-1] < 0.7 * losses[0]
            ends.setdefault(kind, []).append(losses[-1])
    plain, ours = (np.array(ends[kind]) for kind in (LayerByLayer, ConvCVAE))
    error = plain.std(ddof=1) * math.sqrt(2 / seeds)
    assert abs(ours.mean() - plain.mean()) < 2 * error


def test_parameters_have_the_names_and_shapes_of_the_published_models():
    shapes = {name: tuple(value.shape) for name, value in ConvCVAE().state_dict().items()}
    assert shapes == REFERENCE
    assert sum(math.prod(shape) for shape in REFERENCE.values()) == 289_785


@pytest.mark.parametrize(
    "hidden, encoder, decoder",
    [
        ((512,), [(512, 794), (40, 512)], [(512, 30), (784, 512)]),
        ((400, 100), [(400, 794), (100, 400), (40, 100)], [(100, 30), (400, 100), (784, 400)]),
        ((), [(40, 794)], [(784, 30)]),
    ],
)
def test_mlp_shapes(hidden, encoder, decoder):
    """The decoder mirrors the encoder; an activation between every two layers and none at the end."""
    model = MLPCVAE(hidden=hidden)
    for part, wanted in ((model.encoder, encoder), (model.decoder, decoder)):
        layers = [layer for layer in part if isinstance(layer, torch.nn.Linear)]
        assert [tuple(layer.weight.shape) for layer in layers] == wanted
        assert [type(layer) for layer in part] == ([torch.nn.Linear, torch.nn.GELU] * len(wanted))[
            :-1
        ]
    mean, log_var = model.encode(torch.zeros(3, 784), LABELS[:3])
    assert mean.shape == log_var.shape == (3, 20)
    assert model.decode(mean, LABELS[:3]).shape == (3, 784)


@pytest.mark.parametrize("model", [ConvCVAE(3), MLPCVAE(5, hidden=[16, 8])], ids=["conv", "mlp"])
def test_both_sides_see_the_label(model):
    pixels = torch.zeros(10, 784)
    mean, _ = model.encode(pixels, LABELS[:10])
    logits = model.decode(torch.zeros(10, model.latent), LABELS[:10])
    assert len(torch.unique(mean, dim=0)) == len(torch.unique(logits, dim=0)) == 10


@pytest.mark.parametrize("model", [ConvCVAE(3), MLPCVAE(5, hidden=(16, 8))], ids=["conv", "mlp"])
def test_settings_make_the_same_model_again(model):
    again = type(model)(**model.settings)
    again.load_state_dict(model.state_dict())
    assert again.settings == model.settings


@pytest.mark.parametrize("make", [ConvCVAE, MLPCVAE])
@pytest.mark.parametrize("latent", [0, -2])
def test_a_model_without_latent_dimensions_is_refused(make, latent):
    with pytest.raises(ValueError, match=f"at least 1 latent dimension, got {latent}"):
        make(latent)


# The ELBO.


class Fixed(CVAE):
    """Any posterior and any logits; the latent values it is asked to decode are kept."""

    def __init__(self, mean, log_var, logits):
        super().__init__(len(mean))
        self.mean, self.log_var, self.logits = (
            torch.tensor(part) for part in (mean, log_var, logits)
        )

    def encode(self, pixels, labels):
        return self.mean.expand(len(pixels), -1), self.log_var.expand(len(pixels), -1)

    def decoding(self):
        def decode(z, labels):
            self.z = z
            return self.logits.expand(len(z), 784)

        return decode


def test_both_parts_by_hand():
    """Means 1 and 0, deviations 1 and 2: the divergence is (1 + 3 - ln 4) / 2. Even odds cost ln 2 a pixel."""
    model = Fixed([1.0, 0.0], [0.0, math.log(4)], [0.0])
    reconstruction, kl = model.negative_elbo(torch.zeros(3, 784), LABELS[:3], Key(0).torch())
    np.testing.assert_allclose(reconstruction.numpy(), 784 * math.log(2), rtol=1e-6)
    np.testing.assert_allclose(kl.numpy(), (4 - math.log(4)) / 2, rtol=1e-6)


def test_binary_and_grey_pixels_by_hand():
    """Probability 3/4 of a one: -ln(3/4) for ones, ln 4 for zeros, their mixture for grey pixels."""
    model = Fixed([0.0], [0.0], [math.log(3)])
    pixels = torch.tensor([[1.0], [0.0], [0.2]]).expand(3, 784)
    reconstruction, _ = model.negative_elbo(pixels, LABELS[:3], Key(0).torch())
    one, zero = math.log(4 / 3), math.log(4)
    np.testing.assert_allclose(
        reconstruction.numpy(), [784 * one, 784 * zero, 784 * (0.2 * one + 0.8 * zero)], rtol=1e-5
    )


@pytest.mark.parametrize("make", [ConvCVAE, MLPCVAE, lambda: MLPCVAE(3, hidden=(30, 20))])
def test_both_parts_against_torch_distributions(make):
    """KL(q || N(0, 1)) and the Bernoulli likelihood at the posterior draw that the generator makes."""
    model = new_network(Key(1), make)
    pixels = (uniform(24, 784) < 0.3).float()
    mean, log_var = model.encode(pixels, LABELS)
    posterior = Normal(mean, torch.exp(log_var / 2))
    z = mean + posterior.scale * torch.randn(mean.shape, generator=Key(2).torch())
    likelihood = Bernoulli(logits=model.decode(z, LABELS)).log_prob(pixels).sum(1)
    reconstruction, kl = model.negative_elbo(pixels, LABELS, Key(2).torch())
    torch.testing.assert_close(
        kl, kl_divergence(posterior, Normal(0.0, 1.0)).sum(1), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(reconstruction, -likelihood, rtol=1e-5, atol=1e-3)


def test_posterior_draws_follow_the_posterior():
    """One draw an image: mean and deviation of the latent values decoded, by z over 40,000 of them."""
    n, mean, deviation = 40_000, -1.5, 3.0
    model = Fixed([mean], [2 * math.log(deviation)], [0.0])
    model.negative_elbo(torch.zeros(n, 784), torch.zeros(n, dtype=torch.long), Key(3).torch())
    standard = (model.z[:, 0].double().numpy() - mean) / deviation
    assert abs(standard.mean() * np.sqrt(n)) < 4
    assert abs((standard**2).mean() - 1) / np.sqrt(2 / n) < 4
    assert len(np.unique(standard)) > 0.99 * n


def test_a_decoder_given_is_used():
    model = Fixed([0.0], [0.0], [0.0])
    reconstruction, _ = model.negative_elbo(
        torch.ones(2, 784), LABELS[:2], Key(0).torch(), lambda z, labels: torch.full((2, 784), 50.0)
    )
    np.testing.assert_allclose(reconstruction.numpy(), 0, atol=1e-6)


def test_gradients_reach_every_parameter():
    model = new_network(Key(4), lambda: ConvCVAE(4))
    sum(model.negative_elbo(uniform(6, 784).float(), LABELS[:6], Key(0).torch())).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


# The published weights.


@pytest.mark.data
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


def test_the_cross_entropy_is_torchs_own_in_value_and_gradient():
    """To float rounding, for logits of any size and pixels of any brightness; by finite differences too."""
    draws = Key(0).fold("logits").numpy()
    logits = torch.from_numpy(draws.normal(0, 12, (50, 784)))
    pixels = torch.from_numpy(draws.random((50, 784)))
    logits[0, :5] = torch.tensor([0.0, -0.0, 90.0, -90.0, 1e-30])
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        ours, theirs = (logits.detach().clone().to(dtype).requires_grad_() for _ in range(2))
        got = BernoulliNLL.apply(ours, pixels.to(dtype))
        wanted = F.binary_cross_entropy_with_logits(theirs, pixels.to(dtype), reduction="none").sum(
            1
        )
        torch.testing.assert_close(got, wanted, rtol=tolerance, atol=0)
        (got * torch.arange(50)).sum().backward()
        (wanted * torch.arange(50)).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=tolerance, atol=50 * tolerance)
    small = logits[:3, :20].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda each: BernoulliNLL.apply(each, pixels[:3, :20]), small)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (torch.full((2, 784), 255, dtype=torch.uint8), "got torch.uint8; write Images"),
        (torch.full((2, 784), 2.0), "got values from 2 to 2; divide by 255"),
        (torch.full((2, 784), -0.5), "got values from -0.5 to -0.5; divide by 255"),
        (torch.full((2, 784), torch.nan), "got values from nan to nan"),
    ],
)
def test_an_elbo_of_what_is_no_brightness_is_refused(pixels, message):
    """It could be negative, which no loss of a Bernoulli decoder is."""
    model = MLPCVAE(latent=2, hidden=(8,))
    with pytest.raises(ValueError, match=f"negative_elbo: pixels .*{message}"):
        model.negative_elbo(pixels, torch.arange(2), torch.Generator())


@pytest.mark.parametrize("latent", [0, -1, 2.5, True])
def test_latent_dimensions_that_are_no_count_are_refused(latent):
    with pytest.raises(ValueError, match="a CVAE needs at least 1 latent dimension, got"):
        MLPCVAE(latent=latent)


@pytest.mark.parametrize("units", [0, -3, 1.5])
def test_a_layer_without_units_is_refused(units):
    with pytest.raises(ValueError, match="MLPCVAE.hidden must be an integer of at least 1, got"):
        MLPCVAE(hidden=(8, units))


def test_one_number_is_no_list_of_layers():
    with pytest.raises(
        ValueError, match=r"MLPCVAE\.hidden must be a list, .* got 16; write \[16\]"
    ):
        MLPCVAE(latent=2, hidden=16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_strokes_are_added_as_by_torch_to_the_bit(dtype):
    """In value and gradient; each pixel of a gradient is copied, and none is computed."""
    strokes = uniform(3, 14 * 14, 4 * 4).to(dtype).requires_grad_()
    gradient = uniform(3, 784, key=1).to(dtype)
    columns = strokes.transpose(1, 2)
    theirs = F.fold(columns, (28, 28), kernel_size=4, stride=2, padding=1).flatten(1)
    ours = AddedStrokes.apply(strokes)
    assert torch.equal(ours, theirs)
    (wanted,) = torch.autograd.grad(theirs, strokes, gradient)
    (found,) = torch.autograd.grad(ours, strokes, gradient)
    assert torch.equal(found, wanted)
