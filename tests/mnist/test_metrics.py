"""Distances against closed forms and torchmetrics; precision, recall and coverage on sets made by hand."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key
from veriloop.mnist import MLPCVAE, Measure, frechet_distance, nelbo, new_network, precision_recall
from veriloop.mnist.distances import Gaussian


def test_the_distance_of_gaussians_in_closed_form():
    """Diagonal covariances: |m - m'|^2 + sum (s - s')^2; also where both are singular."""
    mean, s, t = np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.0, 1.0]), np.array([1.0, 0.0, 3.0])
    one, other = Gaussian(mean, np.diag(s**2)), Gaussian(0 * mean, np.diag(t**2))
    assert one.distance(other) == pytest.approx((mean**2).sum() + ((s - t) ** 2).sum())
    assert other.distance(one) == pytest.approx(one.distance(other))


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


@pytest.mark.parametrize(
    ("a", "b"), [(np.zeros((1, 2)), np.zeros((5, 2))), (np.zeros(5), np.zeros(5))]
)
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
    model = new_network(Key(0), lambda: MLPCVAE(hidden=(16,)))
    measure = Measure(digits.test, features, images=100)
    numbers = measure(Key(1), model)
    wanted = "nelbo reconstruction kl nelbo_own mnist_fid agreement diversity entropy".split()
    wanted += ["precision", "recall", "coverage"]
    assert list(numbers) == wanted + [
        f"coverage_{digit}" for digit in range(10)
    ]  # no fid without Inception
    assert all(isinstance(value, float) and np.isfinite(value) for value in numbers.values())
    assert numbers == measure(Key(1), model)
    with pytest.raises(ValueError, match="multiple of 10, at least 100, got 55"):
        Measure(digits.test, features, images=55)


# Frechet distance.


def z_free(n, d, key):
    return Key(key).fold("sample").numpy().standard_normal((n, d))


@pytest.mark.parametrize("n", [2, 30])
def test_the_distance_in_one_dimension(n):
    """(m - m')^2 + (s - s')^2 of the samples' own means and deviations."""
    a, b = z_free(n, 1, 0), 3 * z_free(n + 5, 1, 1) + 2
    wanted = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert frechet_distance(a, b) == pytest.approx(wanted)


@pytest.mark.parametrize("n, m, d", [(50, 60, 4), (6, 9, 40), (3, 200, 20)])
def test_the_distance_against_the_root_of_the_product(n, m, d):
    """tr (A B)^(1/2) as the sum of roots of eigenvalues; also for fewer rows than features, where A is singular."""
    a, b = z_free(n, d, 0) * np.linspace(0.1, 3, d), z_free(m, d, 1) @ z_free(d, d, 2) + 1
    roots = np.sqrt(np.maximum(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real, 0)).sum()
    traces = np.cov(a.T).trace() + np.cov(b.T).trace()
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + traces - 2 * roots
    # A zero eigenvalue is 1e-16 of the scale, and its root 1e-8: d of them are the rounding of `wanted`.
    rounding = 4 * d * 1e-8 * np.sqrt(np.cov(a.T).trace() * np.cov(b.T).trace())
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9, abs=rounding)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    assert rounding < 1e-3 * wanted


@pytest.mark.parametrize("n, d, scale", [(10, 3, 1.0), (5, 30, 1.0), (40, 8, 1e4), (40, 8, 1e-4)])
def test_identical_samples_are_at_distance_zero(n, d, scale):
    """Up to rounding, relative to the trace; also for samples in another order and of integers."""
    a = scale * z_free(n, d, 3)
    for other in (a, a[::-1]):
        assert abs(frechet_distance(a, other)) < 1e-7 * np.cov(a.T).trace()
    assert abs(frechet_distance([[0, 1], [2, 5], [4, 4]], [[4, 4], [0, 1], [2, 5]])) < 1e-7


