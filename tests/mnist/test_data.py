"""Balanced sets are balanced and nested; files are read as they are or refused with the reason."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key
from veriloop.mnist import Data, Images, balanced, have_mnist, load

NAMES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


# Balanced sets.


def marked(labels):
    """Images that carry their own number in the first two bytes."""
    pixels = np.zeros((len(labels), 98), dtype=np.uint8)
    pixels[:, 0], pixels[:, 1] = np.divmod(np.arange(len(labels)), 256)
    return Images(pixels, np.asarray(labels, dtype=np.uint8))


def numbers(images):
    return images.pixels[:, 0].astype(int) * 256 + images.pixels[:, 1]


@given(st.integers(0, 10**6), st.lists(st.integers(2, 9), min_size=10, max_size=10), st.data())
def test_balanced_sets_are_balanced_and_nested(seed, counts, data):
    """Equally many of each digit, each image once, in the order of the source; a smaller set lies in a larger."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), counts))
    images = marked(labels)
    sizes = st.integers(1, min(counts)).map(lambda each: 10 * each)
    small, large = sorted([data.draw(sizes), data.draw(sizes)])
    parts = [balanced(Key(seed), images, n) for n in (small, large)]
    for part, n in zip(parts, (small, large), strict=True):
        assert np.bincount(part.labels, minlength=10).tolist() == [n // 10] * 10
        assert (np.diff(numbers(part)) > 0).all()
        np.testing.assert_array_equal(labels[numbers(part)], part.labels)
    assert set(numbers(parts[0])) <= set(numbers(parts[1]))


def test_balanced_sets_pick_every_image_equally_often():
    """Under 2,000 keys, one of four of each digit: each in a quarter of the sets, by z; digits do not agree."""
    images, keys = marked(np.tile(np.arange(10), 4)), 2000
    picked = np.zeros((keys, 40), dtype=bool)
    for i in range(keys):
        picked[i, numbers(balanced(Key(i), images, 10))] = True
    z = (picked.mean(axis=0) - 0.25) / np.sqrt(0.25 * 0.75 / keys)
    assert np.abs(z).max() < 4
    both = (picked[:, 0] & picked[:, 1]).mean()
    assert abs(both - 1 / 16) / np.sqrt(1 / 16 * 15 / 16 / keys) < 4


def test_all_images_are_had_whatever_their_balance():
    images = marked([0, 0, 0, 1])
    assert balanced(Key(0), images, 4) is images


@pytest.mark.parametrize("n", [0, -10, 5, 15])
def test_balanced_refuses_what_ten_does_not_divide(n):
    with pytest.raises(
        ValueError, match=f"so {n} images are not possible; ask for a multiple of 10"
    ):
        balanced(Key(0), marked(np.tile(np.arange(10), 3)), n)


def test_balanced_names_the_digit_that_is_short():
    labels = [label for label in np.tile(np.arange(10), 3) if label != 7] + [7]
    wanted = "needs 2 of each digit, digit 7 has 1; ask for at most 10, or for all 28"
    with pytest.raises(ValueError, match=f"a balanced set of 20 images {wanted}"):
        balanced(Key(0), marked(labels), 20)


# Files.


def write_idx(path, array, magic=b"\x00\x00\x08", header=None):
    shape = array.shape if header is None else header
    content = (
        magic
        + bytes([len(shape)])
        + np.array(shape, ">u4").tobytes()
        + array.astype(np.uint8).tobytes()
    )
    with gzip.open(path, "wb") as stream:
        stream.write(content)


@pytest.fixture
def folder(tmp_path):
    """A folder of the four files: 12 images to train, 4 to test."""
    rng = Key(0).fold("files").numpy()
    for part, n in (("train", 12), ("test", 4)):
        images, labels = NAMES[part]
        write_idx(tmp_path / images, rng.integers(0, 256, (n, 28, 28)))
        write_idx(tmp_path / labels, np.arange(n) % 10)
    return tmp_path


def test_a_folder_is_read_in_place(folder):
    """Pixels row by row as written, the labels beside them, nothing added to the folder."""
    before = sorted(os.listdir(folder))
    data = load(str(folder))
    rng = Key(0).fold("files").numpy()
    assert data.name == str(folder)
    for part, n in ((data.train, 12), (data.test, 4)):
        np.testing.assert_array_equal(
            part.pixels, rng.integers(0, 256, (n, 28, 28)).reshape(n, 784)
        )
        assert part.labels.tolist() == [i % 10 for i in range(n)]
        assert not part.binary and part.tensors()[0].shape == (n, 784)
    assert sorted(os.listdir(folder)) == before


def test_a_folder_above_torchvisions_own_is_read(folder):
    """As torchvision lays them out: MNIST/raw below the folder named."""
    below = folder / "root" / "MNIST" / "raw"
    below.mkdir(parents=True)
    for pair in NAMES.values():
        for name in pair:
            shutil.move(folder / name, below / name)
    assert len(load(str(folder / "root")).train) == 12


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-40])


