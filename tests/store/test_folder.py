"""Run folders: whole checkpoints or none, damage found by name, and after any stop the same bytes."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriloop import (
    Accumulate,
    Key,
    Loop,
    Quota,
    Record,
    Records,
    Replace,
    RunDir,
    State,
    Threshold,
    TopFraction,
    Window,
    load_state,
    run,
    save_state,
)
from veriloop.records import line

START = State(np.zeros(2))


def generate(key, model, n):
    return model + key.numpy().standard_normal((n, 2))


def refit(key, model, batch):
    return batch.mean(axis=0) + 1e-3 * key.numpy().standard_normal(2)


def measure(key, model):
    """A float, a NumPy float of each width, an integer, and NaN now and then."""
    return {
        "first": float(model[0]),
        "second": np.float32(model[1]),
        "sign": int(model[0] > 0),
        "count": np.int64(3),
        "odd": float("nan") if model[0] > 0 else 0.1,
        "narrow": np.float32("nan"),
    }


def loop(**settings):
    return Loop(
        **{
            "generate": generate,
            "verify": lambda key, batch: batch[:, 0] + key.numpy().standard_normal(len(batch)),
            "filter": TopFraction(0.5),
            "refit": refit,
            "measure": measure,
            "pool": Accumulate(),
        }
        | settings
    )


def files(folder):
    """Every file below a folder: path -> bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def plain(record):
    return {
        "round": record.round,
        "candidates": record.candidates,
        "kept": record.kept,
        **record.metrics,
    }


def compare(got, wanted):
    """Compare the records of two runs exactly (NaN is NaN), and their final states to the last bit."""
    np.testing.assert_equal(
        [plain(record) for _, record in got], [plain(record) for _, record in wanted]
    )
    (one, _), (other, _) = got[-1], wanted[-1]
    np.testing.assert_array_equal(one.model, other.model)
    assert one.round == other.round and len(one.past) == len(other.past)
    for a, b in zip(one.past, other.past, strict=True):
        np.testing.assert_array_equal(a, b)


# Resuming.


@settings(max_examples=10)
@given(
    st.integers(0, 10**6),
    st.sampled_from([Replace(), Accumulate(), Window(2)]),
    st.lists(
        st.one_of(st.integers(5, 30), st.builds(Quota, st.integers(1, 9))), min_size=2, max_size=5
    ),
    st.sampled_from([None, 1]),
    st.data(),
)
def test_a_run_stopped_and_resumed_leaves_the_same_bytes(seed, pool, sizes, chunk, data):
    """The generator is closed after any round; the second call reads what is there and runs the rest."""
    made = loop(pool=pool, filter=Threshold(-9.0), chunk=chunk, block=8)
    stop = data.draw(st.integers(1, len(sizes)))
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder, "one"), Path(folder, "other")
        straight = list(RunDir(one).run(made, Key(seed), START, sizes))
        stopped = RunDir(other).run(made, Key(seed), START, sizes)
        for _ in range(stop + 1):
            next(stopped)
        stopped.close()
        assert (len(files(other)) < len(files(one))) == (stop < len(sizes))
        resumed = list(RunDir(other).run(made, Key(seed), START, sizes))
        compare(resumed, straight)
        compare(straight, list(run(made, Key(seed), START, sizes)))
        assert files(one) == files(other)


CALLS = []


def counted(key, model, n):
    CALLS.append(n)
    return generate(key, model, n)


def test_committed_rounds_are_read_and_not_run_again(tmp_path):
    CALLS.clear()
    made = loop(generate=counted)
    first = list(RunDir(tmp_path).run(made, Key(0), START, [10, 20]))
    assert CALLS == [10, 20]
    again = list(RunDir(tmp_path).run(made, Key(0), START, [10, 20, 30]))
    assert CALLS == [10, 20, 30]
    np.testing.assert_equal([plain(r) for _, r in again[:3]], [plain(r) for _, r in first])


def test_a_committed_round_is_on_disk_before_it_is_yielded(tmp_path):
    for state, record in RunDir(tmp_path).run(loop(), Key(0), START, [10] * 3):
        folder = tmp_path / f"round_{record.round:04d}" / "loop"
        np.testing.assert_array_equal(load_state(folder).model, state.model)


