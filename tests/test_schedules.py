"""Schedules: whole sizes, exact ends, no step the wrong way; slots of the loop that change by round."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import KeepAll, Key, Loop, State, Threshold, Verdict, run, schedules

SIZE, ROUNDS = st.integers(1, 10**7), st.integers(2, 300)
shapes = pytest.mark.parametrize("schedule", [schedules.linear, schedules.geometric])


@shapes
@given(SIZE, SIZE, ROUNDS)
def test_length_ends_whole_numbers_and_order(schedule, first, last, rounds):
    sizes = schedule(first, last, rounds)
    assert len(sizes) == rounds and all(type(n) is int for n in sizes)
    assert sizes[0] == first and sizes[-1] == last
    assert all((b - a) * (last - first) >= 0 for a, b in pairwise(sizes))


@given(SIZE, SIZE, ROUNDS)
def test_linear_is_a_straight_line_to_the_nearest_row(first, last, rounds):
    exact = first + (last - first) * np.arange(rounds) / (rounds - 1)
    assert np.abs(np.array(schedules.linear(first, last, rounds)) - exact).max() <= 0.5 + 1e-6


@given(SIZE, SIZE, ROUNDS)
def test_geometric_is_a_straight_line_in_the_logarithm_to_the_nearest_row(first, last, rounds):
    exact = first * np.exp(np.log(last / first) * np.arange(rounds) / (rounds - 1))
    assert np.abs(np.array(schedules.geometric(first, last, rounds)) - exact).max() <= 0.5 + 1e-6


@given(SIZE, st.integers(1, 300))
def test_constant_and_flat_schedules_agree(n, rounds):
    flat = [n] * rounds
    assert schedules.constant(n, rounds) == schedules.linear(n, n, rounds) == flat
    assert schedules.geometric(n, n, rounds) == flat


@pytest.mark.parametrize("arguments", [(0, 5, 3), (5, 0, 3), (5, 5, 0), (-1, 5, 3)])
@shapes
def test_sizes_and_rounds_below_1_are_refused(schedule, arguments):
    first, last, rounds = arguments
    with pytest.raises(ValueError, match=f"{schedule.__name__} needs .* got {first} to {last} in {rounds} rounds"):
        schedule(*arguments)


def test_constant_refuses_under_its_own_name():
    with pytest.raises(ValueError, match="constant needs sizes and rounds of at least 1, got 0"):
        schedules.constant(0, 3)


@shapes
def test_one_round_cannot_have_two_sizes(schedule):
    with pytest.raises(ValueError, match="cannot go from 3 to 4 in one round"):
        schedule(3, 4, 1)


# Other slots of the loop, by round.


def threshold_loop():
    return Loop(
        generate=lambda key, model, n: key.numpy().random(n),
        verify=lambda key, batch: batch,
        refit=lambda key, model, batch: float(batch.min()),
    )


def test_by_round_gives_each_round_its_own_value_also_when_resumed():
    cuts = [0.0, 0.5, 0.9]
    loop = schedules.by_round(threshold_loop(), filter=[Threshold(cut) for cut in cuts])
    full = list(run(loop, Key(0), State(0.0), [200] * 3))
    assert [state.model >= cut for (state, _), cut in zip(full, cuts, strict=True)] == [True] * 3
    assert [record.kept for _, record in full] == [
        replace(threshold_loop(), filter=Threshold(cut)).step(Key(0), State(0.0, i), 200)[1].kept
        for i, cut in enumerate(cuts)
    ]
    assert full[0][1].kept == 200 > full[1][1].kept > full[2][1].kept
    assert list(run(loop, Key(0), full[0][0], [200] * 3)) == full[1:]


def test_by_round_changes_several_slots_at_once_and_the_loop_given_not_at_all():
    loop = threshold_loop()
    made = schedules.by_round(loop, block=[5, 6], filter=[Threshold(0.1), Threshold(0.2)])(Key(0), State(0.0, 1))
    assert made == replace(loop, block=6, filter=Threshold(0.2)) and loop.filter == KeepAll()


def test_a_cut_at_a_quantile_of_the_start_keeps_that_share_of_its_round():
    """The recipe of the docstring: a tenth, by its standard error with both samples' errors."""
    loop, n = threshold_loop(), 20_000
    cut = np.nanquantile(Verdict.of(loop.verify(Key(0), loop.generate(Key(1), 0.0, n))).scores, 0.9)
    _, record = replace(loop, filter=Threshold(float(cut))).step(Key(2), State(0.0), n)
    assert abs(record.acceptance - 0.1) < 4 * np.sqrt(2 * 0.1 * 0.9 / n)


def test_by_round_refuses_unknown_slots_at_once_and_rounds_without_a_value():
    with pytest.raises(ValueError, match="by_round knows generate, refit, verify, filter, .* got 'filtre'"):
        schedules.by_round(threshold_loop(), filtre=[Threshold(0.0)])
    loop = schedules.by_round(threshold_loop(), filter=[Threshold(0.0)] * 2)
    with pytest.raises(ValueError, match="by_round: filter has values for 2 rounds, got round 3"):
        list(run(loop, Key(0), State(0.0), [10] * 3))
