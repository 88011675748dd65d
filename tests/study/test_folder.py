"""The folder of a run: one run at a time, its own checkpoints, and nothing outside it."""

import json
import os
import shutil
from itertools import product

import pytest

from veriloop import Records, Study
from veriloop.linear import Problem
from veriloop.status import status
from veriloop.study.engine import BadInput, RunStopped, Unit, UnitsFailed
from veriloop.study.folder import RunFolder

PROBLEM = Problem.gaussian(bias=0.25, radius=0.5)
LINKS = ["records.jsonl", ".records.jsonl.tmp", "run.json", ".run.json.tmp", "round_0002", ".lock"]


def study(*, seeds=2, verify=PROBLEM.verifier, **settings):
    arms = {"verified": PROBLEM.loop(verify=verify), "unverified": PROBLEM.loop()}
    sizes = [PROBLEM.size(10)] * 2
    return Study(arms=arms, start=PROBLEM.start, sizes=sizes, seeds=range(seeds), **settings)


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# One folder, one run.


def test_a_folder_in_which_another_process_runs_is_refused_and_unchanged(tmp_path, holding):
    """A new one, and one to go on with; once that process is dead, the run goes on."""
    study(seeds=1).run(tmp_path)
    with holding(tmp_path / ".lock") as other:
        before = files(tmp_path)
        told = f"Study.run: {tmp_path} is in use by process {other.pid} on .*; wait until"
        with pytest.raises(BadInput, match=told):
            study().run(tmp_path)
        assert files(tmp_path) == before
        other.kill()
        other.wait()
        assert len(study().run(tmp_path)) == 12
    assert ".lock" not in files(tmp_path)


def test_the_folder_is_free_after_an_error(tmp_path, holding):
    def fail(key, batch):
        raise OSError("gone")

    with pytest.raises(UnitsFailed):
        study(verify=fail).run(tmp_path)
    with holding(tmp_path / ".lock"):
        pass
    study().run(tmp_path / "other")
    with pytest.raises(BadInput, match="holds another study"):
        study(seeds=1, verify=None).run(tmp_path / "other")
    with holding(tmp_path / "other" / ".lock"):
        pass


def test_a_reader_of_the_records_never_sees_fewer_than_are_done(tmp_path):
    """The file is replaced whole: who has the old one open reads it to its end."""
    study().run(tmp_path)
    whole = (tmp_path / "records.jsonl").read_bytes()
    with open(tmp_path / "records.jsonl", "rb") as reader:
        study().run(tmp_path)
        assert reader.read() == whole
    seen = []
    other = tmp_path / "other"

    def look(key, batch):
        seen.append(len(Records.read(other)))
        return PROBLEM.verifier(key, batch)

    arms = {"verified": PROBLEM.loop(), "slow": PROBLEM.loop(verify=look)}
    slow = Study(arms=arms, start=PROBLEM.start, sizes=[PROBLEM.size(10)], seeds=[0])
    slow.run(other)
    shutil.rmtree(other / "round_0001" / "slow-seed0")
    seen.clear()
    slow.run(other)
    assert set(seen) == {2} and len(Records.read(other)) == 4


def test_the_records_of_fewer_rounds_stay_until_there_are_as_many(tmp_path):
    """They were gone as soon as a run had more rounds, and came back when that was over."""
    seen = []

    def look(key, batch):
        told = status(tmp_path).splitlines()[1].split()
        rows = (tmp_path / "records.jsonl").read_bytes().count(b"\n")
        seen.append((rows, " ".join(told[1:4])))
        return PROBLEM.verifier(key, batch)

    def looking(rounds):
        arms = {"one": PROBLEM.loop(verify=look), "two": PROBLEM.loop()}
        sizes = [PROBLEM.size(10)] * rounds
        return Study(arms=arms, start=PROBLEM.start, sizes=sizes, seeds=range(2))

    looking(1).run(tmp_path)
    assert len(Records.read(tmp_path)) == 8
    seen.clear()
    looking(3).run(tmp_path)
    assert list(dict.fromkeys(seen)) == [(8, "0 of 4"), (8, "2 of 4")]
    assert len(Records.read(tmp_path)) == 16


