"""The refit leaves its arguments alone, `observe` counts by hand, and a state comes back from disk to the bit."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from veriloop import Candidates, Key, State, load_state, save_state
from veriloop.mnist import (
    MLPCVAE,
    Discriminate,
    Generate,
    Images,
    Inception,
    Refit,
    Training,
    nelbo,
    observe,
    probabilities,
)
from veriloop.mnist.refit import read_model, write_model

BLANK = Images(np.zeros((2, 98), np.uint8), np.zeros(2, np.uint8))


@pytest.mark.parametrize("warm", [False, True])
def test_a_refit_changes_neither_the_model_nor_the_images_given(
    refit, model, digits, same_bytes, warm
):
    """And leaves a model ready for use, fitted better than it began, with how its fit went."""
    before, images = copy.deepcopy(model), digits.train[:200]
    pixels = images.pixels.copy()
    new, fitted = refit(60, warm=warm).fit(Key(0), model, images)
    assert same_bytes(model, before) and not same_bytes(new, model) and not new.training
    np.testing.assert_array_equal(images.pixels, pixels)
    assert fitted.steps == 60 and fitted.losses[-1] < fitted.losses[0]


@pytest.mark.parametrize("warm", [False, True])
def test_same_key_same_bytes(refit, model, digits, same_bytes, warm):
    one, again, other = (
        refit(10, warm=warm)(Key(seed), model, digits.train[:100]) for seed in (0, 0, 1)
    )
    assert same_bytes(one, again) and not same_bytes(one, other)


def test_only_a_warm_refit_knows_the_model(refit, model, digits, same_bytes):
    """Fresh weights are the same whatever came before; at a rate near 0 warm ones are those before."""
    images, slow = digits.train[:50], Training(steps=1, rate=1e-12)
    fresh = refit(5)
    assert same_bytes(fresh(Key(0), model, images), fresh(Key(0), None, images))
    warm = refit(warm=True, training=slow)
    for one, other in zip(
        warm(Key(0), model, images).parameters(), model.parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    none = warm(Key(0), None, images)  # there is nothing to start from: fresh weights
    cold = refit(training=slow)(Key(0), None, images)
    assert same_bytes(none, cold)


def test_a_refit_makes_the_model_it_was_asked_for(digits):
    how = Training(steps=1, batch=10)
    made = Refit(model="mlp", settings={"latent": 3, "hidden": [9, 8]}, training=how)(
        Key(0), None, digits.train[:20]
    )
    assert made.settings == {"latent": 3, "hidden": [9, 8]}
    conv = Refit(settings={"latent": 2}, training=how)(Key(0), None, digits.train[:20])
    assert conv.settings == {"latent": 2} and type(conv).__name__ == "ConvCVAE"


def test_a_refit_learns(refit, model, digits):
    """On images it has not seen the fitted model is better than fresh weights, image by image, by z."""
    fresh = refit(1)(Key(0), None, digits.train)
    rows = digits.test.tensors()
    with torch.no_grad():
        gain = sum(fresh.negative_elbo(*rows, Key(1).torch())) - sum(
            model.negative_elbo(*rows, Key(1).torch())
        )
    assert gain.mean() / (gain.std() / len(gain) ** 0.5) > 4


# What is observed.


def test_observe_by_hand():
    """0 is accepted; the lowest score kept is that of the mask, whatever was accepted."""
    labels = np.tile(np.arange(10), 2)
    batch = Images(np.zeros((20, 98), dtype=np.uint8), labels.astype(np.uint8))
    scores = np.linspace(-1, 1, 20)
    scores[0], scores[9] = 0.0, -0.5
    mask = scores > 0.3
    numbers = observe(Key(0), batch, scores, mask)
    wanted = {f"passed_{d}": (scores[[d, 10 + d]] >= 0).mean() for d in range(10)}
    assert wanted["passed_0"] == 1.0 and wanted["passed_9"] == 0.5
    assert numbers == {"passed": (scores >= 0).mean(), **wanted, "lowest_kept": scores[mask].min()}
    assert all(type(value) is float for value in numbers.values())


def test_observe_sees_the_same_of_candidates_that_are_not_held(model):
    """Their labels are known, so no image is drawn again."""
    calls = []

    def generate(block, rows):
        calls.append(block)
        return Generate()(Key(block), model, rows)

    lazy = Candidates(generate, limit=1, group=lambda batch: batch.labels)
    parts = [lazy.draw(rows) for rows in (30, 20)]
    scores = Key(3).numpy().standard_normal(50)
    calls.clear()
    seen = observe(Key(0), lazy.whole(), scores, scores > 1)
    assert seen == observe(Key(0), Images.concatenate(parts), scores, scores > 1) and not calls


# Checkpoints.


@pytest.mark.parametrize(
    "kind", [{"model": "mlp", "settings": {"latent": 3, "hidden": [9, 8]}}, {"model": "conv"}]
)
@pytest.mark.parametrize("rounds", [0, 2])
def test_a_state_comes_back_to_the_bit(refit, digits, tmp_path, same_bytes, kind, rounds):
    """Weights, what makes the model, the round, and past images, binary and grey."""
    model = refit(1, **{"settings": {}} | kind)(Key(0), None, digits.train[:30])
    past = (digits.train[:7], probabilities(Key(1), model, 5))[:rounds]
    save_state(State(model, 4, past), tmp_path, write_model)
    back = load_state(tmp_path, read_model)
    assert same_bytes(back.model, model) and back.model.settings == model.settings
    assert type(back.model) is type(model) and not back.model.training
    assert back.round == 4 and len(back.past) == rounds
    for one, other in zip(back.past, past, strict=True):
        for name in ("pixels", "labels"):
            assert getattr(one, name).dtype == getattr(other, name).dtype == np.uint8
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert nelbo(back.model, *digits.test.tensors(), Key(0)) == nelbo(
        model, *digits.test.tensors(), Key(0)
    )


def test_a_loaded_state_goes_on_as_the_one_saved(refit, model, digits, tmp_path, same_bytes):
    save_state(State(model, 1), tmp_path, write_model)
    warm = refit(5, warm=True)
    one, other = (
        warm(Key(0), each, digits.train[:60])
        for each in (model, load_state(tmp_path, read_model).model)
    )
    assert same_bytes(one, other)


def test_unknown_architectures_are_refused():
    with pytest.raises(ValueError, match=r"Refit\.model must be one of conv, mlp, got 'gan'"):
        Refit(model="gan")


def test_settings_are_plain_so_that_they_can_be_saved():
    import json

    assert json.loads(json.dumps(MLPCVAE(3, hidden=(5,)).settings)) == {"latent": 3, "hidden": [5]}


def test_a_model_of_ones_own_cannot_be_saved_and_is_named(tmp_path):
    """Its kind is not among those that `read_model` can make again."""

    class Own(MLPCVAE):
        pass

    with pytest.raises(ValueError, match="Own"):
        write_model(Own(2, hidden=(4,)), tmp_path)


def test_a_digit_without_candidates_has_no_share():
    """NaN, which the record takes, and no warning."""
    batch = Images(np.zeros((3, 98), dtype=np.uint8), np.array([0, 1, 1], dtype=np.uint8))
    numbers = observe(Key(0), batch, np.array([1.0, -1.0, 1.0]), np.array([True, False, True]))
    assert (numbers["passed_0"], numbers["passed_1"]) == (1.0, 0.5) and np.isnan(
        numbers["passed_2"]
    )


def test_settings_that_no_model_takes_are_refused_at_construction():
    with pytest.raises(ValueError, match=r"Refit\.settings do not fit MLPCVAE: .*'laten'"):
        Refit(model="mlp", settings={"laten": 3})
    with pytest.raises(ValueError, match=r"Refit\.settings do not fit ConvCVAE: .*'hidden'"):
        Refit(model="conv", settings={"hidden": [3]})


@pytest.mark.parametrize(
    "settings", [{"latent": 0}, {"latent": "x"}, {"hidden": [0]}, {"hidden": 4}]
)
def test_settings_that_make_no_model_are_refused_at_construction(settings):
    with pytest.raises(ValueError, match=r"^Refit\.settings do not fit MLPCVAE: "):
        Refit(model="mlp", settings=settings)


def test_making_a_refit_draws_no_random_number():
    before = torch.random.get_rng_state()
    Refit(model="conv")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    "make", [Refit, partial(Discriminate, real=BLANK), partial(Inception, BLANK, None)]
)
def test_a_device_that_is_not_there_is_refused_at_construction(make):
    with pytest.raises(ValueError, match="device must be one that torch has on this machine"):
        make(device="meta")


def test_a_warm_refit_of_another_architecture_is_refused(digits, model):
    """It would go on with the other model, whatever its own settings say."""
    warm = Refit(model="conv", warm=True, training=Training(steps=1))
    with pytest.raises(ValueError, match=r"Refit\.warm goes on from .* ConvCVAE, got a MLPCVAE"):
        warm(Key(0), model, digits.train[:10])


def test_a_refit_to_nothing_says_so(refit, digits):
    with pytest.raises(ValueError, match="a fit needs rows to learn from, got none"):
        refit(1)(Key(0), None, digits.train[:0])
