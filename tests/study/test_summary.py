"""Averaging replicates by round."""

from __future__ import annotations

import numpy as np
import pytest

from veriloop.study import summary


def test_replicates_are_averaged_by_round():
    """In the order asked for; a number that a round does not have is left out of its row."""
    runs = [
        [{"round": 0, "kept": 0, "error": 1.0}, {"round": 1, "kept": 5, "error": 4.0, "gap": 0.0}],
        [{"round": 0, "kept": 0, "error": 3.0}, {"round": 1, "kept": 5, "error": 8.0, "gap": 1.0}],
    ]
    told = {"gap": summary.mean, "kept": summary.same, "error": summary.spread}
    start, first = summary.over_replicates(runs, told)
    assert list(start) == ["round", "kept", "error", "error_se", "error_low", "error_high"]
    assert list(first) == ["round", "gap", *list(start)[1:]]
    assert (start["round"], start["kept"], start["error"]) == (0, 0, 2.0)
    assert (first["round"], first["kept"], first["error"], first["gap"]) == (1, 5, 6.0, 0.5)
    assert first["error_se"] == pytest.approx(np.std([4.0, 8.0], ddof=1) / np.sqrt(2))
    assert type(first["kept"]) is int


def test_runs_of_different_lengths_are_refused():
    """A replicate that stopped early would otherwise shorten all of them in silence."""
    with pytest.raises(ValueError, match="shorter"):
        summary.over_replicates([[{"error": 1.0}], []], {"error": summary.mean})
