"""A fingerprint is the same in another process, and differs where what a run is made of differs."""

import collections
import datetime
import decimal
import importlib
import math
import operator
import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from veriloop import Key, TopFraction
from veriloop.core.fingerprints import fingerprint, is_installed

CODE = """
import numpy as np
from veriloop import Key, TopFraction
from veriloop.core.fingerprints import fingerprint
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


REACH = 1.0


def helper(x):
    return x + 1


class Near:
    """A verifier of a user's own: its code and its attributes are what it is."""

    scale = 1.0

    def __init__(self, reach):
        self._reach = reach

    def __call__(self, key, batch):
        return self._reach - self.scale * helper(batch) * REACH


def enclosing(settings):
    return lambda key, batch: batch - settings["cut"]


def test_what_a_function_uses_counts(monkeypatch):
    """Private attributes, a method's code, class attributes, globals, helpers, what is enclosed."""
    before = fingerprint(Near(1.0))
    assert fingerprint(Near(1.0)) == before != fingerprint(Near(2.0))
    for place, name, value in (
        (sys.modules[__name__], "REACH", 2.0),
        (sys.modules[__name__], "helper", lambda x: x + 2),
        (Near, "scale", 2.0),
        (Near, "__call__", lambda self, key, batch: batch),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            assert fingerprint(Near(1.0)) != before, name
    assert fingerprint(enclosing({"cut": 1.0})) != fingerprint(enclosing({"cut": 2.0}))


def test_a_field_that_does_not_compare_does_not_count():
    """There a cache or a counter is kept, as in `Cached`."""

    @dataclass
    class Counting:
        cut: float
        calls: list = field(default_factory=list, compare=False)

    one = Counting(1.0)
    before = fingerprint(one)
    one.calls.append(1)
    assert fingerprint(one) == before != fingerprint(Counting(2.0))


def test_an_object_may_say_what_counts():
    class Counting:
        def __init__(self, cut):
            self.cut = cut
            self.calls = 0

        def __fingerprint__(self):
            return self.cut

    one = Counting(1.0)
    before = fingerprint(one)
    one.calls += 1
    assert fingerprint(one) == before != fingerprint(Counting(2.0))


def test_a_circle_ends():
    circle = Plain(None)
    circle.value = [circle]
    assert fingerprint(circle) == fingerprint(circle)


def test_what_cannot_be_looked_into_is_named():
    unseen = set()
    fingerprint([1, (each for each in [])], unseen)
    assert unseen == {"generator"}


def test_tensors_count_by_their_bytes_and_their_type():
    """All were made float64 before: types, large integers and imaginary parts did not count."""
    torch = pytest.importorskip("torch")
    values = [
        torch.tensor([1.5, 2.0]),
        torch.tensor([1.5, 2.0], dtype=torch.float64),
        torch.tensor([1.5, 2.0], dtype=torch.bfloat16),
        torch.tensor([[1.5, 2.0]]),
        torch.tensor(2**53),
        torch.tensor(2**53 + 1),
        torch.tensor([1 + 2j]),
        torch.tensor([1 + 3j]),
        torch.tensor(True),
        torch.empty(0),
    ]
    assert len({fingerprint(value) for value in values}) == len(values)
    for value in values:
        assert fingerprint(value.clone()) == fingerprint(value)
    square = torch.arange(9.0).reshape(3, 3)
    assert fingerprint(square.T[:, 1]) == fingerprint(square[1])
    assert fingerprint(square.to_sparse()) == fingerprint(square)
    twist = torch.tensor([1 + 2j])
    assert fingerprint(twist.conj()) == fingerprint(torch.tensor([1 - 2j]))
    assert fingerprint(twist.imag) == fingerprint(torch.tensor([2.0]))


def test_a_tensor_of_one_value_or_none_may_have_any_stride():
    """PyTorch calls it contiguous, whatever its stride, and could not read its bytes."""
    torch = pytest.importorskip("torch")
    square = torch.arange(9.0).reshape(3, 3)
    assert fingerprint(square[:1, 1]) == fingerprint(torch.tensor([1.0]))
    assert fingerprint(square[1:2, ::3]) == fingerprint(torch.tensor([[3.0]]))
    assert fingerprint(square[:0, 1]) == fingerprint(torch.empty(0))


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch will take them out one day
def test_quantized_tensors_count_by_the_values_they_stand_for():
    """Their bytes are integers, which a scale of their own makes numbers."""
    torch = pytest.importorskip("torch")
    integers = torch.tensor([1.0, 2.0])
    one, other = (
        torch.quantize_per_tensor(integers * scale, scale, 0, torch.qint8) for scale in (0.5, 0.25)
    )
    assert torch.equal(one.int_repr(), other.int_repr())
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one.clone()) == fingerprint(one)


def test_torch_modules_count_by_their_weights():
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    before = fingerprint(model)
    with torch.no_grad():
        model.weight[0, 0] += 1
    assert fingerprint(model) != before


def test_functions_written_in_c_count_by_name_and_by_what_they_are_bound_to():
    unseen = set()
    found = {fingerprint(each, unseen) for each in (len, sum, math.sin, np.add, np.exp, [1].append)}
    assert len(found) == 6 and not unseen
    assert fingerprint([1].append) == fingerprint([1].append) != fingerprint([2].append)


def test_a_package_lent_by_another_environment_is_installed(tmp_path, monkeypatch):
    """Its classes count by name: looking into all of torch would take hours."""
    for folder, installed in (("site-packages", True), ("mine", False)):
        name = f"module_in_{installed}"
        place = tmp_path / folder
        place.mkdir()
        (place / f"{name}.py").write_text("")
        monkeypatch.syspath_prepend(place)
        importlib.import_module(name)
        assert is_installed(name) is installed
        monkeypatch.delitem(sys.modules, name)


class Slots:
    __slots__ = ("limit",)

    def __init__(self, limit):
        self.limit = limit


@pytest.mark.parametrize(
    "make",
    [
        lambda i: re.compile(f"word {i}"),
        lambda i: operator.itemgetter(i),
        lambda i: pathlib.Path(f"rules_{i}.txt"),
        lambda i: decimal.Decimal(i),
        lambda i: range(i),
        lambda i: slice(i),
        lambda i: collections.deque([i]),
        lambda i: datetime.date(2000 + i, 1, 1),
        lambda i: np.random.default_rng(i),
        lambda i: np.ma.array([1, 2], mask=[i == 1, False]),
        lambda i: Slots(i),
    ],
)
def test_objects_without_attributes_count_by_their_value(make):
    unseen = set()
    assert fingerprint(make(1), unseen) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))
    assert not unseen


def test_tables_of_pandas_count_by_their_labels_and_values():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.0, 2.0], "name": ["a", "b"]})
    same = fingerprint(frame)
    _ = frame["x"].mean()  # pandas notes what was used
    assert fingerprint(frame) == same == fingerprint(frame.copy())
    others = [
        frame.assign(x=[1.0, 3.0]),
        frame.assign(name=["a", "c"]),
        frame.rename(columns={"x": "y"}),
        frame.set_index(pandas.Index([5, 6])),
        frame["x"],
        frame["x"] + 1,
    ]
    assert len({same, *map(fingerprint, others)}) == 1 + len(others)
