"""A model that has diverged stops the round, whatever it is made of."""

from dataclasses import dataclass

import numpy as np
import pytest

from veriloop import Key, Loop, State
from veriloop.core.divergence import is_finite


@dataclass(frozen=True)
class Line:
    slope: np.ndarray
    name: str = "line"


BAD = np.array([0.0, np.nan])


@pytest.mark.parametrize(
    "good, bad",
    [
        (0.5, np.nan),
        (np.float32(1), np.float32(np.inf)),
        (np.zeros(2), BAD),
        ({"a": [np.zeros(2)]}, {"a": [BAD]}),
        ((1, np.zeros(2)), (1, BAD)),
        (Line(np.zeros(2)), Line(BAD)),
        (np.zeros(2, dtype=complex), BAD.astype(complex)),
    ],
)
def test_a_refit_that_diverges_stops_the_round(good, bad):
    assert is_finite(good) and not is_finite(bad)

    def loop(model):
        return Loop(
            generate=lambda key, model, n: key.numpy().random(n),
            refit=lambda key, old, batch: model,
        )

    with pytest.raises(FloatingPointError, match="round 3: refit returned a model with numbers"):
        loop(bad).step(Key(0), State(good, round=2), 5)
    loop(good).step(Key(0), State(good), 5)
    loop(bad).step(Key(0), State(bad), 5)  # it was so before, and may be meant


def test_torch_modules_are_looked_into():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 2)
    model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert is_finite(model)
    assert is_finite(torch.empty(2, device="meta"))
    with torch.no_grad():
        model.bias[0] = torch.nan
    assert not is_finite(model) and not is_finite([model.bias])


@pytest.mark.parametrize("model", [None, "text", object(), np.array(["a"]), np.arange(3), Line])
def test_what_holds_no_floats_is_finite(model):
    assert is_finite(model)


def test_a_model_that_holds_itself_is_looked_into_and_ends():
    model = [np.zeros(2)]
    model.append(model)
    assert is_finite(model)
