"""One training loop: how long, how fast, which weights, and by which random numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from veriloop import Key
from veriloop.mnist import MLPCVAE, Fitted, Training, fit, new_network


class Point(nn.Module):
    """One number."""

    def __init__(self):
        super().__init__()
        self.at = nn.Parameter(torch.zeros(()))


def planned(losses, per_epoch):
    """A loss that follows a plan, epoch by epoch, whatever the weights; the weight moves by about `rate` a step."""
    seen = []

    def loss(rows, generator):
        seen.append(rows)
        value = losses[min((len(seen) - 1) // per_epoch, len(losses) - 1)]
        return torch.full((len(rows),), float(value)) + (point.at - point.at.detach())

    point = Point()
    return point, loss, seen


PLAN = [5, 4, 3, 6, 6, 6, 6, 6]


@pytest.mark.parametrize(("restore", "epochs"), [(True, 3), (False, 5)])
def test_early_stopping_returns_the_best_weights_or_the_last(restore, epochs):
    """Stopped after two epochs without gain; Adam moves a parameter of constant gradient by `rate` a step."""
    point, loss, seen = planned(PLAN, 2)
    fitted = fit(
        Key(0),
        point,
        loss,
        np.arange(20),
        Training(batch=10, patience=2, rate=0.01, restore=restore),
    )
    assert fitted == Fitted(losses=(5.0, 4.0, 3.0, 6.0, 6.0), epoch=epochs - 1, steps=10)
    assert len(seen) == 10
    assert point.at.item() == pytest.approx(-0.01 * 2 * epochs, rel=1e-4)


def test_without_patience_or_by_steps_all_is_done():
    point, loss, seen = planned(PLAN, 2)
    assert (
        fit(Key(0), point, loss, np.arange(20), Training(epochs=7, batch=10, patience=None)).steps
        == 14
    )
    point, loss, seen = planned(PLAN, 4)
    fitted = fit(Key(0), point, loss, np.arange(20), Training(steps=9, batch=5, patience=1))
    assert fitted.steps == len(seen) == 9 and fitted.epoch == 2


def test_held_out_rows_are_never_trained_on_and_decide_when_to_stop():
    trained, judged = set(), set()

    def loss(rows, generator):
        (trained if torch.is_grad_enabled() else judged).update(rows.tolist())
        value = 1.0 if torch.is_grad_enabled() else 2.0 + len(trained)
        return torch.full((len(rows),), value) + 0 * point.at

    point = Point()
    fitted = fit(Key(0), point, loss, np.arange(40), Training(batch=10, patience=1, holdout=0.25))
    assert len(judged) == 10 and len(trained) == 30 and not trained & judged
    assert fitted.losses == (32.0, 32.0)


@pytest.mark.parametrize("shuffle", [True, False])
def test_order_changes_every_epoch_or_never(shuffle):
    point, loss, seen = planned([1], 1)
    fit(
        Key(0),
        point,
        loss,
        np.arange(30),
        Training(epochs=3, batch=30, patience=None, shuffle=shuffle),
    )
    orders = {tuple(rows.tolist()) for rows in seen}
    assert len(orders) == (3 if shuffle else 1) and all(
        sorted(order) == list(range(30)) for order in orders
    )


def test_the_rate_warms_up_and_decays():
    """Steps of Adam under a constant gradient are the rates themselves."""
    point, places = Point(), []

    def loss(rows, generator):
        places.append(point.at.item())
        return point.at.expand(len(rows))

    how = Training(steps=6, batch=4, rate=0.6, warmup=2, decay=True)
    fit(Key(0), point, loss, np.arange(4), how)
    np.testing.assert_allclose(
        -np.diff([*places, point.at.item()]), [0.2, 0.4, 0.6, 0.45, 0.3, 0.15], rtol=1e-4
    )


def network_and_loss():
    network = new_network(
        Key(3), lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    )
    table = torch.randn(64, 4, generator=Key(4).torch())

    def loss(rows, generator):
        noise = 0.1 * torch.randn(len(rows), generator=generator)
        return (network(table[rows]).float().squeeze(1) - table[rows].sum(1) + noise).square()

    return network, loss


def test_same_key_same_bytes_and_the_global_generator_is_left_alone():
    results = []
    for other in (False, True):
        torch.manual_seed(other)
        before = torch.get_rng_state()
        network, loss = network_and_loss()
        fit(Key(0), network, loss, np.arange(64), Training(epochs=3, batch=16))
        assert torch.equal(before, torch.get_rng_state())
        results.append(torch.cat([value.flatten() for value in network.state_dict().values()]))
    assert torch.equal(*results)


def test_bf16_agrees_to_its_precision(has_bf16):
    """Eight bits of mantissa: the first loss differs by no more than a few times 2^-8."""
    losses = []
    for precision in ("float32", "bf16"):
        network, loss = network_and_loss()
        losses.append(
            fit(
                Key(0),
                network,
                loss,
                np.arange(64),
                Training(steps=4, batch=16, precision=precision),
            ).losses[0]
        )
    assert losses[0] != losses[1] and abs(losses[0] / losses[1] - 1) < 8 * 2**-8


def test_a_loss_that_is_not_finite_stops_the_fit():
    point = Point()
    with pytest.raises(FloatingPointError, match="nan after 1 steps; lower the rate"):
        fit(
            Key(0),
            point,
            lambda rows, g: point.at * torch.full((len(rows),), torch.nan),
            np.arange(3),
            Training(),
        )


def test_weights_that_are_not_finite_after_the_last_step_stop_the_fit():
    """The last loss is finite, its gradient is not: the root at 0."""
    point = Point()
    with pytest.raises(FloatingPointError, match="weights are not finite after 1 steps; lower"):
        fit(
            Key(0),
            point,
            lambda rows, g: (0 * point.at).sqrt() * torch.ones(len(rows)),
            np.arange(3),
            Training(steps=1),
        )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs.*at least 1, got 0"),
        ({"steps": 2.5}, "steps.*integer"),
        ({"batch": None}, "batch must be an integer"),
        ({"epochs": None}, "epochs must be an integer"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"holdout": 1.0}, "holdout must be in .0, 1., got 1.0"),
        ({"warmup": -1}, "warmup"),
        ({"precision": "fp8"}, "float32 or bf16, got 'fp8'"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        Training(**setting)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="needs rows on both sides"):
        fit(Key(0), Point(), lambda rows, g: None, np.arange(1), Training(holdout=0.2))


@pytest.mark.parametrize(
    "patience, epochs, best", [(1, 3, 1), (2, 6, 3), (3, 10, 6), (None, 11, 10)]
)
def test_patience_counts_epochs_in_a_row_without_a_lower_loss(patience, epochs, best):
    """A loss as low as the best is no gain; None goes on to the end and keeps the last weights."""
    plan = [5, 4, 4, 3.5, 6, 3.5, 3, 8, 3, 3, 0]
    point, loss, seen = planned(plan, 1)
    fitted = fit(
        Key(0),
        point,
        loss,
        np.arange(6),
        Training(epochs=11, batch=6, patience=patience, rate=0.01),
    )
    assert fitted.losses == tuple(plan[:epochs]) and len(seen) == fitted.steps == epochs
    assert fitted.epoch == best
    assert point.at.item() == pytest.approx(-0.01 * (best + 1), rel=1e-4)


@pytest.mark.parametrize("steps, sizes", [(2, [4, 4]), (3, [4, 4, 2]), (7, [4, 4, 2, 4, 4, 2, 4])])
def test_steps_are_counted_out_and_the_last_epoch_may_end_early(steps, sizes):
    """An epoch's loss is the mean over its rows, not over its batches."""
    point, _, _ = planned([1], 1)
    seen = []

    def loss(rows, generator):
        seen.append(rows)
        return torch.from_numpy(rows).float() + 0 * point.at

    fitted = fit(Key(0), point, loss, np.arange(10), Training(steps=steps, batch=4))
    assert [len(rows) for rows in seen] == sizes and fitted.steps == steps
    epochs = [np.concatenate(seen[i : i + 3]) for i in range(0, steps, 3)]
    assert fitted.losses == pytest.approx([rows.mean() for rows in epochs])