def garble(path):
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


IMAGES = np.zeros((12, 28, 28))
TRAIN, LABELS = NAMES["train"]


@pytest.mark.parametrize(
    "name, spoil, message",
    [
        (TRAIN, cut_short, "cannot read .*train-images.*; download the original file again"),
        (TRAIN, garble, "cannot read .*train-images.*; download the original file again"),
        (
            TRAIN,
            lambda path: path.write_bytes(b"<html>"),
            "cannot read .*train-images.*; download the original",
        ),
        (
            LABELS,
            Path.unlink,
            r"cannot read .*train-labels.* \(No such file or directory\); download",
        ),
        (
            NAMES["test"][0],
            Path.unlink,
            r"cannot read .*t10k-images.* \(No such file or directory\); download",
        ),
        (
            TRAIN,
            lambda path: write_idx(path, IMAGES, magic=b"\x00\x00\x0d"),
            "train-images.* is no idx file of unsigned bytes; download the original",
        ),
        (
            TRAIN,
            lambda path: gzip.open(path, "wb").close(),
            "train-images.* is no idx file of unsigned bytes; download the original",
        ),
        (
            TRAIN,
            lambda path: write_idx(path, IMAGES[:11], header=(12, 28, 28)),
            r"train-images.* states shape \(12, 28, 28\) and holds 8624 bytes; download the original",
        ),
        (
            TRAIN,
            lambda path: write_idx(path, np.zeros((12, 27, 28))),
            r"train-images.* must hold 28 x 28 images, got shape \(12, 27, 28\); download",
        ),
        (
            TRAIN,
            lambda path: write_idx(path, np.zeros((12, 784))),
            r"train-images.* must hold 28 x 28 images, got shape \(12, 784\); download",
        ),
        (
            LABELS,
            lambda path: write_idx(path, np.zeros(11)),
            "train-labels.* must hold 12 labels from 0 to 9, as many as train-images.* got 11 up to 0; download",
        ),
        (
            LABELS,
            lambda path: write_idx(path, np.full(12, 10)),
            "train-labels.* must hold 12 labels from 0 to 9, .* got 12 up to 10; download",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(folder, name, spoil, message):
    spoil(folder / name)
    with pytest.raises(ValueError, match=message) as caught:
        load(str(folder))
    assert "\n" not in str(caught.value)


def test_a_file_cut_within_its_header_is_named(folder):
    """Cut before it was compressed, so that gzip sees nothing wrong."""
    with gzip.open(folder / TRAIN, "wb") as stream:
        stream.write(b"\x00\x00\x08\x03\x00\x00")
    with pytest.raises(ValueError, match="train-images.*download the original file again"):
        load(str(folder))


def test_a_file_of_no_labels_is_named(folder):
    write_idx(folder / LABELS, np.zeros(0))
    with pytest.raises(ValueError, match="train-labels.* must hold 12 labels from 0 to 9"):
        load(str(folder))


def test_a_missing_folder_is_named(tmp_path):
    wanted = f"no train-images-idx3-ubyte.gz in {tmp_path / 'nowhere'}; name the folder of the four original"
    with pytest.raises(ValueError, match=wanted):
        load(str(tmp_path / "nowhere"))


# The sources by name.


def test_the_digits_of_scikit_learn(digits):
    """1,297 and 500 binary images, no image in both parts, all digits in both, the same at every load."""
    assert (len(digits.train), len(digits.test), digits.name) == (1297, 500, "digits")
    assert digits.train.binary and digits.test.binary
    counts = np.bincount(np.concatenate([digits.train.labels, digits.test.labels]))
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    assert counts.tolist() == np.bincount(labels).tolist()
    assert (
        min(np.bincount(part.labels, minlength=10).min() for part in (digits.train, digits.test))
        >= 30
    )
    assert load("digits").train.pixels.tobytes() == digits.train.pixels.tobytes()
    # Enlarged digit by digit: ink and brightness of the original go together, image by image, in the labels' order.
    ink = digits.train.tensors()[0].mean(1).numpy()
    by_label = [ink[digits.train.labels == d].mean() for d in range(10)]
    original = [values[labels == d].mean() for d in range(10)]
    assert np.corrcoef(by_label, original)[0, 1] > 0.8


def test_mnist_is_found_where_veriloop_data_says(folder, monkeypatch):
    """And missed where one of the four files is missing; `load` then names the folder, it does not download."""
    raw = folder / "data" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    monkeypatch.setenv("VERILOOP_DATA", str(folder / "data"))
    assert not have_mnist()
    with pytest.raises(ValueError, match=f"no train-images-idx3-ubyte.gz in {raw}"):
        load("mnist")
    for pair in NAMES.values():
        for name in pair:
            shutil.copy(folder / name, raw / name)
    assert have_mnist()
    assert load("mnist").name == "mnist" and len(load("mnist").test) == 4
    (raw / NAMES["test"][1]).unlink()
    assert not have_mnist()


def test_mnist_is_looked_for_in_the_cache_without_veriloop_data(cache, folder, monkeypatch):
    monkeypatch.delenv("VERILOOP_DATA", raising=False)
    assert not have_mnist()
    raw = cache / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for pair in NAMES.values():
        for name in pair:
            shutil.copy(folder / name, raw / name)
    assert have_mnist()
    assert len(load("mnist").train) == 12


@pytest.mark.data
@pytest.mark.skipif(
    not os.environ.get("VERILOOP_DATA") or not have_mnist(),
    reason="MNIST is not under $VERILOOP_DATA",
)
def test_the_original_mnist():
    """All 70,000 images, and how many of each digit, as published."""
    data = load("mnist")
    assert (data.name, len(data.train), len(data.test)) == ("mnist", 60_000, 10_000)
    assert np.bincount(data.train.labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert np.bincount(data.test.labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    # The mean and deviation of all training pixels that the literature normalises by.
    pixels = data.train.pixels / 255
    assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)


def test_a_download_that_fails_is_one_sentence(cache, monkeypatch):
    """torchvision says why over several lines, one a mirror."""
    import torchvision.datasets

    def fail(*_, **__):
        raise RuntimeError("no route:\nTried one\nTried two\n")

    monkeypatch.delenv("VERILOOP_DATA", raising=False)
    monkeypatch.setattr(torchvision.datasets, "MNIST", fail)
    with pytest.raises(
        ValueError, match=r"\(no route: Tried one Tried two\); name its folder"
    ) as error:
        load("mnist")
    assert "\n" not in str(error.value)


def test_a_file_of_zeros_and_ones_is_named(folder):
    """Bits written as bytes would be read as almost black."""
    write_idx(folder / TRAIN, np.eye(784)[:12].reshape(12, 28, 28))
    with pytest.raises(ValueError, match="train-images.*: Images.pixels are all 0 or 1, which can"):
        load(str(folder))


@pytest.mark.parametrize("n", [20.0, True, "20", None])
def test_balanced_refuses_a_number_that_is_no_integer(n):
    with pytest.raises(ValueError, match="images are not possible; ask for a multiple of 10"):
        balanced(Key(0), marked(np.tile(np.arange(10), 3)), n)


def test_what_is_no_batch_of_images_is_refused(digits):
    with pytest.raises(TypeError, match=r"Data.train must be Images, got ndarray; write Images\("):
        Data("mine", train=digits.train.pixels, test=digits.test)
    with pytest.raises(TypeError, match="balanced: images must be Images, got list"):
        balanced(Key(0), [1], 10)
