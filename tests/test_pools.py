"""Pools: nothing invented, nothing lost, real rows weighted evenly, the past carried on."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Accumulate,
    AccumulateSubsample,
    Columns,
    FreshReal,
    Key,
    MixReal,
    Replace,
    Window,
    concatenate,
    pools,
)

KEYS = st.integers(0, 2**32).map(Key)
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6)  # kept rows, round by round


def numbered(sizes, start=0):
    """Batches of the given sizes in which every row is one of a kind, and which cannot be changed."""
    ends = start + np.cumsum(sizes)
    batches = [np.arange(end - n, end) for n, end in zip(sizes, ends, strict=True)]
    for batch in batches:
        batch.flags.writeable = False
    return batches


def rounds(pool, key, batches, past=None):
    """The training batch of each round, the past carried on from one to the next."""
    for i, kept in enumerate(batches):
        training, past = pool(key.fold(i), past, kept)
        yield training


@given(KEYS, SIZES)
def test_replace_trains_on_the_kept_rows_alone(key, sizes):
    batches = numbered(sizes)
    for kept, training in zip(batches, rounds(Replace(), key, batches), strict=True):
        np.testing.assert_array_equal(training, kept)


@given(KEYS, SIZES, st.integers(0, 5))
def test_accumulate_loses_and_invents_nothing(key, sizes, real):
    """Over several rounds, on top of real rows or not: every row ever seen, once, in order."""
    seed, *batches = numbered([real, *sizes])
    for i, training in enumerate(rounds(Accumulate(), key, batches, past=(seed,))):
        np.testing.assert_array_equal(training, np.arange(real + sum(sizes[: i + 1])))


@given(KEYS, SIZES, st.integers(1, 4))
def test_window_trains_on_the_last_rounds_whole(key, sizes, n):
    batches = numbered(sizes)
    for i, training in enumerate(rounds(Window(n), key, batches)):
        np.testing.assert_array_equal(training, np.concatenate(batches[max(0, i + 1 - n) : i + 1]))


def test_window_forgets_what_it_no_longer_needs():
    _, past = Window(2)(Key(0), tuple(numbered([3, 3, 3])), np.arange(2))
    assert len(past) == 2


@given(KEYS, SIZES, st.integers(1, 40))
def test_accumulate_subsample_draws_without_replacement(key, sizes, n):
    """`n` different rows of all so far, or all where there are fewer; the past keeps everything."""
    for i, training in enumerate(rounds(AccumulateSubsample(n), key, numbered(sizes))):
        everything = sum(sizes[: i + 1])
        assert len(training) == len(set(training.tolist())) == min(n, everything)
        assert training.min() >= 0 and training.max() < everything


def test_accumulate_subsample_is_fair_to_old_and_new_rows():
    """Every row of three rounds is drawn equally often, within the error of 3,000 keys."""
    past, kept = tuple(numbered([10, 10])), np.arange(20, 30)
    drawn = np.concatenate([AccumulateSubsample(6)(Key(key), past, kept)[0] for key in range(3000)])
    counts, p = np.bincount(drawn, minlength=30), 6 / 30
    assert np.abs((counts - 3000 * p) / np.sqrt(3000 * p * (1 - p))).max() < 4


@given(KEYS, SIZES, st.integers(1, 9), st.floats(0.01, 0.99))
def test_mix_real_reaches_its_fraction_with_even_copies(key, sizes, size, fraction):
    """Real rows make up the fraction to within one row; no row has two copies more than another."""
    real, *batches = numbered([size, *sizes])
    for kept, training in zip(batches, rounds(MixReal(real, fraction), key, batches), strict=True):
        counts = Counter(training.tolist())
        copies = [counts.pop(row, 0) for row in real.tolist()]
        assert counts == Counter(kept.tolist())
        assert abs(sum(copies) - len(kept) * fraction / (1 - fraction)) <= 0.5 + 1e-6
        assert abs(sum(copies) - fraction * len(training)) <= 1
        assert max(copies) - min(copies) <= 1


def test_mix_real_picks_the_odd_rows_by_key_and_evenly():
    """Of 10 real rows 3 are wanted: over 2,000 keys each is picked equally often."""
    pool, kept = MixReal(np.arange(10), 0.3), np.arange(100, 107)
    picked = np.concatenate([pool(Key(key), None, kept)[0][:-7] for key in range(2000)])
    counts = np.bincount(picked, minlength=10)
    assert counts.sum() == 6000
    assert np.abs((counts - 600) / np.sqrt(2000 * 0.3 * 0.7)).max() < 4


@given(KEYS, SIZES, st.integers(1, 9))
def test_fresh_real_draws_n_rows_by_its_key_and_keeps_all_kept(key, sizes, n):
    asked = []

    def draw(key, n):
        asked.append(key)
        return -1 - key.numpy().integers(10**12, size=n)

    batches = numbered(sizes)
    for kept, training in zip(batches, rounds(FreshReal(draw, n), key, batches), strict=True):
        real = training[training < 0]
        assert len(real) == n and sorted(training[training >= 0]) == sorted(kept)
        np.testing.assert_array_equal(real, draw(asked[-1], n))
        asked.pop()
    assert len(set(asked)) == len(sizes), "two rounds drew their real rows under one key"


@given(KEYS, SIZES, st.integers(1, 9), st.floats(0.01, 0.99))
def test_fresh_real_reaches_its_weight_and_drops_no_row(key, sizes, n, weight):
    """Its share is the weight to within one row; of each kind all rows are there, in even copies, one kind once."""
    batches, real = numbered(sizes), -1 - np.arange(n)
    pool = FreshReal(lambda key, n: real, n, weight)
    for kept, training in zip(batches, rounds(pool, key, batches), strict=True):
        counts = Counter(training.tolist())
        reals, keeps = ([counts.pop(row, 0) for row in rows.tolist()] for rows in (real, kept))
        assert not counts and abs(sum(reals) - weight * len(training)) <= 1
        for copies in (reals, keeps):
            assert min(copies) >= 1 and max(copies) - min(copies) <= 1
        assert max(reals) == 1 or max(keeps) == 1


def test_fresh_real_of_its_natural_share_copies_nothing_and_draws_the_same_rows():
    draw = lambda key, n: key.numpy().random(n)  # noqa: E731
    plain, weighted = (
        FreshReal(draw, 6, weight)(Key(0), None, np.arange(2.0))[0] for weight in (None, 0.75)
    )
    np.testing.assert_array_equal(plain, weighted)


def test_fresh_real_refuses_a_draw_of_another_length():
    with pytest.raises(ValueError, match=r"FreshReal\.draw was asked for 3 rows and returned 2"):
        FreshReal(lambda key, n: np.arange(2), 3)(Key(0), None, np.arange(4))


POOLS = [
    Replace(),
    Accumulate(),
    AccumulateSubsample(7),
    Window(2),
    MixReal(np.arange(-4, 0), 0.5),
    FreshReal(lambda key, n: -1 - key.numpy().integers(4, size=n), 3),
    FreshReal(
        lambda key, n: -1 - key.numpy().integers(4, size=n), 2, 0.9
    ),  # 9 to 1: real rows are copied
]
every_pool = pytest.mark.parametrize("pool", POOLS, ids=lambda pool: type(pool).__name__)


@every_pool
@given(key=KEYS, sizes=SIZES)
def test_nothing_is_invented(pool, key, sizes):
    """Every kept row at most once, every other row is a real one."""
    for i, training in enumerate(rounds(pool, key, numbered(sizes))):
        kept = training[training >= 0]
        assert len(set(kept.tolist())) == len(kept) and kept.max(initial=0) < sum(sizes[: i + 1])


@every_pool
@given(key=KEYS, sizes=SIZES)
def test_same_key_same_batch_and_arguments_untouched(pool, key, sizes):
    """The batches refuse writing; the tuple of the past is as long after the call as before."""
    *before, kept = numbered([1, *sizes])
    past = tuple(before)
    first, after = pool(key, past, kept)
    again, _ = pool(key, past, kept)
    np.testing.assert_array_equal(first, again)
    assert len(past) == len(sizes) and isinstance(after, tuple)
    for batch, copy in zip((*past, kept), numbered([1, *sizes]), strict=True):
        np.testing.assert_array_equal(batch, copy)


@every_pool
def test_a_bare_batch_is_a_past_of_one_and_none_a_past_of_nothing(pool):
    old, kept = numbered([3, 4])
    np.testing.assert_array_equal(pool(Key(0), old, kept)[0], pool(Key(0), (old,), kept)[0])
    np.testing.assert_array_equal(pool(Key(0), None, kept)[0], pool(Key(0), (), kept)[0])


@dataclass(frozen=True)
class Pairs(Columns):
    x: np.ndarray
    y: np.ndarray


@pytest.mark.parametrize("pool", [Accumulate(), AccumulateSubsample(3), Window(2)], ids=repr)
def test_columns_stay_aligned_through_a_pool(pool):
    old, kept = (Pairs(x=10.0 * rows, y=rows) for rows in numbered([3, 4]))
    training, past = pool(Key(0), (old,), kept)
    np.testing.assert_array_equal(training.x, 10.0 * training.y)
    np.testing.assert_array_equal(concatenate(past).y, np.arange(7))


def test_mix_real_mixes_columns():
    real, kept = (Pairs(x=10.0 * rows, y=rows) for rows in numbered([3, 4]))
    training, _ = MixReal(real, 0.5)(Key(0), None, kept)
    np.testing.assert_array_equal(training.x, 10.0 * training.y)
    assert len(training) == 8


@pytest.mark.parametrize(
    "make",
    [AccumulateSubsample, Window, lambda n: FreshReal(lambda key, n: np.arange(n), n)],
    ids=["AccumulateSubsample", "Window", "FreshReal"],
)
@pytest.mark.parametrize("n", [0, -2, 1.5, np.nan, True])
def test_sizes_that_are_not_positive_integers_are_refused_at_once(make, n):
    with pytest.raises(ValueError, match=rf"\.n must be an integer of at least 1, got {n}"):
        make(n)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, np.nan])
def test_mix_real_refuses_fractions_that_no_mixture_has(fraction):
    with pytest.raises(ValueError, match=rf"MixReal\.fraction must be in \(0, 1\), got {fraction}"):
        MixReal(np.arange(3), fraction)


@pytest.mark.parametrize("weight", [0.0, 1.0, -0.5, np.nan])
def test_fresh_real_refuses_weights_that_no_mixture_has(weight):
    with pytest.raises(ValueError, match=rf"FreshReal\.weight must be in \(0, 1\), got {weight}"):
        FreshReal(lambda key, n: np.arange(n), 3, weight)


def test_mix_real_refuses_an_empty_real_set():
    with pytest.raises(ValueError, match=r"MixReal\.real must have at least one row"):
        MixReal(np.arange(0), 0.5)


def test_data_policies_are_known_by_name():
    """Each name makes its pool, from the rows that a model is fitted to."""
    made = {name: pool(7) for name, pool in pools.POOLS.items()}
    assert made == {
        "replace": Replace(),
        "accumulate": Accumulate(),
        "subsample": AccumulateSubsample(7),
    }


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MixReal([1, 2], 0.5), r"MixReal\.real must be rows that can be picked .* a list"),
        (lambda: MixReal(None, 0.5), r"MixReal\.real must be rows .* got a NoneType"),
        (lambda: FreshReal(3, 2), r"FreshReal\.draw must be a function of \(key, n\), got int 3"),
        (
            lambda: FreshReal(lambda key, n: [0] * n, 2)(Key(0), None, np.zeros(2)),
            r"what FreshReal\.draw returns must be rows .* got a list",
        ),
    ],
)
def test_real_rows_that_are_no_batch_are_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_a_window_takes_an_unsigned_integer():
    past = tuple(np.array([i]) for i in range(3))
    assert Window(np.uint8(2))(Key(0), past, np.array([3]))[0].tolist() == [2, 3]