def test_the_networks_mode_and_the_gradient_follow_what_is_done():
    """Dropout on in steps and off on held-out rows, which are the same every epoch and leave no gradient."""
    modes, held, point = [], [], Point()

    def loss(rows, generator):
        modes.append((point.training, torch.is_grad_enabled()))
        if not point.training:
            held.append(rows.tolist())
        return torch.zeros(len(rows)) + 0 * point.at

    fit(
        Key(0), point, loss, np.arange(20), Training(epochs=3, batch=20, patience=None, holdout=0.2)
    )
    assert modes == [(True, True), (False, False)] * 3
    assert held[0] == held[1] == held[2] and len(held[0]) == 4


@pytest.mark.parametrize("how", [{"warmup": 3}, {"decay": True}, {}, {"warmup": 8}])
def test_rates_without_warmup_or_decay(how):
    """Rates are constant by default; a fit shorter than its warm-up never reaches its rate."""
    point, places = Point(), []

    def loss(rows, generator):
        places.append(point.at.item())
        return point.at.expand(len(rows))

    fit(
        Key(0),
        point,
        loss,
        np.arange(4),
        Training(epochs=5, batch=4, rate=0.6, patience=None, **how),
    )
    wanted = {
        "{'warmup': 3}": [0.15, 0.3, 0.45, 0.6, 0.6],
        "{'decay': True}": [0.6, 0.48, 0.36, 0.24, 0.12],
        "{}": [0.6] * 5,
        "{'warmup': 8}": [0.6 * k / 9 for k in range(1, 6)],
    }[str(how)]
    np.testing.assert_allclose(-np.diff([*places, point.at.item()]), wanted, rtol=1e-4)


