"""Descriptions: equal in every process, different where values differ."""

import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from veriloop.study.description import described, digest

PROGRAM = """
from veriloop.study.description import digest

def known(word, *, also=frozenset({"x", "y", "z"})):
    return word in {"a", "b", "c", "d"}

print(digest(known))
"""


@dataclass(frozen=True)
class Point:
    place: np.ndarray


def test_a_digest_is_the_same_in_every_process():
    """Sets have another order in each, as text is hashed with another seed."""
    ran = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    assert len({each.stdout for each in ran}) == 1


def below(limit):
    def judge(value, *, strict=True):
        return value < limit

    return judge


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (below(1), below(2)),
        (Point(np.arange(3)), Point(np.arange(4))),
        (np.arange(3), np.arange(3.0)),
        ({1, 2}, {1, 3}),
        (Point(np.arange(3)).__eq__, Point(np.arange(4)).__eq__),
    ],
    ids=["closures", "fields", "types of numbers", "sets", "methods"],
)
def test_values_that_differ_have_other_digests(one, other):
    assert digest(one) != digest(other)


def test_what_is_equal_has_one_digest():
    assert digest(below(1)) == digest(below(1))
    assert digest(Point(np.arange(3))) == digest(Point(np.arange(3)))
    assert described(range(3)) == described([0, 1, 2])