def test_of_a_run_with_lower_counts_the_units_that_it_has_left_are_counted(tmp_path):
    """It said 4 of 2 done, of which one was still to be done up to an earlier round."""
    seen = []

    def units_said():
        return " ".join(status(tmp_path).splitlines()[1].split()[1:4])

    def work(arm, seed):
        seen.append(units_said())
        if seed == 2:
            raise KeyboardInterrupt
        return [{"arm": arm, "seed": seed, "round": 0}]

    def run(seeds, rounds):
        config = {"replicates": seeds, "rounds": rounds}
        folder = RunFolder(tmp_path, resume=True, may_grow=list(config))
        units = []
        for seed, arm in product(range(seeds), "ab"):
            units.append(Unit(f"{arm}-seed{seed}", rounds, work, (arm, seed)))
        folder.open({"experiment": "any", "config": config, "units": len(units)})
        folder.records(units, "serial")
        folder.close()

    with pytest.raises(KeyboardInterrupt):
        run(seeds=3, rounds=2)
    assert units_said() == "4 of 6"
    seen.clear()
    run(seeds=1, rounds=1)
    assert seen == ["0 of 2", "1 of 2"]
    assert units_said() == "2 of 2"
    run(seeds=2, rounds=2)
    assert units_said() == "4 of 4"


def test_a_folder_that_goes_away_during_the_run_is_an_error(tmp_path):
    """Even after the last checkpoint: the records are elsewhere, or gone."""
    folder = tmp_path / "run"

    def move(key, batch):
        if folder.exists():
            folder.rename(tmp_path / "moved")
        return PROBLEM.verifier(key, batch)

    with pytest.raises(RunStopped, match="run was moved or deleted while the run wrote to it"):
        study(seeds=1, verify=move).run(folder)
    assert not folder.exists()


# Its own checkpoints.


def test_a_checkpoint_of_another_run_is_named_and_done_again(tmp_path, capsys):
    own, other, more = tmp_path / "own", tmp_path / "other", tmp_path / "more"
    study().run(own)
    records = (own / "records.jsonl").read_bytes()
    changed = Study(
        arms=study().arms, start=PROBLEM.start, sizes=[PROBLEM.size(20)] * 2, seeds=range(2)
    )
    changed.run(other)
    place = "round_0002/verified-seed1"
    shutil.rmtree(own / place)
    shutil.copytree(other / place, own / place)
    study().run(own)
    told = capsys.readouterr().err
    assert f"checkpoint {own / place} is of another run and is not used; doing it again" in told
    assert (own / "records.jsonl").read_bytes() == records
    shutil.copytree(own, more)
    study(seeds=3).run(more)  # more of the same run: its checkpoints stay
    assert capsys.readouterr().err == ""


def test_a_call_that_mends_a_run_is_not_taken_for_the_one_that_made_it(tmp_path):
    study().run(tmp_path)
    first = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "round_0002" / "verified-seed0" / "rows.jsonl").write_text("")
    study().run(tmp_path)
    last = json.loads((tmp_path / "run.json").read_text())
    (earlier,) = last["earlier"]
    assert last["finished"] and earlier["seconds"] == first["seconds"]


def test_checkpoints_that_changed_places_are_named_and_done_again(tmp_path, capsys):
    study().run(tmp_path)
    records = (tmp_path / "records.jsonl").read_bytes()
    one, other = (tmp_path / "round_0002" / f"verified-seed{seed}" for seed in (0, 1))
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    study().run(tmp_path)
    assert "is that of round 2 of 'verified-seed1' and is not used" in capsys.readouterr().err
    assert (tmp_path / "records.jsonl").read_bytes() == records


# Nothing outside it.


@pytest.mark.parametrize("place", LINKS)
def test_a_symbolic_link_in_the_folder_is_not_followed(tmp_path, place):
    study(seeds=1).run(tmp_path / "run")
    (tmp_path / "outside").write_text("mine")
    link = tmp_path / "run" / place
    if link.is_dir():
        shutil.rmtree(link)
    if place == "run.json":
        shutil.move(link, tmp_path / "outside")
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "outside")
    before = (tmp_path / "outside").read_bytes()
    with pytest.raises(BadInput, match=f"{place} is a symbolic link, and nothing is written"):
        study().run(tmp_path / "run")
    assert (tmp_path / "outside").read_bytes() == before and os.path.islink(link)
