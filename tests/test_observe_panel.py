"""The panel: counts by hand, and that the loop and the backends put the numbers in the record."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from veriloop import FromStart, Key, Loop, Spread, State, Threshold, all_of, vote
from veriloop.core.verdict import disagreement
from veriloop.linear import Problem

SCORES = arrays(float, 12, elements=st.one_of(st.floats(-2, 2), st.just(np.nan)))


def low(key, batch):
    return 1 - batch


def high(key, batch):
    return batch + 1


@given(SCORES, SCORES)
def test_disagreement_is_symmetric_and_nothing_with_oneself(a, b):
    one, other = disagreement({"a": a, "b": b}), disagreement({"b": b, "a": a})
    assert list(one.values()) == list(other.values()) and 0 <= one["disagreement_a_b"] <= 1
    assert disagreement({"a": a, "b": a}) == {"disagreement_a_b": 0.0}


def test_every_pair_is_there_once_and_parts_of_parts_are_not():
    ones = np.ones(2)
    assert list(disagreement({"a": ones, "a.x": -ones, "b": ones, "c": ones})) == [
        "disagreement_a_b",
        "disagreement_a_c",
        "disagreement_b_c",
    ]
    assert disagreement({}) == disagreement({"a": ones}) == {}


def test_the_loop_records_it_over_all_candidates():
    """Rows outside -1 ... 1 are accepted by one of the two, over several blocks."""
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal(n),
        refit=lambda key, model, batch: batch.mean(),
        verify=all_of(low=low, high=high),
        filter=Threshold(0.0),
        block=30,
    )
    _, record = loop.step(Key(1), State(0.0), 100)
    key, sizes = Key(1).fold(1, "generate"), (30, 30, 30, 10)
    rows = np.concatenate([key.fold(i).numpy().standard_normal(n) for i, n in enumerate(sizes)])
    assert record.metrics["disagreement_low_high"] == np.mean(np.abs(rows) > 1)
    _, three = replace(loop, verify=vote(2, low, high, low=high)).step(Key(1), State(0.0), 100)
    assert sum(name.startswith("disagreement") for name in three.metrics) == 3


def test_the_distance_to_the_start_beside_the_errors_of_linear_regression():
    problem = Problem.gaussian(bias=0.5, radius=1.0)
    start, loop = problem.start(Key(0)), problem.loop(verify=problem.verifier)
    measure = FromStart(loop.measure, start.model)
    assert measure(Key(0), start.model) == {
        **loop.measure(Key(0), start.model),
        "distance_start": 0.0,
    }
    _, record = replace(loop, measure=measure).step(Key(0), start, problem.size(50))
    assert record.metrics["distance_start"] > 0
    apart = FromStart(lambda key, model: {}, "ab", lambda model, start: len(model) - len(start))
    assert apart(Key(0), "abcde") == {"distance_start": 3.0}


def test_the_spread_of_kept_labels_is_narrower_than_that_of_candidates():
    """A window of half width w = 1.3 about the centre: its truncated variance, 0.446, against 1."""
    problem = Problem.gaussian(bias=0.0, radius=0.5)
    labels = Spread(lambda data: data.y - data.x @ problem.truth)
    _, record = replace(problem.loop(verify=problem.verifier), observe=labels).step(
        Key(2), State(problem.truth), 20_000
    )
    errors = np.array([np.sqrt(2 / 20_000), np.sqrt(2 / record.kept)])
    z = (
        np.array([record.metrics["spread"], record.metrics["spread_kept"]]) - [1.0, 0.4464]
    ) / errors
    assert np.abs(z).max() < 4


def test_the_spread_is_the_trace_of_the_covariance_whatever_holds_the_rows():
    """The same where candidates are drawn again in place of held."""
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal((n, 3)),
        refit=lambda key, model, batch: batch.mean(axis=0),
        observe=Spread(lambda batch: batch),
        block=20,
    )
    _, held = loop.step(Key(3), State(None), 60)
    _, lazy = replace(loop, chunk=25).step(Key(3), State(None), 60)
    rows = np.concatenate(
        [Key(3).fold(1, "generate", i).numpy().standard_normal((20, 3)) for i in range(3)]
    )
    assert held.metrics["spread"] == pytest.approx(np.trace(np.cov(rows, rowvar=False, ddof=0)))
    assert held == lazy
