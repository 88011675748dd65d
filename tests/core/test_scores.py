"""What a verifier may return: all that has a plain meaning as scores is converted, the rest refused."""

import decimal
import fractions

import numpy as np
import pytest

from veriloop import (
    Batched,
    Key,
    Loop,
    Noisy,
    Oracle,
    Quota,
    Shifted,
    State,
    Threshold,
    TopFraction,
    Verdict,
    all_of,
)
from veriloop.core.candidates import as_groups
from veriloop.core.masks import as_mask
from veriloop.core.scores import as_scores
from veriloop.core.verdict import disagreement, judged
from veriloop.testing import check_verifier

ROWS = np.arange(4.0)
NO_VERDICT = np.array([0.5, np.nan, 2.0, -1.0])


def masked(values):
    return np.ma.masked_array(values, mask=[False, True, False, False])


CONVERTED = {
    "list with None": [0.5, None, 2, -1],
    "tuple of NumPy numbers": (np.float32(0.5), np.float64("nan"), np.int64(2), np.int8(-1)),
    "list of arrays without axes": [np.array(0.5), np.array(np.nan), np.array(2), np.array(-1)],
    "array of objects": np.array([0.5, None, 2, -1], dtype=object),
    "decimals": [decimal.Decimal("0.5"), None, decimal.Decimal(2), decimal.Decimal(-1)],
    "fractions": [fractions.Fraction(1, 2), None, 2, -1],
    "masked": masked([0.5, 7.0, 2.0, -1.0]),
    "list with a masked entry": [0.5, np.ma.masked, 2, -1],
    "masked means of rows": [row.mean() for row in masked([0.5, 7.0, 2.0, -1.0]).reshape(4, 1)],
}


@pytest.mark.parametrize("name", CONVERTED)
def test_what_is_plain_is_converted(name):
    np.testing.assert_array_equal(as_scores(CONVERTED[name]), NO_VERDICT)


def test_masked_integers_become_floats_as_an_integer_has_no_nan():
    np.testing.assert_array_equal(as_scores(masked([1, 2, 3, 4])), [1, np.nan, 3, 4])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint64])
def test_arrays_of_numbers_stay_as_they_are(dtype):
    scores = np.ones(3, dtype=dtype)
    assert as_scores(scores) is scores


def test_pandas_is_converted_with_its_missing_values():
    pandas = pytest.importorskip("pandas")
    for given in (
        pandas.Series([0.5, None, 2, -1], index=[7, 8, 9, 10]),
        pandas.array([0.5, None, 2, -1], dtype="Float64"),
        pandas.Series([0.5, pandas.NA, 2, -1], dtype=object),
    ):
        np.testing.assert_array_equal(as_scores(given), NO_VERDICT)


REFUSED = [
    (["0.5", "1", "2", "3"], "must return numbers, got str '0.5' in row 0"),
    ([1.0, 2.0, {"score": 3.0}, 4.0], r"got dict \{'score': 3.0\} in row 2"),
    ([1.0, 2.0, 3.0, [4.0]], r"got list \[4.0\] in row 3"),
    ([1.0, 2j, 3.0, 4.0], "got complex 2j in row 1"),
    ([1, 10**400, 3, 4], "numbers of 64 bits, got a larger one in row 1; give its logarithm"),
    ([1.0, True, 0.0, 1.0], "returned booleans"),
    (np.array([1.0, True, 0.0, 1.0], dtype=object), "returned booleans"),
    (masked([True, True, False, True]), "returned booleans"),
    (np.array(["a", "b", "c", "d"]), r"got dtype <U1 of shape \(4,\)"),
    (np.zeros(4, dtype="datetime64[D]"), r"got dtype datetime64\[D\]"),
    (np.zeros(4, dtype="timedelta64[s]"), r"got dtype timedelta64\[s\]"),
    (np.zeros(4, dtype=complex), "got dtype complex128"),
    (masked(np.zeros(4, dtype=complex)), "got a masked array of dtype complex128"),
    ((score for score in ROWS), "must return an array of numbers, got one generator"),
    ({1.0, 2.0}, "must return an array of numbers, got one set"),
]


@pytest.mark.parametrize("value, message", REFUSED)
def test_what_has_no_plain_meaning_is_refused_with_its_row_and_the_verifier(value, message):
    def judge(key, batch):
        return value

    with pytest.raises(ValueError, match=f"verify .*{message}.*; check judge$"):
        judged(judge, Key(0), ROWS)
    with pytest.raises(ValueError, match=f"part 'mine' .*{message}.*; check judge$"):
        judged(all_of(mine=judge, other=lambda key, batch: batch), Key(0), ROWS)
    with pytest.raises(AssertionError, match=message):
        check_verifier(judge, ROWS)


def test_the_scores_of_parts_and_oracles_are_converted_too():
    def judge(key, batch):
        given = [0.5, None, 2, -1]
        return Verdict(given, {"a": given}, given, {"a": given})

    verdict = judged(judge, Key(0), ROWS)
    for scores in (verdict.scores, verdict.parts["a"], verdict.oracle, verdict.oracles["a"]):
        np.testing.assert_array_equal(scores, NO_VERDICT)
    check_verifier(judge, ROWS, stochastic=True)


def test_a_part_that_is_not_numbers_is_named():
    verdict = Verdict(np.zeros(4), {"length": np.array(list("abcd"))})
    with pytest.raises(ValueError, match="part 'length' must return numbers, got dtype <U1"):
        judged(lambda key, batch: verdict, Key(0), ROWS)


