"""`store: candidates`: records stay as they are, every round can be filtered again, stops change nothing."""

import sys
from pathlib import Path

import pytest
from helpers import CLOSED, settings

from veriloop.refilter import refilter
from veriloop.store.candidates import FILE

STORE = settings("replicates=1", "store=candidates")  # of a smoke run's two seeds the first
STORING = ["mnist_schedules", "xsum_rouge"]


def stored(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob(FILE))}


@pytest.mark.parametrize("name", STORING)
def test_records_are_the_same_and_every_round_filters_as_it_did(name, smoke, stopped, here):
    """Without storing, and with it, stopped and resumed; nothing is stored unless asked for."""
    arm = next(row["arm"] for row in smoke(name).rows if row["round"] == 2)
    stopped(name, *STORE, at=f"round_0002/{arm.removesuffix('-seed1')}-seed1-model")
    run = here(name, *STORE, "--resume")
    lines = smoke(name).records.splitlines(keepends=True)
    assert run.code == 0 and run.records == b"".join(lines[: len(lines) // 2])
    assert not stored(smoke(name).out)
    rounds = [row for row in run.rows if row["round"]]
    assert len(stored(run.out)) == len(rounds) == 4  # two arms, two rounds
    counts = []
    for path in stored(run.out):
        again = refilter(run.out, arm=Path(path).parent.name, round=int(path[6:10])).numbers
        assert again["both"] == again["kept"] == again["kept_then"]
        counts.append((again["round"], again["candidates"], again["kept"]))
    assert sorted(counts) == sorted(
        (row["round"], row["candidates"], row["kept"]) for row in rounds
    )
    assert not list(run.out.glob(".*"))


@pytest.mark.slow
def test_what_is_stored_is_the_same_after_a_stop(stopped, here, tmp_path):
    """To the last byte, of the round in which it was stopped too."""
    own = (*STORE, *settings("rounds=1", "sizes={200: 200}", "images=100"))
    stopped("mnist_schedules", *own, at="round_0001/200-verified-seed1-model")
    resumed = here("mnist_schedules", *own, "--resume")
    whole = here("mnist_schedules", *own, out=tmp_path / "whole")
    assert resumed.records == whole.records
    assert stored(resumed.out) == stored(whole.out) and len(stored(whole.out)) == 2


@pytest.mark.parametrize("name", CLOSED)
def test_where_no_single_rounds_are_committed_it_is_refused(name, here):
    run = here(name, *STORE)
    assert run.code == 2 and run.stderr.count("\n") == 1 and not run.out.exists()
    assert run.stderr.startswith(
        f"{name}: store: got candidates, and {name} commits no single rounds"
    )


def test_only_candidates_can_be_stored_and_pyarrow_is_asked_for_at_once(here, monkeypatch):
    wrong = here("mnist_elbo", *settings("store=everything"))
    assert wrong.code == 2 and "store: got \"everything\", must be 'candidates'" in wrong.stderr
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    run = here("mnist_elbo", *STORE)
    assert run.code == 2 and "pip install 'veriloop[study]'" in run.stderr and not run.out.exists()
