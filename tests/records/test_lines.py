"""A row as a line of JSON: strict, the same bytes, and nothing lost."""

import json
import math

import numpy as np
import pytest

from veriloop.records import line


def strict(text):
    def refuse(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_line_is_what_json_writes():
    row = {"arm": 'a "b" ü', "seed": 0, "kept": True, "error": 0.1, "way": None, "by": {"a": [1]}}
    assert line(row) == json.dumps(row) + "\n"


@pytest.mark.parametrize("value", [math.inf, np.float64("-inf"), np.float32("inf")])
def test_an_infinite_number_is_json_and_comes_back(value):
    assert strict(line({"error": value})) == {"error": float(value)}


@pytest.mark.parametrize("value", [math.nan, np.float32("nan"), None])
def test_a_missing_number_is_null(value):
    assert line({"error": value}) == '{"error": null}\n'


@pytest.mark.parametrize("value", [np.zeros(3), object(), {1, 2}])
def test_what_is_no_plain_value_is_refused_by_name(value):
    with pytest.raises(TypeError, match="a record holds plain numbers and strings, got .*'error'"):
        line({"error": value})
