"""Images keep what was put in; files are read as they are or refused in one sentence; sets are balanced."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key
from veriloop.mnist import Images, balanced, load
from veriloop.mnist.data import read_folder, read_idx


@given(st.integers(0, 5), st.integers(0, 1000))
def test_packing_is_lossless_at_98_bytes(n, seed):
    bits = Key(seed).numpy().random((n, 784)) < 0.3
    images = Images.pack(bits, np.arange(n) % 10)
    assert images.binary and images.pixels.shape == (n, 98)
    np.testing.assert_array_equal(images.grey().pixels == 255, bits)
    np.testing.assert_array_equal(images.tensors()[0].numpy(), bits)
    np.testing.assert_array_equal(images.grey().threshold().pixels, images.pixels)


def grey(n=200, seed=0):
    return Images(
        Key(seed).numpy().integers(0, 256, (n, 784), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8)
    )


def test_bernoulli_keeps_the_mean_brightness_and_the_ends():
    """The number of ones has the mean and variance of independent pixels, and 0 and 255 are certain."""
    images = grey()
    images.pixels[0], images.pixels[1] = 0, 255
    drawn = images.bernoulli(Key(5))
    ones, p = drawn.tensors()[0].numpy(), images.pixels / 255.0
    assert abs(ones.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()) < 4
    assert ones[0].sum() == 0 and ones[1].sum() == 784
    assert drawn.binary and drawn.bernoulli(Key(6)) is drawn


def test_binary_and_grey_together_become_grey():
    one, other = grey(3), grey(2).threshold()
    both = Images.concatenate([one, other])
    np.testing.assert_array_equal(both.pixels, np.concatenate([one.pixels, other.grey().pixels]))
    assert Images.concatenate([other, other]).binary


@given(st.integers(1, 10), st.integers(1, 10), st.integers(0, 50))
def test_balanced_sets_are_balanced_and_nested(small, more, seed):
    images = grey(220)
    images.pixels[:, :2] = np.stack([np.arange(220), np.arange(220) // 200], 1)
    few, many = (balanced(Key(seed), images, 10 * n) for n in (small, min(small + more, 20)))
    assert (np.bincount(few.labels, minlength=10) == small).all()
    rows = [set(map(bytes, each.pixels)) for each in (few, many)]
    assert len(rows[0]) == 10 * small and rows[0] <= rows[1]


def test_balanced_refuses_what_cannot_be_had():
    images = grey(199)
    assert balanced(Key(0), images, 199) is images
    with pytest.raises(ValueError, match="multiple of 10"):
        balanced(Key(0), images, 55)
    with pytest.raises(ValueError, match="digit 9 has 19.*at most 190, or for all 199"):
        balanced(Key(0), images, 200)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4) for size in array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def folder(path, **replaced):
    images, labels = np.arange(3 * 784).reshape(3, 28, 28) % 256, np.array([3, 1, 9])
    for part in ("train", "t10k"):
        (path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    for name, content in replaced.items():
        (path / f"train-{name}-ubyte.gz").write_bytes(content)
    return images, labels


def test_files_are_read_as_written(tmp_path):
    images, labels = folder(tmp_path)
    data = load(str(tmp_path))
    np.testing.assert_array_equal(data.train.pixels, images.reshape(3, 784))
    np.testing.assert_array_equal(data.test.labels, labels)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gz"] * 4  # no copy written


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images-idx3", idx(np.zeros((3, 28, 28)))[:30], "cannot read.*fetch"),
        ("images-idx3", b"no gzip", "cannot read.*fetch"),
        ("images-idx3", gzip.compress(b"\x00\x00\x0d\x03"), "no idx file"),
        (
            "images-idx3",
            gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1])),
            "states shape \\(9,\\) and holds 1 bytes",
        ),
        ("images-idx3", idx(np.zeros((3, 8, 8))), "28 x 28 images, got shape"),
        ("labels-idx1", idx(np.zeros(4)), "3 labels from 0 to 9"),
        ("labels-idx1", idx(np.array([1, 2, 10])), "up to 10"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path, name, content, message):
    folder(tmp_path, **{name: content})
    with pytest.raises(ValueError, match=message) as caught:
        read_folder(str(tmp_path), "x")
    assert "\n" not in str(caught.value) and "train-" in str(caught.value)


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match="no train-images-idx3-ubyte.gz in .*name the folder"):
        load(str(tmp_path))
    with pytest.raises(ValueError, match="No such file"):
        read_idx(tmp_path / "x.gz")


def test_the_embedded_digits(digits):
    assert (len(digits.train), len(digits.test)) == (1297, 500) and digits.train.binary
    assert len(np.unique(digits.test.labels)) == 10


def test_the_real_digits():
    if "VERILOOP_DATA" not in os.environ:
        pytest.skip("VERILOOP_DATA is not set")
    assert Path(os.environ["VERILOOP_DATA"], "mnist").is_dir()
    data = load("mnist")
    assert np.bincount(data.train.labels)[[1, 5]].tolist() == [6742, 5421] and len(data.test) == 10_000
    assert abs(data.train.pixels.mean() / 255 - 0.1307) < 5e-5