def test_another_key_gives_another_fit():
    results = []
    for seed in (0, 1):
        network, loss = network_and_loss()
        fit(Key(seed), network, loss, np.arange(64), Training(epochs=1, batch=16))
        results.append(torch.cat([value.flatten() for value in network.state_dict().values()]))
    assert not torch.equal(*results)


def test_weights_are_made_by_the_key_alone():
    results = []
    for seed, other in ((0, 0), (0, 1), (1, 1)):
        torch.manual_seed(other)
        before = torch.get_rng_state()
        results.append(new_network(Key(seed), lambda: nn.Linear(3, 3)).weight.detach())
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(results[0], results[1]) and not torch.equal(results[1], results[2])


def test_the_generator_stays_as_it_was_when_a_fit_fails():
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        fit(Key(0), Point(), lambda rows, generator: 1 / 0, np.arange(3), Training())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "precision, inside", [("float32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_bf16_runs_the_network_and_not_the_loss(has_bf16, digits, precision, inside):
    """Layers give bf16 under it; both parts of the ELBO and the weights are float32 either way."""
    network, types = new_network(Key(0), lambda: MLPCVAE(3, hidden=(16,))), []
    network.encoder[0].register_forward_hook(lambda layer, given, out: types.append(out.dtype))

    def loss(rows, generator):
        reconstruction, kl = network.negative_elbo(*rows.tensors(), generator)
        assert reconstruction.dtype == kl.dtype == torch.float32
        return reconstruction + kl

    fitted = fit(
        Key(0), network, loss, digits.train[:64], Training(steps=3, batch=32, precision=precision)
    )
    assert set(types) == {inside} and np.isfinite(fitted.losses).all()
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("loss", [torch.nan, torch.inf, -torch.inf])
def test_infinite_losses_stop_the_fit_on_held_out_rows_too(loss):
    """The message has the loss, the step and the rate."""
    point = Point()

    def value(rows, generator):
        return point.at * torch.ones(len(rows)) + (0 if point.training else loss)

    with pytest.raises(
        FloatingPointError, match=f"the loss is {loss} after 2 steps; lower the rate, 0.01"
    ):
        fit(Key(0), point, value, np.arange(4), Training(batch=1, holdout=0.5, rate=0.01))


GOOD = {
    "epochs": st.integers(1, 10**6),
    "steps": st.none() | st.integers(1, 10**6),
    "batch": st.integers(1, 10**6),
    "rate": st.floats(1e-12, 1e12),
    "warmup": st.integers(0, 10**6),
    "patience": st.none() | st.integers(1, 10**6),
    "holdout": st.just(0.0) | st.floats(1e-6, 1 - 1e-6),
    "precision": st.sampled_from(["float32", "bf16"]),
}
NO_COUNT = st.integers(-(10**6), 0) | st.floats() | st.booleans()
BAD = {
    "epochs": NO_COUNT,
    "steps": NO_COUNT,
    "batch": NO_COUNT,
    "patience": NO_COUNT,
    "rate": st.floats(max_value=0) | st.sampled_from([np.nan, np.inf]),
    "warmup": st.integers(-(10**6), -1) | st.floats(),
    "holdout": st.floats(max_value=-1e-6) | st.floats(min_value=1) | st.just(np.nan),
    "precision": st.sampled_from(["bf32", "float16", "", None]),
}


@given(st.fixed_dictionaries({}, optional=GOOD), st.data())
def test_training_takes_what_is_in_range_and_names_what_is_not(good, data):
    Training(**good)
    name = data.draw(st.sampled_from(sorted(BAD)))
    value = data.draw(BAD[name])
    with pytest.raises(ValueError, match=rf"Training\.{name} must be .*got") as caught:
        Training(**good | {name: value})
    assert "\n" not in str(caught.value)


def test_the_range_that_an_error_names_is_the_range():
    """0 rows held out and 0 steps of warm-up are allowed, so no message may say 'above 0'."""
    for name in ("holdout", "warmup"):
        Training(**{name: 0})
        with pytest.raises(ValueError, match=name) as caught:
            Training(**{name: -1})
        assert "above 0" not in str(caught.value)
