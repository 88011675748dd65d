"""Wrappers: the answers are those of the verifier inside, with its parts and oracle; only the asking differs."""

import pickle
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Audited,
    Batched,
    Cached,
    Calibrated,
    CovarianceMatch,
    KeepAll,
    Key,
    Loop,
    Noisy,
    Random,
    Retry,
    Shifted,
    State,
    TopFraction,
    Verdict,
    all_of,
    run,
)
from veriloop.linear import Soft

TABLE = np.array(
    [[1.0, -1.0, 2.0], [-1.0, np.nan, -2.0], [0.0, 0.0, 0.0], [2.0, 1.0, np.nan], [0.5, 0.5, -1.0]]
)
TABLES = st.lists(
    st.tuples(*[st.sampled_from([-2.0, -0.5, 0.0, 1.0, np.nan])] * 3), min_size=1, max_size=20
).map(np.array)


@dataclass(frozen=True)
class Column:
    j: int

    def __call__(self, key, batch):
        return batch[:, self.j]


def texts(batch):
    """The content of a row, NaN equal to NaN."""
    return [row.tobytes() for row in batch]


def halved(scores):
    return 0.5 + scores / 10


PARTS = all_of(first=Column(0), second=Audited(Column(1), Column(2)))
INNER = {"parts": PARTS, "oracle": Audited(PARTS, Column(2)), "bare": Column(0)}
SAME = {
    "Batched": lambda verify: Batched(verify, 2),
    "Cached": lambda verify: Cached(verify, texts),
    "Retry": lambda verify: Retry(verify, 2),
    "all three": lambda verify: Batched(Retry(Cached(verify, texts)), 2),
}
CHANGED = {
    "Shifted": lambda verify: Shifted(verify, 0.25),
    "Noisy": lambda verify: Noisy(verify, 1.0, 1.0),
    "Calibrated": lambda verify: Calibrated(verify, halved),
    "Soft": lambda verify: Soft(verify, 0.5),
}


@pytest.mark.parametrize("wrap", SAME.values(), ids=SAME)
@pytest.mark.parametrize("verify", INNER.values(), ids=INNER)
@given(table=TABLES)
def test_answers_are_those_of_the_verifier_inside_with_parts_and_oracles(verify, wrap, table):
    np.testing.assert_equal(
        vars(wrap(verify)(Key(0), table)), vars(Verdict.of(verify(Key(0), table)))
    )


