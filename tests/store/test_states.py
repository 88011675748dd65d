"""States round trip to the last bit without pickling; what cannot be written so is refused."""

import sys
import types
from dataclasses import dataclass, make_dataclass
from pathlib import Path

import numpy as np
import pytest

from veriloop import Columns, State, load_state, save_state


@pytest.mark.parametrize(
    "past", [None, (), (np.arange(3.0),), (np.arange(3), np.eye(2, dtype=np.float32))]
)
def test_arrays_round_trip_exactly(tmp_path, past):
    state = State(np.array([0.1, np.nan, -0.0]), 7, past)
    save_state(state, tmp_path)
    back = load_state(tmp_path)
    assert back.round == 7 and back.model.tobytes() == state.model.tobytes()
    assert (back.past is None) == (past is None)
    assert [(b.dtype, b.tobytes()) for b in back.past or ()] == [
        (b.dtype, b.tobytes()) for b in past or ()
    ]


@dataclass(frozen=True)
class Mixture:
    """A user's own model: arrays, numbers and text, one inside another."""

    means: np.ndarray
    names: list[str]
    steps: int
    inner: dict


@dataclass(frozen=True)
class Pairs(Columns):
    prompts: np.ndarray
    answers: np.ndarray


def test_a_dataclass_of_arrays_and_columns_of_texts_need_no_code(tmp_path):
    texts = np.array(["", "ü", "two words"], dtype=object)
    state = State(
        Mixture(np.eye(2), ["a", "b"], 3, {"rate": 0.1, "pair": (np.float32(0.5), None)}),
        2,
        (Pairs(texts, np.arange(3)),),
    )
    save_state(state, tmp_path)
    back = load_state(tmp_path)
    assert back.model.names == ["a", "b"] and back.model.steps == 3
    np.testing.assert_array_equal(back.model.means, np.eye(2))
    assert back.model.inner == {"rate": 0.1, "pair": (np.float32(0.5), None)}
    (pairs,) = back.past
    assert (
        type(pairs) is Pairs
        and pairs.prompts.tolist() == texts.tolist()
        and pairs.prompts.dtype == object
    )


def test_tensors_and_modules_of_torch_round_trip(tmp_path):
    """A module needs one of the same architecture to be read into, which stays as it is."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    other = torch.nn.Linear(2, 1)
    save_state(State(model, 1, (torch.arange(3),)), tmp_path)
    with pytest.raises(
        ValueError, match="holds weights alone; give like=, a model of the same architecture"
    ):
        load_state(tmp_path)
    before = other.weight.detach().clone()
    back = load_state(tmp_path, like=other)
    assert torch.equal(back.model.weight, model.weight) and torch.equal(other.weight, before)
    assert torch.equal(back.past[0], torch.arange(3))


def test_what_needs_pickling_is_refused_with_what_to_do(tmp_path):
    class Opaque:
        pass

    with pytest.raises(
        TypeError, match="a Opaque cannot be written without pickling; make the model of arrays"
    ):
        save_state(State(Opaque()), tmp_path)


def test_a_file_does_not_decide_which_module_is_imported(tmp_path):
    """A dataclass is looked for in what is loaded already."""
    save_state(State(Mixture(np.eye(1), [], 0, {})), tmp_path)
    with np.load(tmp_path / "model.npz") as arrays:
        held = dict(arrays)
    held["tree"] = np.array(str(held["tree"]).replace(__name__, "antigravity"))
    np.savez(tmp_path / "model.npz", **held)
    with pytest.raises(
        ValueError, match="a Mixture of antigravity, which is not loaded; import it first"
    ):
        load_state(tmp_path)


def test_a_file_does_not_decide_which_package_is_called(tmp_path, monkeypatch):
    """A dataclass of an installed package is made only where the caller's own model is of it."""
    package = types.ModuleType("a_package_of_others")
    package.__file__ = str(Path(np.__file__).parents[1] / "a_package_of_others.py")
    made = []
    kind = make_dataclass(
        "Trainer",
        ["path"],
        namespace={"__post_init__": lambda self: made.append(self.path)},
    )
    kind.__module__ = package.__name__
    package.Trainer = kind
    monkeypatch.setitem(sys.modules, package.__name__, package)
    save_state(State(kind("out")), tmp_path)
    made.clear()
    with pytest.raises(ValueError, match="a Trainer of the installed package a_package_of_others"):
        load_state(tmp_path)
    assert not made
    assert load_state(tmp_path, like=kind("mine")).model.path == "out"
