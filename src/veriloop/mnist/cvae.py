"""Conditional variational autoencoders of 28 x 28 images with a Bernoulli decoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from veriloop.core.checks import check_count, is_count
from veriloop.mnist.images import DIGITS, PIXELS

Encoded = tuple[Tensor, Tensor]  # mean and log variance of z, shape (n, latent) each
Decode = Callable[[Tensor, Tensor], Tensor]  # (z, labels) -> logits of the pixels, shape (n, 784)


class CVAE(nn.Module):
    r"""Base of the conditional VAEs of binary images.

    .. math:: p(x | z, c) = \prod_i \mathrm{Bernoulli}(x_i; s(l_i(z, c)))

    with s the logistic function and l the decoder's logits. A subclass encodes and decodes.

    latent: the number of latent dimensions, at least 1.
    settings: the other arguments that make the same model again; they stand in `settings`.

    Raises:
        ValueError: if `latent` is no positive integer.

    >>> model = MLPCVAE(latent=2, hidden=(8,))
    >>> noise = torch.Generator().manual_seed(0)
    >>> reconstruction, kl = model.negative_elbo(torch.zeros(3, 784), torch.arange(3), noise)
    >>> reconstruction.shape, bool((kl >= 0).all())
    (torch.Size([3]), True)
    """

    def __init__(self, latent: int, **settings: object) -> None:
        super().__init__()
        if not is_count(latent, 1):
            raise ValueError(f"a CVAE needs at least 1 latent dimension, got {latent}")
        self.latent = latent
        self.settings: dict[str, object] = {"latent": latent, **settings}

    @abstractmethod
    def encode(self, pixels: Tensor, labels: Tensor) -> Encoded:
        """Return mean and log variance of q(z | x, c), shape (n, latent) each.

        pixels: in [0, 1], shape (n, 784).
        labels: the digits, int64, shape (n,).
        """

    @abstractmethod
    def decoding(self) -> Decode:
        """Return the decoder as a function of z and labels.

        What does not depend on z is computed once, here, for all batches that are decoded by it.
        """

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return the logits of the pixels, shape (n, 784)."""
        return self.decoding()(z, labels)

    def negative_elbo(
        self,
        pixels: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        decode: Decode | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Return the two parts of the negative ELBO in nats, shape (n,) each.

        .. math:: -\log p(x | z, c), \qquad \mathrm{KL}(q(z | x, c) \| N(0, I))
                  = \tfrac12 \sum_j (\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2)

        There is one posterior draw for each image. For grey pixels, in [0, 1], the first part is a
        cross-entropy, as in the published code.

        pixels: in [0, 1], shape (n, 784).
        labels: the digits, int64, shape (n,).
        generator: draws z, on the device of the model.
        decode: what `decoding` returned, where several batches are decoded by the same weights.

        Raises:
            ValueError: if the pixels are no floats, or, on the CPU, outside [0, 1].
        """
        _check_pixels(pixels)
        mean, log_var = self.encode(pixels, labels)
        mean = mean.float()  # under autocast both are bf16
        log_var = log_var.float()
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        z = mean + noise * torch.exp(0.5 * log_var)
        if decode is None:
            decode = self.decode
        logits = decode(z, labels).float()
        reconstruction = cast(Tensor, BernoulliNLL.apply(logits, pixels))
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(1)
        return reconstruction, divergence


def _check_pixels(pixels: Tensor) -> None:
    """Refuse pixels that make the ELBO meaningless.

    On a GPU their range is not looked at, since every step would wait for it.
    """
    if not pixels.is_floating_point():
        raise ValueError(
            f"negative_elbo: pixels must be floats in [0, 1], got {pixels.dtype}; "
            "write Images(pixels, labels).tensors()"
        )
    if pixels.device.type != "cpu" or not pixels.numel():
        return
    lowest, highest = torch.aminmax(pixels.detach())
    if not (lowest >= 0 and highest <= 1):
        raise ValueError(
            f"negative_elbo: pixels must be in [0, 1], got values from {float(lowest):g} to "
            f"{float(highest):g}; divide by 255, or undo the normalisation"
        )


class _Saved(Protocol):
    """What autograd keeps between the two passes."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class BernoulliNLL(torch.autograd.Function):
    r"""The cross-entropy of pixels x in [0, 1] under logits l, both of shape (n, d).

    .. math:: \sum_i \max(l_i, 0) - l_i x_i + \log(1 + e^{-|l_i|}), \qquad
              \frac{\partial}{\partial l_i} = s(l_i) - x_i

    It is summed over pixels, so its shape is (n,).

    PyTorch's own takes a good tenth of a fully connected model's step, because its log1p is several
    times as slow as log. Here log(1 + u) is exact to 6e-8 nats a pixel, and the gradient is not
    affected.
    """

    @staticmethod
    def forward(ctx: _Saved, logits: Tensor, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(logits, pixels)
        linear = F.relu(logits).addcmul_(logits, pixels, value=-1)
        return linear.add_(logits.abs().neg_().exp_().add_(1).log_()).sum(1)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: _Saved, gradient: Tensor
    ) -> tuple[Tensor, None]:
        logits, pixels = ctx.saved_tensors
        return torch.sigmoid(logits).sub_(pixels).mul_(gradient[:, None]), None


class AddedStrokes(torch.autograd.Function):
    """The sum of strokes, shape (n, 784): the last step of a transposed convolution.

    The strokes have shape (n, 14 * 14, 4 * 4): what each hidden pixel adds to the pixels around it.

    PyTorch's own gradient launches a kernel for each image on a GPU, and copies twice. Here each
    stroke reads its pixels from the gradient, in one copy. The numbers are the same.
    """

    @staticmethod
    def forward(ctx: object, strokes: Tensor) -> Tensor:
        columns = strokes.transpose(1, 2)
        return F.fold(columns, (28, 28), kernel_size=4, stride=2, padding=1).flatten(1)

    @staticmethod
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: object, gradient: Tensor
    ) -> Tensor:
        framed = F.pad(gradient.view(-1, 28, 28), (1, 1, 1, 1))
        return framed.unfold(1, 4, 2).unfold(2, 4, 2).reshape(-1, 14 * 14, 4 * 4)


