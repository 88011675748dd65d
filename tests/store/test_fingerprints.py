"""A fingerprint is the same in another process, and differs where what a run is made of differs."""

import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from veriloop import Key, TopFraction
from veriloop.store.fingerprints import fingerprint

CODE = """
import numpy as np
from veriloop import Key, TopFraction
from veriloop.store.fingerprints import fingerprint
cut = 0.5
inside = lambda key, batch: batch if "a" in {"a", "b", "c"} else cut
print(fingerprint([inside, np.arange(3.0), TopFraction(0.1), Key(0), {"a": {1, 2}, "b": {"x", "y"}}]))
"""


def test_it_is_the_same_in_every_process():
    """Also where Python's own hashes differ, as those of text do."""
    run = [sys.executable, "-c", CODE]
    found = {
        subprocess.run(run, capture_output=True, text=True, check=True).stdout for _ in range(2)
    }
    assert len(found) == 1 and len(found.pop().strip()) == 32


@dataclass
class Holder:
    value: object


class Plain:
    def __init__(self, value):
        self.value = value


def adder(n):
    return lambda x: x + n


DIFFERENT = [
    (1, 2),
    (1, 1.0),
    (1, "1"),
    (None, False),
    (np.arange(3), np.arange(3.0)),
    (np.arange(4), np.arange(4).reshape(2, 2)),
    (np.array(["a", "b"], dtype=object), np.array(["ab", ""], dtype=object)),
    ([1, [2]], [[1], 2]),
    (Holder(1), Holder(2)),
    (Plain(1), Plain(2)),
    (Plain(1), Holder(1)),
    (adder(1), adder(2)),
    (lambda x: x + 1, lambda x: x + 2),
    (lambda x: x.mean(), lambda x: x.sum()),
    (lambda x, n=1: x, lambda x, n=2: x),
    (partial(max, 1), partial(max, 2)),
    (TopFraction(0.1), TopFraction(0.2)),
    (Key(0), Key(1)),
    (TopFraction, Key),
]


@pytest.mark.parametrize("one, other", DIFFERENT)
def test_it_differs_where_values_differ(one, other):
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(one)


def test_settings_leave_out_what_changes_as_a_run_goes_on():
    """A counter that a function encloses, a private cache; not a number beside them."""

    def counting(calls, scale):
        return lambda batch: (calls.append(1), scale * batch)

    def found(function):
        return fingerprint(function, settings=True)

    assert found(counting([], 1.0)) == found(counting([1, 1], 1.0)) != found(counting([], 2.0))
    one, other = Plain(1), Plain(1)
    one._cache = {"a": 1}
    assert found(one) == found(other) != found(Plain(2))
    assert fingerprint(one) != fingerprint(other)


def test_a_circle_ends():
    circle = Plain(None)
    circle.value = [circle]
    assert fingerprint(circle) == fingerprint(circle)


def test_what_cannot_be_looked_into_is_named():
    unseen = set()
    fingerprint([1, iter([])], unseen)
    assert unseen == {"list_iterator"}


def test_torch_modules_count_by_their_weights():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    before = fingerprint(model)
    with torch.no_grad():
        model.weight[0, 0] += 1
    assert fingerprint(model) != before
