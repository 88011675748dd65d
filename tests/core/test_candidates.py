"""Candidates held or drawn again are the same rows; a quota is met exactly or refused with the reason."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Audited,
    Candidates,
    Columns,
    Key,
    Loop,
    Oracle,
    Quota,
    RoundError,
    State,
    Threshold,
    TopCount,
    TopFraction,
    all_of,
)
from veriloop.core.candidates import Tally

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def draws(block, rows):
    """Rows that name the block and the place they come from."""
    return 100 * block + np.arange(rows)


def candidates(sizes, limit, generate=draws, **settings):
    made = Candidates(generate, limit, **settings)
    for rows in sizes:
        made.draw(rows)
    return made


# Candidates.


@given(SIZES, st.integers(0, 80), st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_rows_picked_do_not_depend_on_the_memory_limit(sizes, limit, seed, share):
    """By a mask (empty ones too), by integers (repeated, negative, out of order, none), by a slice."""
    made, plain = (
        candidates(sizes, limit),
        np.concatenate([draws(i, n) for i, n in enumerate(sizes)]),
    )
    n = len(plain)
    assert len(made) == n
    draw = np.random.default_rng(seed)
    mask, rows = draw.random(n) < share, draw.integers(-n, n, size=round(share * 12))
    for pick in (mask, rows, rows.tolist(), slice(n // 2, None), slice(None, None, -2)):
        np.testing.assert_array_equal(made[pick], plain[pick])
        np.testing.assert_array_equal(made.whole()[pick], plain[pick])


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize(
    "rows", [[], np.zeros(5, dtype=bool), slice(0, 0)], ids=["list", "mask", "slice"]
)
def test_picking_nothing_gives_an_empty_batch(limit, rows):
    """As an array does: an observer of the dropped rows must not stop a round that drops none."""
    picked = candidates([3, 2], limit)[rows]
    assert picked.shape == (0,) and picked.dtype == draws(0, 1).dtype


@pytest.mark.parametrize("limit", [None, 0])
@pytest.mark.parametrize(
    "rows",
    [np.ones(3, dtype=bool), np.ones(4, dtype=bool), np.ones(6, dtype=bool), [5], [-6]],
    ids=repr,
)
def test_rows_that_are_not_there_are_refused(limit, rows):
    with pytest.raises(IndexError):
        candidates([3, 2], limit)[rows]


@given(SIZES, st.integers(0, 80))
def test_at_most_limit_rows_are_held(sizes, limit):
    """Beyond the limit nothing is held: every pick draws the blocks it needs once more, and only those."""
    calls = []

    def generate(block, rows):
        calls.append((block, rows))
        return draws(block, rows)

    made, total = candidates(sizes, limit, generate), sum(sizes)
    assert calls == list(enumerate(sizes))
    calls.clear()
    mask = np.zeros(total, dtype=bool)
    mask[-1] = True
    np.testing.assert_array_equal(made[mask], [draws(len(sizes) - 1, sizes[-1])[-1]])
    held = total <= limit
    assert calls == ([] if held else [(len(sizes) - 1, sizes[-1])])
    assert (made.whole() is made) == (not held)


@given(SIZES, st.integers(0, 80), st.integers(0, 10**6), st.sampled_from([0.1, 0.5, 1.0]))
def test_blocks_are_the_rows_that_count_in_order_each_drawn_once(sizes, limit, seed, share):
    calls = []

    def generate(block, rows):
        calls.append(block)
        return draws(block, rows)

    made, counted = (
        candidates(sizes, limit, generate),
        np.random.default_rng(seed).random(sum(sizes)) < share,
    )
    counted[-1] = True
    for rows in (np.ones(sum(sizes), dtype=bool), counted):
        left = made.only(rows)
        calls.clear()
        blocks = list(left.blocks())
        np.testing.assert_array_equal(np.concatenate(blocks), left[np.arange(len(left))])
        assert all(len(block) for block in blocks) and len(blocks) <= len(sizes)
        assert len(calls) == (
            0 if sum(sizes) <= limit else 2 * len(blocks)
        )  # once by `blocks`, once picked


def test_redrawing_holds_one_block_at_a_time():
    """Beside the rows picked, no more than two blocks are alive at once: the one made and the one before it."""
    alive, most = 0, 0

    class Block(np.ndarray):
        def __del__(self):
            nonlocal alive
            if self.base is not None and self.shape == (1000,):
                alive -= 1

    def generate(block, rows):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return np.arange(rows).view(Block)

    made = candidates([1000] * 20, 0, generate)
    mask = np.zeros(20_000, dtype=bool)
    mask[::100] = True
    assert len(made[mask]) == 200
    assert most <= 2


@pytest.mark.parametrize("returned", [0, 4, 6])
def test_a_block_of_the_wrong_length_is_refused(returned):
    with pytest.raises(
        ValueError, match=f"generate was asked for 5 candidates and returned {returned}"
    ):
        Candidates(lambda block, rows: np.arange(returned)).draw(5)


# Quotas.


def normal(key, model, n):
    return key.numpy().standard_normal(n)


def keep(key, model, batch):
    return batch


def loop(**settings):
    return Loop(
        **{
            "generate": normal,
            "refit": keep,
            "verify": lambda key, batch: batch,
            "filter": Threshold(0.5),
            "group": lambda batch: (np.abs(batch) * 10).astype(int) % 3,
            "block": 16,
        }
        | settings
    )


def stream(key, blocks, block=16):
    """All candidates of round 1 as the quota asks for them, given the sizes of its blocks."""
    return np.concatenate(
        [normal(key.fold(1, "generate", i), None, n) for i, n in enumerate(blocks)]
    )


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 40), st.sampled_from([None, 1, 20]))
def test_quota_keeps_exactly_n_of_every_group(seed, n, block, chunk):
    made = loop(block=block, chunk=chunk)
    state, record = made.step(Key(seed), State(None), Quota(n, groups=3))
    np.testing.assert_array_equal(np.bincount(made.group(state.model), minlength=3), [n, n, n])
    assert record.kept == 3 * n <= record.candidates
    assert (state.model >= 0.5).all()


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 40))
def test_quota_keeps_the_first_accepted_rows_in_the_order_drawn(seed, n, block):
    """The kept rows are the first `n` accepted of each group among all candidates drawn, redone by hand."""
    blocks = []

    def generate(key, model, rows):
        blocks.append(rows)
        return normal(key, model, rows)

    made = loop(generate=generate, block=block)
    state, record = made.step(Key(seed), State(None), Quota(n, groups=3))
    drawn = stream(Key(seed), blocks)
    assert max(blocks) <= block
    first = [
        np.flatnonzero((drawn >= 0.5) & (made.group(drawn) == group))[:n] for group in range(3)
    ]
    np.testing.assert_array_equal(state.model, drawn[np.sort(np.concatenate(first))])
    # Rows of a full group are no candidates: each group's end with its last kept row.
    counted = [
        (made.group(drawn)[: rows[-1] + 1] == group).sum() for group, rows in enumerate(first)
    ]
    assert record.candidates == sum(counted) <= len(drawn)


@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([None, 1, 5, 100]), st.booleans())
def test_verdicts_observer_and_record_of_a_quota_see_the_same_candidates(seed, n, chunk, verdicts):
    """Whatever is held: the rows that count, their scores, parts, oracle and mask, aligned."""
    seen = {}

    def observe(key, batch, scores, mask):
        rows = batch[np.arange(len(batch))]
        np.testing.assert_array_equal(rows[mask], batch[mask])
        np.testing.assert_array_equal(scores, rows)
        np.testing.assert_array_equal(rows[::-1], batch[np.arange(len(batch))[::-1]])
        seen.update(rows=rows, mask=mask)
        return {"rows": len(batch)}

    check = Audited(all_of(part=lambda key, batch: batch), Oracle(lambda batch: batch >= 0.5))
    made = loop(
        observe=observe,
        chunk=chunk,
        verify=check if verdicts else lambda key, batch: batch,
        block=16,
    )
    state, record = made.step(Key(seed), State(None), Quota(n, groups=3))
    np.testing.assert_array_equal(seen["rows"][seen["mask"]], state.model)
    assert record.candidates == record.metrics["rows"] == len(seen["rows"])
    if verdicts:
        assert record.metrics["acceptance_part"] == (seen["rows"] >= 0).mean()
        assert record.metrics["false_reject"] == 0.0
        # NaN where every candidate is right, so that nothing could be accepted wrongly.
        np.testing.assert_equal(
            record.metrics["false_accept"], np.nan if seen["mask"].all() else 0.0
        )


@given(SIZES, st.integers(0, 80), st.integers(0, 10**6))
def test_restricted_candidates_index_as_the_rows_that_count(sizes, limit, seed):
    """By masks, integers and slices; the others are as if they had never been drawn."""
    made, plain = (
        candidates(sizes, limit),
        np.concatenate([draws(i, n) for i, n in enumerate(sizes)]),
    )
    draw = np.random.default_rng(seed)
    counted = draw.random(len(plain)) < draw.choice([0.3, 0.9, 1.0])
    counted[draw.integers(len(plain))] = True
    whole = made
    made = whole.only(counted)
    assert len(whole) == len(plain)
    left = plain[counted]
    n = len(left)
    assert len(made) == len(made.whole()) == n
    for pick in (
        draw.random(n) < 0.5,
        draw.integers(-n, n, size=7),
        [],
        slice(1, None),
        slice(None, None, -1),
    ):
        np.testing.assert_array_equal(made[pick], left[pick])
        np.testing.assert_array_equal(made.whole()[pick], left[pick])
    with pytest.raises(IndexError):
        made[np.array([n])]


@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([None, 1, 5, 100]), st.booleans())
def test_labels_are_the_groups_of_the_candidates_that_count(seed, n, chunk, quota):
    """Known of candidates that are not held without drawing any again, and equal to those of the rows drawn."""
    calls, seen = [], []

    def generate(key, model, rows):
        calls.append(rows)
        return normal(key, model, rows)

    def observe(key, batch, scores, mask):
        drawn = len(calls)
        labels = batch.labels() if isinstance(batch, Candidates) else made.group(batch)
        assert len(calls) == drawn
        np.testing.assert_array_equal(labels, made.group(batch[np.arange(len(batch))]))
        assert len(labels) == len(scores) == len(mask)
        seen.append(type(batch))
        return {}

    made = loop(observe=observe, chunk=chunk, generate=generate)
    made.step(Key(seed), State(None), Quota(n, groups=3) if quota else 40 * n)
    if chunk in (None, 1):
        assert seen == [np.ndarray if chunk is None else Candidates]


@given(SIZES, st.integers(0, 80), st.integers(0, 10**6))
def test_labels_of_restricted_candidates_are_those_of_the_rows_left(sizes, limit, seed):
    made = candidates(sizes, limit, group=lambda batch: batch % 3)
    plain = np.concatenate([draws(i, n) for i, n in enumerate(sizes)])
    np.testing.assert_array_equal(made.labels(), plain % 3)
    counted = np.random.default_rng(seed).random(len(plain)) < 0.6
    counted[0] = True
    np.testing.assert_array_equal(made.labels(block=0), plain[: sizes[0]] % 3)
    made = made.only(counted)
    np.testing.assert_array_equal(made.labels(), plain[counted] % 3)
    np.testing.assert_array_equal(made.labels(), made[np.arange(len(made))] % 3)


def test_quota_stops_drawing_once_it_is_met():
    """The last block is needed: without it some group is short."""
    blocks = []

    def generate(key, model, rows):
        blocks.append(rows)
        return normal(key, model, rows)

    made = loop(generate=generate, block=5)
    made.step(Key(0), State(None), Quota(10, groups=3))
    before = stream(Key(0), blocks[:-1])
    counts = np.bincount(made.group(before[before >= 0.5]), minlength=3)
    assert counts.min() < 10


@pytest.mark.parametrize("dtype", [int, np.float32, float])
def test_quota_takes_scores_of_any_real_type(dtype):
    made = loop(verify=lambda key, batch: (batch >= 0.5).astype(dtype))
    _, record = made.step(Key(0), State(None), Quota(4, groups=3))
    assert record.kept == 12


def test_rows_without_a_verdict_never_fill_a_quota():
    made = loop(
        verify=lambda key, batch: np.where(batch < 1, np.nan, batch), filter=Threshold(-9.0)
    )
    state, _ = made.step(Key(0), State(None), Quota(5, groups=3))
    assert len(state.model) == 15 and (state.model >= 1).all()


@pytest.mark.parametrize(
    "settings", [{"n": 0}, {"n": 5, "groups": 0}, {"n": -1}, {"n": 1.5}, {"n": 5, "groups": 2.0}]
)
def test_a_quota_of_no_whole_number_of_rows_or_groups_is_refused(settings):
    with pytest.raises(
        ValueError, match=r"Quota\.(n|groups) must be an integer of at least 1, got"
    ):
        Quota(**settings)


@pytest.mark.parametrize("budget", [9, 0, -1])
def test_a_budget_below_the_rows_asked_for_is_refused_at_construction(budget):
    with pytest.raises(ValueError, match=f"at least the 10 rows to be kept, got {budget}"):
        Quota(5, groups=2, budget=budget)


def test_a_quota_may_have_no_more_budget_than_rows():
    _, record = loop(filter=Threshold(-np.inf), group=None).step(
        Key(0), State(None), Quota(40, budget=40)
    )
    assert record.candidates == record.kept == 40


def test_shortfall_names_round_budget_best_score_and_acceptance_by_group():
    drawn = []

    def generate(key, model, n):
        drawn.append(normal(key, model, n))
        return drawn[-1]

    made = loop(generate=generate, group=lambda batch: (batch > 2.5).astype(int))
    with pytest.raises(RoundError) as caught:
        made.step(Key(0), State(None, round=3), Quota(5, groups=2, budget=200))
    batch = np.concatenate(drawn)
    common, rare = ((batch >= 0.5) & (batch <= 2.5)).sum(), (batch > 2.5).sum()
    others = (batch <= 2.5).sum()
    assert len(batch) == 200 and 0 < rare < 5
    assert str(caught.value) == (
        f"round 4: quota of 5 kept rows a group not met within 200 candidates; best score {batch.max():.4g}; "
        f"acceptance (rows) by group: 0: {common / others:.3g} ({common}), 1: 1 ({rare})"
    )


def test_a_quota_nothing_can_meet_stops_at_the_default_budget():
    """1,000 candidates a row asked for, then an error: it never spins."""
    with pytest.raises(RoundError, match=r"not met within 2000 candidates; best score .* 0: 0 "):
        loop(filter=Threshold(100.0), group=None, block=500).step(Key(0), State(None), Quota(2))


def test_a_quota_refuses_a_filter_that_ranks():
    with pytest.raises(
        ValueError, match=r"judges rows one by one, got TopFraction\(fraction=0\.5\)"
    ):
        loop(filter=TopFraction(0.5)).step(Key(0), State(None), Quota(5))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_group_label_outside_the_quota_is_refused(label):
    with pytest.raises(
        ValueError, match=rf"quota over 3 groups needs labels 0 to 2, got .*{label}"
    ):
        loop(group=lambda batch: np.where(batch > 1, label, 0)).step(
            Key(0), State(None), Quota(9, groups=3)
        )


def test_a_row_of_no_known_group_is_refused():
    loop = Loop(
        generate=lambda key, model, n: np.arange(float(n)),
        verify=lambda key, rows: rows,
        filter=TopCount(1),
        refit=lambda key, model, rows: model,
        group=lambda rows: np.where(rows == 2, np.nan, 1.0),
    )
    with pytest.raises(ValueError, match="group must return a label for every row, got nan in row"):
        loop.step(Key(0), State(None), 4)


@pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.array(["0", "1"])])
def test_a_quota_over_labels_that_are_no_integers_is_refused(labels):
    loop = Loop(
        generate=lambda key, model, n: np.arange(n) % 2,
        refit=lambda key, model, rows: model,
        group=lambda rows: labels[rows],
    )
    with pytest.raises(ValueError, match="a quota needs groups of integers, 0 to 1, got dtype"):
        loop.step(Key(0), State(None), Quota(2, groups=2))


@pytest.mark.parametrize("budget", ["9", 2.5, 1e6, True])
def test_a_budget_that_is_no_count_is_refused(budget):
    with pytest.raises(
        ValueError, match=r"Quota\.budget must be an integer of at least the 2 rows"
    ):
        Quota(2, budget=budget)


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.ma.array([0, 1, 0], mask=[0, 1, 0]), "must return a plain array, got a masked one"),
        (np.array(["a", None, "b"], dtype=object), "got None in row 1; give such rows a label"),
        ([1, float("nan"), 2], "got nan in row 1"),
        (np.array([1, np.nan, 2], dtype=object), "got nan in row 1"),
    ],
)
def test_a_row_whose_group_is_not_known_is_refused_in_labels_of_any_kind(labels, message):
    loop = Loop(
        generate=lambda key, model, n: np.arange(n),
        verify=lambda key, batch: batch,
        filter=TopCount(1),
        refit=lambda key, model, batch: batch,
        group=lambda batch: labels,
    )
    with pytest.raises(ValueError, match=f"group .*{message}"):
        loop.step(Key(0), State(None), 3)


def test_a_quota_takes_the_integers_of_numpy_of_any_size():
    quota = Quota(np.int8(100), np.uint8(2))
    assert (quota.n, quota.groups) == (100, 2)
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal(n),
        verify=lambda key, batch: batch,
        filter=Threshold(),
        refit=lambda key, model, batch: batch,
        group=lambda batch: (batch > 1).astype(np.uint64),
    )
    assert loop.step(Key(0), State(None), quota)[1].kept == 200
    assert Tally(Quota(np.int32(3_000_000)), 100).rows_wanted() == 100


@dataclass(frozen=True)
class Pair(Columns):
    x: np.ndarray
    name: np.ndarray


def pair(rows):
    return Pair(rows, np.array([f"row {x:.3f}" for x in rows]))


def loop_of(generate, **settings):
    return Loop(
        generate=generate,
        verify=lambda key, batch: getattr(batch, "x", batch),
        filter=Threshold(),
        refit=lambda key, model, batch: batch,
        **settings,
    )


@pytest.mark.parametrize("made", [np.asarray, pair])
@pytest.mark.parametrize("n", [12, Quota(6)])
def test_a_generator_that_writes_into_rows_it_gave_is_refused(made, n):
    held = np.zeros(100)

    def generate(key, model, n):
        held[:n] = key.numpy().standard_normal(n)
        return made(held[:n])

    with pytest.raises(ValueError, match="generate changed the rows of block 0 .*; return a new"):
        loop_of(generate, block=4).step(Key(0), State(None), n)


@pytest.mark.parametrize("made", [np.asarray, pair])
def test_a_generator_that_draws_by_more_than_its_key_is_refused_where_it_draws_twice(made):
    own = Key(1).numpy()

    def generate(key, model, n):
        return made(own.standard_normal(n))

    with pytest.raises(ValueError, match=r"other rows when block 0 was drawn again; .* key\.numpy"):
        loop_of(generate, block=4, chunk=4).step(Key(0), State(None), 12)
    loop_of(generate, block=4).step(Key(0), State(None), 12)  # all rows are held: drawn once


def test_rows_that_differ_by_rounding_are_the_same_rows():
    rounding = iter(range(100))

    def generate(key, model, n):
        return key.numpy().standard_normal(n) * (1 + 1e-7 * next(rounding))

    _, record = loop_of(generate, block=4, chunk=4).step(Key(0), State(None), 12)
    assert record.kept > 0


def test_sizes_of_few_bits_are_counted_in_full():
    def generate(key, model, n):
        return key.numpy().standard_normal(2 * n)[:n]

    for settings in ({"block": np.uint8(200)}, {"block": np.int8(100), "chunk": np.int8(100)}):
        _, record = loop_of(generate, **settings).step(Key(0), State(None), np.int16(1000))
        assert record.candidates == 1000
    assert loop_of(generate).step(Key(0), State(None), np.uint8(200))[1].candidates == 200