class ConvCVAE(CVAE):
    """The paper's architecture: two strided convolutions each way.

    It has 289,785 parameters at 20 latent dimensions.
    Parameters have the names and shapes of the published models, so weights of either load in the
    other.

    latent: the number of latent dimensions.

    >>> sum(parameter.numel() for parameter in ConvCVAE(latent=20).parameters())
    289785
    """

    def __init__(self, latent: int = 20) -> None:
        super().__init__(latent)
        # The order of these lines decides which weights a key draws.
        down = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1),
            nn.GELU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.GELU(),
        )
        up = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.GELU(),
            nn.ConvTranspose2d(32, 1, 4, 2, 1),
        )
        to_latent = nn.Linear(64 * 49 + DIGITS, 2 * latent)
        from_latent = nn.Linear(latent + DIGITS, 64 * 49)
        self.encoder = nn.ModuleDict({"conv": down, "fc": to_latent})
        self.decoder = nn.ModuleDict({"fc": from_latent, "deconv": up})

    def encode(self, pixels: Tensor, labels: Tensor) -> Encoded:
        """Return mean and log variance of q(z | x, c), shape (n, latent) each.

        It is the same function as layer by layer. Hidden values lie pixel by pixel, which halves
        the time of a convolution's backward pass on a CPU. So the columns of the last layer are
        put in that order as well, and not the features of every image.
        """
        dtype = _working_dtype(pixels)
        down = cast(nn.Sequential, self.encoder["conv"])
        hidden = pixels.view(-1, 1, 28, 28).to(dtype)
        for layer in (down[0], down[2]):
            hidden = F.gelu(_halve(hidden, cast(nn.Conv2d, layer)))
        features = _pixel_by_pixel(hidden)  # (n, 7 * 7 * 64)
        linear = cast(nn.Linear, self.encoder["fc"])
        weight = linear.weight.to(dtype)
        columns = _pixel_by_pixel(weight[:, :-DIGITS].view(-1, 64, 7, 7))
        of_digits = torch.addmm(
            linear.bias.to(dtype), _one_hot(labels, dtype), weight[:, -DIGITS:].t()
        )
        mean, log_var = torch.addmm(of_digits, features, columns.t()).chunk(2, dim=1)
        return mean, log_var

    def decoding(self) -> Decode:
        """Return the decoder, with its first two layers as one matrix.

        No activation stands between these layers.
        It is the same function as layer by layer, with a sixth of the arithmetic. The transposed
        convolution is applied once, to the columns of the linear layer, and not to every image.
        Hidden values lie pixel by pixel, so that the last layer is one product as well.
        """
        linear = cast(nn.Linear, self.decoder["fc"])
        up = cast(nn.Sequential, self.decoder["deconv"])
        first = cast(nn.ConvTranspose2d, up[0])
        last = cast(nn.ConvTranspose2d, up[2])
        dtype = _working_dtype(linear.weight)
        first_bias = cast(Tensor, first.bias).to(dtype)
        last_bias = cast(Tensor, last.bias).to(dtype)
        columns = torch.cat([linear.weight.to(dtype).t(), linear.bias.to(dtype)[None]])
        columns = columns.view(-1, 64, 7, 7).contiguous(memory_format=torch.channels_last)
        kernel = first.weight.to(dtype, memory_format=torch.channels_last)
        matrix = _pixel_by_pixel(F.conv_transpose2d(columns, kernel, stride=2, padding=1))
        bias = matrix[-1] + first_bias.repeat(14 * 14)
        kernels = last.weight.flatten(1).to(dtype)

        def decode(z: Tensor, labels: Tensor) -> Tensor:
            inputs = _with_label(z.to(dtype), labels)
            hidden = F.gelu(torch.addmm(bias, inputs, matrix[:-1]))
            strokes = hidden.view(-1, 32) @ kernels  # what each hidden pixel adds to 4 x 4 pixels
            images = cast(Tensor, AddedStrokes.apply(strokes.view(len(z), 14 * 14, 16)))
            return images + last_bias

        return decode