def test_a_run_may_start_from_a_later_round(tmp_path):
    """Round 1 is not looked for when the state given is already past it."""
    full = list(run(loop(), Key(0), START, [10] * 4))
    part = list(RunDir(tmp_path).run(loop(), Key(0), full[2][0], [10] * 4))
    compare(part, full[3:])
    compare(list(RunDir(tmp_path).run(loop(), Key(0), full[2][0], [10] * 4)), full[3:])


def test_arms_of_one_run_lie_side_by_side(tmp_path):
    folder = RunDir(tmp_path)
    arms = {"verified": loop(), "unverified": loop(verify=lambda key, batch: np.zeros(len(batch)))}
    ran = {
        name: list(folder.run(made, Key(0), START, [10] * 2, name=name))
        for name, made in arms.items()
    }
    for name, made in arms.items():
        compare(list(folder.run(made, Key(0), START, [10] * 2, name=name)), ran[name])
        compare(ran[name], list(run(made, Key(0), START, [10] * 2)))
    assert {path.name for path in (tmp_path / "round_0002").iterdir()} == set(arms)


# Records.


def test_the_rounds_of_a_folder_are_its_records(tmp_path):
    """The start among them, by the name of the run, whether it was stopped or not; a reader finds them."""
    folder = RunDir(tmp_path)
    for name, made in (("random", loop(verify=None)), ("verified", loop())):
        stopped = folder.run(made, Key(3), START, [10] * 3, name=name)
        for _ in range(2):
            next(stopped)
        stopped.close()
        list(folder.run(made, Key(3), START, [10] * 3, name=name))
    records = Records.read(tmp_path)
    assert records.arms == ("random", "verified") and len(records) == 2 * 4
    assert records.select(arm="verified").column("round").tolist() == [0, 1, 2, 3]
    assert set(records.column("seed")) == {3}
    straight = [record.row() for _, record in run(loop(), Key(3), START, [10] * 3)]
    got = [{name: row[name] for name in straight[0]} for row in records.select(arm="verified")]
    np.testing.assert_equal(Records(got).column("first"), Records(straight).column("first"))
    assert list(records.difference("verified", "random", "first").n) == [1] * 4
    other = tmp_path / "other"
    list(RunDir(other).run(loop(), Key(3), START, [10] * 3, records=False))
    assert not (other / "records.jsonl").exists()


# What a folder remembers.


OTHERS = {
    "key": {"key": Key(1)},
    "start": {"state": State(np.ones(2))},
    "sizes": {"sizes": [10, 20, 10]},
    "verify": {"loop": loop(verify=lambda key, batch: batch[:, 1])},
    "filter": {"loop": loop(filter=TopFraction(0.4))},
    "refit": {"loop": loop(refit=lambda key, model, batch: batch.mean(axis=0) + 0.0)},
    "pool": {"loop": loop(pool=Window(2))},
    "block": {"loop": loop(block=5)},
}


@pytest.mark.parametrize("part", OTHERS)
def test_another_run_is_refused_with_what_differs(tmp_path, part):
    """It used to go on with the new loop, and the rows of both stood in one folder."""
    given = {"loop": loop(), "key": Key(0), "state": START, "sizes": [10] * 3}
    list(RunDir(tmp_path).run(**given))
    before = files(tmp_path)
    other = "other sizes" if part == "sizes" else f"another {part}"
    with pytest.raises(
        ValueError, match=f"holds a run 'loop' with {other}; give the same {part} to go on"
    ):
        list(RunDir(tmp_path).run(**given | OTHERS[part]))
    assert files(tmp_path) == before


def test_a_run_of_which_no_round_is_committed_may_be_corrected(tmp_path):
    def broken(key, model):
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        list(RunDir(tmp_path).run(loop(measure=broken), Key(0), START, [10]))
    assert len(list(RunDir(tmp_path).run(loop(), Key(0), START, [10]))) == 2
    with pytest.raises(ValueError, match="with another measure; give the same measure"):
        list(RunDir(tmp_path).run(loop(measure=broken), Key(0), START, [10]))


@pytest.mark.parametrize("name", ["a/b", "", ".hidden", 3])
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_run(tmp_path, name):
    with pytest.raises(ValueError, match="RunDir.run: name must be one of a file, got"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10], name=name))
    assert files(tmp_path) == {}