# Tensors.


def tensors():
    torch = pytest.importorskip("torch")
    return torch, torch.tensor([0.5, float("nan"), 2.0, -1.0])


def test_tensors_of_any_precision_and_with_a_gradient_are_converted():
    torch, scores = tensors()
    given = {
        "gradient": scores.clone().requires_grad_(),
        "parameter": torch.nn.Parameter(scores.clone()),
        "bfloat16": scores.bfloat16(),
        "float16": scores.half(),
        "list": list(scores.clone().requires_grad_()),
        "sparse": scores.to_sparse(),
        "conjugate": torch.conj(scores),
    }
    for name, each in given.items():
        np.testing.assert_array_equal(as_scores(each), NO_VERDICT, err_msg=name)


def test_tensors_in_a_loop_and_in_the_check_of_a_verifier():
    torch, _ = tensors()
    net = torch.nn.Linear(1, 1)

    def judge(key, rows):
        return net(torch.from_numpy(rows[:, None]).float()).squeeze(1)

    check_verifier(judge, ROWS)
    loop = Loop(
        generate=lambda key, model, n: key.numpy().random(n),
        refit=lambda key, model, rows: model,
        verify=all_of(net=judge, other=lambda key, rows: rows),
        filter=TopFraction(0.5),
    )
    assert loop.step(Key(0), State(0.0), 6)[1].kept == 3


def test_a_tensor_without_values_is_refused_by_name():
    torch, _ = tensors()

    def judge(key, rows):
        return torch.empty(len(rows), device="meta")

    with pytest.raises(ValueError, match="verify must return values, got a tensor .* device meta"):
        judged(judge, Key(0), ROWS)
    with pytest.raises(ValueError, match="part 'net' must return values"):
        judged(all_of(net=judge), Key(0), ROWS)
    with pytest.raises(AssertionError, match="must return values, got a tensor"):
        check_verifier(judge, ROWS)


def test_a_series_in_another_order_of_rows_is_refused_wherever_rows_are_answered():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [3.0, 1.0, 2.0, -1.0]})
    by_score = frame.sort_values("x")["x"]
    told = r"returned a pandas Series whose index .* \.sort_index\(\)\.to_numpy\(\)"
    with pytest.raises(ValueError, match=f"verify {told}"):
        judged(lambda key, batch: by_score, Key(0), ROWS)
    with pytest.raises(ValueError, match=f"Oracle.truth {told}"):
        Oracle(lambda batch: by_score > 0)(Key(0), ROWS)
    with pytest.raises(ValueError, match=f"filter {told}"):
        as_mask(by_score > 0, 4, TopFraction(0.5))
    with pytest.raises(ValueError, match=f"group {told}"):
        as_groups(by_score > 0, 4)
    # A part of a larger frame: its labels are no row numbers, and the order counts.
    np.testing.assert_array_equal(as_scores(frame["x"].sort_values()[:3]), [-1.0, 1.0, 2.0])


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_a_verifier_may_use_its_array_again_for_the_next_block(kind):
    held = np.zeros(8)
    if kind == "torch":
        held = pytest.importorskip("torch").zeros(8, dtype=float)

    def judge(key, batch):
        for row, value in enumerate(batch):
            held[row] = value
        return held[: len(batch)]

    rows = np.arange(6.0)
    np.testing.assert_array_equal(Batched(judge, 2)(Key(0), rows).scores, rows)
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal(n),
        verify=judge,
        filter=Threshold(),
        refit=lambda key, model, batch: batch,
        block=3,
    )
    state, _ = loop.step(Key(0), State(None), 12)
    assert (state.model >= 0).all()


@pytest.mark.parametrize("n", [6, Quota(3)])
def test_a_filter_that_changes_its_scores_changes_neither_rows_nor_verdicts(n):
    class Strict:
        rowwise = True

        def __call__(self, key, scores, groups):
            scores[scores < 0] = np.nan
            return ~np.isnan(scores)

    drawn = []
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal(n),
        verify=lambda key, batch: batch,
        filter=Strict(),
        refit=lambda key, model, batch: batch,
    )
    _, record = loop.step(Key(0), State(None), n, store=drawn.append)
    assert record.metrics["no_verdict"] == 0
    assert not np.isnan(drawn[0].verdict.scores).any()
    assert not np.isnan(drawn[0].candidates.whole()).any()


def test_scores_of_few_bits_do_not_begin_again_at_the_other_end():
    bytes_ = np.array([250, 3], dtype=np.uint8)
    lenient = Shifted(lambda key, batch: bytes_, 10)
    np.testing.assert_array_equal(lenient(Key(0), np.zeros(2)).scores, [260, 13])
    strict = Shifted(lambda key, batch: bytes_, -10)
    np.testing.assert_array_equal(strict(Key(0), np.zeros(2)).scores, [240, -7])
    flipped = Noisy(lambda key, batch: np.array([-128], dtype=np.int8), false_accept=1.0)
    np.testing.assert_array_equal(flipped(Key(0), np.zeros(1)).scores, [128])
    half = Shifted(lambda key, batch: np.array([1.0, 2.0], dtype=np.float16), 1e5)
    np.testing.assert_array_equal(half(Key(0), np.zeros(2)).scores, [100_001, 100_002])


def test_two_pairs_of_parts_that_make_one_name_are_refused():
    one = np.ones(1)
    with pytest.raises(ValueError, match="two pairs .* 'disagreement_a_b_c'; rename a verifier"):
        disagreement({"a": one, "a_b": one, "b_c": one, "c": -one})