def _working_dtype(values: Tensor) -> torch.dtype:
    """Return what products of these values are computed in: bf16 under autocast."""
    kind = values.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return values.dtype


def _halve(hidden: Tensor, layer: nn.Conv2d) -> Tensor:
    """Return a strided convolution whose values lie pixel by pixel, in the dtype of `hidden`."""
    weight = layer.weight.to(hidden.dtype, memory_format=torch.channels_last)
    bias = cast(Tensor, layer.bias).to(hidden.dtype)
    return F.conv2d(hidden, weight, bias, stride=2, padding=1)


def _pixel_by_pixel(values: Tensor) -> Tensor:
    """Return values of shape (n, channels, height, width) as rows, a pixel's channels together."""
    return values.permute(0, 2, 3, 1).flatten(1)


class MLPCVAE(CVAE):
    """A conditional VAE of fully connected layers.

    latent: the number of latent dimensions.
    hidden: the units of each hidden layer of the encoder; the decoder mirrors them. The published
        code has two such models, (400,) and (512, 512).

    Raises:
        ValueError: if `latent` or a number of units is no positive integer.

    >>> MLPCVAE(latent=2, hidden=(400,)).settings
    {'latent': 2, 'hidden': [400]}
    """

    def __init__(self, latent: int = 20, hidden: Sequence[int] = (512,)) -> None:
        if isinstance(hidden, int):
            raise ValueError(
                f"MLPCVAE.hidden must be a list, one number a layer, got {hidden}; write [{hidden}]"
            )
        for units in hidden:
            check_count("MLPCVAE.hidden", units)
        super().__init__(latent, hidden=list(hidden))
        self.encoder = _layers([PIXELS + DIGITS, *hidden, 2 * latent])
        self.decoder = _layers([latent + DIGITS, *reversed(hidden), PIXELS])

    def encode(self, pixels: Tensor, labels: Tensor) -> Encoded:
        mean, log_var = self.encoder(_with_label(pixels, labels)).chunk(2, dim=1)
        return mean, log_var

    def decoding(self) -> Decode:
        return lambda z, labels: self.decoder(_with_label(z, labels))


def _layers(widths: Sequence[int]) -> nn.Sequential:
    """Return linear layers of these widths, with an activation between every two."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(nn.Linear(before, after))
        layers.append(nn.GELU())
    return nn.Sequential(*layers[:-1])


def _with_label(values: Tensor, labels: Tensor) -> Tensor:
    return torch.cat([values, _one_hot(labels, values.dtype)], dim=1)


def _one_hot(labels: Tensor, dtype: torch.dtype) -> Tensor:
    return F.one_hot(labels, DIGITS).to(dtype)
