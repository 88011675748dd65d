"""Stored candidates: what the round saw comes back, to the last bit, whatever is held in memory or killed."""

import json
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from veriloop import (
    Audited,
    Columns,
    Key,
    Loop,
    Noisy,
    Quota,
    Random,
    RunDir,
    State,
    Threshold,
    TopFraction,
    Verdict,
    all_of,
    run,
)
from veriloop.refilter import refilter
from veriloop.store.candidates import FILE, StoredRound, stateful

parquet = pytest.importorskip("pyarrow.parquet", reason="the extra [study] is not installed")

START = State(np.zeros(2))


@dataclass(frozen=True)
class Mixed(Columns):
    """Columns of every kind that a backend has."""

    bits: np.ndarray
    text: np.ndarray
    value: np.ndarray


def generate(key, model, n):
    return model + key.numpy().standard_normal((n, 2))


def first(key, batch):
    return batch[:, 0]


def loop(**changed):
    """A verifier with parts, an oracle and no verdict on some rows; three groups."""
    partial = all_of(
        first=first, lots=lambda key, batch: np.where(batch[:, 1] < -1, np.nan, batch[:, 1])
    )
    parts = {
        "generate": generate,
        "verify": Audited(Noisy(partial, 0.1), first),
        "filter": TopFraction(0.25),
        "group": lambda batch: (np.abs(batch[:, 0]) * 10).astype(int) % 3,
        "refit": lambda key, model, batch: batch.mean(axis=0),
        "block": 7,
    }
    return Loop(**parts | changed)


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stored_of(folder, batch):
    """A round whose candidates are `batch`, stored."""
    made = Loop(generate=lambda key, model, n: batch[:n], refit=lambda key, model, batch: model)
    list(RunDir(folder).run(made, Key(0), START, [len(batch)], candidates=True))
    return StoredRound(Path(folder) / "round_0001" / "loop")


# What comes back.


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        st.sampled_from(["u1", "i1", "u2", "i4", "i8", "f2", "f4", "f8", "?"]).map(np.dtype),
        arrays.array_shapes(min_dims=1, max_dims=4, max_side=5),
    )
)
def test_arrays_come_back_to_the_last_bit(batch):
    """Any width and shape, NaN and infinities among the numbers; and they can be written to."""
    with tempfile.TemporaryDirectory() as folder:
        (back,) = stored_of(folder, batch).blocks()
    assert back.dtype == batch.dtype and back.shape == batch.shape and back.flags.writeable
    assert back.tobytes() == batch.tobytes()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=9))
def test_texts_come_back_as_they_were(texts):
    """Empty, of other alphabets, with line breaks: beside bits and numbers in one batch."""
    column = np.empty(len(texts), dtype=object)
    column[:] = texts
    bits = np.arange(98 * len(texts), dtype=np.uint8).reshape(-1, 98)
    with tempfile.TemporaryDirectory() as folder:
        (back,) = stored_of(folder, Mixed(bits, column, np.arange(len(texts)) / 3)).blocks()
    assert isinstance(back, Mixed) and back.text.tolist() == texts and back.text.dtype == object
    np.testing.assert_array_equal(back.bits, bits)
    np.testing.assert_array_equal(back.value, np.arange(len(texts)) / 3)


def test_bytes_are_held_as_bytes_and_numbers_as_numbers(tmp_path):
    """98 bytes a row, not 98 integers; anybody's Parquet reader finds named columns."""
    text = np.array(["a", "b"], dtype=object)
    stored_of(tmp_path, Mixed(np.zeros((2, 98), np.uint8), text, np.zeros((2, 3))))
    schema = parquet.read_schema(tmp_path / "round_0001" / "loop" / FILE)
    kinds = {field.name: str(field.type) for field in schema}
    assert kinds["batch.bits"] == "fixed_size_binary[98]" and kinds["batch.text"] == "large_string"
    assert kinds["batch.value"] == "fixed_size_list<element: double>[3]"
    assert kinds["verdict.scores"] == "double" and kinds["kept"] == "bool"


