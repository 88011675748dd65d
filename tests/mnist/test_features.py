"""The feature network is trained once for the same bytes, and found again by them."""

import copy
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from veriloop import Key
from veriloop.mnist import DigitOracle, Images, feature_net, new_network
from veriloop.mnist.features import RECIPES, PublishedClassifier
from veriloop.store.caches import read_tensors, write_tensors


def test_it_is_found_again_with_its_accuracy(digits, tmp_path):
    first = feature_net(digits, steps=20, folder=tmp_path)
    again = feature_net(digits, steps=20, folder=tmp_path)
    assert (again.accuracy, again.digest) == (first.accuracy, first.digest)
    for one, other in zip(first.read(digits.test), again.read(digits.test), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.accuracy == (first.read(digits.test)[1] == digits.test.labels).mean()


def test_what_lies_in_the_folder_is_taken_and_nothing_trained(digits, tmp_path):
    """A network put there that reads a 3 in everything comes back; other data or steps have another."""
    small = replace(digits, train=digits.train[:100], test=digits.test[:30])
    name = feature_net(small, steps=2, folder=tmp_path).digest
    (file,) = tmp_path.iterdir()
    tensors = read_tensors(file)
    tensors["head.bias"][3] = 1e6
    tensors["accuracy"] = torch.tensor(0.125, dtype=torch.float64)
    write_tensors(tensors, file)
    planted = file.read_bytes()
    found = feature_net(small, steps=2, folder=tmp_path)
    assert (found.accuracy, found.digest) == (0.125, name)
    assert set(found.read(small.test)[1].tolist()) == {3}
    others = [feature_net(*of, folder=tmp_path) for of in ((small, 3), (digits, 2))]
    assert all(set(other.read(small.test)[1].tolist()) != {3} for other in others)
    assert len({name, *(other.digest for other in others)}) == len(list(tmp_path.iterdir())) == 3
    assert file.read_bytes() == planted


def test_a_damaged_network_is_named_and_trained_again(digits, tmp_path):
    """One bit of one weight; and a file that an earlier version wrote, without a word."""
    small = replace(digits, train=digits.train[:100], test=digits.test[:30])
    feature_net(small, steps=2, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    damaged = bytearray(whole)
    damaged[-3] ^= 64
    file.write_bytes(damaged)
    with pytest.warns(
        UserWarning, match=f"{file.name} is damaged .its sha256 differs. and is made"
    ):
        feature_net(small, steps=2, folder=tmp_path)
    assert file.read_bytes() == whole
    save_file(load_file(file), file)
    feature_net(small, steps=2, folder=tmp_path)
    assert file.read_bytes() == whole


def test_the_network_does_not_depend_on_the_number_of_threads(digits, tmp_path):
    files = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            feature_net(digits, steps=5, folder=tmp_path / str(threads))
        finally:
            torch.set_num_threads(before)
        files += (tmp_path / str(threads)).iterdir()
    one, other = files
    assert one.name == other.name and one.read_bytes() == other.read_bytes()


def test_it_reads_digits_far_better_than_chance(features, digits):
    n = len(digits.test)
    assert (features.accuracy - 0.1) / np.sqrt(0.1 * 0.9 / n) > 20


def test_the_oracle_accepts_what_is_more_likely_than_not_the_digit_asked_for(features, digits):
    scores = DigitOracle(features)(Key(0), digits.test)
    right = features.read(digits.test)[1] == digits.test.labels
    assert right[scores >= 0].all() and (scores[~right] < 0).all()
    np.testing.assert_allclose(scores[:3], features.log_odds(digits.test[:3]), rtol=1e-4)


def test_log_odds_by_hand(features, digits):
    """ln p - ln(1 - p) of the softmax of the network's own ten numbers, for the right and for any other label."""
    images = digits.test[:60]
    values, read = features.read(images)
    logits = features.network.head(torch.from_numpy(values)).detach().numpy().astype(float)
    np.testing.assert_array_equal(read, logits.argmax(axis=1))
    for shift in range(10):
        labels = (images.labels + shift) % 10
        own = logits[np.arange(60), labels]
        others = np.where(np.arange(10) == labels[:, None], -np.inf, logits)
        wanted = own - np.log(np.exp(others).sum(axis=1))
        got = features.log_odds(Images(images.pixels, labels))
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)


def test_log_odds_of_a_certain_network_are_finite(features, digits):
    """Logits a thousand apart: the loop takes no infinite score."""
    network = copy.deepcopy(features.network)
    with torch.no_grad():
        network.head.weight *= 1000
    scores = replace(features, network=network).log_odds(digits.test)
    assert np.isfinite(scores).all() and np.abs(scores).max() > 500


def test_the_oracle_accepts_most_real_digits_and_refuses_them_under_another_label(features, digits):
    """As well as it reads: by z against a coin."""
    n, oracle = len(digits.test), DigitOracle(features)
    moved = Images(digits.test.pixels, (digits.test.labels + 3) % 10)
    right, wrong = ((oracle(Key(0), each) >= 0).mean() for each in (digits.test, moved))
    assert (right - 0.5) / np.sqrt(0.25 / n) > 4 and (0.5 - wrong) / np.sqrt(0.25 / n) > 4


def test_features_do_not_depend_on_the_batch(features, digits):
    """Beyond 1,000 images, which are read apart; in order; non-negative, as documented."""
    values, read = features.read(digits.train)
    assert values.shape == (1297, 128) and values.dtype == np.float32 and (values >= 0).all()
    some = np.array([1200, 3, 999, 1000])
    part, part_read = features.read(digits.train[some])
    np.testing.assert_allclose(values[some], part, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(read[some], part_read)


def test_networks_lie_in_the_cache_and_other_content_has_another_name(digits, cache):
    """Other pixels, labels, test images or steps; the same content in another array is the same."""
    small = replace(digits, train=digits.train[:100], test=digits.test[:30])
    swapped = Images(small.train.pixels, (small.train.labels + 1) % 10)
    others = [
        replace(small, train=small.train[:90]),
        replace(small, train=swapped),
        replace(small, test=small.train),
    ]
    nets = [feature_net(each, steps=1) for each in (small, *others)] + [feature_net(small, steps=2)]
    assert len({net.digest for net in nets}) == len(nets)
    assert {file.name for file in cache.iterdir()} == {
        f"features-{net.digest}.safetensors" for net in nets
    }
    copied = replace(small, name="other", train=small.train[np.arange(100)])
    assert feature_net(copied, steps=1).digest == nets[0].digest
    assert len(list(cache.iterdir())) == len(nets)


def test_training_leaves_the_global_generator_alone(digits):
    state = torch.get_rng_state()
    feature_net(replace(digits, train=digits.train[:50]), steps=1)
    assert torch.equal(state, torch.get_rng_state())


def test_no_images_have_no_scores(features, digits):
    """As a discriminator's judge says: an empty batch is a batch."""
    assert DigitOracle(features)(Key(0), digits.test[:0]).shape == (0,)


# The published network.


@pytest.fixture(scope="module")
def tiny(digits):
    """Few images, as its steps are slow."""
    return replace(digits, train=digits.train[:20], test=digits.test[:20])


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    """The published network after two steps."""
    folder = tmp_path_factory.mktemp("published")
    return feature_net(tiny, steps=2, network="published", folder=folder)


def test_the_published_network_has_the_published_layers():
    """Convolutions of 3 x 3 with their sizes and strides, then the average of 4 x 4, and 256 units."""
    network = new_network(Key(0), PublishedClassifier).eval()
    layers = [each for each in network.body if isinstance(each, torch.nn.Conv2d)]
    assert [each.out_channels for each in layers] == [64, 128, 256, 512]
    assert [each.kernel_size for each in layers] == [(3, 3)] * 4
    assert [each.stride[0] for each in layers] == [1, 2, 2, 2]
    weights = 9 * (64 + 64 * 128 + 128 * 256 + 256 * 512) + 3 * (64 + 128 + 256 + 512)
    weights += 512 * 256 + 256 + 256 * 10 + 10
    assert sum(each.numel() for each in network.parameters()) == weights
    with torch.no_grad():
        before = network.body[:12](torch.zeros(2, 1, 28, 28))
        assert before.shape == (2, 512, 4, 4)
        by_hand = torch.relu(network.body[14](before.mean((2, 3))))
        shown = torch.full((2, 784), 0.1307)  # what is normalised to zero
        torch.testing.assert_close(network.features(shown), by_hand, rtol=1e-4, atol=1e-5)


def test_the_published_training_is_six_epochs_of_mnist_at_a_constant_rate():
    how = RECIPES["published"].training
    assert how.steps == 6 * -(-60_000 // 128) and how.batch == 128
    assert how.rate == 1e-3 and not how.decay and not how.warmup


def test_published_features_are_256_and_do_not_depend_on_the_batch(published, tiny):
    """Batch normalisation uses the averages of the training, not those of the images read."""
    values, read = published.read(tiny.test)
    assert values.shape == (20, 256) and values.dtype == np.float32 and (values >= 0).all()
    one, _ = published.read(tiny.test[7:8])
    np.testing.assert_allclose(values[7:8], one, rtol=1e-3, atol=1e-5)
    assert published.accuracy == (read == tiny.test.labels).mean()


def test_the_published_network_is_found_again_beside_those_of_other_keys(published, tiny, tmp_path):
    """With its running averages; a key is a training of its own."""
    first, again, other = (
        feature_net(tiny, steps=2, network="published", key=Key(seed), folder=tmp_path)
        for seed in (0, 0, 1)
    )
    values = [net.read(tiny.test)[0] for net in (published, first, again, other)]
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[1], values[2])
    assert not np.array_equal(values[1], values[3])
    assert first.digest == published.digest != other.digest
    assert len(list(tmp_path.iterdir())) == 2


def test_the_small_network_keeps_the_name_it_always_had(tiny, tmp_path):
    """Caches of earlier versions hold it under this digest: nobody trains it again."""
    settings = {"epochs": 200, "steps": 1, "batch": 128, "rate": 1e-3, "warmup": 0, "decay": True}
    settings |= {"patience": 5, "holdout": 0.0, "restore": True, "shuffle": True}
    settings |= {"precision": "float32", "compiled": False}
    digest = hashlib.sha256(json.dumps([1, 0.1307, 0.3081, settings]).encode())
    for images in (tiny.train, tiny.test):
        digest.update(images.pixels.tobytes() + images.labels.tobytes())
    assert feature_net(tiny, steps=1, folder=tmp_path).digest == digest.hexdigest()[:16]


def test_a_network_that_is_not_known_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="network must be one of small, published, got 'v2'"):
        feature_net(tiny, network="v2", folder=tmp_path)
    with pytest.raises(ValueError, match="steps"):
        feature_net(tiny, steps=0, folder=tmp_path)