def test_a_run_made_again_in_another_process_is_the_same_run(tmp_path):
    """The functions are new objects with the same code; what they enclose counts, and the chunk does not."""

    def made(scale, **settings):
        return loop(verify=lambda key, batch: scale * batch[:, 0], **settings)

    list(RunDir(tmp_path).run(made(1.0), Key(0), START, [10] * 2))
    list(RunDir(tmp_path).run(made(1.0, chunk=3), Key(0), State(np.zeros(2)), [10] * 2))
    with pytest.raises(ValueError, match="another verify"):
        list(RunDir(tmp_path).run(made(2.0), Key(0), START, [10] * 2))


def test_sizes_of_rounds_to_come_may_change_and_those_of_committed_rounds_may_not(tmp_path):
    """They are compared with what was run, not with what was asked for at first."""
    for sizes in ([10], [10, 20]):
        list(RunDir(tmp_path).run(loop(), Key(0), START, sizes))
    with pytest.raises(ValueError, match="other sizes"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10, 30]))
    with pytest.raises(ValueError, match="other sizes"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [Quota(10), 20]))
    stopped = RunDir(tmp_path).run(loop(), Key(0), START, [10, 20, 30, 40])
    for _ in range(4):
        next(stopped)
    stopped.close()
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10, 20, 30, 50]))


def test_a_damaged_memory_of_the_run_is_named(tmp_path):
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10]))
    (tmp_path / "loops" / "loop.json").write_text('{"generate": "')
    with pytest.raises(ValueError, match=r"loops/loop.json is damaged, .* delete it to go on"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10]))


def test_a_cut_line_of_the_records_heals(tmp_path):
    """A kill while the file system lies may leave one; the next round writes the file anew."""
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 2))
    cut(tmp_path / "records.jsonl")
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 3))
    assert Records.read(tmp_path).column("round").tolist() == [0, 1, 2, 3]


def test_no_more_rounds_than_sizes_come_back(tmp_path):
    """Of a folder with four rounds, the two that are asked for."""
    straight = list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 4))
    compare(list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 2)), straight[:3])


def test_a_shorter_run_forgets_no_sizes_of_the_longer_one(tmp_path):
    """After it the longer one goes on, and its committed rounds keep their sizes."""
    for count in (4, 2, 4):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * count))
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 2))
    with pytest.raises(ValueError, match="other sizes"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10, 10, 10, 20]))


@pytest.mark.parametrize("left", [0, 2])
def test_rows_that_a_kill_left_out_of_the_records_come_back(tmp_path, left):
    """A kill between the last checkpoint and its line; and a file that was deleted."""
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 2))
    list(RunDir(tmp_path).run(loop(), Key(1), START, [10], name="other"))
    file = tmp_path / "records.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*whole[:left], *whole[3:]]))
    list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 2))
    assert sorted(file.read_text().splitlines(keepends=True)) == sorted(whole)


def test_a_batch_of_the_past_is_written_once(tmp_path):
    """Under Accumulate every round holds all batches, and each of them has one file."""
    list(
        RunDir(tmp_path).run(loop(), Key(0), State(np.zeros(2), past=(np.ones((4, 2)),)), [10] * 4)
    )
    held = [
        len(json.loads(file.read_text()))
        for file in sorted(tmp_path.glob("round_*/loop/past.json"))
    ]
    assert held == [1, 2, 3, 4, 5]
    assert len(list((tmp_path / "past").iterdir())) == 5


def test_a_damaged_batch_of_the_past_is_named_and_the_round_before_it_used(tmp_path):
    straight = list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 4))
    before = files(tmp_path)
    names = json.loads((tmp_path / "round_0004" / "loop" / "past.json").read_text())
    flip(tmp_path / "past" / names[2])
    with pytest.warns(
        UserWarning, match=f"round_0003/loop is damaged .the sha256 of past/{names[2]} differs"
    ):
        resumed = list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 4))
    compare(resumed, straight)
    assert files(tmp_path) == before


def test_a_folder_grows_by_the_kept_rows_of_a_round(tmp_path):
    """Under Accumulate too: four times the rounds take four times the files, and little more room."""
    for rounds in (10, 40):
        list(RunDir(tmp_path / str(rounds)).run(loop(), Key(0), START, [200] * rounds))
    few, many = (files(tmp_path / str(rounds)) for rounds in (10, 40))
    assert len(many) < 4 * len(few)
    size = {n: sum(map(len, held.values())) for n, held in (("few", few), ("many", many))}
    assert size["many"] < 5 * size["few"]