@pytest.mark.parametrize("n", [40, Quota(5, groups=3)])
def test_all_that_the_round_saw_is_stored(tmp_path, n):
    """Rows, scores, parts, oracle, groups and mask, drawn again here by hand from the keys."""
    made = loop(filter=Threshold(0.0))
    _, (_, record) = RunDir(tmp_path).run(made, Key(3), START, [n], candidates=True)
    stored = StoredRound(tmp_path / "round_0001" / "loop")
    key, counted = (
        Key(3).fold(1),
        stored.columns.get("counted", np.ones(sum(stored.sizes), dtype=bool)),
    )
    assert stored.key == key and max(stored.sizes) == 7 and len(stored.sizes) > 3
    assert stored.quota == (n if isinstance(n, Quota) else None) and (
        "counted" in stored.columns
    ) == (n != 40)
    batches = [
        generate(key.fold("generate", i), START.model, size) for i, size in enumerate(stored.sizes)
    ]
    wanted = Verdict.concatenate(
        [made.verify(key.fold("verify", i), batch) for i, batch in enumerate(batches)]
    )
    np.testing.assert_array_equal(np.concatenate(list(stored.blocks())), np.concatenate(batches))
    np.testing.assert_array_equal(stored[counted], np.concatenate(batches)[counted])
    np.testing.assert_equal(
        (stored.verdict.scores, stored.verdict.parts, stored.verdict.oracle),
        (wanted.scores, dict(wanted.parts), wanted.oracle),
    )
    np.testing.assert_array_equal(stored.columns["group"], made.group(np.concatenate(batches)))
    assert counted.sum() == record.candidates and stored.columns["kept"].sum() == record.kept
    assert not stored.columns["kept"][~counted].any()
    assert np.isnan(wanted.scores).any()


# What it does not depend on, and does not change.


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(
        st.one_of(st.integers(12, 40), st.builds(Quota, st.integers(1, 4), st.just(3))),
        min_size=2,
        max_size=4,
    ),
    st.data(),
)
def test_memory_and_stops_change_no_byte_and_storing_no_record(seed, sizes, data):
    """Held or drawn again, stopped after any round or not: the same files; without storing, the same rounds."""
    stop, limit = data.draw(st.integers(1, len(sizes))), data.draw(st.integers(1, 30))
    options = {"candidates": True}
    with tempfile.TemporaryDirectory() as folder:
        one, other, third = (Path(folder, name) for name in ("one", "other", "third"))
        held, chunked = (loop(filter=Threshold(-0.5), chunk=chunk) for chunk in (None, limit))
        straight = list(RunDir(one).run(held, Key(seed), START, sizes, **options))
        stopped = RunDir(other).run(chunked, Key(seed), START, sizes, **options)
        for _ in range(stop + 1):
            next(stopped)
        stopped.close()
        resumed = list(RunDir(other).run(chunked, Key(seed), START, sizes, **options))
        bare = list(RunDir(third).run(held, Key(seed), START, sizes))
        assert files(one) == files(other)
        for rounds in (resumed, bare, list(run(held, Key(seed), START, sizes))):
            assert [repr(record) for _, record in rounds] == [
                repr(record) for _, record in straight
            ]
        kept = {
            name: content
            for name, content in files(one).items()
            if not name.endswith((FILE, "sha256.json"))
        }
        assert kept == {
            name: text for name, text in files(third).items() if not name.endswith("sha256.json")
        }
        assert len([name for name in files(one) if name.endswith(FILE)]) == len(sizes)


