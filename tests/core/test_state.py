"""States and records: what they refuse, and how a record is one flat row."""

import numpy as np
import pytest

from veriloop import Record, State


@pytest.mark.parametrize("round", [-1, 1.5, "1", None, True])
def test_a_state_is_refused_whose_round_is_no_count(round):
    with pytest.raises(ValueError, match=r"State\.round must be an integer of at least 0, got"):
        State(0.0, round=round)


def test_a_round_may_be_an_integer_of_numpy():
    assert State(0.0, round=np.int64(3)).round == 3


def test_a_record_is_one_flat_row_and_the_start_has_no_acceptance():
    record = Record(1, 200, 50, {"error": 0.1})
    assert list(record.row().items()) == [
        ("round", 1),
        ("candidates", 200),
        ("kept", 50),
        ("error", 0.1),
    ]
    assert record.acceptance == 0.25
    assert np.isnan(Record(0, 0, 0).acceptance)