def test_the_distance_does_not_know_the_axes():
    """Rotating both samples changes nothing; shifting one adds the squared length of the shift to 0."""
    a, b = z_free(40, 6, 4), z_free(40, 6, 5) * np.arange(1, 7)
    turn, shift = np.linalg.qr(z_free(6, 6, 6))[0], np.arange(6.0)
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    for rows in (a, a[:4]):  # more rows than features, and fewer
        assert frechet_distance(rows, rows + shift) == pytest.approx((shift**2).sum(), rel=1e-6)


# Precision, recall, coverage.


@given(st.integers(0, 10**6), st.integers(4, 14), st.integers(4, 14), st.integers(1, 3))
def test_balls_by_hand(seed, n, m, k):
    """Integers, whose squared distances are exact: every pair in turn, ties and copies of a row included."""
    rng = np.random.default_rng(seed)
    real, generated = rng.integers(0, 6, (n, 2)), rng.integers(0, 8, (m, 2))

    def far(a, b):
        return int(((a - b) ** 2).sum())

    def reach(rows, i):
        return sorted(far(rows[i], row) for j, row in enumerate(rows) if j != i)[k - 1]

    real_reach, made_reach = (
        [reach(real, i) for i in range(n)],
        [reach(generated, j) for j in range(m)],
    )
    precision = np.mean(
        [any(far(real[i], each) <= real_reach[i] for i in range(n)) for each in generated]
    )
    recall = np.mean(
        [any(far(each, generated[j]) <= made_reach[j] for j in range(m)) for each in real]
    )
    coverage = np.mean(
        [any(far(real[i], each) <= real_reach[i] for each in generated) for i in range(n)]
    )
    assert precision_recall(real, generated, k) == pytest.approx((precision, recall, coverage))


def test_an_invented_mode_costs_precision_alone():
    noise = Key(0).numpy().standard_normal((2, 100, 2))
    real, generated = noise[0], np.concatenate([noise[0], noise[1] + 100])
    assert precision_recall(real, generated) == (0.5, 1, 1)


@pytest.mark.parametrize("n, m, k", [(5, 9, 5), (9, 5, 5), (2, 2, 2), (1, 9, 1)])
def test_more_neighbours_than_rows_are_refused(n, m, k):
    with pytest.raises(ValueError, match=f"neighbour {k} need more rows, got {n} and {m}"):
        precision_recall(np.zeros((n, 2)), np.zeros((m, 2)), k)


# The ELBO on real images.


def test_nelbo_is_the_mean_of_both_parts_over_all_images(model, digits):
    """1,297 images, more than are scored at once: as in one go, up to rounding; its sum; its key."""
    pixels, labels = digits.train.tensors()
    total, reconstruction, kl = nelbo(model, pixels, labels, Key(0))
    generator = Key(0).torch()
    parts = [
        model.negative_elbo(pixels[rows], labels[rows], generator)
        for rows in (slice(1000), slice(1000, None))
    ]
    wanted = [torch.cat(each).double().mean().item() for each in zip(*parts, strict=True)]
    assert (reconstruction, kl) == pytest.approx(wanted, rel=1e-5)
    assert total == reconstruction + kl
    assert nelbo(model, pixels, labels, Key(0)) == (total, reconstruction, kl)
    other = nelbo(model, pixels, labels, Key(1))
    assert other[1] != reconstruction and other[2] == kl  # the divergence has no chance in it


def test_nelbo_takes_images_in_any_shape_and_type(model, digits):
    grey, labels = digits.test[:30].grey().pixels // 2, digits.test[:30].labels
    wanted = nelbo(model, grey, labels, Key(0))
    assert nelbo(model, grey.reshape(30, 28, 28), labels, Key(0)) == wanted
    assert (
        nelbo(model, torch.from_numpy(grey).view(30, 1, 28, 28), labels.tolist(), Key(0)) == wanted
    )
    for dtype in (np.float32, np.float64):
        assert nelbo(model, grey.astype(dtype) / dtype(255), labels, Key(0)) == pytest.approx(
            wanted, rel=1e-5
        )


def test_nelbo_leaves_the_model_and_the_generator_alone(model, digits, same_bytes):
    state, before = torch.get_rng_state(), copy.deepcopy(model)
    nelbo(model, *digits.test.tensors(), Key(0))
    assert torch.equal(state, torch.get_rng_state()) and same_bytes(model, before)


