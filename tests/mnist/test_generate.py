"""Generated digits follow the decoder they come from: labels, latent values, pixels, and what is stored of them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from veriloop import Key, Loop, Oracle, Quota, State, Threshold
from veriloop.mnist import Generate, Images, probabilities

LEVELS = np.tile([0.02, 0.3, 0.5, 0.9], 196)  # a probability for every pixel


def logit(p):
    return np.log(p / (1 - p))


def test_every_pixel_is_on_with_its_own_probability(decoder):
    """Also beyond the first 1,000 images, which are decoded apart; by z for each level and for the whole."""
    n = 2500
    bits = Generate()(Key(0), decoder(logit(LEVELS)), n).grey().pixels > 0
    for rows in (slice(0, 1000), slice(1000, None)):
        on = bits[rows].reshape(-1, 196, 4).sum(axis=1)
        p = np.array([0.02, 0.3, 0.5, 0.9])
        z = (on.sum(axis=0) - len(on) * 196 * p) / np.sqrt(len(on) * 196 * p * (1 - p))
        assert np.abs(z).max() < 4
    # Given the decoder pixels are independent: a pair is on together as often as chance makes.
    both, p = (bits[:, 2] & bits[:, 6]).mean(), 0.25
    assert abs(both - p) / np.sqrt(p * (1 - p) / n) < 4


@pytest.mark.parametrize("draw", [Generate(), probabilities], ids=["samples", "probabilities"])
def test_digits_come_in_turn_and_reach_the_decoder(decoder, draw):
    """A decoder that lights pixel d for digit d, and no other; also past 256 images."""
    images = draw(Key(0), decoder(np.full(784, -200.0), digit=np.eye(10, 784) * 400), 1030)
    assert images.labels.dtype == np.uint8
    np.testing.assert_array_equal(images.labels, np.arange(1030) % 10)
    np.testing.assert_array_equal(images.grey().pixels, np.eye(10, 784)[images.labels] * 255)


@pytest.mark.parametrize("draw", [Generate(), probabilities], ids=["samples", "probabilities"])
def test_latent_values_are_standard_normal(decoder, draw):
    """A pixel that is on where z > t is on for the share 1 - Phi(t) of images; two dimensions do not agree."""
    n, cuts = 4000, np.array([-1.5, 0.0, 0.5, 2.0])
    slopes = np.zeros((2, 784))
    slopes[0, :4], slopes[1, 4] = 1e6, 1e6
    bias = np.zeros(784)
    bias[:4] = -1e6 * cuts
    on = draw(Key(1), decoder(bias, z=slopes, latent=2), n).grey().pixels[:, :5] > 127
    p = norm.sf(cuts)
    assert np.abs((on[:, :4].mean(axis=0) - p) / np.sqrt(p * (1 - p) / n)).max() < 4
    assert abs((on[:, 1] & on[:, 4]).mean() - 0.25) / np.sqrt(0.25 * 0.75 / n) < 4


def test_probabilities_are_the_decoders_to_the_nearest_level(decoder):
    images = probabilities(Key(0), decoder(logit(LEVELS)), 12)
    assert not images.binary
    np.testing.assert_array_equal(images.pixels, np.tile(np.rint(255 * LEVELS + 1e-9), (12, 1)))


def test_an_image_takes_98_bytes(model):
    images = Generate()(Key(0), model, 40)
    assert images.binary and images.pixels.nbytes == 40 * 98 and images.labels.nbytes == 40
    assert len(Generate()(Key(0), model, 0)) == 0


def test_the_key_decides_and_the_model_is_left_alone(model, same_bytes):
    import copy

    import torch

    before, torch_state = copy.deepcopy(model), torch.get_rng_state()
    one, again, other = (Generate()(Key(seed), model, 30) for seed in (0, 0, 1))
    assert isinstance(one, Images)
    assert one.pixels.tobytes() == again.pixels.tobytes() != other.pixels.tobytes()
    assert same_bytes(model, before) and torch.equal(torch_state, torch.get_rng_state())


def test_samples_and_probabilities_of_one_key_are_of_the_same_images(decoder):
    """Where the decoder is certain the sample is its probability."""
    made = decoder(z=1e6 * (np.arange(784 * 3).reshape(3, 784) % 5 - 2), latent=3)
    np.testing.assert_array_equal(
        Generate()(Key(2), made, 50).grey().pixels,
        probabilities(Key(2), made, 50).threshold().grey().pixels,
    )


@pytest.mark.parametrize("draw", [Generate(), probabilities], ids=["samples", "probabilities"])
def test_an_image_does_not_depend_on_how_many_are_drawn_with_it(model, draw):
    """To the byte, whatever the last chunk holds: arms that draw more share the images of those that do not."""
    all_of_them = draw(Key(3), model, 2600)
    for n in (1, 10, 999, 1001, 2590):
        np.testing.assert_array_equal(draw(Key(3), model, n).pixels, all_of_them.pixels[:n])


def test_no_images_are_no_images(model):
    assert len(Generate()(Key(0), model, 0)) == len(probabilities(Key(0), model, 0)) == 0


def test_digits_go_on_in_the_next_block(model):
    """Blocks of 7 ask for the digits that one block asks for; the pixels follow the key of a block."""
    generate = Generate()
    blocks = [generate.starting_at(row)(Key(row), model, 7) for row in range(0, 35, 7)]
    labels = np.concatenate([block.labels for block in blocks])
    np.testing.assert_array_equal(labels, np.arange(35) % 10)
    assert generate == Generate() and generate.starting_at(0) == generate
    assert generate.starting_at(14).starting_at(3).row == 3
    whole_turns = generate.starting_at(20)(Key(0), model, 12)
    assert whole_turns.pixels.tobytes() == generate(Key(0), model, 12).pixels.tobytes()


@pytest.mark.parametrize("row", [-1, 1.5, True, "3"])
def test_a_row_that_is_none_is_refused(row):
    with pytest.raises(ValueError, match="Generate.row must be an integer of at least 0, got"):
        Generate().starting_at(row)


def test_a_loop_of_small_blocks_asks_for_every_digit_equally_often(model):
    """Twice in every turn of ten, whatever the block; also where a quota draws blocks of any size."""
    seen = []

    def observe(key, batch, scores, mask):
        seen.append(batch.labels.copy())
        return {}

    loop = Loop(
        generate=Generate(),
        refit=lambda key, model, images: model,
        group=lambda images: images.labels,
        observe=observe,
        block=7,
    )
    loop.step(Key(0), State(model), 40)
    np.testing.assert_array_equal(seen[-1], np.arange(40) % 10)
    odd = Oracle(lambda images: images.pixels.sum(axis=1) % 2 == 1)
    quota = replace(loop, verify=odd, filter=Threshold(), group=None)
    _, record = quota.step(Key(0), State(model), Quota(30))
    np.testing.assert_array_equal(seen[-1], np.arange(record.candidates) % 10)


@pytest.mark.parametrize("draw", [Generate(), probabilities], ids=["samples", "probabilities"])
def test_a_model_that_has_diverged_draws_nothing(decoder, draw):
    """NaN would be drawn as black."""
    wanted = "probabilities are NaN from image 0 on, so its weights have diverged; lower the rate"
    with pytest.raises(FloatingPointError, match=wanted):
        draw(Key(0), decoder(np.full(784, np.nan)), 300)


@pytest.mark.parametrize("draw", [Generate(), probabilities], ids=["samples", "probabilities"])
@pytest.mark.parametrize("n", [-1, 2.5, True])
def test_a_number_of_images_that_is_none_is_refused(draw, n, model):
    with pytest.raises(ValueError, match="the number of images must be an integer of at least 0"):
        draw(Key(0), model, n)
