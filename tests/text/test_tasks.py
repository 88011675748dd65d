"""Verifiers and metrics of tasks with right answers: what counts as right, and what is refused."""

import re
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from veriloop import Key, Loop, Noisy, State, Threshold
from veriloop.testing import check_filter, check_verifier
from veriloop.text import (
    AtMost,
    DistinctAnswers,
    Each,
    ExactMatch,
    Majority,
    NumericMatch,
    PassAtK,
    Texts,
    last_number,
    pass_at_k,
)


def rows(targets, outputs, numbers=None):
    if numbers is None:
        numbers = range(len(outputs))
    inputs = [f"question {number}" for number in numbers]
    return Texts.of(inputs, targets, outputs, list(numbers))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("The answer is 42.", 42),
        ("#### 1,000", 1000),
        ("$1,234,567.50 in all", "1234567.5"),
        ("-3", -3),
        ("\u22123", -3),
        ("10-3", 3),
        ("x-3", 3),
        ("it is (-3)", -3),
        ("+7", 7),
        ("3.0", 3),
        (".5", "1/2"),
        ("50%", 50),
        ("1e3", 1000),
        ("2.5E-1", "1/4"),
        ("3/4", "3/4"),
        (r"\frac{3}{4}", "3/4"),
        (r"\dfrac{-3}{4}", "-3/4"),
        (r"\boxed{4}", 4),
        (r"so \boxed{4}, after 3 steps", 4),
        (r"\boxed{\frac{1}{2}} of 8", "1/2"),
        (r"\boxed{1} no, \boxed{2}", 2),
        (r"$10{,}000$", 10000),
        ("1, 2, 3", 3),
        ("1,2,3", 3),
        ("\u0663", 3),
        ("1/0", None),
        ("forty two", None),
        ("", None),
        (r"\boxed{none} of 8", None),
        (r"cut short: \boxed{4", 4),
        ("1e999999999", 999999999),
        ("-$3", -3),
        (r"-\$1{,}000", -1000),
        ("10-$3", 3),
        ("1\u202f234\u202f567.5", "1234567.5"),
        ("10\u00a0000", 10000),
        ("3 1/2", "7/2"),
        (r"-3\frac{1}{2}", "-7/2"),
        (r"7\frac12", "15/2"),
        (r"\frac1{12}", "1/12"),
    ],
)
def test_the_last_number_of_a_text(text, number):
    """Signs, thousands, decimals, fractions and boxes are read as people write them."""
    if number is not None:
        number = Fraction(number)
    assert last_number(text) == number


def test_an_exact_match_takes_white_space_and_composed_letters_as_equal():
    """A target that nobody knows has no verdict, and cannot be measured against."""
    given = rows(["forty two", "caf\u00e9", "a", ""], ["forty\u00a0 two\n", "cafe\u0301", "A", "a"])
    scores = ExactMatch()(Key(0), given)
    np.testing.assert_array_equal(scores, [1, 1, -1, np.nan])
    lower = ExactMatch(normalise=str.lower)
    assert lower.right(given[:3]).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="row 3 has no target"):
        ExactMatch().right(given)


def test_a_numeric_match_compares_numbers_and_refuses_a_target_without_one():
    """An output without a number is rejected, so that a loop does not learn to say nothing."""
    given = rows(["3", "1000", "-3", "4", ""], ["3.0", "so 1,000", "3", "four", "7"])
    np.testing.assert_array_equal(NumericMatch()(Key(0), given), [1, 1, -1, -1, np.nan])
    near = NumericMatch(tolerance=0.01)
    assert near.right(rows(["3.14"] * 2, ["3.145", "3.2"])).tolist() == [True, False]
    with pytest.raises(ValueError, match=r"row 1 has no number, got 'four'"):
        NumericMatch()(Key(0), rows(["3", "four"], ["3", "4"]))


@pytest.mark.parametrize(
    "target",
    [
        "2024-01-05",
        "3:45",
        "1.234,5",
        "1,23",
        "10 000",
        "1_000",
        "(3,5)",
        "12 cm^2",
        "12 cm2",
        "2^{10}",
        "5-3",
        r"\frac{\pi}{3}",
        r"2\sqrt{3}",
        r"\boxed{2\pi}",
        "v1.2.3",
    ],
)
def test_a_numeric_match_refuses_a_target_of_which_it_would_read_a_part(target):
    """Else any output that ends in the same digits would pass: 2023-07-05 for 2024-01-05."""
    with pytest.raises(ValueError, match=r"row 0 says more than its last number"):
        NumericMatch()(Key(0), rows([target], ["3"]))


@pytest.mark.parametrize(
    "target",
    [
        "3*4=12",
        "so <<3*4=12>>12 apples.\n#### 12",
        "Answer:5",
        "1, 2, 3",
        r"90^\circ",
        "12 m",
        "5%",
        "**5**",
        "__5__",
    ],
)
def test_a_numeric_match_takes_a_target_with_words_around_its_number(target):
    assert NumericMatch()(Key(0), rows([target], [target])).tolist() == [1]


def test_flags_of_0_and_1_are_refused_where_0_accepts():
    """Also in a round in which every output is wrong, where all flags are 0."""
    wrong = Each(lambda input, target, output: 0)(Key(0), rows([""] * 20, ["x"] * 20))
    for keep in (Threshold(), AtMost(2)):
        with pytest.raises(ValueError, match="0 and 1 alone, and a score of 0 accepts"):
            keep(Key(0), wrong, None)
    assert AtMost(2, cut=0.5)(Key(0), np.arange(20) % 2, None).sum() == 2


