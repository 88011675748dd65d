"""One training loop: how long, how fast, which weights, and by which random numbers."""

import numpy as np
import pytest
import torch
from torch import nn

from veriloop import Key
from veriloop.mnist import Training, fit, made


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
    fitted = fit(Key(0), point, loss, np.arange(20), Training(batch=10, patience=2, rate=0.01, restore=restore))
    assert fitted.losses == (5, 4, 3, 6, 6) and fitted.steps == len(seen) == 10
    assert fitted.epoch == epochs - 1
    assert point.at.item() == pytest.approx(-0.01 * 2 * epochs, rel=1e-4)


def test_without_patience_or_by_steps_all_is_done():
    point, loss, seen = planned(PLAN, 2)
    assert fit(Key(0), point, loss, np.arange(20), Training(epochs=7, batch=10, patience=None)).steps == 14
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
    fit(Key(0), point, loss, np.arange(30), Training(epochs=3, batch=30, patience=None, shuffle=shuffle))
    orders = {tuple(rows.tolist()) for rows in seen}
    assert len(orders) == (3 if shuffle else 1) and all(sorted(order) == list(range(30)) for order in orders)


def test_the_rate_warms_up_and_decays():
    """Steps of Adam under a constant gradient are the rates themselves."""
    point, places = Point(), []

    def loss(rows, generator):
        places.append(point.at.item())
        return point.at.expand(len(rows))

    how = Training(steps=6, batch=4, rate=0.6, warmup=2, decay=True)
    fit(Key(0), point, loss, np.arange(4), how)
    np.testing.assert_allclose(-np.diff([*places, point.at.item()]), [0.2, 0.4, 0.6, 0.45, 0.3, 0.15], rtol=1e-4)


def network_and_loss():
    network = made(Key(3), lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1)))
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


def test_bf16_agrees_to_its_precision():
    """Eight bits of mantissa: the first loss differs by no more than a few times 2^-8."""
    losses = []
    for precision in ("float32", "bf16"):
        network, loss = network_and_loss()
        losses.append(
            fit(Key(0), network, loss, np.arange(64), Training(steps=4, batch=16, precision=precision)).losses[0]
        )
    assert losses[0] != losses[1] and abs(losses[0] / losses[1] - 1) < 8 * 2**-8


def test_a_loss_that_is_not_finite_stops_the_fit():
    point = Point()
    with pytest.raises(FloatingPointError, match="nan after 1 steps; lower the rate"):
        fit(Key(0), point, lambda rows, g: point.at * torch.full((len(rows),), torch.nan), np.arange(3), Training())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs.*at least 1, got 0"),
        ({"steps": 2.5}, "steps.*integer"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"holdout": 1.0}, "holdout.*below 1, got 1.0"),
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