# Whose checkpoint it is.


def swapped(one, other):
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def test_checkpoints_that_were_swapped_are_named_and_their_rounds_run_again(tmp_path):
    """They are whole, and their sha256 are right."""
    straight = list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 6))
    before = files(tmp_path)
    swapped(tmp_path / "round_0002" / "loop", tmp_path / "round_0004" / "loop")
    with pytest.warns(UserWarning, match="round_0002/loop is that of round 4 of 'loop' and is not"):
        resumed = list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 6))
    compare(resumed, straight)
    assert files(tmp_path) == before


@pytest.mark.parametrize("memory", [True, False])
def test_a_checkpoint_of_another_run_is_named_and_its_round_run_again(tmp_path, memory):
    """Copied over, with or without what the folder remembers of its own run."""
    own, other = tmp_path / "own", tmp_path / "other"
    straight = list(RunDir(own).run(loop(), Key(0), START, [10] * 3))
    list(RunDir(other).run(loop(), Key(1), START, [10] * 3))
    before = files(own)
    shutil.rmtree(own / "round_0002" / "loop")
    shutil.copytree(other / "round_0002" / "loop", own / "round_0002" / "loop")
    shutil.copytree(other / "past", own / "past", dirs_exist_ok=True)
    if not memory:
        (own / "loops" / "loop.json").unlink()
    with pytest.warns(UserWarning, match="round_0002/loop is of another run and is not used"):
        resumed = list(RunDir(own).run(loop(), Key(0), START, [10] * 3))
    compare(resumed, straight)
    after = files(own)
    assert {path: after[path] for path in before} == before


def test_checkpoints_of_earlier_versions_are_read_without_a_word(tmp_path):
    """They do not say which run they are of."""
    straight = list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 3))
    for checkpoint in tmp_path.glob("round_*/loop"):
        sums = json.loads((checkpoint / "sha256.json").read_text())
        del sums["checkpoint"]
        (checkpoint / "sha256.json").write_text(json.dumps(sums))
    before = files(tmp_path)
    compare(list(RunDir(tmp_path).run(loop(), Key(0), START, [10] * 3)), straight)
    assert files(tmp_path) == before


@pytest.mark.parametrize("about", [[], {}, {"round": [1]}, "round 1"])
def test_a_checkpoint_that_says_nothing_of_itself_is_not_used(tmp_path, about):
    folder = RunDir(tmp_path)
    folder.commit(1, "a", [{"kept": 1}])
    file = folder.folder(1, "a") / "sha256.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"checkpoint": about}))
    with pytest.warns(UserWarning, match="round_0001/a (does not say|is that of) .* is not used"):
        assert folder.rows(1, "a") is None


# Nothing leads out of the folder.


@pytest.mark.parametrize("name", ["../esc", "a/b", "", "..", "a\0b", "a\nb", "x" * 300, "\ud800"])
def test_a_checkpoint_does_not_leave_its_folder(tmp_path, name):
    folder = RunDir(tmp_path / "run")
    with pytest.raises(ValueError, match="the name of a checkpoint must be one of a file, got"):
        folder.commit(1, name, [])
    with pytest.raises(ValueError, match="the name of a checkpoint must be one of a file, got"):
        folder.rows(1, name)
    assert not files(tmp_path)


LINKS = [
    "records.jsonl",
    ".records.jsonl.tmp",
    "round_0002",
    "round_0001/.loop.tmp",
    "loops",
    "loops/.loop.json.tmp",
    "past",
    ".loop.candidates.parquet",
    ".lock",
]


@pytest.mark.parametrize("place", LINKS)
def test_a_symbolic_link_in_the_folder_is_not_followed(tmp_path, place):
    """Whatever it hides: nothing outside changes, and the sentence names the link."""
    list(RunDir(tmp_path / "run").run(loop(), Key(0), START, [10]))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    link = tmp_path / "run" / place
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    for target in (outside, outside / "file", outside / "nowhere"):
        link.symlink_to(target)
        with pytest.raises(ValueError, match=f"{place} is a symbolic link, and nothing is written"):
            list(RunDir(tmp_path / "run").run(loop(), Key(0), START, [10] * 2))
        link.unlink()
    assert files(outside) == {"file": b"mine"}


