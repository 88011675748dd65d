"""Batches: arrays and columns count, index and stack alike."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Batch, Columns, Key, Loop, Quota, State, Threshold, concatenate, run


@dataclass(frozen=True)
class Pairs(Columns):
    x: np.ndarray
    y: np.ndarray


def pairs(n, start=0):
    y = np.arange(start, start + n)
    return Pairs(x=np.stack([y, -y], axis=1), y=y)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_columns_keep_their_rows_together_under_masks_and_integers(flags):
    mask = np.array(flags)
    batch = pairs(len(mask))
    for rows in (mask, np.flatnonzero(mask), np.flatnonzero(mask)[::-1], slice(0, len(mask) // 2)):
        part = batch[rows]
        np.testing.assert_array_equal(part.y, np.arange(len(mask))[rows])
        np.testing.assert_array_equal(part.x, np.stack([part.y, -part.y], axis=1))
        assert len(part) == len(part.y) and type(part) is Pairs


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6))
def test_concatenate_stacks_in_order_and_undoes_splitting(sizes):
    starts = np.cumsum([0, *sizes])
    parts = [pairs(n, start) for n, start in zip(sizes, starts, strict=False)]
    whole = concatenate(parts)
    np.testing.assert_array_equal(whole.y, np.arange(sum(sizes)))
    np.testing.assert_array_equal(whole.x, pairs(sum(sizes)).x)
    np.testing.assert_array_equal(concatenate([part.y for part in parts]), whole.y)


def test_concatenate_uses_the_class_method_of_a_foreign_batch():
    class Words(list):
        @classmethod
        def concatenate(cls, batches):
            return cls(word for batch in batches for word in batch)

    assert concatenate([Words("ab"), Words("c")]) == ["a", "b", "c"]


class Deck(Batch):
    """What `Batch` asks for, and the class method that stacks blocks; the rows are in a list."""

    def __init__(self, cards):
        self.cards = list(cards)

    def __len__(self):
        return len(self.cards)

    def __getitem__(self, rows, /):
        return Deck(np.array(self.cards)[rows].tolist())

    @classmethod
    def concatenate(cls, batches):
        return cls(card for batch in batches for card in batch.cards)


def test_what_batch_asks_for_is_all_that_a_loop_needs():
    """A stranger's type that has it runs through blocks, filter and pool as an array does."""
    written = {name: getattr(each, "__module__", "") for name, each in vars(Batch).items()}
    asked = {name for name, module in written.items() if module == Batch.__module__}
    assert asked == {"__len__", "__getitem__"}

    def loop(kind):
        return Loop(
            generate=lambda key, model, n: kind(model + key.numpy().standard_normal(n)),
            verify=lambda key, batch: np.array(getattr(batch, "cards", batch)),
            filter=Threshold(0.0),
            refit=lambda key, model, batch: float(np.mean(getattr(batch, "cards", batch))),
            block=8,
        )

    ends = []
    for kind in (Deck, np.asarray):
        rounds = list(run(loop(kind), Key(0), State(0.0), [30, Quota(12)]))
        ends.append([(state.model, record) for state, record in rounds])
    assert ends[0] == ends[1] and len(ends[0]) == 3


def test_columns_of_different_lengths_are_refused_by_name():
    with pytest.raises(
        ValueError, match=r"Pairs needs columns of one length, got \{'x': 3, 'y': 2\}"
    ):
        Pairs(x=np.eye(3), y=np.arange(2))


def test_concatenate_refuses_nothing_and_types_that_are_no_batch():
    with pytest.raises(ValueError, match="at least one batch, got none"):
        concatenate([])
    with pytest.raises(
        TypeError,
        match="a batch must be rows that can be picked and stacked, got a list; return a NumPy array",
    ):
        concatenate([[1], [2]])


