"""Discriminators learn what they are shown; the published filter does what it did."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.optimizer import register_optimizer_step_pre_hook

from veriloop import Key, TopFraction, all_of
from veriloop.mnist import (
    Discriminate,
    Discriminator,
    Generate,
    Images,
    Judge,
    TopPerDraw,
    Training,
    accuracy,
    new_network,
)


def test_a_discriminator_tells_digits_from_an_untrained_model(digits, problem, discriminate):
    model = problem.start(Key(0)).model
    judge = discriminate(Key(1), model)
    synthetic = Generate()(Key(2), model, 200)
    share = accuracy(Key(0), judge, digits.test[:200], synthetic)
    assert (share - 0.5) / np.sqrt(0.25 / 400) > 4
    again = discriminate(Key(1), model)
    np.testing.assert_array_equal(judge(Key(0), synthetic), again(Key(5), synthetic))


def test_scores_do_not_depend_on_the_chunk(digits):
    network = new_network(
        Key(0), lambda: Discriminator(conditional=True, spectral=True, dropout=0.3)
    ).eval()
    whole, parts = (Judge(network, chunk)(Key(0), digits.test) for chunk in (500, 7))
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-6)
    assert Judge(network)(Key(0), digits.test[:0]).shape == (0,)


def shown(digits, problem, *, models=1, **settings):
    """Return the examples that a discriminator is trained on."""
    made = [problem.start(Key(seed)).model for seed in range(models)]
    return Discriminate(**{"real": digits.train[:60], **settings}).examples(Key(1), *made)


def grey(n=60):
    return Images(
        Key(3).numpy().integers(0, 256, (n, 784), dtype=np.uint8),
        (np.arange(n) % 10).astype(np.uint8),
    )


@pytest.mark.parametrize("view", ["bernoulli", "threshold", "grey"])
def test_views_show_real_images_as_they_say(digits, problem, view):
    examples = shown(digits, problem, real=grey(), view=view)
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


def test_several_models_share_the_synthetic_half(digits, problem):
    examples = shown(digits, problem, models=3)
    synthetic = examples.images[examples.real == 0]
    parts = [
        Generate()(Key(1).fold("synthetic", i), problem.start(Key(i)).model, 20) for i in range(3)
    ]
    np.testing.assert_array_equal(synthetic.pixels, Images.concatenate(parts).pixels)


@pytest.mark.parametrize(("real", "target"), [(1, 0.9), (0, 0.1)])
def test_smoothing_moves_the_targets(digits, problem, real, target):
    """With logit 0 the loss is log 2 whatever the target; its slope in the bias is 1/2 - target."""
    examples = shown(digits, problem)
    start = new_network(Key(0), lambda: Discriminator(conditional=False))
    for parameter in start.layers[-1].parameters():
        parameter.data.zero_()
    slopes = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: slopes.append(optimizer.param_groups[0]["params"][-1].grad.item())
    )
    once = Training(steps=1, batch=60)
    how = Discriminate(real=digits.train[:60], smoothing=0.2, conditional=False, training=once)
    how.fit(Key(0), examples[examples.real == real], Judge(start))
    hook.remove()
    assert slopes == [pytest.approx(0.5 - target, abs=1e-6)]


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
    assert np.flatnonzero(TopPerDraw(0.25, count=4, draw=4)(Key(0), scores, groups)).tolist() == [
        0,
        1,
        2,
        4,
    ]
    with pytest.raises(ValueError, match="fraction must be in"):
        TopPerDraw(0.0, count=1)


# Discriminators.


@pytest.mark.parametrize("conditional, count", [(False, 574_465), (True, 574_465 + 10 * 512)])
def test_parameter_counts(conditional, count):
    """Dropout adds none; spectral normalisation moves one, and adds none."""
    for settings in ({}, {"dropout": 0.3}, {"spectral": True}):
        network = Discriminator(conditional=conditional, **settings)
        assert sum(parameter.numel() for parameter in network.parameters()) == count


@pytest.mark.parametrize("conditional", [False, True])
def test_only_a_conditional_discriminator_sees_the_label(digits, conditional):
    network = new_network(Key(0), lambda: Discriminator(conditional=conditional)).eval()
    images = digits.test[:20]
    moved = Images(images.pixels, (images.labels + 1) % 10)
    one, other = (Judge(network)(Key(0), each) for each in (images, moved))
    assert (one == other).all() != conditional


def test_the_layers_are_the_published_ones(digits):
    """784 - 512 - 256 - 128 - 64 - 1 with slope 0.2 below 0, computed by hand; dropout is off when judging."""
    network = new_network(Key(1), lambda: Discriminator(dropout=0.5)).eval()
    weights = list(network.parameters())
    hidden = digits.test[:30].tensors()[0].numpy()
    for i in range(0, 10, 2):
        hidden = hidden @ weights[i].detach().numpy().T + weights[i + 1].detach().numpy()
        hidden = hidden if i == 8 else np.where(hidden > 0, hidden, 0.2 * hidden)
    scores = Judge(network)(Key(0), digits.test[:30])
    assert scores.shape == (30,)
    np.testing.assert_allclose(scores, hidden[:, 0], rtol=1e-4, atol=1e-6)


def test_spectral_normalisation_bounds_the_last_layer():
    """Its one row has length 1 once power iteration has run, which for one row takes one step."""
    network = new_network(Key(2), lambda: Discriminator(spectral=True)).eval()
    assert network.layers[-1].weight.norm().item() == pytest.approx(1, rel=1e-5)


def test_one_of_three_models_of_known_brightness(digits, decoder):
    """Seven real images against three models: 3, 2 and 2 of theirs, however they differ."""
    lit = np.zeros((3, 784))
    for i in range(3):
        lit[i, i] = 1
    models = [decoder(400 * row - 200) for row in lit]
    examples = Discriminate(real=digits.train[:7]).examples(Key(0), *models)
    bits = examples.images.tensors()[0].numpy()[examples.real == 0]
    assert bits.sum(axis=0)[:3].tolist() == [3, 2, 2] and bits.sum() == 7
    shown = examples.images[examples.real == 1]
    np.testing.assert_array_equal(shown.grey().pixels, digits.train[:7].grey().pixels)


def test_the_cue_of_texture_is_what_the_views_are_about(decoder):
    """Grey real images of even brightness against binary samples of the same brightness.

    Left grey they are told apart. Drawn pixel by pixel they have the same distribution, so accuracy
    is that of chance: by z over 400 images never seen.
    """
    real = Images(np.full((400, 784), 102, dtype=np.uint8), (np.arange(400) % 10).astype(np.uint8))
    model = decoder(np.full(784, np.log(0.4 / 0.6)))
    shares = {}
    for view in ("grey", "bernoulli"):
        training = Training(epochs=3, batch=64, patience=None)
        make = Discriminate(real=real, view=view, training=training)
        shown = make.show(Key(5), real[:200])
        shares[view] = accuracy(Key(0), make(Key(1), model), shown, Generate()(Key(6), model, 200))
    z = {view: (share - 0.5) / np.sqrt(0.25 / 400) for view, share in shares.items()}
    assert z["grey"] > 4 and abs(z["bernoulli"]) < 4


def test_accuracy_is_the_mean_of_both_shares(digits):
    """Unequal numbers weigh the same; a score of 0 accepts."""

    def judge(key, batch):
        return batch.labels.astype(float) - 5

    real, synthetic = digits.test[:40], digits.test[40:50]
    wanted = ((real.labels >= 5).mean() + (synthetic.labels < 5).mean()) / 2
    assert accuracy(Key(0), judge, real, synthetic) == pytest.approx(wanted)
    assert accuracy(Key(0), lambda key, batch: np.zeros(len(batch)), real, synthetic) == 0.5
    assert accuracy(Key(0), all_of(judge), real, synthetic) == pytest.approx(
        wanted
    )  # a verdict, not bare scores


def test_a_discriminator_changes_no_model_and_no_global_state(
    model, digits, discriminate, same_bytes
):
    import torch

    before, state = copy.deepcopy(model), torch.get_rng_state()
    one, again, other = (discriminate(Key(seed), model) for seed in (0, 0, 1))
    assert same_bytes(model, before) and torch.equal(state, torch.get_rng_state())
    assert same_bytes(one.network, again.network) and not same_bytes(one.network, other.network)
    assert not one.network.training


@pytest.mark.parametrize("name", ["smoothing", "dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.0, np.nan])
def test_shares_out_of_range_are_refused(digits, name, value):
    with pytest.raises(ValueError, match=rf"Discriminate\.{name} must be in \[0, 1\), got {value}"):
        Discriminate(real=digits.train, **{name: value})


# The published filter, redone by hand.


@given(
    st.integers(0, 10**6),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(1, 30),
    st.sampled_from([0.1, 0.4, 1.0]),
)
def test_the_published_filter_by_hand(seed, n, draw, count, fraction):
    """Row by row: in its draw of its group no more than the rows asked for may score higher; then the first."""
    rng = np.random.default_rng(seed)
    scores, groups = rng.integers(0, 12, n).astype(float), rng.integers(0, 3, n)
    mask = TopPerDraw(fraction, count=count, draw=draw)(Key(0), scores, groups)
    for group in range(3):
        rows, kept = np.flatnonzero(groups == group), []
        for start in range(0, len(rows), draw):
            part = rows[start : start + draw]
            cut = np.quantile(scores[part], 1 - fraction)
            reached = [row for row in part if scores[row] >= cut]
            assert len(reached) >= fraction * (len(part) - 1)  # the share asked for, ties and all
            kept += reached
        assert np.flatnonzero(mask & (groups == group)).tolist() == kept[:count]


def test_the_published_filter_depends_on_the_draw_where_ranking_does_not():
    """Ten rising scores: the best two of all, or the best one of each half."""
    scores, groups = np.arange(10.0), np.zeros(10, dtype=int)
    kept = {
        draw: np.flatnonzero(TopPerDraw(0.2, count=10, draw=draw)(Key(0), scores, groups))
        for draw in (5, 10)
    }
    assert {draw: rows.tolist() for draw, rows in kept.items()} == {5: [4, 9], 10: [8, 9]}
    assert np.flatnonzero(TopFraction(0.2)(Key(0), scores, groups)).tolist() == [8, 9]


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"count": -1}, {"count": 2.5}, {"count": 5, "draw": 0}]
)
def test_counts_of_the_published_filter_are_refused(wrong):
    name = "draw" if "draw" in wrong else "count"
    with pytest.raises(
        ValueError, match=rf"TopPerDraw\.{name} must be an integer of at least 1, got {wrong[name]}"
    ):
        TopPerDraw(0.1, **wrong)


def test_a_draw_without_a_verdict_keeps_nothing():
    """The other draws of its group are not touched; no warning, which here would be an error."""
    scores = np.array([np.nan, np.nan, 0.1, 0.9, np.nan, 0.5])
    mask = TopPerDraw(0.5, count=9, draw=2)(Key(0), scores, np.zeros(6, dtype=int))
    assert np.flatnonzero(mask).tolist() == [3, 5]


def test_a_discriminator_without_a_model_to_learn_from_is_refused(discriminate):
    with pytest.raises(ValueError, match="needs at least one model"):
        discriminate(Key(0))


# Going on from an earlier judge.


def test_a_warm_start_goes_on_from_the_judge_it_is_given(digits, model, discriminate, same_bytes):
    """A step at a rate of almost 0 leaves its weights where they were; fresh weights are elsewhere; it is kept."""
    first = discriminate(Key(0), model)
    before = copy.deepcopy(first)
    crawl = replace(discriminate, training=Training(steps=1, rate=1e-30))
    warm, cold = crawl(Key(1), model, warm=first), crawl(Key(1), model)
    assert same_bytes(warm.network, first.network) and not same_bytes(cold.network, first.network)
    moved = discriminate(Key(1), model, warm=first)
    assert not same_bytes(moved.network, first.network) and same_bytes(
        first.network, before.network
    )
    assert same_bytes(moved.network, discriminate(Key(1), model, warm=before).network)


def test_a_warm_start_from_other_layers_is_refused(discriminate, model):
    other = Judge(Discriminator(conditional=False))
    with pytest.raises(
        ValueError, match="warm must have the layers of conditional=True, spectral=False"
    ):
        discriminate(Key(0), model, warm=other)


def test_a_judge_that_has_diverged_scores_nothing(digits):
    """NaN would be no verdict, and nothing would be kept."""
    network = new_network(Key(0), Discriminator).eval()
    with torch.no_grad():
        network.layers[-1].bias.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="scores image 0 as NaN, .*; lower the rate"):
        Judge(network)(Key(0), digits.test)


def test_what_is_no_batch_of_images_is_refused(digits):
    judge = Judge(new_network(Key(0), Discriminator).eval())
    with pytest.raises(TypeError, match="Judge: batch must be Images, got ndarray; write Images"):
        judge(Key(0), digits.test.pixels)
    with pytest.raises(TypeError, match="Discriminate.real must be Images, got Tensor"):
        Discriminate(real=digits.test.tensors()[0])


def test_a_discriminator_whose_training_diverges_stops_with_the_rate(digits, model):
    wild = Discriminate(real=digits.train[:200], training=Training(steps=30, rate=1e30))
    with pytest.raises(FloatingPointError, match=r"after \d+ steps; lower the rate, 1e\+30"):
        wild(Key(0), model)


def test_no_images_have_no_accuracy(digits):
    def verify(key, images):
        return np.zeros(len(images))

    none = digits.test[:0]
    with pytest.raises(ValueError, match="accuracy: real must hold at least 1 images, got 0"):
        accuracy(Key(0), verify, none, digits.test)
    with pytest.raises(ValueError, match="accuracy: synthetic must hold at least 1 images, got 0"):
        accuracy(Key(0), verify, digits.test, none)
    with pytest.raises(ValueError, match="Discriminate.real must hold at least 1 images, got 0"):
        Discriminate(real=none)


def test_a_network_in_training_mode_judges_without_dropout(digits):
    """Dropout would draw from the global generator, so one key would give other scores."""
    network = new_network(Key(0), lambda: Discriminator(dropout=0.5, spectral=True))
    images = digits.test[:20]
    scores = Judge(network)(Key(0), images)
    assert all(each.training for each in network.modules())
    np.testing.assert_array_equal(scores, Judge(network)(Key(0), images))
    np.testing.assert_array_equal(scores, Judge(network.eval())(Key(0), images))


def test_images_without_a_verdict_do_not_count_in_an_accuracy(digits):
    """They are neither accepted nor rejected, and counted as mistakes of both kinds."""
    images = digits.test[:4]

    def verify(key, batch):
        return np.array([1.0, -1.0, np.nan, np.nan])

    assert accuracy(Key(0), verify, images, images) == 0.5
    assert np.isnan(accuracy(Key(0), lambda key, batch: np.full(4, np.nan), images, images))
    with pytest.raises(ValueError, match=r"one value a row, shape .4,., got shape .3,."):
        accuracy(Key(0), lambda key, batch: np.zeros(3), images, images)