# Measure, on a reader of digits made by hand.


class Reader:
    """Seven features of an image, by stripes; reads the digit that `says` makes of the label."""

    def __init__(self, says=lambda labels: labels):
        self.says, self.seen = says, []

    def read(self, images):
        self.seen.append(images)
        stripes = images.tensors()[0].view(-1, 7, 112).mean(dim=2).numpy()
        return stripes, self.says(images.labels.astype(int))


def test_measure_by_hand(model, digits):
    """Every number from the images that the reader was shown, real ones once for two measurements."""
    reader = Reader(lambda labels: np.where(labels < 4, labels, 0))
    measure = Measure(digits.test, reader, images=200)
    numbers = measure(Key(0), model)
    measure(Key(1), model)
    real = digits.test
    assert sum(each is real for each in reader.seen) == 1
    made, other = (each for each in reader.seen if each is not real)
    assert len(made) == len(other) == 200
    assert not made.binary and not other.binary  # the probabilities, not draws from them
    assert made.pixels.tobytes() != other.pixels.tobytes()
    assert np.bincount(made.labels).tolist() == [20] * 10

    (a, _), (b, _) = (Reader().read(images) for images in (real, made))
    assert numbers["mnist_fid"] == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert numbers["agreement"] == 0.4
    assert numbers["entropy"] == pytest.approx(-(0.7 * np.log(0.7) + 0.3 * np.log(0.1)))
    spread = [
        np.mean([((f[of == d] - f[of == d].mean(0)) ** 2).mean(0).sum() for d in range(10)])
        for f, of in ((b, made.labels), (a, real.labels))
    ]
    assert numbers["diversity"] == pytest.approx(spread[0] / spread[1], rel=1e-4)
    table = np.array(
        [precision_recall(a[real.labels == d], b[made.labels == d]) for d in range(10)]
    )
    for name, column in zip(("precision", "recall", "coverage"), table.T, strict=True):
        assert numbers[name] == pytest.approx(column.mean())
    assert [numbers[f"coverage_{d}"] for d in range(10)] == pytest.approx(table[:, 2])
    assert numbers["nelbo"] == numbers["reconstruction"] + numbers["kl"]
    assert numbers["nelbo_own"] == nelbo(model, *made.tensors(), Key(0).fold("nelbo_own"))[0]


def test_a_perfect_reader_agrees_and_sees_ten_equal_shares(model, digits):
    numbers = Measure(digits.test, Reader(), images=100)(Key(0), model)
    assert numbers["agreement"] == 1 and numbers["entropy"] == pytest.approx(np.log(10))
    one = Measure(digits.test, Reader(lambda labels: 0 * labels + 3), images=100)(Key(0), model)
    assert one["agreement"] == 0.1 and one["entropy"] == 0


def test_inception_measures_the_same_generated_images(model, digits):
    """Its distance is `fid`, beside all other names; nothing else changes."""
    reader, seen = Reader(), []
    plain = Measure(digits.test, reader, images=100)(Key(0), model)
    numbers = Measure(
        digits.test, reader, images=100, inception=lambda made: seen.append(made) or 7.5
    )(Key(0), model)
    assert numbers == {**plain, "fid": 7.5}
    assert len(seen) == 1 and any(each is seen[0] for each in reader.seen)


def test_the_published_network_measures_the_same_generated_images(model, digits):
    """Its distance is `mnist_fid_v2`; it reads real images once; no other number changes."""
    plain = Measure(digits.test, Reader(), images=100)(Key(0), model)
    reader = Reader()
    measure = Measure(digits.test, Reader(), images=100, published=reader)
    numbers = measure(Key(0), model)
    measure(Key(1), model)
    assert sum(each is digits.test for each in reader.seen) == 1 and len(reader.seen) == 3
    made = next(each for each in reader.seen if each is not digits.test)
    (a, _), (b, _) = (Reader().read(images) for images in (digits.test, made))
    distance = numbers.pop("mnist_fid_v2")
    assert distance == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert numbers == plain and distance == plain["mnist_fid"]  # both readers are one here


