"""The numbers of a record: what has one plain meaning is taken, the rest refused by name."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from veriloop.core.numbers import merge


@pytest.mark.parametrize(
    "value, plain",
    [
        (0.5, 0.5),
        (3, 3),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array(0.5), 0.5),
        (np.array(3), 3),
        (Decimal("0.5"), 0.5),
        (Fraction(1, 2), 0.5),
    ],
)
def test_what_is_one_number_becomes_a_plain_one(value, plain):
    found = merge({"x": value})["x"]
    assert found == plain and type(found) is type(plain)


def test_none_and_nan_are_nan():
    assert all(math.isnan(each) for each in merge({"a": None, "b": np.array(np.nan)}).values())


def test_tensors_without_axes_are_numbers():
    torch = pytest.importorskip("torch")
    value = torch.tensor(0.5)
    for each in (value, value.bfloat16(), value.clone().requires_grad_()):
        assert merge({"x": each}) == {"x": 0.5}


@pytest.mark.parametrize(
    "value, got",
    [
        ("good", "str 'good'"),
        ([1.0], r"list \[1.0\]"),
        (np.array([0.5]), r"ndarray array\(\[0.5\]\)"),
        (2j, "complex 2j"),
        (np.array(2j), r"ndarray array\(0.\+2.j\)"),
        (np.array("text"), "ndarray"),
        (np.datetime64("2026-01-01"), "datetime64"),
        ({"a": 1}, "dict"),
    ],
)
def test_what_is_no_number_is_refused_by_name(value, got):
    with pytest.raises(TypeError, match=f"the metric 'x' must be one number, got {got}"):
        merge({"x": value})


@pytest.mark.parametrize("value", [math.inf, -math.inf, np.float32(np.inf), np.array(-np.inf)])
def test_an_infinite_number_is_kept_and_named(value):
    with pytest.warns(UserWarning, match="round 2: the metric 'x' is -?inf; means over it have"):
        assert merge({"x": value}, round=2) == {"x": float(value)}


@pytest.mark.parametrize("name", ["round", "candidates", "kept", "arm", "seed"])
def test_names_of_other_columns_are_refused(name):
    with pytest.raises(ValueError, match=f"called '{name}'.*; rename the metric"):
        merge({name: 1.0})


def test_names_are_text_and_come_once():
    with pytest.raises(TypeError, match="the name of a metric must be text, got int 7"):
        merge({7: 1.0})
    with pytest.raises(ValueError, match="two numbers of one record are called 'x'"):
        merge({"x": 1.0}, {"x": 1.0})


@pytest.mark.parametrize(
    "value", [np.ma.masked, np.ma.array(3.0, mask=True), np.ma.array([1.0], mask=True).mean()]
)
def test_the_mean_of_nothing_but_masked_entries_is_nan_and_not_0(value):
    assert math.isnan(merge({"error": value})["error"])


def test_the_missing_value_of_pandas_is_nan():
    pandas = pytest.importorskip("pandas")
    assert math.isnan(merge({"error": pandas.NA})["error"])


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_number_that_no_float_holds_is_refused_by_name(value):
    with pytest.raises(TypeError, match="the metric 'loss' is too large for a number of 64 bits"):
        merge({"loss": value})


def test_a_tensor_without_values_is_refused_by_name():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="the metric 'loss' must return values, got a tensor of"):
        merge({"loss": torch.tensor(1.0, device="meta")})