def test_a_commit_does_not_follow_a_link_in_place_of_a_round(tmp_path):
    (tmp_path / "outside").mkdir()
    folder = RunDir(tmp_path / "run")
    (folder.path / "round_0001").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="round_0001 is a symbolic link, and nothing is written"):
        folder.commit(1, "a", [])
    (folder.path / "round_0002").mkdir()
    folder.folder(2, "a").symlink_to(tmp_path / "outside")
    folder.folder(2, "a").with_name(".a.tmp").symlink_to(tmp_path / "outside")
    folder.commit(2, "a", [{"kept": 1}])
    assert folder.rows(2, "a") == [{"kept": 1}] and not folder.folder(2, "a").is_symlink()
    assert not files(tmp_path / "outside")


def test_a_pipe_in_the_folder_is_named(tmp_path):
    """Reading one would never end."""
    os.mkfifo(tmp_path / "records.jsonl")
    with pytest.raises(ValueError, match="records.jsonl is no file, and nothing is written"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10]))


@pytest.mark.parametrize("away", [shutil.rmtree, lambda path: path.rename(path.with_name("moved"))])
def test_a_folder_that_goes_away_during_a_run_is_not_made_again(tmp_path, away):
    running = RunDir(tmp_path / "run").run(loop(), Key(0), START, [10] * 3)
    next(running)
    away(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="run was moved or deleted while a run wrote to it"):
        list(running)
    assert not (tmp_path / "run").exists()


# One folder, one run.


def test_a_folder_in_which_another_process_runs_is_refused(tmp_path, holding):
    """Before anything is written, with who holds it; and taken over once that process is gone."""
    with holding(tmp_path / ".lock") as other:
        before = files(tmp_path)
        told = f"{tmp_path} is in use by process {other.pid} on .*; wait until that run ends"
        with pytest.raises(ValueError, match=told):
            list(RunDir(tmp_path).run(loop(), Key(0), START, [10]))
        assert files(tmp_path) == before
        other.kill()
        other.wait()
        assert len(list(RunDir(tmp_path).run(loop(), Key(0), START, [10]))) == 2
    assert not [path for path in files(tmp_path) if path.endswith(".lock")]


def test_a_run_without_records_waits_for_the_worker_of_a_run_that_was_killed(
    tmp_path, holding, monkeypatch
):
    monkeypatch.setattr("veriloop.store.folder.WORKER_ENDS", 0.2)
    (tmp_path / "loops").mkdir()
    arguments = (loop(), Key(0), START, [10])
    with holding(tmp_path / "loops" / ".loop.lock") as other:
        with pytest.raises(ValueError, match=f"'loop' in .* is in use by process {other.pid}"):
            list(RunDir(tmp_path).run(*arguments, records=False))
        assert len(list(RunDir(tmp_path).run(*arguments, records=False, name="second"))) == 2
        monkeypatch.setattr("veriloop.store.folder.WORKER_ENDS", 60.0)
        threading.Timer(0.2, other.kill).start()
        assert len(list(RunDir(tmp_path).run(*arguments, records=False))) == 2


def test_runs_of_one_process_may_take_turns_in_a_folder(tmp_path):
    """One that was left alone, unfinished, does not stand in the way."""
    folder = RunDir(tmp_path)
    left = folder.run(loop(), Key(0), START, [10] * 3)
    next(left)
    arms = [folder.run(loop(), Key(0), START, [10] * 2, name=name) for name in ("one", "two")]
    for _ in zip(*arms, strict=True):
        assert (tmp_path / ".lock").exists()
    assert len(list(folder.run(loop(), Key(0), START, [10] * 3))) == 4
    left.close()
    assert not (tmp_path / ".lock").exists()


# Damage.


@pytest.fixture
def uninterrupted(tmp_path):
    """Four rounds in a folder, and their records."""
    folder = tmp_path / "run"
    return folder, list(RunDir(folder).run(loop(), Key(0), START, [10] * 4))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize("round", [2, 4])
