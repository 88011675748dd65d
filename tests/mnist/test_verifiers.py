"""Discriminators learn what they are shown; the published filter does what it did."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key, TopFraction
from veriloop.mnist import (
    Discriminate,
    Discriminator,
    Generate,
    Images,
    Judge,
    TopPerDraw,
    accuracy,
    made,
)
from veriloop.mnist import verifiers as module


def test_a_discriminator_tells_digits_from_an_untrained_model(digits, problem, discriminate):
    model = problem.start(Key(0)).model
    judge = discriminate(Key(1), model)
    synthetic = Generate()(Key(2), model, 200)
    share = accuracy(Key(0), judge, digits.test[:200], synthetic)
    assert (share - 0.5) / np.sqrt(0.25 / 400) > 4
    again = discriminate(Key(1), model)
    np.testing.assert_array_equal(judge(Key(0), synthetic), again(Key(5), synthetic))


def test_scores_do_not_depend_on_the_chunk(digits):
    network = made(Key(0), lambda: Discriminator(conditional=True, spectral=True, dropout=0.3)).eval()
    whole, parts = (Judge(network, chunk)(Key(0), digits.test) for chunk in (500, 7))
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-6)
    assert Judge(network)(Key(0), digits.test[:0]).shape == (0,)


def shown(monkeypatch, digits, problem, **settings):
    """Return the examples, and the mean first loss, that a discriminator is trained on."""
    seen = []
    monkeypatch.setattr(module, "fit", lambda key, network, loss, rows, how: seen.append((network, loss, rows)))
    models = [problem.start(Key(seed)).model for seed in range(settings.pop("models", 1))]
    Discriminate(**{"real": digits.train[:60], **settings})(Key(1), *models)
    return seen[0]


def grey(n=60):
    return Images(Key(3).numpy().integers(0, 256, (n, 784), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8))


@pytest.mark.parametrize("view", ["bernoulli", "threshold", "grey"])
def test_views_show_real_images_as_they_say(monkeypatch, digits, problem, view):
    _, _, examples = shown(monkeypatch, digits, problem, real=grey(), view=view)
    real = examples.images[examples.real == 1]
    assert len(real) == 60 and (examples.real == 0).sum() == 60
    assert examples.images.binary == (view != "grey")  # grey real images are the cue of texture
    if view == "threshold":
        np.testing.assert_array_equal(real.pixels, grey().threshold().pixels)
    if view == "bernoulli":
        p = grey().pixels / 255.0
        assert abs(real.tensors()[0].numpy().sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()) < 4
    if view == "grey":
        np.testing.assert_array_equal(real.pixels, grey().pixels)


def test_several_models_share_the_synthetic_half(monkeypatch, digits, problem):
    _, _, examples = shown(monkeypatch, digits, problem, models=3)
    synthetic = examples.images[examples.real == 0]
    parts = [Generate()(Key(1).fold("synthetic", i), problem.start(Key(i)).model, 20) for i in range(3)]
    np.testing.assert_array_equal(synthetic.pixels, Images.concatenate(parts).pixels)


def test_smoothing_moves_the_targets(monkeypatch, digits, problem):
    """With logit 0 the loss is log 2 whatever the target; its slope is 1/2 - target."""
    network, loss, examples = shown(monkeypatch, digits, problem, smoothing=0.2, conditional=False)
    last = network.layers[-1]
    last.weight.data.zero_()
    last.bias.data.zero_()
    for real, target in ((1, 0.9), (0, 0.1)):
        network.zero_grad()
        loss(examples[examples.real == real], None).mean().backward()
        assert float(last.bias.grad) == pytest.approx(0.5 - target, abs=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"view": "x"}, "bernoulli, threshold or grey, got 'x'"),
        ({"smoothing": 1.0}, r"smoothing must be in \[0, 1\)"),
    ],
)
def test_bad_settings_are_refused(digits, setting, message):
    with pytest.raises(ValueError, match=message):
        Discriminate(real=digits.train, **setting)


@given(st.integers(0, 100), st.sampled_from([0.1, 0.5, 0.3]))
def test_the_published_filter_ranks_draw_by_draw(seed, fraction):
    """What it keeps depends on the draw; ranking all candidates does not know of draws."""
    scores, groups = Key(seed).numpy().standard_normal(240), np.arange(240) % 2
    mask = TopPerDraw(fraction, count=240, draw=40)(Key(0), scores, groups)
    for group in (0, 1):
        for rows in np.split(np.flatnonzero(groups == group), 3):
            assert mask[rows].sum() == round(fraction * 40)
            assert scores[rows][mask[rows]].min() > scores[rows][~mask[rows]].max()
    whole = TopPerDraw(fraction, count=240, draw=120)(Key(0), scores, groups)
    np.testing.assert_array_equal(whole, TopFraction(fraction)(Key(0), scores, groups))


def test_the_published_filter_keeps_ties_and_the_first_of_its_count():
    scores, groups = np.array([1.0, 1.0, 1.0, 0.0] * 2), np.zeros(8, dtype=int)
    keep = TopPerDraw(0.25, count=8, draw=4)
    assert keep(Key(0), scores, groups).sum() == 6  # where two were asked for
    assert np.flatnonzero(TopPerDraw(0.25, count=4, draw=4)(Key(0), scores, groups)).tolist() == [0, 1, 2, 4]
    with pytest.raises(ValueError, match="fraction must be in"):
        TopPerDraw(0.0, count=1)
