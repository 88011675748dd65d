"""Conditional variational autoencoders of 28 x 28 images with a Bernoulli decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriloop.mnist.data import DIGITS, PIXELS


class CVAE(nn.Module):
    r"""Base of the conditional VAEs: :math:`p(x | z, c) = \prod_i \mathrm{Bernoulli}(x_i; s(l_i(z, c)))`.

    A model says how to `encode` and, by `decoding`, how to decode; `settings` are the arguments that make it anew.
    """

    def __init__(self, latent: int, **settings: Any) -> None:
        super().__init__()
        if latent < 1:
            raise ValueError(f"a CVAE needs at least 1 latent dimension, got {latent}")
        self.latent = latent
        self.settings = {"latent": latent, **settings}

    @abstractmethod
    def encode(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z | x, c), shape (n, latent) each."""

    @abstractmethod
    def decoding(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return (z, labels) -> logits, with what does not depend on z worked out once for many batches."""

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the logits of the pixels, shape (n, 784)."""
        return self.decoding()(z, labels)

    def negative_elbo(
        self, pixels: Tensor, labels: Tensor, generator: torch.Generator, decode: Callable | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Return both parts in nats, shape (n,) each, with one posterior draw an image.

        .. math:: -\log p(x | z, c), \qquad \mathrm{KL}(q(z | x, c) \| N(0, I))
                  = \tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)

        For grey pixels, in [0, 1], the first is a cross-entropy, as in the published code.
        """
        mean, log_var = (part.float() for part in self.encode(pixels, labels))  # under autocast they are bf16
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        logits = (decode or self.decode)(mean + noise * torch.exp(0.5 * log_var), labels).float()
        reconstruction: Any = BernoulliNLL.apply(logits, pixels)
        return reconstruction, 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)


class BernoulliNLL(torch.autograd.Function):
    r"""The cross-entropy of pixels x in [0, 1], shape (n, d), under logits l, summed over pixels: shape (n,).

    .. math:: \sum_i \max(l_i, 0) - l_i x_i + \log(1 + e^{-|l_i|}), \qquad
              \frac{\partial}{\partial l_i} = s(l_i) - x_i

    PyTorch's own takes a good tenth of a fully connected model's step: its log1p is several times as slow as log.
    Here log(1 + u) is exact to 6e-8 nats a pixel, and the gradient is not affected.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(logits, pixels)
        linear = F.relu(logits).addcmul_(logits, pixels, value=-1)
        return linear.add_(logits.abs().neg_().exp_().add_(1).log_()).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, pixels = ctx.saved_tensors
        return torch.sigmoid(logits).sub_(pixels).mul_(gradient[:, None]), None


class ConvCVAE(CVAE):
    """The paper's architecture: two strided convolutions each way, 289,785 parameters at 20 latent dimensions.

    Parameters have the names and shapes of the published models, so weights of either load in the other.

    >>> sum(parameter.numel() for parameter in ConvCVAE(latent=20).parameters())
    289785
    """

    def __init__(self, latent: int = 20) -> None:
        super().__init__(latent)
        down = nn.Sequential(nn.Conv2d(1, 32, 4, 2, 1), nn.GELU(), nn.Conv2d(32, 64, 4, 2, 1), nn.GELU())
        up = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(32, 1, 4, 2, 1))
        self.encoder = nn.ModuleDict({"conv": down, "fc": nn.Linear(64 * 49 + DIGITS, 2 * latent)})
        self.decoder = nn.ModuleDict({"fc": nn.Linear(latent + DIGITS, 64 * 49), "deconv": up})

    def encode(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder["conv"](pixels.view(-1, 1, 28, 28)).flatten(1)  # (n, 64 * 7 * 7)
        return self.encoder["fc"](_with_label(features, labels)).chunk(2, dim=1)

    def decoding(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the decoder with its first two layers, which have no activation between them, as one matrix.

        The same function as layer by layer with a sixth of the arithmetic: the transposed convolution is applied to
        the columns of the linear layer, once, instead of to every image. Hidden values lie pixel by pixel, so that
        the last layer is one product as well.
        """
        linear: Any = self.decoder["fc"]
        up: Any = self.decoder["deconv"]
        first, last = up[0], up[2]
        columns = torch.cat([linear.weight.t(), linear.bias[None]]).view(-1, 64, 7, 7)
        matrix = F.conv_transpose2d(columns, first.weight, stride=2, padding=1)  # (latent + 10 + 1, 32, 14, 14)
        matrix = matrix.permute(0, 2, 3, 1).flatten(1)  # (latent + 10 + 1, 14 * 14 * 32)
        bias, kernels = matrix[-1] + first.bias.repeat(14 * 14), last.weight.flatten(1)

        def decode(z: Tensor, labels: Tensor) -> Tensor:
            hidden = F.gelu(torch.addmm(bias, _with_label(z, labels), matrix[:-1]))
            strokes = hidden.view(-1, 32) @ kernels  # (n * 14 * 14, 4 * 4): each hidden pixel's part of the image
            strokes = strokes.view(len(z), 14 * 14, 16).transpose(1, 2)
            return F.fold(strokes, (28, 28), kernel_size=4, stride=2, padding=1).flatten(1) + last.bias

        return decode


class MLPCVAE(CVAE):
    """Fully connected layers each way.

    hidden: units of each layer, mirrored in the decoder. The published code has two such models, (400,) and
    (512, 512).
    """

    def __init__(self, latent: int = 20, hidden: Sequence[int] = (512,)) -> None:
        super().__init__(latent, hidden=list(hidden))
        widths = [PIXELS + DIGITS, *hidden]
        self.encoder = _layers([*widths, 2 * latent])
        self.decoder = _layers([latent + DIGITS, *reversed(hidden), PIXELS])

    def encode(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(_with_label(pixels, labels)).chunk(2, dim=1)

    def decoding(self) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda z, labels: self.decoder(_with_label(z, labels))


def _layers(widths: Sequence[int]) -> nn.Sequential:
    linear = [nn.Linear(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(*(part for layer in linear for part in (layer, nn.GELU())))[:-1]


def _with_label(values: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([values, F.one_hot(labels, DIGITS).to(values.dtype)], dim=1)