def test_the_better_model_measures_better(model, refit, digits, features):
    """200 steps against 1: lower NELBO and distance, more digits read as asked for."""
    measure = Measure(digits.test, features, images=500)
    good, bad = measure(Key(0), model), measure(Key(0), refit(1)(Key(0), None, digits.train))
    assert good["nelbo"] < bad["nelbo"] and good["mnist_fid"] < bad["mnist_fid"]
    se = np.sqrt(0.25 / 500)
    assert (good["agreement"] - bad["agreement"]) / se > 4


@pytest.mark.parametrize("images", [0, 90, 105, -100])
def test_a_number_of_images_that_ten_does_not_divide_is_refused(digits, features, images):
    with pytest.raises(
        ValueError, match=rf"Measure\.images must be a multiple of 10, at least 100, got {images}"
    ):
        Measure(digits.test, features, images=images)


@pytest.mark.parametrize("k", [0, -1])
def test_balls_that_reach_to_no_neighbour_are_refused(k):
    with pytest.raises(ValueError, match=f"k must be an integer of at least 1, got {k}"):
        precision_recall(np.zeros((9, 2)), np.zeros((9, 2)), k)


def test_measure_refuses_real_images_that_it_cannot_compare(digits, features):
    """A digit with too few of them, and what is no batch of images."""
    rows = np.flatnonzero(digits.test.labels == 3)[5:]
    few = digits.test[np.delete(np.arange(len(digits.test)), rows)]
    wanted = "at least 6 images of each digit, got 5 of digit 3; give more"
    with pytest.raises(ValueError, match=wanted):
        Measure(few, features)
    with pytest.raises(TypeError, match="Measure.real must be Images, got ndarray"):
        Measure(digits.test.pixels, features)
    with pytest.raises(ValueError, match="multiple of 10, at least 100, got 200.0"):
        Measure(digits.test, features, images=200.0)


class Spoilt:
    """Reads images with features of its own making."""

    def __init__(self, spoil):
        self.spoil = spoil

    def read(self, images):
        values = images.grey().pixels[:, ::20].astype(np.float32)
        return self.spoil(values, images), images.labels


def test_measure_names_the_sample_whose_features_are_not_finite(digits, model):
    def nan_where(binary):
        def spoil(values, images):
            if images.binary == binary:
                values[4, 2] = np.nan
            return values

        return Spoilt(spoil)

    for binary, sample in ((True, "real"), (False, "generated")):
        measure = Measure(digits.test, nan_where(binary), images=100)
        wanted = f"features of the {sample} images: row 4 holds nan as feature 2"
        with pytest.raises(ValueError, match=wanted):
            measure(Key(0), model)


def test_measure_refuses_features_that_do_not_vary(digits, model):
    measure = Measure(digits.test, Spoilt(lambda values, images: 0 * values), images=100)
    with pytest.raises(ValueError, match="features of real images do not vary within digits"):
        measure(Key(0), model)


def test_nelbo_refuses_labels_of_another_number_and_no_images(model):
    wanted = "nelbo needs images and one label for each, got 2 images and 3 labels"
    with pytest.raises(ValueError, match=wanted):
        nelbo(model, np.zeros((2, 784)), np.zeros(3), Key(0))
    with pytest.raises(ValueError, match="got 0 images and 0 labels"):
        nelbo(model, np.zeros((0, 784)), np.zeros(0), Key(0))


def test_nelbo_of_a_model_that_has_diverged_is_no_number(model, digits):
    broken = copy.deepcopy(model)
    with torch.no_grad():
        next(broken.encoder.parameters())[0, 0] = torch.nan
    pixels, labels = digits.test[:4].tensors()
    with pytest.raises(FloatingPointError, match="nelbo: the ELBO is NaN, so the model has diver"):
        nelbo(broken, pixels, labels, Key(0))


def test_nelbo_takes_pixels_and_no_batch(model, digits):
    with pytest.raises(
        TypeError, match=r"nelbo: images must be pixels, got Images; write \*images"
    ):
        nelbo(model, digits.test, digits.test.labels, Key(0))
