"""Features that are none are named, equal samples are at distance 0, and memory does not grow with the square."""

import tracemalloc

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.mnist import distances, frechet_distance, precision_recall

ROWS = Key(0).fold("features").numpy().standard_normal((60, 5))
OTHERS = Key(1).fold("features").numpy().standard_normal((50, 5))
NAMES = {
    frechet_distance: ("frechet_distance: features_a", "frechet_distance: features_b"),
    precision_recall: ("precision_recall: real", "precision_recall: generated"),
}


@pytest.mark.parametrize("measure", NAMES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_is_named(measure, value):
    broken = ROWS.copy()
    broken[7, 3] = value
    first, second = NAMES[measure]
    for name, samples in ((first, (broken, OTHERS)), (second, (OTHERS, broken))):
        with pytest.raises(ValueError, match=f"{name}: row 7 holds {value} as feature 3, and"):
            measure(*samples)


@pytest.mark.parametrize("measure", NAMES)
@pytest.mark.parametrize(
    ("features", "message"),
    [
        (ROWS.astype(str), "must be numbers, got dtype <U"),
        (ROWS * 1j, "must be numbers, got dtype complex128"),
        (ROWS[0], r"must be of shape \(n, d\) with n of at least \d, got \(5,\)"),
        (ROWS[:, :3], "features differ in number"),
        (np.ma.masked_less(ROWS, 0), "holds --, and no value may be masked"),
        (ROWS[:0], r"got \(0, 5\)|need more rows, got 0 and 50"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(measure, features, message):
    with pytest.raises(ValueError, match=message):
        measure(features, OTHERS)


@pytest.mark.parametrize("measure", NAMES)
def test_features_come_in_any_form(measure):
    wanted = measure(ROWS, OTHERS)
    tensor = torch.from_numpy(ROWS).requires_grad_()
    assert measure(tensor, OTHERS.tolist()) == wanted
    assert measure(ROWS[::-1][::-1], np.ma.masked_array(OTHERS)) == wanted


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_no_distance_is_below_zero(scale):
    """The same rows are at 0, to the bit; in another order, repeated or singular at 0 or just above."""
    rows = scale * ROWS
    assert frechet_distance(rows, rows.copy()) == 0
    for other in (rows[::-1], rows[np.argsort(rows[:, 0])], np.tile(rows, (1, 1))):
        assert 0 <= frechet_distance(rows, other) < 1e-7 * scale**2
    few = scale * ROWS.T  # fewer rows than features
    assert 0 <= frechet_distance(few, few[::-1]) < 1e-6 * scale**2


def test_blocks_give_the_numbers_of_the_whole_table(monkeypatch):
    """Of any size, one row at a time included; sets of different numbers."""
    whole = precision_recall(ROWS, OTHERS)
    assert 0 < min(whole) and max(whole) < 1
    for cells in (1, 170, 50 * 60 - 1):
        monkeypatch.setattr(distances, "CELLS", cells)
        assert precision_recall(ROWS, OTHERS) == whole


def peak(n, d=4):
    """Return the most bytes that are allocated at once, for two sets of n rows."""
    a, b = Key(n).numpy().standard_normal((2, n, d))
    tracemalloc.start()
    precision_recall(a, b)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_square_of_the_rows(monkeypatch):
    """Eight times the rows take at most twice as much, where whole tables would take 64 times as much."""
    monkeypatch.setattr(distances, "CELLS", 2**16)
    block = 8 * 2**16
    few = peak(500)
    many = peak(4000)
    assert few > block  # what is counted holds at least one block of distances
    assert many < 6 * block and many < 2 * few


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e7, 1e8])
def test_where_the_origin_is_does_not_matter(offset):
    """Neighbours are those of the differences, also far from 0, where squared lengths hide them."""
    assert precision_recall(ROWS + offset, OTHERS + offset) == precision_recall(ROWS, OTHERS)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_copies_of_rows_are_at_distance_zero(offset):
    """A generator that has learnt the real rows by heart, each eight times: it covers all of them."""
    copies = np.tile(ROWS, (8, 1)) + offset
    assert precision_recall(ROWS + offset, copies) == (1, 1, 1)
    assert precision_recall(copies, copies) == (1, 1, 1)
    collapsed = np.repeat(ROWS[:1], 50, axis=0) + offset
    precision, recall, _ = precision_recall(ROWS + offset, collapsed)
    assert (precision, recall) == (1, 1 / 60)


@pytest.mark.parametrize("measure", [frechet_distance, precision_recall])
def test_features_too_large_to_be_squared_are_refused(measure):
    """Infinite distances would all be equal, and precision and recall perfect."""
    rows = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match=r"row 0 .* features must be finite, and at most 1e150"):
        measure(rows * 1e200, rows)
