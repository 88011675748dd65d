"""`store: candidates`: records stay as they are, every round can be filtered again, stops change nothing."""

import json
from pathlib import Path

import pytest

from veriloop.core.candidate_store import FILE
from veriloop.refilter import refilter

LINEAR = sorted(path.stem for path in (Path(__file__).parents[2] / "experiments").glob("linear_*.py"))
STORE = ("--set", "store=candidates")
SHORT = {
    "mnist_schedules": ("--set", "replicates=1"),
    "xsum_rouge": ("--set", "replicates=1"),
}


pytestmark = pytest.mark.usefixtures("own_cache")


def stored(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob(FILE))}


@pytest.mark.parametrize("name", sorted(SHORT))
def test_records_are_the_same_and_every_round_filters_as_it_did(name, here, stopped_and_resumed, tmp_path):
    """Without storing, with it, and stopped in the middle and resumed; nothing is stored unless asked for."""
    plain = here(name, *SHORT[name], out=tmp_path / "plain", figure=False)
    whole, resumed = stopped_and_resumed(name, *SHORT[name], *STORE, at=2)
    assert (plain.code, whole.code) == (0, 0) and plain.records == whole.records
    assert not stored(plain.out)
    rows = [json.loads(text) for text in whole.records.splitlines()]
    rounds = [row for row in rows if row["round"]]
    assert len(stored(whole.out)) == len(rounds) == 4  # two arms, two rounds
    counts = []
    for path in stored(whole.out):
        again = refilter(whole.out, arm=Path(path).parent.name, round=int(path[6:10])).numbers
        assert again["both"] == again["kept"] == again["kept_then"]
        counts.append((again["round"], again["candidates"], again["kept"]))
    assert sorted(counts) == sorted((row["round"], row["candidates"], row["kept"]) for row in rounds)

    assert resumed.records == whole.records and stored(resumed.out) == stored(whole.out)
    assert not list(resumed.out.glob(".*"))


@pytest.mark.parametrize("name", LINEAR)
def test_where_no_single_rounds_are_committed_it_is_refused(name, here):
    run = here(name, *STORE)
    assert run.code == 2 and run.stderr.count("\n") == 1 and not run.out.exists()
    assert run.stderr.startswith(f"{name}: store: got candidates, and {name} commits no single rounds")


def test_only_candidates_can_be_stored_and_pyarrow_is_asked_for_at_once(here, monkeypatch):
    wrong = here("mnist_elbo", "--set", "store=everything")
    assert wrong.code == 2 and "store: got \"everything\", must be 'candidates'" in wrong.stderr
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    run = here("mnist_elbo", *STORE)
    assert run.code == 2 and "pip install 'veriloop[experiments]'" in run.stderr and not run.out.exists()
