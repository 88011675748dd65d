"""Distances against closed forms and torchmetrics; precision, recall and coverage on sets made by hand."""

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.mnist import MLPCVAE, Measure, frechet_distance, made, precision_recall
from veriloop.mnist.metrics import Gaussian


def test_the_distance_of_gaussians_in_closed_form():
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2; also where both are singular."""
    mean, s, t = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.0, 1.0]), np.array([1.0, 0.0, 3.0])
    one, other = Gaussian(mean, np.diag(s**2)), Gaussian(0 * mean, np.diag(t**2))
    assert one.distance(other) == pytest.approx((mean**2).sum() + ((s - t) ** 2).sum())
    assert other.distance(one) == pytest.approx(one.distance(other))


def test_the_same_sample_is_at_distance_zero_with_more_features_than_rows():
    sample = Key(0).numpy().standard_normal((20, 50))
    assert abs(frechet_distance(sample, sample)) < 1e-9 * 50
    assert frechet_distance(sample, sample + 2) == pytest.approx(4 * 50)


def test_the_distance_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(torch.nn.Module):
        """The pixels themselves are the features."""

        num_features = 12

        def forward(self, images):
            return images.flatten(1).double()

    a, b = (Key(seed).numpy().integers(0, 256, (300, 3, 2, 2), dtype=np.uint8) for seed in (1, 2))
    b = b // 2
    metric = FrechetInceptionDistance(Flat()).set_dtype(torch.float64)
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)
    ours = frechet_distance(*(each.reshape(300, 12) for each in (a, b)))
    assert ours == pytest.approx(float(metric.compute()), rel=1e-6)


@pytest.mark.parametrize(("a", "b"), [(np.zeros((1, 2)), np.zeros((5, 2))), (np.zeros(5), np.zeros(5))])
def test_too_few_rows_or_no_table_is_refused(a, b):
    with pytest.raises(ValueError, match="shape \\(n, d\\) with n of at least 2"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match="differ in number: 2 and 3"):
        frechet_distance(np.eye(2), np.eye(3))


def test_precision_recall_and_coverage_see_a_lost_mode():
    """Two clusters; a generator of one of them is precise, and recalls and covers half."""
    noise = Key(0).numpy().standard_normal((4, 100, 2))
    real = np.concatenate([noise[0], noise[1] + 100])
    assert precision_recall(real, real) == (1, 1, 1)
    assert precision_recall(real, real + 1000) == (0, 0, 0)
    precision, recall, coverage = precision_recall(real, noise[0])
    assert (precision, recall, coverage) == (1, 0.5, 0.5)
    with pytest.raises(ValueError, match="neighbour 5 need more rows, got 5"):
        precision_recall(real[:5], real)


def test_measure_names_what_it_says_and_repeats(digits, features):
    model = made(Key(0), lambda: MLPCVAE(hidden=(16,)))
    measure = Measure(digits.test, features, images=100)
    numbers = measure(Key(1), model)
    wanted = "nelbo reconstruction kl mnist_fid agreement diversity entropy precision recall coverage".split()
    assert list(numbers) == wanted + [f"coverage_{digit}" for digit in range(10)]  # no fid without Inception
    assert all(isinstance(value, float) and np.isfinite(value) for value in numbers.values())
    assert numbers == measure(Key(1), model)
    samples = Measure(digits.test, features, images=100, view="samples")(Key(1), model)
    assert samples["nelbo"] == numbers["nelbo"] and samples["mnist_fid"] != numbers["mnist_fid"]
    with pytest.raises(ValueError, match="multiple of 10, at least 100, got 55"):
        Measure(digits.test, features, images=55)
    with pytest.raises(ValueError, match="probabilities or samples, got 'x'"):
        Measure(digits.test, features, view="x")
