"""Schedules: whole sizes, exact ends, no step the wrong way; parts of the loop that change by round."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Accumulate,
    Constant,
    EachRound,
    KeepAll,
    Key,
    Loop,
    Quota,
    Replace,
    RunDir,
    State,
    Threshold,
    run,
    schedules,
)

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
    with pytest.raises(
        ValueError, match=f"{schedule.__name__} needs .* got {first} to {last} in {rounds} rounds"
    ):
        schedule(*arguments)


def test_constant_refuses_under_its_own_name():
    with pytest.raises(
        ValueError,
        match="constant needs sizes and rounds that are whole numbers of at least 1, got 0",
    ):
        schedules.constant(0, 3)


@shapes
def test_one_round_cannot_have_two_sizes(schedule):
    with pytest.raises(ValueError, match="cannot go from 3 to 4 in one round"):
        schedule(3, 4, 1)


# Parts of the loop, by round.


LOOP = Loop(
    generate=lambda key, model, n: key.numpy().random(n),
    verify=lambda key, batch: batch,
    filter=Threshold(),
    refit=lambda key, model, batch: float(batch.min()),
)
CUTS = [Threshold(-0.1), Threshold(0.5), Threshold(0.9)]


def test_by_round_gives_each_round_its_own_value():
    """Round k keeps what a loop with values[k - 1] alone keeps, and round 0 needs no value."""
    loop = replace(LOOP, filter=schedules.by_round(CUTS))
    assert isinstance(loop.filter, EachRound)
    start, *rounds = run(loop, Key(0), State(0.0), [200] * 3)
    assert start[1].round == 0
    for i, (state, record) in enumerate(rounds):
        alone = replace(LOOP, filter=CUTS[i]).step(Key(0), State(0.0, i), 200)
        assert (state, record) == alone
    kept = [record.kept for _, record in rounds]
    assert kept[0] == 200 > kept[1] > kept[2]


def test_a_resumed_run_takes_the_values_of_its_own_rounds():
    """By the state's round, not by how many rounds were run in this process; a resumed run has no round 0."""
    loop = replace(LOOP, filter=schedules.by_round(CUTS))
    whole = list(run(loop, Key(0), State(0.0), [200] * 3))
    after_round_1 = whole[1][0]
    assert list(run(loop, Key(0), after_round_1, [200] * 3)) == whole[2:]


def test_several_parts_change_by_round_and_the_loop_given_does_not():
    """A round without a verifier and one with, each with a filter and a pool of its own."""
    loop = replace(
        LOOP,
        verify=schedules.by_round([Constant(), LOOP.verify]),
        filter=schedules.by_round([KeepAll(), Threshold(0.9)]),
        pool=schedules.by_round([Replace(), Accumulate()]),
    )
    (_, (first, open_), (second, strict)) = run(loop, Key(0), State(0.0), [200] * 2)
    assert open_.kept == 200 > strict.kept
    assert first.past == () and len(second.past) == 1
    assert LOOP.filter == Threshold() and LOOP.pool is None


def test_a_value_may_itself_be_made_of_the_state():
    """Keep all in round 1, and in round 2 only what is above the lowest value of round 1."""
    above_lowest = EachRound(lambda key, state: Threshold(state.model))
    loop = replace(LOOP, filter=schedules.by_round([KeepAll(), above_lowest]))
    (_, (first, _), (_, record)) = run(loop, Key(0), State(0.0), [200] * 2)
    by_hand = replace(LOOP, filter=Threshold(first.model)).step(Key(0), first, 200)[1]
    assert record == by_hand


def test_a_quota_is_served_by_the_filter_of_its_round():
    """Thresholds judge rows one by one, so a schedule of them does."""
    loop = replace(LOOP, filter=schedules.by_round(CUTS))
    (_, *rounds) = run(loop, Key(0), State(0.0), [Quota(20)] * 3)
    assert [record.kept for _, record in rounds] == [20] * 3
    candidates = [record.candidates for _, record in rounds]
    assert candidates[0] == 20 < candidates[1] < candidates[2]


def test_a_run_folder_tells_two_schedules_apart(tmp_path):
    """Equal values go on where they were; other values are another run."""
    first = replace(LOOP, filter=schedules.by_round(CUTS))
    same = replace(
        LOOP, filter=schedules.by_round([Threshold(-0.1), Threshold(0.5), Threshold(0.9)])
    )
    other = replace(
        LOOP, filter=schedules.by_round([Threshold(-0.1), Threshold(0.5), Threshold(0.8)])
    )
    done = list(RunDir(tmp_path).run(first, Key(0), State(0.0), [20, 20]))
    again = list(RunDir(tmp_path).run(same, Key(0), State(0.0), [20, 20]))
    assert [record for _, record in again] == [record for _, record in done]
    with pytest.raises(ValueError, match="another filter"):
        list(RunDir(tmp_path).run(other, Key(0), State(0.0), [20, 20]))


def test_a_cut_at_a_quantile_of_the_start_keeps_that_share_of_its_round():
    """The recipe of the docstring: a tenth, by its standard error with both samples' errors."""
    n = 20_000
    cut = np.nanquantile(LOOP.verify(Key(0), LOOP.generate(Key(1), 0.0, n)), 0.9)
    _, record = replace(LOOP, filter=Threshold(float(cut))).step(Key(2), State(0.0), n)
    assert abs(record.acceptance - 0.1) < 4 * np.sqrt(2 * 0.1 * 0.9 / n)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (Threshold(0.1), "by_round needs a list of parts, one a round, got Threshold"),
        (
            (Threshold(cut) for cut in (0.1, 0.2)),
            "by_round needs a list of parts, one a round, got generator",
        ),
        ("ab", "by_round needs a list of parts, one a round, got str"),
        ([Threshold(0.1), 0.2], r"by_round: values\[1\] must be a function of .*, got float 0.2"),
        (
            [Threshold, KeepAll()],
            r"by_round: values\[0\] is the class Threshold; make a value of it",
        ),
    ],
    ids=["a part", "a generator", "a text", "a number", "a class"],
)
def test_by_round_refuses_what_is_no_list_of_parts_at_once(values, message):
    with pytest.raises(TypeError, match=message) as caught:
        schedules.by_round(values)
    assert "\n" not in str(caught.value)


def test_a_round_without_a_value_is_refused_in_one_sentence():
    loop = replace(LOOP, filter=schedules.by_round(CUTS[:2]))
    rounds = run(loop, Key(0), State(0.0), [10] * 3)
    assert [next(rounds)[1].round for _ in range(3)] == [0, 1, 2]
    with pytest.raises(
        ValueError, match="^by_round has values for 2 rounds, got round 3; give one a round"
    ):
        next(rounds)


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.constant(10.5, 3),
        lambda: schedules.constant(True, 3),
        lambda: schedules.constant("5", 3),
        lambda: schedules.linear(float("nan"), 10, 3),
        lambda: schedules.linear(1, 10, 3.5),
        lambda: schedules.geometric(1, float("inf"), 3),
        lambda: schedules.geometric(1, None, 3),
    ],
)
def test_sizes_that_are_no_whole_numbers_are_refused_and_not_rounded(make):
    with pytest.raises(ValueError, match="sizes and rounds that are whole numbers of at least 1"):
        make()


def test_whole_numbers_with_a_point_are_sizes():
    assert schedules.constant(1e3, 2.0) == [1000, 1000]
    assert schedules.linear(np.float32(1), np.int8(3), 3) == [1, 2, 3]
