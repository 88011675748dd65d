"""A verifier that hangs costs its rows their verdict, and the run goes on."""

import threading

import numpy as np
import pytest

from veriloop import Batched, Key, Loop, State, Threshold, TimeLimit, Verdict
from veriloop.core.verdict import rowwise
from veriloop.testing import check_verifier

BATCH = np.array([0.3, -1.2, 2.0, 0.7])


@pytest.fixture
def never():
    """An event that is set at the end of the test, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


def hanging(never, at=0.0):
    def verify(key, batch):
        if (batch > at).any():
            never.wait(60)
        return batch

    return verify


def test_a_verifier_in_time_is_as_without_the_limit():
    verdict = Verdict(BATCH, {"size": BATCH})
    assert TimeLimit(lambda key, batch: verdict, 60.0)(Key(0), BATCH).parts.keys() == {"size"}
    check_verifier(TimeLimit(lambda key, batch: batch - 1.0, 60.0), BATCH)


def test_rows_have_no_verdict_when_the_time_is_up(never):
    with pytest.warns(UserWarning, match="verify was not done after 0.05 s, no verdict for 4 rows"):
        verdict = TimeLimit(hanging(never), 0.05)(Key(0), BATCH)
    assert np.isnan(verdict.scores).all() and len(verdict.scores) == 4


def test_in_batches_only_those_rows_are_lost_and_the_record_counts_them(never):
    loop = Loop(
        generate=lambda key, model, n: BATCH,
        verify=Batched(TimeLimit(hanging(never, at=1.0), 0.05), rows=1),
        filter=Threshold(),
        refit=lambda key, model, batch: batch.tolist(),
    )
    with pytest.warns(UserWarning, match="no verdict for 1 rows"):
        state, record = loop.step(Key(0), State([]), 4)
    assert state.model == [0.3, 0.7] and record.metrics["no_verdict"] == 1


def test_an_error_of_the_verifier_is_raised():
    def broken(key, batch):
        raise ZeroDivisionError("no rows")

    with pytest.raises(ZeroDivisionError, match="no rows"):
        TimeLimit(broken, 60.0)(Key(0), BATCH)
    with pytest.raises(ValueError, match="shape"):
        TimeLimit(lambda key, batch: batch[1:], 60.0)(Key(0), BATCH)


def test_settings_of_the_caller_hold_in_the_call():
    with np.errstate(divide="raise"):
        with pytest.raises(FloatingPointError):
            TimeLimit(lambda key, batch: batch / (batch - batch), 60.0)(Key(0), BATCH + 2)


def test_a_verifier_that_judges_rows_together_still_says_so():
    class Rank:
        rowwise = False

        def __call__(self, key, batch):
            return batch

    assert not rowwise(TimeLimit(Rank(), 1.0))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "1", None])
def test_a_limit_is_a_positive_number(seconds):
    with pytest.raises(ValueError, match="TimeLimit.seconds must be positive and finite"):
        TimeLimit(lambda key, batch: batch, seconds)
