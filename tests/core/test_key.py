"""Keys: an address names one stream, and different addresses name independent ones."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Key

LABELS = st.lists(st.one_of(st.integers(), st.text()), max_size=5)


@given(st.integers(), LABELS, LABELS)
def test_folding_at_once_equals_folding_label_by_label(seed, first, second):
    step_by_step = Key(seed)
    for label in first + second:
        step_by_step = step_by_step.fold(label)
    assert Key(seed).fold(*first).fold(*second) == step_by_step == Key(seed).fold(*first, *second)
    assert Key(seed, (*first, *second)).integer() == step_by_step.integer()


@given(st.integers(), LABELS, LABELS)
def test_different_paths_are_different_addresses(seed, first, second):
    a, b = Key(seed).fold(*first), Key(seed).fold(*second)
    assert (a.integer() == b.integer()) == (first == second) == (a == b)


@pytest.mark.parametrize(
    "one, other",
    [
        (Key(0).fold("3"), Key(0).fold(3)),
        (Key(0).fold(1, 23), Key(0).fold(12, 3)),
        (Key(0).fold("1", "23"), Key(0).fold("12", "3")),
        (Key(0).fold("a", "b"), Key(0).fold('a", "b')),
        (Key(0).fold("a", "b"), Key(0).fold("b", "a")),
        (Key(0).fold(""), Key(0)),
        (Key(0).fold(0), Key(0)),
        (Key(1).fold(2), Key(12)),
        (Key(-1), Key(1)),
        (Key(0), Key(2**64)),
    ],
    ids=lambda key: f"{key.seed}/{key.path}",
)
def test_addresses_that_look_alike_give_different_streams(one, other):
    assert one.integer() != other.integer()
    assert not np.array_equal(one.numpy().random(4), other.numpy().random(4))


def test_numpy_integers_are_the_same_labels_and_seeds_as_python_ones():
    assert Key(np.int64(5)).fold(np.uint8(3)) == Key(5).fold(3)
    assert Key(np.int64(5)).fold(np.uint8(3)).integer() == Key(5).fold(3).integer()


def test_each_call_starts_the_same_stream_anew():
    key = Key(3).fold("verify")
    first = key.numpy()
    first.random(1000)
    np.testing.assert_array_equal(key.numpy().random(10), key.numpy().random(10))
    assert key.integer() == key.integer()


def test_streams_do_not_change_between_releases():
    """Pinned values: a change of the address scheme would silently change every published record."""
    assert Key(0).integer() == 6197007067532723406
    assert Key(7).fold(3, "verify").integer() == 742124186274210555
    assert Key(7).fold(3, "verify").numpy().integers(2**32) == 2552735947


@pytest.mark.parametrize(
    "family",
    [
        [Key(1).fold(i) for i in range(1500)],
        [Key(1).fold(str(i)) for i in range(1500)],
        [Key(seed) for seed in range(1500)],
        [Key(1).fold(label) for i in range(750) for label in (i, str(i))],
        [key for i in range(750) for key in (Key(1).fold(i), Key(1).fold(i, "verify"))],
        [Key(1).fold(*([0] * depth)) for depth in range(200)],
    ],
    ids=["ints", "strings", "seeds", "int and string", "parent and child", "chain"],
)
def test_streams_of_relatives_are_uncorrelated(family):
    draws = np.stack([key.numpy().standard_normal(64) for key in family])
    # Neighbours in the family: products of independent standard normals have mean 0 and variance 1.
    neighbours = np.array([(a * b).sum() for a, b in pairwise(draws)])
    assert abs(neighbours.sum() / np.sqrt(neighbours.size * 64)) < 4
    # Neighbours with one stream shifted by one draw, as two overlapping counters would give.
    shifted = np.sum(draws[:-1, 1:] * draws[1:, :-1])
    assert abs(shifted / np.sqrt((len(draws) - 1) * 63)) < 4
    # All pairs at once.
    pairs = ((draws.sum(axis=0) ** 2).sum() - (draws**2).sum()) / 2
    assert abs(pairs / np.sqrt(len(draws) * (len(draws) - 1) / 2 * 64)) < 4
    # The family's first draws are themselves a standard normal sample.
    assert abs(draws[:, 0].mean() * np.sqrt(len(draws))) < 4
    assert abs((draws[:, 0] ** 2 - 1).mean() / np.sqrt(2 / len(draws))) < 4


@pytest.mark.slow
def test_no_collision_among_two_hundred_thousand_folds():
    """63 bits: so many addresses collide with probability 2e-9, so one collision is a fault."""
    integers = set()
    for i in range(100):
        parent = Key(0).fold(i if i % 2 else f"branch {i}")
        for j in range(1000):
            integers.add(parent.fold(j).integer())
            integers.add(parent.fold(str(j)).integer())
    assert len(integers) == 200_000
    assert 0 <= min(integers) and max(integers) < 2**63


@pytest.mark.parametrize("wrong", [True, 1.0, np.float64(2), None, b"a", (1,), np.True_])
def test_labels_that_are_neither_integers_nor_strings_are_refused(wrong):
    with pytest.raises(TypeError, match="integers and strings as labels, got"):
        Key(0).fold("fine", wrong)
    with pytest.raises(TypeError, match="integers and strings as labels, got"):
        Key(0, ("fine", wrong))


@pytest.mark.parametrize("wrong", [False, 1.0, np.float64(2), None, "7", np.True_])
def test_seeds_that_are_not_integers_are_refused(wrong):
    with pytest.raises(TypeError, match=r"Key\.seed must be an integer, got"):
        Key(wrong)


def test_keys_hash_compare_and_pickle_by_address():
    key = Key(2).fold(5, "x")
    assert len({key, Key(2).fold(5).fold("x"), Key(2).fold("x", 5)}) == 2
    copy = pickle.loads(pickle.dumps(key))
    assert copy == key and copy.integer() == key.integer()


def test_keys_are_immutable():
    with pytest.raises(AttributeError):
        Key(0).seed = 1


def test_torch_generator_starts_the_stream_of_the_address():
    torch = pytest.importorskip("torch", reason="Key.torch needs the mnist or xsum extra")
    key = Key(0).fold("weights")
    assert torch.equal(torch.rand(5, generator=key.torch()), torch.rand(5, generator=key.torch()))
    assert key.torch().initial_seed() == key.integer()
    assert not torch.equal(
        torch.rand(5, generator=key.torch()), torch.rand(5, generator=key.fold(0).torch())
    )


@pytest.mark.parametrize("path", ["verify", 3])
def test_a_path_that_is_no_tuple_is_refused_as_a_text_would_be_its_letters(path):
    with pytest.raises(TypeError, match=r"Key\.path must be a tuple .* write Key\(0\)\.fold\("):
        Key(0, path)