SCRIPT = """
import sys, time
import numpy as np
from veriloop import Key, Loop, Random, RunDir, State, TopFraction


def refit(key, model, batch):
    time.sleep(pause[0])
    return batch.mean(axis=0)


loop = Loop(generate=lambda key, model, n: model + key.numpy().standard_normal((n, 2)), refit=refit,
            verify=Random(), filter=TopFraction(0.5), block=10)


def rounds(folder):
    options = {"candidates": True}
    return list(RunDir(folder).run(loop, Key(5), State(np.zeros(2)), [50] * 20, **options))


pause = [0]
if __name__ == "__main__":
    pause[0] = 0.02
    rounds(sys.argv[1])
"""


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_leaves_the_same_bytes(tmp_path):
    """kill -9 amid the rounds, also between drawing and committing: nothing is left over, nothing differs."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "killed")]
    ) as process:
        deadline = time.monotonic() + 60  # only a guard against hanging
        while (
            not (tmp_path / "killed" / "round_0003" / "loop").exists()
            and time.monotonic() < deadline
        ):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "round_0020" / "loop").exists()
    scope: dict = {"__name__": "script"}
    exec(SCRIPT, scope)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scope["rounds"](tmp_path / "killed")
    scope["rounds"](tmp_path / "straight")
    assert files(tmp_path / "killed") == files(tmp_path / "straight")


# Refusals.


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(position, bit):
    with tempfile.TemporaryDirectory() as folder:
        stored = stored_of(folder, np.arange(6.0))
        content = bytearray((stored.folder / FILE).read_bytes())
        content[position % len(content)] ^= 1 << bit
        (stored.folder / FILE).write_bytes(bytes(content))
        with pytest.raises(
            ValueError, match=f"{FILE} is damaged: its sha256 differs; run the round again"
        ):
            StoredRound(stored.folder)
        with pytest.warns(UserWarning, match=f"the sha256 of {FILE} differs"):
            assert RunDir(folder).rows(1, "loop") is None


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"rows.jsonl": "0"}'])
def test_a_file_that_no_checkpoint_vouches_for_is_refused(tmp_path, text):
    stored = stored_of(tmp_path, np.arange(6.0))
    sums = stored.folder / "sha256.json"
    sums.unlink() if text is None else sums.write_text(text)
    with pytest.raises(ValueError, match=f"does not vouch for {FILE}"):
        StoredRound(stored.folder)


def test_the_address_is_that_of_the_content(tmp_path):
    one, other = (
        stored_of(tmp_path / name, np.arange(n)) for name, n in (("one", 6), ("other", 7))
    )
    assert one.sha256 == stored_of(tmp_path / "again", np.arange(6)).sha256 != other.sha256
    assert json.loads((one.folder / "sha256.json").read_text())[FILE] == one.sha256


class Own:
    """A batch that is neither an array nor Columns."""

    def __len__(self):
        return 4

    def __getitem__(self, rows):
        return self

    @classmethod
    def concatenate(cls, batches):
        return batches[0]


def mixed(column):
    return Mixed(np.zeros((2, 98), np.uint8), np.array(["a", "b"], dtype=object), column)


@pytest.mark.parametrize(
    "batch, said",
    [
        (Own(), "only arrays and Columns can be stored as candidates, got Own"),
        (
            mixed(np.array([{}, "b"], dtype=object)),
            "the candidates' batch.value cannot be stored: .* got object",
        ),
        (
            mixed(np.array([None, "b"], dtype=object)),
            "the candidates' batch.value cannot be stored: .* got object",
        ),
        (
            mixed(np.array([1j, 2])),
            "the candidates' batch.value cannot be stored: .* got complex128",
        ),
        (np.zeros(3, ">f8"), "the candidates' batch cannot be stored: .* got >f8"),
        (np.array(["a", "b"]), "the candidates' batch cannot be stored: .* got <U1"),
    ],
)
def test_what_has_no_place_in_parquet_is_refused_and_nothing_committed(tmp_path, batch, said):
    with pytest.raises(ValueError, match=said):
        stored_of(tmp_path, batch)
    assert RunDir(tmp_path).rows(1, "loop") is None


def test_without_pyarrow_it_says_what_to_install_before_anything_is_drawn(tmp_path, monkeypatch):
    def never(key, model, n):
        raise AssertionError("drawn")

    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    wanted = r"storing candidates needs 'pyarrow.parquet'; install it with: pip install 'veriloop\[study\]'"
    with pytest.raises(ImportError, match=wanted):
        next(RunDir(tmp_path).run(loop(generate=never), Key(0), START, [5], candidates=True))
    list(RunDir(tmp_path).run(loop(), Key(0), START, [20]))  # without storing it is not needed


@dataclass(frozen=True)
class Learns:
    stateful = True

    def __call__(self, key, batch):
        return np.zeros(len(batch))


def test_a_verifier_is_stateful_if_it_says_so_or_one_inside_it_does():
    for verifier in (Learns(), Noisy(Learns()), all_of(a=Random(), b=Noisy(Learns()))):
        assert stateful(verifier)
    for verifier in (Random(), first, Noisy(Random()), all_of(Random(), first), Threshold):
        assert not stateful(verifier)


def test_what_the_round_used_is_written_where_it_can_be(tmp_path):
    """As a spec where settings are plain values, as a name where they are not, without an address in memory."""
    made = loop(verify=all_of(Learns(), first))
    list(RunDir(tmp_path).run(made, Key(4).fold("arm"), START, [20], candidates=True))
    assert StoredRound(tmp_path / "round_0001" / "loop").about == {
        "round": 1,
        "key": [4, "arm", 1],
        "quota": None,
        "filter": {"call": "veriloop.filters.ranking:TopFraction", "fraction": 0.25},
        "verifier": "veriloop.verifiers.algebra:Composed",
        "stateful": True,
        "batch": "numpy:ndarray",
    }


# A round that fails after its rows were judged.


def broken(key, scores, groups):
    raise OSError("the filter is broken")


def failed(folder, made, n=40):
    with pytest.raises(Exception) as caught:
        list(RunDir(folder).run(made, Key(3), START, [n], candidates=True))
    return caught.value


@pytest.mark.parametrize(
    "changed",
    [
        {"filter": broken},
        {"filter": Threshold(100.0)},
        {"refit": lambda key, model, batch: 1 / 0},
        {"measure": lambda key, model: {"x": 1 / (model[0] == 0)}},
    ],
    ids=["filter", "nothing kept", "refit", "measure"],
)
def test_what_was_judged_survives_and_can_be_filtered_again(tmp_path, changed):
    error = failed(tmp_path, loop(**changed))
    assert "--arm loop.unfinished --round 1" in error.__notes__[-1]
    assert RunDir(tmp_path).rows(1, "loop") is None
    kept = list(RunDir(tmp_path / "good").run(loop(), Key(3), START, [40], candidates=True))
    for filter in (TopFraction(0.4), TopFraction(0.1)):
        again = refilter(tmp_path, filter=filter)
        wanted = refilter(tmp_path / "good", filter=filter)
        np.testing.assert_array_equal(again.mask, wanted.mask)
        np.testing.assert_array_equal(again.stored[again.mask], wanted.stored[wanted.mask])
    assert kept[-1][1].candidates == 40


def test_a_round_that_succeeds_later_takes_the_place_of_the_unfinished_one(tmp_path):
    """The filter fails once, as a disk or a judge may."""
    fails = [True]

    def measure(key, model):
        if model[0] != 0 and fails:
            fails.pop()
            raise OSError("once")
        return {}

    failed(tmp_path, loop(measure=Once(measure)))
    list(RunDir(tmp_path).run(loop(measure=Once(measure)), Key(3), START, [40], candidates=True))
    assert [path.parent.name for path in tmp_path.rglob(FILE)] == ["loop"]
    assert not list(tmp_path.glob(f".*{FILE}"))


@dataclass(frozen=True)
class Once:
    """A function that is no part of what a run is made of."""

    call: object = field(compare=False)

    def __call__(self, key, model):
        return self.call(key, model)


def test_rows_of_a_killed_round_are_not_those_of_a_later_failure(tmp_path):
    """What the verifier judged counts, and nothing was judged here."""
    RunDir(tmp_path)
    (tmp_path / f".loop.{FILE}").write_bytes(b"of a process that was killed")

    def judge(key, batch):
        raise OSError("no judge")

    failed(tmp_path, loop(verify=judge))
    assert not list(tmp_path.rglob(f"*{FILE}"))


def test_without_candidates_nothing_is_stored_of_a_failed_round(tmp_path):
    with pytest.raises(OSError, match="the filter is broken"):
        list(RunDir(tmp_path).run(loop(filter=broken), Key(3), START, [40]))
    assert not list(tmp_path.rglob(f"*{FILE}"))
