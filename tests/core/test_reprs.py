"""What is printed fits in a line, whatever it holds."""

from dataclasses import dataclass

import numpy as np
import pytest

from veriloop import Columns, Key, State
from veriloop.core.reprs import one_line, shown
from veriloop.linear import Problem


@dataclass(frozen=True)
class Rows(Columns):
    x: np.ndarray
    y: np.ndarray


def refit(key, model, batch):
    return model


class Talkative:
    def __repr__(self):
        return "first line\n" + 100 * "x"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.zeros((3, 2)), "float64[3,2]"),
        (np.array(["a", "b"], dtype=object), "object[2]"),
        (np.float64(0.5), "0.5"),
        (Rows(np.zeros((5, 2)), np.arange(5)), "Rows(x=float64[5,2], y=int64[5])"),
        ({"mean": np.zeros(2), "steps": 7}, "{'mean': float64[2], 'steps': 7}"),
        ([1, "a"], "[1, 'a']"),
        ((np.zeros(1),), "(float64[1],)"),
        ((), "()"),
        (list(range(9)), "[0, 1, 2, 3, ...]"),
        (refit, "refit"),
        (Rows, "Rows"),
        (Talkative(), "first line " + 49 * "x" + "..."),
    ],
)
def test_values_are_shown_in_one_line(value, text):
    assert shown(value) == text


def test_tensors_are_shown_as_arrays_are():
    torch = pytest.importorskip("torch")
    assert shown(torch.zeros(2, 3)) == "float32[2,3]"


def test_states_problems_and_loops_print_in_one_line_without_numbers_of_arrays():
    problem = Problem.gaussian(bias=0.5, radius=1.0)
    state = problem.start(Key(0))
    assert repr(state) == (
        "State(model=float64[8], round=0, past=(Samples(x=float64[100,8], y=float64[100]),))"
    )
    assert repr(problem).startswith("Problem(real_x=float64[100,8], truth=float64[8], ")
    loop = problem.loop(verify=problem.verifier)
    assert "refit=least_squares" in repr(loop) and "pool" not in repr(loop)
    for value in (state, problem, loop):
        assert "\n" not in repr(value) and "array(" not in repr(value)


def test_fields_at_their_defaults_can_be_left_out():
    assert one_line(State(0.5, round=2), defaults=False) == "State(model=0.5, round=2)"