def test_a_match_is_no_verdict_of_a_function():
    """The None of no match would say that there is no verdict, and not that it rejects."""
    given = rows([""], ["4"])
    with pytest.raises(ValueError, match="returned a match for row 0"):
        Each(lambda input, target, output: re.fullmatch("[0-9]", output))(Key(0), given)


def test_a_function_of_one_row_is_a_verifier():
    """Booleans accept and reject, numbers are scores, None is no verdict."""
    said = {"a": True, "b": False, "c": 0.25, "d": None, "e": np.bool_(True), "f": -2}
    verify = Each(lambda input, target, output: said[output])
    scores = verify(Key(0), rows([""] * 6, list("abcdef")))
    np.testing.assert_array_equal(scores, [1, -1, 0.25, np.nan, 1, -2])


def test_an_error_in_a_function_of_one_row_names_the_row():
    """So does an answer that is none."""
    given = rows([""] * 2, ["4", "four"])
    with pytest.raises(ValueError, match="invalid literal") as error:
        Each(lambda input, target, output: int(output))(Key(0), given)
    assert "in row 1 of the batch, whose output is 'four'" in error.value.__notes__
    with pytest.raises(ValueError, match="got 'yes' for row 0"):
        Each(lambda input, target, output: "yes")(Key(0), given)


def test_a_majority_is_counted_among_the_candidates_of_an_input():
    """Candidates of one input need not lie together; one without an answer counts, unaccepted."""
    given = rows([""] * 7, ["4", "1", "4.0", "5", "two", "1", "x"], [0, 1, 0, 0, 0, 1, 1])
    scores = Majority(last_number)(Key(0), given)
    np.testing.assert_allclose(scores, [0, 1 / 6, 0, -0.25, np.nan, 1 / 6, np.nan])
    with pytest.raises(ValueError, match="several candidates of every input, got 1 of the input 2"):
        Majority()(Key(0), rows([""] * 3, ["4"] * 3, [1, 1, 2]))


def test_a_majority_is_refused_where_blocks_would_split_the_candidates():
    """The loop sees that it judges rows together."""
    given = rows([""] * 4, ["4"] * 4, [0] * 4)
    check_verifier(Majority(), given, rowwise=False)
    loop = Loop(
        generate=lambda key, model, n: given[:n],
        verify=Noisy(Majority()),
        filter=Threshold(),
        refit=lambda key, model, batch: model,
        block=2,
    )
    with pytest.raises(ValueError, match="needs all candidates in one block"):
        loop.step(Key(0), State(0), 4)


@pytest.mark.parametrize("verify", [ExactMatch(), NumericMatch(), Each(lambda *texts: True)])
def test_verifiers_keep_what_the_loop_relies_on(verify):
    check_verifier(verify, rows(["4", "5", "6", "7"], ["4", "4", "6 ", ""]))


def test_at_most_so_many_of_a_group_are_kept():
    """The best are; a group with fewer keeps those; rows without a verdict are never kept."""
    scores = np.array([1, 3, 2, -1, 0.5, np.nan])
    groups = np.array([7, 7, 7, 2, 2, 2])
    kept = AtMost(2)(Key(0), scores, groups)
    assert kept.tolist() == [False, True, True, False, True, False]
    assert AtMost(1, cut=-2)(Key(0), scores, groups).sum() == 2
    assert AtMost(9)(Key(0), scores).tolist() == [True, True, True, False, True, False]
    check_filter(AtMost(1))
    ties = [int(np.flatnonzero(AtMost(1)(Key(seed), np.ones(3)))[0]) for seed in range(30)]
    assert set(ties) == {0, 1, 2}


def test_pass_at_k_is_the_share_of_all_choices_of_k_that_hold_a_right_one():
    """Chen's estimator, held to the choices written out; inputs in the order of their rows."""
    passed = np.array([True, False, False, True, False, False, False, True, True, True])
    numbers = np.array([9, 9, 9, 9, 9, 4, 4, 4, 4, 4])
    for k in (1, 2, 3, 4, 5):
        found = pass_at_k(passed, numbers, k)
        for number, value in zip((9, 4), found, strict=True):
            own = passed[numbers == number]
            chosen = [any(each) for each in combinations(own, k)]
            assert value == pytest.approx(np.mean(chosen), abs=1e-12)


def test_pass_at_k_is_exact_where_binomials_are_too_large_for_a_float():
    """Of 5,000 candidates one is right: any k of them hold it with probability k / 5,000."""
    passed = np.arange(5000) == 17
    assert pass_at_k(passed, np.zeros(5000, dtype=int), 1000) == pytest.approx([0.2], rel=1e-9)


@pytest.mark.parametrize(
    ("passed", "k", "message"),
    [
        (np.array([True, False]), 3, "got 3, and the input 0 has 2"),
        (np.array([1, 0]), 1, "must be booleans"),
        (np.array([True]), 1, "one for each number"),
        (np.array([True, False]), 0, "k must be"),
    ],
)
def test_pass_at_k_refuses_what_it_cannot_estimate(passed, k, message):
    with pytest.raises(ValueError, match=message):
        pass_at_k(passed, np.zeros(2, dtype=int), k)


def test_metrics_give_every_row_the_number_of_its_input():
    """So their means over inputs have intervals; inputs need not be in order."""
    given = rows(["4"] * 5, ["4", "5", "4 ", "4", "5"], [8, 3, 8, 3, 3])
    assert PassAtK(ExactMatch().right, k=1)(given) == pytest.approx([1, 1 / 3, 1, 1 / 3, 1 / 3])
    assert DistinctAnswers()(given).tolist() == [1, 2, 1, 2, 2]
    assert DistinctAnswers(lambda output: None)(given).tolist() == [0] * 5