@pytest.mark.parametrize("held", [None, 1])
def test_torch_tensors_are_batches_and_stay_tensors(held):
    """Bare ones and columns of them, also where blocks are stacked and rows are drawn again."""
    torch = pytest.importorskip("torch")

    @dataclass(frozen=True)
    class Points(Columns):
        x: torch.Tensor
        y: np.ndarray

    def bare(key, model, n):
        return torch.from_numpy(model + key.numpy().standard_normal(n))

    def columns(key, model, n):
        x = bare(key, model, n)
        return Points(x, 2 * x.numpy())

    ends = []
    for generate, values in ((bare, lambda batch: batch), (columns, lambda batch: batch.x)):
        kinds = []

        def refit(key, model, batch, values=values, kinds=kinds):
            kinds.append(type(values(batch)))
            return float(values(batch).mean())

        loop = Loop(
            generate=generate,
            verify=lambda key, batch, values=values: values(batch),
            filter=Threshold(0.5),
            refit=refit,
            block=8,
            chunk=held,
        )
        *_, (state, _) = run(loop, Key(0), State(0.0), [30, 30])
        assert kinds == [torch.Tensor] * 2
        ends.append(state.model)
    assert ends[0] == ends[1]


def test_columns_that_are_no_arrays_are_refused_by_name():
    with pytest.raises(
        TypeError, match=r"Pairs.x must be an array, one entry a row, got a list; give numpy.array"
    ):
        Pairs(x=[1.0, 2.0], y=np.arange(2))
    with pytest.raises(TypeError, match=r"Pairs.y must be an array, one entry a row, got a float"):
        Pairs(x=np.arange(2), y=3.0)


@pytest.mark.parametrize("column", [np.arange(3).tolist(), "abc", b"abc", range(3)])
def test_a_column_that_is_no_array_is_refused_by_name(column):
    @dataclass(frozen=True)
    class Texts(Columns):
        text: object

    kind = type(column).__name__
    with pytest.raises(TypeError, match=rf"Texts\.text must be an array, .* got a {kind}; give"):
        Texts(column)


def test_a_series_whose_rows_are_picked_by_label_is_refused_as_a_column():
    pandas = pytest.importorskip("pandas")

    @dataclass(frozen=True)
    class Texts(Columns):
        text: object

    with pytest.raises(TypeError, match=r"Texts\.text must be an array, .* got a Series"):
        Texts(pandas.Series([1, 2]))


def test_masked_entries_stay_masked_where_batches_are_stacked():
    part = np.ma.array([1.0, 2.0], mask=[False, True])
    assert concatenate([part, part]).mask.tolist() == [False, True, False, True]


def test_masked_entries_stay_masked_behind_a_plain_array():
    plain = np.array([1.0, 2.0])
    part = np.ma.array([3.0, 4.0], mask=[False, True])
    assert concatenate([plain, part]).mask.tolist() == [False, False, False, True]


def test_an_array_without_an_axis_is_no_batch():
    loop = Loop(generate=lambda key, model, n: np.array(3.0), refit=lambda key, model, batch: batch)
    with pytest.raises(TypeError, match="generate returns must be rows, got an array without"):
        loop.step(Key(0), State(None), 1)


@pytest.mark.parametrize(
    "batches, message",
    [
        ([np.arange(2), np.array(["a"])], "an array of numbers and an array of texts"),
        ([np.array(["a"]), np.array([0.5])], "an array of texts and an array of numbers"),
        ([np.arange(2), [1, 2]], "an array of numbers and a list"),
    ],
)
def test_batches_of_several_types_are_refused_and_not_made_one(batches, message):
    with pytest.raises(TypeError, match=f"needs batches of one type, got {message}; convert one"):
        concatenate(batches)


def test_arrays_beside_tensors_are_refused_in_either_order():
    torch = pytest.importorskip("torch")
    for batches in ([np.arange(2), torch.arange(2)], [torch.arange(2), np.arange(2)]):
        with pytest.raises(TypeError, match="one type, got an? .* and an? .*; convert one"):
            concatenate(batches)


def test_an_empty_array_goes_with_any_other():
    assert concatenate([np.zeros(0), np.array(["a"])]).tolist() == ["a"]


def test_a_column_without_an_axis_is_refused_by_name():
    with pytest.raises(TypeError, match=r"Pairs\.x must be an array, one entry a row"):
        Pairs(np.array(1.0), np.array(2.0))
