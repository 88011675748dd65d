"""Images keep their pixels through every form; whatever else comes as an image or a label is refused by row."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key
from veriloop.mnist import Images, nelbo
from veriloop.mnist.images import as_brightness, check_images


def random_grey(n, key=0):
    rng = Key(key).fold("grey").numpy()
    return Images(rng.integers(0, 256, (n, 784), dtype=np.uint8), np.arange(n, dtype=np.uint8) % 10)


@given(st.integers(0, 10**6), st.integers(0, 12), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_packing_and_unpacking_give_the_same_pixels(seed, n, share):
    """98 bytes an image; grey, tensors and packing again all agree with the booleans packed."""
    bits = np.random.default_rng(seed).random((n, 784)) < share
    images = Images.pack(bits, np.arange(n) % 10)
    assert (
        images.binary
        and images.pixels.shape == (n, 98)
        and images.pixels.dtype == images.labels.dtype == np.uint8
    )
    grey = images.grey()
    assert not grey.binary
    np.testing.assert_array_equal(grey.pixels, np.where(bits, 255, 0))
    np.testing.assert_array_equal(grey.threshold().pixels, images.pixels)
    np.testing.assert_array_equal(grey.bernoulli(Key(seed)).pixels, images.pixels)
    for each in (images, grey):
        pixels, labels = each.tensors()
        assert (pixels.dtype, labels.dtype) == (torch.float32, torch.int64)
        np.testing.assert_array_equal(pixels.numpy(), bits)
        assert labels.tolist() == [i % 10 for i in range(n)]


def test_tensors_of_grey_pixels_are_shares_of_255():
    images = random_grey(3)
    np.testing.assert_array_equal(
        images.tensors()[0].numpy(), images.pixels.astype(np.float32) / np.float32(255)
    )


def test_tensors_leave_the_images_as_they_are():
    images = random_grey(2)
    before = images.pixels.copy()
    images.tensors()[0].zero_()
    np.testing.assert_array_equal(images.pixels, before)


def test_threshold_cuts_at_half_brightness():
    pixels = np.tile(np.array([0, 127, 128, 255], dtype=np.uint8), (1, 196))
    bits = Images(pixels, np.zeros(1, dtype=np.uint8)).threshold().grey().pixels[0, :4]
    assert bits.tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("brightness", [1, 100, 254])
def test_bernoulli_draws_a_one_with_the_probability_of_its_brightness(brightness):
    """Out of 255, not 256; by z over 784,000 pixels."""
    n, p = 1000 * 784, brightness / 255
    images = Images(
        np.full((1000, 784), brightness, dtype=np.uint8), np.zeros(1000, dtype=np.uint8)
    )
    ones = np.unpackbits(images.bernoulli(Key(brightness)).pixels).sum()
    assert abs((ones - n * p) / np.sqrt(n * p * (1 - p))) < 4


def test_bernoulli_keeps_the_mean_brightness_and_the_ends():
    """The number of ones has the mean and variance of independent pixels, and 0 and 255 are certain."""
    images = random_grey(200)
    images.pixels[0], images.pixels[1] = 0, 255
    ones, p = images.bernoulli(Key(5)).tensors()[0].numpy(), images.pixels / 255
    assert abs(ones.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()) < 4
    assert ones[0].sum() == 0 and ones[1].sum() == 784


def test_bernoulli_draws_follow_the_key_and_pixels_are_independent():
    """Neighbouring pixels are on together as often as chance makes; the same key gives the same images."""
    images = Images(np.full((500, 784), 51, dtype=np.uint8), np.zeros(500, dtype=np.uint8))
    bits = images.bernoulli(Key(0)).grey().pixels.reshape(-1, 2) > 0
    n, p = len(bits), 0.2**2
    assert abs((bits.all(axis=1).sum() - n * p) / np.sqrt(n * p * (1 - p))) < 4
    assert images.bernoulli(Key(0)).pixels.tobytes() == images.bernoulli(Key(0)).pixels.tobytes()
    assert images.bernoulli(Key(0)).pixels.tobytes() != images.bernoulli(Key(1)).pixels.tobytes()


def test_binary_images_are_left_as_they_are():
    images = random_grey(3).threshold()
    assert images.threshold() is images and images.bernoulli(Key(0)) is images
    grey = images.grey()
    assert grey.grey() is grey


def test_concatenate_keeps_order_and_turns_a_mixture_grey():
    grey, binary = random_grey(3), random_grey(4, key=1).threshold()
    mixed = Images.concatenate([grey, binary, grey[[1]]])
    assert not mixed.binary
    np.testing.assert_array_equal(
        mixed.pixels, np.concatenate([grey.pixels, binary.grey().pixels, grey.pixels[1:2]])
    )
    assert mixed.labels.tolist() == [0, 1, 2, 0, 1, 2, 3, 1]
    same = Images.concatenate([binary, binary[[3, 0]]])
    assert same.binary and same.pixels.tobytes() == binary.pixels[[0, 1, 2, 3, 3, 0]].tobytes()


def test_images_refuse_labels_of_another_number():
    with pytest.raises(
        ValueError, match=r"Images needs columns of one length, got \{'pixels': 3, 'labels': 2\}"
    ):
        Images(np.zeros((3, 98), dtype=np.uint8), np.zeros(2, dtype=np.uint8))


def test_tensors_of_a_reversed_slice_are_its_pixels():
    """A batch is picked from as an array is; torch takes no negative strides."""
    images = random_grey(4)
    pixels, labels = images[::-1].tensors()
    np.testing.assert_array_equal(pixels.numpy(), images.tensors()[0].numpy()[::-1])
    assert labels.tolist() == [3, 2, 1, 0]


# What comes in.

GREY = random_grey(6).pixels
LABELS = np.array([3, 1, 4, 1, 5, 9], dtype=np.uint8)
BITS = GREY > 127

FORMS = {
    "integers": GREY.astype(np.int64),
    "wide unsigned integers": GREY.astype(np.uint16),
    "floats": GREY / 255,
    "short floats": GREY.astype(np.float32) / np.float32(255),
    "squares": GREY.reshape(-1, 28, 28),
    "squares of one channel": GREY.reshape(-1, 1, 28, 28) / 255,
    "squares with the channel last": GREY.reshape(-1, 28, 28, 1),
    "a tensor": torch.from_numpy(GREY.copy()),
    "a tensor with a gradient": (torch.from_numpy(GREY.copy()) / 255).requires_grad_(),
    "a masked array with nothing masked": np.ma.masked_array(GREY),
    "in reverse order twice": GREY[::-1][::-1],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_one_image_in_any_form_is_the_same_image(form, model):
    """As images, to the byte; in the ELBO, to rounding."""
    images = Images(form, LABELS)
    assert images.pixels.dtype == np.uint8 and not images.binary
    np.testing.assert_array_equal(images.pixels, GREY)
    np.testing.assert_allclose(as_brightness("x", form), GREY / np.float32(255), atol=1e-7)
    wanted = nelbo(model, GREY, LABELS, Key(0))
    assert nelbo(model, form, LABELS, Key(0)) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("form", [BITS, torch.from_numpy(BITS), BITS.reshape(-1, 28, 28)])
def test_booleans_are_binary_images(form, model):
    images = Images(form, LABELS)
    assert images.binary
    np.testing.assert_array_equal(images.grey().pixels, BITS * np.uint8(255))
    packed = Images.pack(BITS, LABELS)
    assert images.pixels.tobytes() == packed.pixels.tobytes()
    wanted = nelbo(model, BITS, LABELS, Key(0))
    assert nelbo(model, packed.pixels, LABELS, Key(0)) == wanted
    assert nelbo(model, form, LABELS, Key(0)) == wanted
    assert nelbo(model, BITS / 1.0, LABELS, Key(0)) == wanted


def test_half_floats_are_taken():
    """Of bfloat16, which NumPy lacks, as of float16; to the nearest of 256 levels."""
    levels = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(2, 196)
    for dtype in (torch.bfloat16, torch.float16):
        pixels = Images(levels.to(dtype), LABELS[:2]).pixels
        np.testing.assert_array_equal(pixels[0, :4], [0, 64, 128, 255])


def changed(values, row, value):
    values = np.array(values)
    values[row].flat[5] = value
    return values


MASKED = np.ma.masked_array(GREY)
MASKED[2, 7] = np.ma.masked
REFUSED = {
    "floats to 255": (GREY * 1.0, r"row 0 holds \d+\.0, and floats must be in \[0, 1\]; divide by"),
    "normalised": ((GREY / 255 - 0.13) / 0.31, "row 0 holds .*undo the normalisation"),
    "a NaN": (changed(GREY / 255, 4, np.nan), "row 4 holds nan, and floats must"),
    "an infinity": (changed(GREY / 255, 4, np.inf), "row 4 holds inf, and floats must"),
    "a negative float": (changed(GREY / 255, 1, -1e-9), "row 1 holds -1e-09, and floats must"),
    "bits as bytes": (BITS.astype(np.uint8), "are all 0 or 1, .*; write pixels == 1 for bits, or"),
    "bits as integers": (BITS.astype(int), "are all 0 or 1, which can be bits or brightness"),
    "256": (changed(GREY.astype(int), 3, 256), "row 3 holds 256, and integers must be from 0 to"),
    "-1": (changed(GREY.astype(int), 3, -1), "row 3 holds -1, and integers must be from 0 to 255"),
    "masked": (MASKED, "row 2 holds --, and no value may be masked"),
    "32 x 32": (np.zeros((6, 1024), np.uint8), r"got uint8 of shape \(6, 1024\); scale images"),
    "in colour": (np.zeros((6, 3, 28, 28)), r"got float64 of shape \(6, 3, 28, 28\)"),
    "one image": (np.zeros((28, 28)), r"got float64 of shape \(28, 28\); .*write image\[None\]"),
    "packed floats": (np.zeros((6, 98)), r"got float64 of shape \(6, 98\)"),
    "text": (GREY.astype(str), "got dtype <U3; convert them"),
    "complex": (GREY * 1j, "got dtype complex128; convert them"),
    "objects": (GREY.astype(object), "got dtype object; convert them"),
}


@pytest.mark.parametrize(("pixels", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_pixels_whose_brightness_cannot_be_told_are_refused(pixels, message, model):
    """In one sentence, with the row: as images and in the ELBO alike."""
    labels = np.zeros(len(pixels), np.uint8)
    with pytest.raises(ValueError, match=message) as caught:
        Images(pixels, labels)
    assert str(caught.value).startswith("Images.pixels") and "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=message) as caught:
        nelbo(model, pixels, labels, Key(0))
    assert str(caught.value).startswith("nelbo: images")


@pytest.mark.parametrize(
    "labels",
    [LABELS.astype(np.int64), LABELS * 1.0, torch.from_numpy(LABELS.copy()), LABELS[::-1][::-1]],
)
def test_labels_that_are_digits_are_taken(labels):
    images = Images(GREY, labels)
    assert images.labels.dtype == np.uint8
    np.testing.assert_array_equal(images.labels, LABELS)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 1, "row 5 holds 10, and a label must be a whole number from 0 to 9"),
        (LABELS.astype(int) - 2, "row 1 holds -1, and a label must"),
        (LABELS + 0.5, "row 0 holds 3.5, and a label must"),
        (np.where(LABELS == 4, np.nan, LABELS), "row 2 holds nan, and a label must"),
        (np.eye(10)[LABELS], r"got 10 columns; write labels.argmax\(axis=1\) if they are one-hot"),
        (LABELS[:, None], r"got shape \(6, 1\); write labels.reshape\(-1\)"),
        (LABELS.astype(str), r"got dtype <U3; write labels.astype\(int\)"),
        (LABELS > 3, "got dtype bool"),
        (LABELS.astype(object), "got dtype object"),
    ],
)
def test_labels_that_are_no_digits_are_refused(labels, message, model):
    with pytest.raises(ValueError, match=f"Images.labels.*{message}"):
        Images(GREY, labels)
    with pytest.raises(ValueError, match=f"nelbo: labels.*{message}"):
        nelbo(model, GREY, labels, Key(0))


def test_pack_refuses_what_is_no_bit():
    """Grey bytes would all be ones but the black; bits as bytes or floats are bits."""
    wanted = Images.pack(BITS, LABELS).pixels.tobytes()
    for bits in (BITS.astype(np.uint8), BITS * 1.0, BITS.tolist(), BITS.reshape(-1, 28, 28)):
        assert Images.pack(bits, LABELS).pixels.tobytes() == wanted
    with pytest.raises(ValueError, match=r"Images.pack: bits: row 0 holds \d+, and bits must be 0"):
        Images.pack(GREY, LABELS)
    with pytest.raises(ValueError, match="row 3 holds nan, and bits must be 0 or 1"):
        Images.pack(changed(BITS * 1.0, 3, np.nan), LABELS)


def test_picks_and_stacks_are_not_checked_again():
    """A pick of bright images may be of bytes 0 and 1 alone; it is still of those images."""
    dark = Images(np.array([[1] * 784, [255] * 784], dtype=np.uint8), LABELS[:2])
    assert dark[[0]].pixels.max() == 1 and len(Images.concatenate([dark[[0]], dark[[0]]])) == 2
    assert dark[np.array([False, True])].pixels.min() == 255
    with pytest.raises(TypeError, match=r"picked by a mask, integers or a slice, got 0; write ima"):
        dark[0]


def test_no_images_are_images_too():
    for pixels in (np.zeros((0, 784)), np.zeros((0, 98), np.uint8), np.zeros((0, 28, 28), int)):
        assert len(Images(pixels, np.zeros(0))) == 0


def test_what_is_no_batch_of_images_is_refused():
    check_images("x", Images(GREY, LABELS))
    with pytest.raises(
        TypeError, match=r"x must be Images, got ndarray; write Images\(pixels, lab"
    ):
        check_images("x", GREY)


def test_a_batch_is_shown_in_one_line():
    """Its pixels would fill the screen, wherever a problem or a verifier is shown."""
    assert repr(Images(GREY, LABELS)) == "Images(6 grey)"
    assert repr(Images(BITS, LABELS)[:2]) == "Images(2 binary)"


def test_floats_divided_by_255_twice_are_refused(model):
    """All of them would be black, and nothing would look wrong."""
    grey = np.tile(np.arange(784) % 256, (2, 1)) / 255
    labels = np.arange(2)
    for take in (lambda x: Images(x, labels), lambda x: nelbo(model, x, labels, Key(0))):
        take(grey.astype(np.float32))
        take(np.zeros((2, 784)))
        with pytest.raises(ValueError, match=r"brightest of all pixels is 0\.0039, which is black"):
            take(grey / 255)
