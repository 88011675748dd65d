"""Time whole stages of the digits' loop against the plain way, in turn; print Markdown tables.

Two threads are used.

python benchmarks/mnist.py [--quick] [--memory | --goals | --device cuda]

The plain way is what one writes first: layer by layer in float32, images as float tensors, a
DataLoader that fetches sample by sample, PyTorch's own losses and optimiser, batches of 128. The
work is the same in both columns. On a device, fits with and without CUDA graphs are the columns.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from _timing import forget_peak, peak, processor, seconds
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from veriloop import Key, Loop, State, TopFraction
from veriloop.core.bf16 import bf16_is_fast, cpu_has_bf16
from veriloop.mnist import (
    CVAE,
    MLPCVAE,
    Discriminate,
    Discriminator,
    Generate,
    Judge,
    Measure,
    Refit,
    Training,
    balanced,
    feature_net,
    have_mnist,
    load,
    nelbo,
    precision_recall,
    probabilities,
)
from veriloop.mnist.cuda_graph import SWITCH

KEY = Key(0).fold("bench")
LATENT, HIDDEN = 20, (512, 256, 128, 64)
# Multiply-adds an image: the convolutional model's encoder, its decoder as one writes it and as one
# matrix, the making of that matrix a step, and the discriminator.
ENCODE = 196 * 16 * 32 + 49 * 16 * 32 * 64 + 3146 * 40
DECODE_PLAIN = 30 * 3136 + 49 * 64 * 16 * 32 + 196 * 32 * 16
DECODE, MATRIX = 30 * 6272 + 196 * 32 * 16, 31 * 49 * 64 * 16 * 32
JUDGE = 784 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64
FIT = 3 * (ENCODE + DECODE + MATRIX / 128)  # one image in one step


class Stage(NamedTuple):
    """One row of the table; `operations` are the multiply-adds that ours needs, in 10^9."""

    name: str
    plain: Callable[[], object]
    ours: Callable[[], object]
    operations: float
    bf16: bool


class PlainCVAE(nn.Module):
    """The convolutional model layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1), nn.GELU(), nn.Conv2d(32, 64, 4, 2, 1), nn.GELU()
        )
        self.posterior = nn.Linear(64 * 49 + 10, 2 * LATENT)
        self.start = nn.Linear(LATENT + 10, 64 * 49)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)
        )

    def decode(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return logits, shape (n, 1, 28, 28)."""
        hidden = self.start(torch.cat([z, F.one_hot(labels, 10).float()], 1))
        return self.up(hidden.view(-1, 64, 7, 7))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the negative ELBO, summed over images."""
        features = self.down(images).flatten(1)
        mean, log_var = self.posterior(
            torch.cat([features, F.one_hot(labels, 10).float()], 1)
        ).chunk(2, 1)
        logits = self.decode(mean + torch.randn_like(mean) * (0.5 * log_var).exp(), labels)
        cross_entropy = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        return cross_entropy - 0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()


def plain_epochs(
    network: nn.Module, loss: Callable[..., Tensor], data: TensorDataset, epochs: int
) -> None:
    """Fit by Adam in batches of 128."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in DataLoader(data, batch_size=128, shuffle=True):
            optimizer.zero_grad()
            loss(*batch).backward()
            optimizer.step()


@torch.no_grad()
def plain_images(model: PlainCVAE, digit: int, n: int) -> Tensor:
    """Draw float images of one digit, shape (n, 784)."""
    parts = []
    for start in range(0, n, 1000):
        rows = min(1000, n - start)
        logits = model.decode(torch.randn(rows, LATENT), torch.full((rows,), digit))
        parts.append(torch.bernoulli(torch.sigmoid(logits)).flatten(1))
    return torch.cat(parts)


def plain_examples(model: PlainCVAE, real: TensorDataset, n: int) -> TensorDataset:
    """Put real images, cut at half brightness one by one, and as many synthetic ones together."""
    shown = torch.stack([(image > 0.5).float().flatten() for image, _ in real])
    synthetic = torch.cat([plain_images(model, digit, n // 10) for digit in range(10)])
    flags = torch.cat([torch.ones(len(shown)), torch.zeros(len(synthetic))])
    return TensorDataset(torch.cat([shown, synthetic]), flags)


@torch.no_grad()
def plain_selection(model: PlainCVAE, network: nn.Module, n: int, draw: int = 6000) -> Tensor:
    """Draw, score and keep the best tenth of every draw, by digit, until there are `n` images."""
    kept = []
    for digit in range(10):
        own: list[Tensor] = []
        while sum(map(len, own)) < n // 10:
            images = plain_images(model, digit, min(draw, n))
            scores = torch.sigmoid(network(images)).squeeze(1)
            own.append(images[scores >= torch.quantile(scores, 0.9)])
        kept.append(torch.cat(own)[: n // 10])
    return torch.cat(kept)


@torch.no_grad()
def plain_measure(
    model: PlainCVAE, test: TensorDataset, features: Any, real: np.ndarray
) -> tuple[float, float]:
    """Return the NELBO of the test images and the Frechet distance of as many generated ones."""
    from scipy.linalg import sqrtm

    total = sum(float(model.loss(*batch)) for batch in DataLoader(test, batch_size=128))
    each = len(test) // 10
    drawn = []
    for digit in range(10):
        labels = torch.full((each,), digit)
        drawn.append(torch.sigmoid(model.decode(torch.randn(each, LATENT), labels)))
    images = torch.cat(drawn)
    values = features.network.features(images.flatten(1)).numpy()
    a, b = np.cov(real, rowvar=False), np.cov(values, rowvar=False)
    root = np.real(sqrtm(a @ b))
    apart = ((real.mean(0) - values.mean(0)) ** 2).sum()
    return total / len(test), float(apart + np.trace(a + b - 2 * root))


def plain_discriminator() -> nn.Sequential:
    """Return the published verifier's layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((784, *HIDDEN[:-1]), HIDDEN, strict=True):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(64, 1))


def judge_loss(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the verifier's cross-entropy, summed over images."""

    def loss(pixels: Tensor, flags: Tensor) -> Tensor:
        odds = network(pixels).squeeze(1)
        return F.binary_cross_entropy_with_logits(odds, flags, reduction="sum")

    return loss


def tensors(images: Any) -> TensorDataset:
    """Return float images, shape (n, 1, 28, 28), and labels."""
    pixels, labels = images.grey().tensors()
    return TensorDataset(pixels.view(-1, 1, 28, 28), labels)


def selection(judge: Judge, chunk: int | None = None) -> Loop:
    """Return the loop that generates, scores and keeps the best tenth a digit, and fits nothing."""
    return Loop(
        generate=Generate(),
        verify=judge,
        filter=TopFraction(0.1),
        refit=lambda key, model, images: model,
        group=lambda images: images.labels,
        block=60_000,
        chunk=chunk,
    )


def stages(data: Any, scale: int) -> list[Stage]:
    """Return the stages, each with `1 / scale` of its images."""
    first, epochs = balanced(KEY, data.train, 500 if scale == 1 else 100), 154 // scale
    real, n = data.train[: 60_000 // scale], 60_000 // scale
    kept = 20_000 // scale
    plain = PlainCVAE()
    plain_epochs(plain, plain.loss, tensors(first), 2)
    model = Refit(training=Training(steps=8))(KEY, None, first)
    made = Generate()(KEY, model, kept)
    made_tensors, real_tensors = tensors(made), tensors(real)
    plain_judge = plain_discriminator()
    examples = plain_examples(plain, real_tensors, n)
    training = Training(epochs=1, patience=None, batch=512, precision="bf16")
    train = Discriminate(real=real, conditional=False, training=training)
    loop = selection(Judge(Discriminator()))
    features = feature_net(data)
    test, real_values = tensors(data.test), features.read(data.test)[0]
    measure = Measure(data.test, features, len(data.test) // 10 * 10)
    measure(KEY, model)  # what is worked out once a run
    once = Training(epochs=1, patience=None, precision="bf16")
    images = len(first) * epochs
    prepared = train.examples(KEY, model)
    return [
        Stage(
            f"first model: {len(first)} images, {epochs} epochs",
            lambda: plain_epochs(new := PlainCVAE(), new.loss, tensors(first), epochs),
            lambda: Refit(training=replace(once, epochs=epochs))(KEY, None, first),
            images * FIT / 1e9,
            True,
        ),
        Stage(
            f"verifier's set: {n:,} real, {n:,} synthetic",
            lambda: plain_examples(plain, real_tensors, n),
            lambda: train.examples(KEY, model),
            n * DECODE / 1e9,
            False,
        ),
        Stage(
            f"verifier's epoch over {2 * n:,} (batch 128; 512)",
            lambda: plain_epochs(plain_judge, judge_loss(plain_judge), examples, 1),
            lambda: train.fit(KEY, prepared),
            2 * n * (3 * JUDGE - 784 * 512) / 1e9,
            True,
        ),
        Stage(
            f"generate {10 * kept:,}, keep {kept:,}",
            lambda: plain_selection(plain, plain_judge, kept),
            lambda: loop.step(KEY, State(model), 10 * kept),
            10 * kept * (DECODE + JUDGE) / 1e9,
            False,
        ),
        Stage(
            f"CVAE's epoch over {kept:,}",
            lambda: plain_epochs(plain, plain.loss, made_tensors, 1),
            lambda: Refit(training=once, warm=True)(KEY, model, made),
            kept * FIT / 1e9,
            True,
        ),
        Stage(
            f"NELBO and MNIST-FID on {len(test):,}",
            lambda: plain_measure(plain, test, features, real_values),
            lambda: measure(KEY, model),
            len(test) * (ENCODE + 2 * DECODE) / 1e9,
            False,
        ),
    ]


def goals(data: Any, scale: int) -> list[Stage]:
    """Return the fits of configs/mnist_published.yaml, in the published batches of 128.

    The verifier's 80 epochs are one epoch 80 times, so one is timed.
    """
    few = balanced(KEY, data.train, 500 if scale == 1 else 100)
    many = balanced(KEY, data.train, 20_000).threshold() if scale == 1 else few.threshold()
    real, epochs = data.train[: 60_000 // scale], 60 // scale
    once = Training(epochs=1, patience=None, precision="bf16")
    model = Refit(training=Training(steps=8))(KEY, None, few)
    train = Discriminate(real=real, view="threshold", conditional=False, training=once)
    examples = train.examples(KEY, model)
    pixels, _ = examples.images.tensors()
    plain_examples = TensorDataset(pixels, torch.from_numpy(examples.real))
    few_tensors, many_tensors = tensors(few), tensors(many)

    def plain_fit(images: TensorDataset, epochs: int) -> None:
        model = PlainCVAE()
        plain_epochs(model, model.loss, images, epochs)

    def plain_verifier() -> None:
        network = plain_discriminator()
        plain_epochs(network, judge_loss(network), plain_examples, 1)

    return [
        Stage(
            f"CVAE: {len(few)} images, {epochs} epochs",
            lambda: plain_fit(few_tensors, epochs),
            lambda: Refit(training=replace(once, epochs=epochs))(KEY, None, few),
            len(few) * epochs * FIT / 1e9,
            True,
        ),
        Stage(
            f"CVAE: {len(many):,} images, 1 epoch",
            lambda: plain_fit(many_tensors, 1),
            lambda: Refit(training=once)(KEY, None, many),
            len(many) * FIT / 1e9,
            True,
        ),
        Stage(
            f"verifier: {len(examples):,} images, 1 epoch",
            plain_verifier,
            lambda: train.fit(KEY, examples),
            len(examples) * (3 * JUDGE - 784 * 512) / 1e9,
            True,
        ),
    ]


def products(
    dtype: torch.dtype, shape: tuple[int, int, int] = (512, 784, 512), device: str = "cpu"
) -> float:
    """Return how many thousand million multiply-adds a second matrix products of a shape reach."""
    rows, inner, columns = shape
    a = torch.randn(rows, inner).to(device, dtype)
    b = torch.randn(inner, columns).to(device, dtype)

    def work() -> None:
        for _ in range(50):
            torch.mm(a, b)
        wait(device)

    return 50 * a.numel() * columns / seconds(work).min() / 1e9


def wait(device: str) -> None:
    """Wait until a device has done what it was asked."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def stage_table(chosen: list[Stage], repeats: int) -> None:
    """Print each stage's times, their ratio, and how long its multiply-adds alone would take."""
    rates = {"bf16": products(torch.bfloat16), "float32": products(torch.float32)}
    print(
        "matrix products: "
        + ", ".join(f"{2 * rate:.0f} GFLOP/s in {name}" for name, rate in rates.items())
    )
    print(
        "\n| stage | plain, s | range | veriloop, s | range | times faster | range "
        "| arithmetic alone, s | x that |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for stage in chosen:
        times = seconds(stage.plain, stage.ours, repeats=repeats)
        (plain, ours), ratios = np.median(times, axis=0), times[:, 0] / times[:, 1]
        kind = "float32"
        if stage.bf16 and cpu_has_bf16():
            kind = "bf16"
        floor = stage.operations / rates[kind]
        spans = [f"{own.min():.2f}-{own.max():.2f}" for own in times.T]
        print(
            f"| {stage.name} | {plain:.2f} | {spans[0]} | {ours:.2f} | {spans[1]} "
            f"| {np.median(ratios):.2f} | {ratios.min():.2f}-{ratios.max():.2f} | {floor:.2f} "
            f"| {ours / floor:.1f} |",
            flush=True,
        )


class Fit(NamedTuple):
    """A fit on a device: steps -> done, and the multiply-adds of one step, in 10^9."""

    name: str
    work: Callable[[int], object]
    operations: float


def device_fits(data: Any, scale: int, device: str) -> list[Fit]:
    """Return the fits of the published protocol, in batches of 128."""
    many = balanced(KEY, data.train, 20_000) if scale == 1 else data.train
    real = data.train[: 60_000 // scale]
    once = Training(steps=1, precision="bf16")
    judge = Discriminate(real=real, view="threshold", conditional=False, device=device)
    examples = judge.examples(KEY, Refit(training=once, device=device)(KEY, None, many))

    def generator(model: str, steps: int) -> CVAE:
        how = replace(once, steps=steps)
        return Refit(model=model, training=how, device=device)(KEY, None, many.threshold())

    def verifier(steps: int) -> Judge:
        return replace(judge, training=replace(once, steps=steps)).fit(KEY, examples)

    mlp = 2 * (784 * 512 + 512 * 40)
    return [
        Fit("CVAE, convolutional", lambda steps: generator("conv", steps), 128 * FIT / 1e9),
        Fit("CVAE, fully connected", lambda steps: generator("mlp", steps), 128 * 3 * mlp / 1e9),
        Fit("verifier", verifier, 128 * (3 * JUDGE - 784 * 512) / 1e9),
    ]


def with_graphs(switch: str, work: Callable[[], object]) -> Callable[[], None]:
    """Return a work that is done with CUDA graphs on, 1, or off, 0."""

    def switched() -> None:
        os.environ[SWITCH] = switch
        work()

    return switched


def device_table(data: Any, scale: int, device: str, repeats: int) -> None:
    """Print the speed of fits on a device, with and without graphs, and of all else in a round."""
    side = 8192 // scale
    dtype = torch.float32
    if bf16_is_fast(torch.device(device)):
        dtype = torch.bfloat16
    rate = products(dtype, (side, side, side), device)
    print(f"{dtype} products of {side} x {side}: {2 * rate / 1e3:.1f} TFLOP/s")
    steps = 4000 if scale == 1 else 20
    print(
        "\n| fit, steps of 128 | steps a second, plain | with graphs | times faster | us a step "
        "| arithmetic alone, us |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    fits = device_fits(data, scale, device)
    for fit in fits:
        plainly = with_graphs("0", lambda fit=fit: fit.work(steps))
        captured = with_graphs("1", lambda fit=fit: fit.work(steps))
        times = seconds(plainly, captured, repeats=repeats)
        plain, ours = np.median(times, axis=0)
        ratio = np.median(times[:, 0] / times[:, 1])
        print(
            f"| {fit.name} | {steps / plain:.0f} | {steps / ours:.0f} | {ratio:.2f} "
            f"| {1e6 * ours / steps:.0f} | {1e6 * fit.operations / rate:.1f} |",
            flush=True,
        )
    parts_table(data, scale, device, repeats)
    for fit in fits:
        kernel_table(fit)


def parts_table(data: Any, scale: int, device: str, repeats: int) -> None:
    """Print how long a round's other parts take on a device."""
    n = 200_000 // scale
    how = Training(steps=8, precision="bf16")
    model = Refit(training=how, device=device)(KEY, None, data.train)
    images = Generate()(KEY, model, n)
    judge = Judge(Discriminator().to(device).eval())
    features = feature_net(data, 2, device=device)
    measure = Measure(data.test, features, 6000 if scale == 1 else 500)
    measure(KEY, model)  # what is worked out once a run
    parts: dict[str, Callable[[], object]] = {
        f"generate {n:,}": lambda: Generate()(KEY, model, n),
        f"judge {n:,}": lambda: judge(KEY, images),
        f"draw {measure.images:,} grey images": lambda: probabilities(KEY, model, measure.images),
        "measure a model": lambda: measure(KEY, model),
    }
    print("\n| part | s |")
    print("|---|--:|")
    for name, work in parts.items():
        took = np.median(seconds(work, repeats=repeats))
        print(f"| {name} | {took:.3f} |", flush=True)


def kernel_table(fit: Fit) -> None:
    """Print which kernels the plain steps of a fit launch, and how long they keep the GPU busy."""
    from torch.profiler import profile

    steps = 20
    os.environ[SWITCH] = "0"
    with profile() as seen:
        fit.work(steps)
    averages = seen.key_averages()
    if torch.cuda.is_available():
        kernels = [each for each in averages if str(each.device_type).endswith("CUDA")]
        count = sum(each.count for each in kernels) / steps
        busy = sum(each.self_device_time_total for each in kernels) / steps
        print(f"\n{fit.name}: {count:.0f} kernels a step, busy for {busy:.0f} us")
    order = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    print(averages.table(sort_by=order, row_limit=20, max_name_column_width=60))


def precision_table(data: Any, scale: int, seeds: int) -> None:
    """Print the NELBO after the same steps on the same images in either precision, by seed."""
    if not cpu_has_bf16():
        print("\nno bfloat16 here: fits in bf16 are fits in float32")
        return
    images, test = data.train[: 20_000 // scale], data.test
    print(
        "\n| fit to 20,000 real images | NELBO, float32 | sd of seeds | bf16 - float32 "
        "| standard error |"
    )
    print("|---|--:|--:|--:|--:|")
    for model, steps in (("conv", 300), ("mlp", 1000)):
        found = np.empty((seeds, 2))
        for seed in range(seeds):
            for i, precision in enumerate(("float32", "bf16")):
                how = Training(steps=steps // scale, rate=2e-3, decay=True, precision=precision)
                fitted = Refit(model=model, training=how)(KEY.fold(seed), None, images)
                found[seed, i] = nelbo(fitted, test.pixels, test.labels, KEY.fold(seed))[0]
        apart = found[:, 1] - found[:, 0]
        error = apart.std(ddof=1) / np.sqrt(seeds)
        spread = found[:, 0].std(ddof=1)
        print(
            f"| {model}, {steps // scale} steps | {found[:, 0].mean():.2f} | {spread:.2f} "
            f"| {apart.mean():+.3f} | {error:.3f} |",
            flush=True,
        )


def memory(candidates: int) -> None:
    """Run one round that keeps a tenth of so many candidates, here, and print what it took."""
    model = MLPCVAE(hidden=(32,)).eval()  # what is held does not depend on the model, and time does
    forget_peak()
    before = peak()
    loop = selection(Judge(Discriminator()), chunk=2_000_000)
    (took,) = seconds(lambda: print(loop.step(KEY, State(model), candidates)[1].kept), repeats=1)[
        :, 0
    ]
    most = peak()
    print(
        f"{candidates:,} candidates, {took:.0f} s: {most / 2**30:.2f} GiB at most, "
        f"{before / 2**30:.2f} before"
    )


def neighbours(rows: int) -> None:
    """Take precision and recall of so many rows of 128 features each, and print what it took."""
    real, generated = KEY.numpy().standard_normal((2, rows, 128), dtype=np.float32)
    forget_peak()
    before = peak()
    (took,) = seconds(lambda: print(precision_recall(real, generated)), repeats=1)[:, 0]
    most = peak()
    print(
        f"{rows:,} x {rows:,} rows, {took:.0f} s: {most / 2**30:.2f} GiB at most, "
        f"{before / 2**30:.2f} before"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument(
        "--memory",
        action="store_true",
        help="precision and recall of 50,000 rows, and one round of 10 million candidates",
    )
    parser.add_argument(
        "--goals", action="store_true", help="the three fits of the published protocol alone"
    )
    parser.add_argument(
        "--device", help="the fits and a round's other parts on this device alone, such as cuda"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(
        1 if arguments.device else 2
    )  # a round on a device has one, as in a study
    print(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )
    if arguments.memory:
        neighbours(1_000 if arguments.quick else 50_000)
        memory(100_000 if arguments.quick else 10_000_000)
    else:
        digits = load("mnist" if have_mnist() else "digits")
        scale = 20 if arguments.quick else 1
        if arguments.device:
            device_table(digits, scale, arguments.device, 1 if arguments.quick else 3)
            raise SystemExit
        if arguments.goals:
            stage_table(goals(digits, scale), 1 if arguments.quick else 5)
            raise SystemExit
        stage_table(stages(digits, scale), 1 if arguments.quick else 2)
        precision_table(digits, scale, 2 if arguments.quick else 5)