@pytest.mark.parametrize("wrap", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("verify", INNER.values(), ids=INNER)
def test_parts_and_oracles_survive_wrappers_that_change_the_scores(verify, wrap):
    inner, outer = Verdict.of(verify(Key(0), TABLE)), wrap(verify)(Key(0), TABLE)
    np.testing.assert_equal(dict(outer.parts), dict(inner.parts))
    np.testing.assert_equal(dict(outer.oracles), dict(inner.oracles))
    if inner.oracle is not None:
        np.testing.assert_array_equal(outer.oracle, inner.oracle)
    assert not np.array_equal(outer.scores, inner.scores, equal_nan=True)
    np.testing.assert_array_equal(np.isnan(outer.scores), np.isnan(inner.scores))


@pytest.mark.parametrize("wrap", (SAME | CHANGED).values(), ids=SAME | CHANGED)
def test_wrappers_pickle_for_worker_processes_also_when_used(wrap):
    check = wrap(INNER["oracle"])
    wanted = check(Key(0), TABLE)
    np.testing.assert_equal(vars(pickle.loads(pickle.dumps(check))(Key(0), TABLE)), vars(wanted))


def watched(asked, verify=Column(0)):
    """A verifier that notes the batches it is asked about."""

    def watch(key, batch):
        asked.append(batch)
        return verify(key, batch)

    return watch


# Batched.


@given(st.integers(1, 40), st.integers(1, 12))
def test_batches_hold_at_most_the_rows_stated_in_order_and_none_is_empty(n, rows):
    asked, table = [], np.arange(3.0 * n).reshape(n, 3)
    Batched(watched(asked), rows)(Key(0), table)
    assert [len(batch) for batch in asked] == [min(rows, n - start) for start in range(0, n, rows)]
    np.testing.assert_array_equal(np.concatenate(asked), table)


def test_random_verifiers_draw_anew_for_every_batch():
    scores = Batched(Random(), 10_000)(Key(0), np.zeros(20_000)).scores.reshape(2, -1)
    assert abs(np.corrcoef(scores)[0, 1] * 100) < 4
    np.testing.assert_array_equal(scores[1], Random()(Key(0).fold(1), np.zeros(10_000)))


@pytest.mark.parametrize("rows", [0, -1, 2.5, True, None])
def test_batches_of_no_positive_number_of_rows_are_refused(rows):
    with pytest.raises(
        ValueError, match=f"Batched.rows must be an integer of at least 1, got {rows}"
    ):
        Batched(Column(0), rows)


# Cached.


@given(st.lists(TABLES, min_size=1, max_size=5))
def test_a_row_judged_before_is_never_judged_again_and_no_answer_changes(tables):
    """Whichever rows come back, within a batch or later; rows without a verdict are asked about again."""
    asked: list = []
    cached = Cached(watched(asked, PARTS), texts)
    for table in tables:
        np.testing.assert_equal(vars(cached(Key(0), table)), vars(PARTS(Key(0), table)))
    rows = [row for batch in asked for row in batch]
    judged = [row.tobytes() for row in rows if not np.isnan(row[:2]).any()]
    assert len(judged) == len(set(judged))
    assert all(len(set(texts(batch))) == len(batch) for batch in asked)


def test_what_has_been_judged_is_remembered_from_round_to_round_and_changes_no_record():
    """A generator that repeats itself: as few rows are judged as there are different ones."""
    asked: list = []
    loop = Loop(
        generate=lambda key, model, n: key.numpy().integers(0, 9, (n, 3)).astype(float),
        verify=watched(asked),
        filter=TopFraction(0.3),
        refit=lambda key, model, batch: batch.mean(axis=0),
        block=7,
    )
    plain = [record for _, record in run(loop, Key(0), State(None), [40] * 3)]
    asked.clear()
    cached = replace(loop, verify=Cached(loop.verify, lambda batch: batch[:, 0]))
    assert [record for _, record in run(cached, Key(0), State(None), [40] * 3)] == plain
    assert sorted(row[0] for batch in asked for row in batch) == list(range(9))


def test_a_row_without_a_verdict_is_asked_about_again():
    down = [True]
    cached = Cached(lambda key, batch: np.where(down[0], np.nan, batch[:, 0]), texts)
    assert np.isnan(cached(Key(0), TABLE).scores).all()
    down[0] = False
    np.testing.assert_array_equal(cached(Key(0), TABLE).scores, TABLE[:, 0])
    down[0] = True
    np.testing.assert_array_equal(cached(Key(0), TABLE[::-1]).scores, TABLE[::-1, 0])


def test_scores_keep_their_type():
    cached = Cached(lambda key, batch: batch[:, 0].astype(np.float32), texts)
    for _ in range(2):
        assert cached(Key(0), TABLE).scores.dtype == np.float32


def test_an_error_leaves_what_is_known_as_it_was():
    def fails_on_zero(key, batch):
        if (batch[:, 0] == 0).any():
            raise OSError("down")
        return batch[:, 0]

    cached = Cached(fails_on_zero, texts)
    cached(Key(0), TABLE[:2])
    with pytest.raises(OSError, match="down"):
        cached(Key(0), TABLE)
    np.testing.assert_array_equal(cached(Key(0), TABLE[[1, 0, 3]]).scores, TABLE[[1, 0, 3], 0])


def through_torch(key, batch):
    pytest.importorskip("torch")
    return np.zeros(len(batch)) + key.fold("draw").torch().initial_seed()


@pytest.mark.parametrize(
    "verify",
    [
        Random(),
        Noisy(Column(0), 0.1),
        all_of(Column(0), Random()),
        Audited(Column(0), Random()),
        through_torch,
    ],
    ids=["Random", "Noisy", "all_of", "oracle", "torch"],
)
def test_verifiers_that_draw_at_random_are_refused(verify):
    """However deep the draw is, and whichever library draws."""
    with pytest.raises(
        ValueError, match="Cached needs a verifier that draws nothing at random, got one that uses"
    ):
        Cached(verify, texts)(Key(0), TABLE)


def test_noise_outside_is_drawn_anew_every_time():
    noisy = Noisy(Cached(Column(0), texts), 0.5, 0.5)
    table = np.repeat(TABLE[[0]], 100, axis=0)
    first, second = noisy(Key(0), table).scores, noisy(Key(1), table).scores
    assert len(np.unique(first)) == 2 and not np.array_equal(first, second)


def test_verifiers_that_see_other_rows_are_refused_at_once():
    with pytest.raises(
        ValueError,
        match="Cached needs a verifier that judges each row by itself, got CovarianceMatch",
    ):
        Cached(CovarianceMatch(lambda batch: batch, np.eye(3), 2), texts)


@pytest.mark.parametrize(
    "content, message",
    [
        (lambda batch: batch, "got an unhashable type: 'numpy.ndarray'"),
        (lambda batch: [list(row) for row in batch], "got an unhashable type: 'list'"),
        (lambda batch: [([],)] * len(batch), "got an unhashable type: 'list'"),
        (lambda batch: ["a"], "got 1 for 5 rows"),
    ],
)
def test_contents_that_are_not_one_hashable_value_a_row_are_refused(content, message):
    with pytest.raises(
        ValueError, match=f"Cached.content must give one hashable value a row, {message}"
    ):
        Cached(Column(0), content)(Key(0), TABLE)


# Retry.


@dataclass
class Flaky:
    """Fail `times` times, with what `error` makes."""

    times: int
    error: object = ConnectionError("refused")
    calls: int = 0

    def __call__(self, key, batch):
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return PARTS(key, batch)


@pytest.fixture
def waits(monkeypatch):
    """The seconds that would have been slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_a_verifier_that_recovers_answers_as_if_nothing_had_been(failures, waits):
    """After waits that double."""
    flaky = Flaky(failures)
    np.testing.assert_equal(
        vars(Retry(flaky, 3, wait=0.5)(Key(0), TABLE)), vars(PARTS(Key(0), TABLE))
    )
    assert flaky.calls == failures + 1 and waits == [0.5, 1.0, 2.0][:failures]


def test_every_try_gets_the_same_key(waits):
    def fail_once(key, batch):
        keys.append(key)
        if len(keys) == 1:
            raise TimeoutError
        return Random()(key, batch)

    keys: list[Key] = []
    np.testing.assert_array_equal(Retry(fail_once)(Key(3), TABLE).scores, Random()(Key(3), TABLE))
    assert keys == [Key(3)] * 2


def test_a_verifier_that_never_recovers_gives_no_verdict_and_the_reason(waits):
    flaky = Flaky(99)
    with pytest.warns(
        UserWarning, match="Flaky failed 3 times, no verdict for 5 rows; ConnectionError: refused"
    ):
        verdict = Retry(flaky, 2, wait=1.0)(Key(0), TABLE)
    assert np.isnan(verdict.scores).all() and verdict.scores.shape == (5,)
    assert flaky.calls == 3 and waits == [1.0, 2.0]


def test_no_more_tries_still_mean_no_verdict_instead_of_a_crash(waits):
    flaky = Flaky(99)
    with pytest.warns(
        UserWarning, match="Flaky failed 1 time, no verdict for 1 row; ConnectionError: refused"
    ):
        assert np.isnan(Retry(flaky, 0)(Key(0), TABLE[:1]).scores).all()
    assert flaky.calls == 1 and waits == []


def test_other_errors_come_through_at_once(waits):
    flaky = Flaky(99, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        Retry(flaky)(Key(0), TABLE)
    assert flaky.calls == 1
    with pytest.warns(UserWarning, match="ZeroDivisionError: a bug"):
        Retry(Flaky(99, ZeroDivisionError("a bug")), errors=(OSError, ZeroDivisionError))(
            Key(0), TABLE
        )


def test_what_failed_is_counted_never_kept_and_costs_its_own_batch_only(waits):
    """One of five batches of ten fails: ten rows have no verdict, and parts are right for the others."""

    def down_at_first(key, batch):
        if batch[0, 0] == 0:
            raise OSError("down")
        return all_of(first=Column(0), second=Column(1))(key, batch)

    loop = Loop(
        generate=lambda key, model, n: np.arange(3.0 * n).reshape(n, 3),
        verify=Batched(Retry(down_at_first, 1), 10),
        filter=KeepAll(),
        refit=lambda key, model, batch: batch[:, 0],
    )
    with pytest.warns(UserWarning, match="no verdict for 10 rows; OSError: down"):
        state, record = loop.step(Key(0), State(None), 50)
    np.testing.assert_array_equal(state.model, 3.0 * np.arange(10, 50))
    assert record.kept == 40 and record.metrics == {
        "no_verdict": 10,
        "acceptance_first": 0.8,
        "acceptance_second": 0.8,
        "disagreement_first_second": 0.0,
    }


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"times": -1}, "Retry.times must be an integer of at least 0, got -1"),
        ({"times": 1.5}, "Retry.times must be an integer of at least 0, got 1.5"),
        ({"wait": -1.0}, "Retry.wait must be at least 0 and finite, got -1.0"),
        ({"wait": np.inf}, "Retry.wait must be at least 0 and finite, got inf"),
        ({"wait": np.nan}, "Retry.wait must be at least 0 and finite, got nan"),
        ({"errors": OSError}, "Retry.errors must be a tuple of exceptions, got <class 'OSError'>"),
        ({"errors": ()}, r"Retry.errors must be a tuple of exceptions, got \(\)"),
        ({"errors": (KeyboardInterrupt,)}, "Retry.errors must be a tuple of exceptions"),
        ({"errors": ("OSError",)}, "Retry.errors must be a tuple of exceptions"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Retry(Column(0), **settings)