@pytest.mark.parametrize(
    "damage, file, said",
    [
        (flip, "model.npz", "the sha256 of model.npz differs"),
        (cut, "rows.jsonl", "the sha256 of rows.jsonl differs"),
        (flip, "past.json", "the sha256 of past.json differs"),
        (Path.unlink, "model.npz", "model.npz is missing"),
        (Path.unlink, "rows.jsonl", "rows.jsonl is missing"),
        (Path.unlink, "sha256.json", "sha256.json is missing or unreadable"),
        (cut, "sha256.json", "sha256.json is missing or unreadable"),
        (
            lambda path: path.write_text("null"),
            "sha256.json",
            "sha256.json is missing or unreadable",
        ),
        (lambda path: path.write_text("{}"), "sha256.json", "sha256.json is missing or unreadable"),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    uninterrupted, round, damage, file, said
):
    folder, straight = uninterrupted
    before = files(folder)
    broken = folder / f"round_{round:04d}" / "loop"
    damage(broken / file)
    with pytest.warns(UserWarning) as caught:
        resumed = list(RunDir(folder).run(loop(), Key(0), START, [10] * 4))
    assert [str(each.message) for each in caught] == [
        f"checkpoint {broken} is damaged ({said}) and is not used"
    ]
    compare(resumed, straight)
    assert files(folder) == before


@settings(max_examples=40)
@given(st.integers(0, 10**9), st.integers(0, 7))
def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(position, bit):
    """In any file: either the flip is found, or (white space of sha256.json) the rows are as they were."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunDir(temporary)
        rows = [{"round": 1, "kept": 5, "error": 0.25}]
        folder.commit(1, "a", rows, lambda path: np.save(path / "model.npy", np.arange(8)))
        inside = folder.folder(1, "a")
        contents = files(inside)
        place = position % sum(map(len, contents.values()))
        for name, content in contents.items():
            if place < len(content):
                changed = bytearray(content)
                changed[place] ^= 1 << bit
                (inside / name).write_bytes(bytes(changed))
                break
            place -= len(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = folder.rows(1, "a")
        assert (got is None and len(caught) == 1) or (
            name == "sha256.json" and got == rows and not caught
        )


def test_a_checkpoint_that_is_not_there_is_no_damage(tmp_path):
    assert RunDir(tmp_path).rows(1, "loop") is None


def test_leftovers_of_a_killed_commit_are_ignored_and_replaced(uninterrupted):
    """A half-written folder under its temporary name, beside good checkpoints and in place of one."""
    folder, straight = uninterrupted
    before = files(folder)
    for round in (2, 4):
        leftover = folder / f"round_{round:04d}" / ".loop.tmp"
        leftover.mkdir()
        (leftover / "model.npy").write_bytes(b"half a file")
    shutil.rmtree(folder / "round_0004" / "loop")
    resumed = list(RunDir(folder).run(loop(), Key(0), START, [10] * 4))
    compare(resumed, straight)
    assert {
        name: content for name, content in files(folder).items() if ".loop.tmp" not in name
    } == before
    assert not (folder / "round_0004" / ".loop.tmp").exists()


def test_a_save_that_fails_leaves_no_checkpoint(tmp_path):
    def fail(state, folder):
        save_state(state, folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10], save=fail, load=load_state))
    assert RunDir(tmp_path).rows(0, "loop") is None
    compare(
        list(RunDir(tmp_path).run(loop(), Key(0), START, [10])),
        list(run(loop(), Key(0), START, [10])),
    )


def test_committing_again_replaces_the_checkpoint_whole(tmp_path):
    folder = RunDir(tmp_path)
    folder.commit(1, "a", [{"kept": 1}], lambda path: path.joinpath("old.txt").write_text("old"))
    folder.commit(1, "a", [{"kept": 2}, {"kept": 3}])
    assert folder.rows(1, "a") == [{"kept": 2}, {"kept": 3}]
    assert {path.name for path in folder.folder(1, "a").iterdir()} == {"rows.jsonl", "sha256.json"}


def test_a_checkpoint_may_hold_folders_and_damage_inside_them_is_found(tmp_path):
    """As `save_pretrained` of a library may make them."""

    def write(path):
        (path / "weights" / "inner").mkdir(parents=True)
        (path / "weights" / "inner" / "part.bin").write_bytes(b"abc")

    folder = RunDir(tmp_path)
    folder.commit(1, "a", [{"kept": 1}], write)
    assert folder.rows(1, "a") == [{"kept": 1}]
    flip(folder.folder(1, "a") / "weights" / "inner" / "part.bin")
    with pytest.warns(UserWarning, match="the sha256 of weights/inner/part.bin differs"):
        assert folder.rows(1, "a") is None


SCRIPT = """
import sys, time
import numpy as np
from veriloop import Accumulate, Key, Loop, RunDir, State, Threshold


def generate(key, model, n):
    return model + key.numpy().standard_normal((n, 2))


def refit(key, model, batch):
    time.sleep(pause[0])
    return batch.mean(axis=0)


loop = Loop(generate=generate, refit=refit, verify=lambda key, batch: batch[:, 0], filter=Threshold(-1.0),
            measure=lambda key, model: {"first": float(model[0])}, pool=Accumulate())
sizes = [50] * 40


def rounds(folder):
    return list(RunDir(folder).run(loop, Key(5), State(np.zeros(2)), sizes))


pause = [0]
if __name__ == "__main__":
    pause[0] = 0.01
    rounds(sys.argv[1])
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_equals_uninterrupted(tmp_path):
    """kill -9 while rounds are being committed, twice over, then resumed here: the same records and bytes."""
    script, folder = tmp_path / "script.py", tmp_path / "killed"
    script.write_text(SCRIPT)
    for commits in (2, 5):
        with subprocess.Popen([sys.executable, str(script), str(folder)]) as process:
            try:
                deadline = time.monotonic() + 60  # only a guard against hanging
                while not (folder / f"round_{commits:04d}" / "loop").exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        pytest.fail(
                            f"the run ended or hung before round {commits}, exit status {process.poll()}"
                        )
                    time.sleep(0.002)
            finally:
                process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not (folder / "round_0040" / "loop").exists()
    module = runpy.run_path(str(script))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a kill leaves no damaged checkpoint
        resumed = module["rounds"](folder)
    compare(resumed, module["rounds"](tmp_path / "straight"))
    assert {n: c for n, c in files(folder).items() if ".loop.tmp" not in n} == files(
        tmp_path / "straight"
    )


# Rows.


def test_rows_are_lines_of_strict_json_with_null_for_nan(uninterrupted):
    folder, straight = uninterrupted

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for (_, record), path in zip(
        straight, sorted(folder.glob("round_*/loop/rows.jsonl")), strict=True
    ):
        (text,) = path.read_text().splitlines()
        row = json.loads(text, parse_constant=refuse)
        assert row.keys() == plain(record).keys()
        for name, value in plain(record).items():
            assert row[name] == (None if np.isnan(value) else value), name


def test_nan_comes_back_as_nan_and_every_number_as_it_was(tmp_path):
    """Also a number that is NaN in some rounds alone: `odd`, where the model is above 0."""
    sizes = [10] * 4
    straight = list(RunDir(tmp_path).run(loop(), Key(1), START, sizes))
    read = list(RunDir(tmp_path).run(loop(), Key(1), START, sizes))
    compare(read, straight)
    assert [type(record) for _, record in read] == [Record] * 5
    assert np.isnan([record.metrics["narrow"] for _, record in read]).all()
    above = [bool(state.model[0] > 0) for state, _ in run(loop(), Key(1), START, sizes)]
    assert np.isnan([record.metrics["odd"] for _, record in read]).tolist() == above
    assert set(above) == {True, False}


@given(
    st.dictionaries(
        st.text(),
        st.one_of(st.floats(allow_infinity=False), st.integers(), st.text(), st.booleans()),
    )
)
def test_line_round_trips_plain_values_in_one_line(row):
    text = line(row)
    assert text.endswith("\n") and "\n" not in text[:-1]
    back = {
        name: float("nan") if value is None else value for name, value in json.loads(text).items()
    }
    np.testing.assert_equal(back, row)


@pytest.mark.parametrize(
    "value", [np.float64("nan"), np.float32("nan"), np.float16("nan"), float("nan")]
)
def test_nan_of_every_width_becomes_null(value):
    assert json.loads(line({"x": value})) == {"x": None}


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(7), np.bool_(True), np.float16(0.25)])
def test_numpy_scalars_become_plain_numbers(value):
    assert json.loads(line({"x": value})) == {"x": value.item()}


@pytest.mark.parametrize("value", [np.zeros(3), object(), {1, 2}])
def test_what_is_no_plain_value_is_refused(value):
    with pytest.raises(TypeError, match="a record holds plain numbers and strings, got"):
        line({"x": value})


@pytest.mark.parametrize("place", ["file/run", "file"])
def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path, place):
    """It was a bare NotADirectoryError or FileExistsError."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file.* cannot be made \(.+\); name another"):
        RunDir(tmp_path / place)
