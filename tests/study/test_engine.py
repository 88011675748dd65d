"""Units under every engine: kept as they come, told in order, and what ends one ends no other."""

import os
import shutil
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial

import cloudpickle
import pytest

import veriloop as vl
from veriloop import Key, Loop, Records, RunDir, State
from veriloop.study import BadInput, RunStopped, UnitsFailed, engine
from veriloop.study.engine import Failure, Unit, attempt, check_engine, evaluate
from veriloop.study.workers import close_workers

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


def rows(i):
    return [{"round": 1, "arm": "a", "seed": i}]


def leaves(i):
    sys.exit(0)


def killed(i):
    os.kill(os.getpid(), signal.SIGKILL)


def fills(i):
    raise OSError(28, "No space left on device")


def too_large(i):
    raise MemoryError("Unable to allocate 7.3 GiB")


def units(*work):
    return [Unit(f"unit{i}", 1, each, (i,)) for i, each in enumerate(work)]


def wait_for(other, i):
    """Rows, once another unit is kept."""
    import time
    from pathlib import Path

    limit = time.monotonic() + 60
    while not Path(other).exists() and time.monotonic() < limit:
        time.sleep(0.01)
    return [{"round": 1, "arm": "a", "seed": i}]


@pytest.mark.slow
def test_a_unit_is_kept_as_soon_as_it_is_done_and_told_in_its_place(tmp_path):
    """The first unit ends only after the second is kept."""
    kept = []

    def keep(unit, rows):
        kept.append(unit.name)
        (tmp_path / unit.name).touch()

    given = units(partial(wait_for, str(tmp_path / "unit1")), rows)
    told = list(evaluate(given, "processes:2", keep=keep))
    close_workers()
    assert told == [rows(0), rows(1)] and kept == ["unit1", "unit0"]


@pytest.mark.parametrize(
    ("work", "told"),
    [
        (leaves, "SystemExit: 0: the code of the unit ended the process; raise an error instead"),
        (fills, "OSError: [Errno 28] No space left on device: make room"),
        (too_large, "MemoryError: Unable to allocate 7.3 GiB: give fewer workers"),
    ],
)
def test_a_unit_that_ends_the_process_or_runs_out_of_memory_or_disk_has_failed(work, told):
    first, second = evaluate(units(work, rows), "serial")
    assert isinstance(first, Failure) and first.error.startswith(told)
    assert second == rows(1)


def test_a_full_disk_has_no_traceback():
    """No code is at fault, and the sentence says all."""
    full, other = evaluate(units(fills, leaves), "serial")
    assert full.trace == "" and "Traceback" in other.trace


def test_an_arm_that_ends_the_process_keeps_the_rounds_before():
    def refit(key, model, batch):
        if model == 1:
            sys.exit(0)
        return model + 1

    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=refit)
    study = vl.Study(arms={"a": loop}, start=lambda key: State(0), sizes=[5] * 3, seeds=[0])
    with pytest.raises(UnitsFailed, match="SystemExit: 0") as caught:
        study.run()
    assert [row["round"] for row in caught.value.records] == [0, 1]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_study_whose_worker_is_killed_goes_on_and_is_resumed(tmp_path):
    """As the system does when memory is short: one unit is lost, named, and done again."""
    flag = tmp_path / "enough"
    good = Loop(
        generate=lambda key, model, n: key.numpy().random(n), refit=lambda key, model, batch: model
    )

    def refit(key, model, batch):
        if key.seed == 1 and not os.path.exists(flag):
            os.kill(os.getpid(), signal.SIGKILL)
        return model

    def study(refit):
        loop = vl.Loop(generate=good.generate, refit=refit)
        return vl.Study(arms={"a": loop}, start=lambda key: State(0), sizes=[5], seeds=range(4))

    with pytest.raises(UnitsFailed) as caught:
        study(refit).run(tmp_path / "run", engine="processes:2")
    told = str(caught.value)
    assert told.startswith("1 unit failed, a-seed1: its worker process was killed (SIGKILL(-9))")
    assert "give fewer workers" in told and "\n" not in told
    assert len(list((tmp_path / "run").glob("round_*/a-seed*"))) == 3
    flag.touch()
    whole = study(refit).run(tmp_path / "run", engine="processes:2")
    close_workers()
    assert whole == study(refit).run() and Records.read(tmp_path / "run") == whole


def test_an_error_of_many_units_names_the_first_three():
    failures = {f"unit{i}": Failure("ValueError: no", "") for i in range(5)}
    told = str(UnitsFailed(failures, Records([])))
    assert told.startswith("5 units failed, unit0: ValueError: no; unit1: ValueError: no; unit2")
    assert "; and 2 more; all finished rounds are kept" in told


@pytest.mark.parametrize(
    ("engine", "package"), [("processes:2", "joblib"), ("dask://localhost:1", "distributed")]
)
def test_what_an_engine_needs_is_named_before_any_work(engine, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    wanted = rf"^engine={engine} needs '{package}'; .* pip install 'veriloop\[study\]'$"
    with pytest.raises(BadInput, match=wanted):
        check_engine(engine)


@pytest.mark.parametrize("name", ["serial", "dask://localhost:1"])
def test_a_limit_needs_an_engine_that_can_keep_it(name):
    with pytest.raises(BadInput, match=rf"unit_timeout: got 5 with engine={name}, which cannot"):
        check_engine(name, 5.0)


@pytest.mark.slow
def test_a_unit_that_takes_too_long_has_failed():
    study = vl.Study(
        arms={
            "a": Loop(
                generate=lambda key, model, n: key.numpy().random(n),
                refit=lambda key, model, batch: __import__("time").sleep(1000),
            )
        },
        start=lambda key: State(0),
        sizes=[5],
        seeds=[0],
    )
    with pytest.raises(UnitsFailed, match="a-seed0: TimeoutError: not done after 3 s, and stopped"):
        study.run(engine="processes:1", unit_timeout=3)
    close_workers()
    with pytest.raises(ValueError, match="unit_timeout must be positive and finite, got 0"):
        study.run(engine="processes:1", unit_timeout=0)


def goes_on(folder):
    loop = Loop(generate=lambda key, model, n: model, refit=lambda key, model, batch: model)
    list(RunDir(folder).run(loop, Key(0), State(0.0), [1]))
    return rows(0)


def test_a_unit_that_cannot_go_on_in_its_folder_fails_with_a_sentence_and_no_traceback(tmp_path):
    unit = Unit("a", 1, goes_on, (tmp_path,))
    (tmp_path / "loops").mkdir()
    (tmp_path / "loops" / "loop.json").write_text("{")
    (tmp_path / "round_0000" / "loop").mkdir(parents=True)
    failure = attempt(unit)
    assert isinstance(failure, Failure) and failure.trace == ""
    assert failure.error.startswith(f"{tmp_path}/loops/loop.json is damaged, so the run cannot be")
    assert "Traceback" in attempt(Unit("b", 1, too_large, (0,))).trace


def test_a_launched_process_lets_an_error_through(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MemoryError):
        attempt(units(too_large)[0])


@pytest.mark.parametrize("port", ["1", "99999"])
def test_a_scheduler_that_does_not_answer_is_named_before_any_work(port, tmp_path):
    study = moving(tmp_path, lambda folder: None)
    with pytest.raises(BadInput, match=f"no dask scheduler answers at dask://localhost:{port} "):
        study.run(tmp_path / "run", engine=f"dask://localhost:{port}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.6\r\n"])
def test_something_else_at_the_address_is_no_scheduler(says, monkeypatch):
    """It takes the connection, and is silent, or says something else."""
    monkeypatch.setattr(engine, "REACH", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def answer():
            connection, _ = other.accept()
            with connection, suppress(ConnectionError):
                connection.sendall(says)
                connection.recv(1)  # until the other side leaves

        answering = threading.Thread(target=answer)
        answering.start()
        with pytest.raises(BadInput, match="no dask scheduler answers"):
            check_engine(f"dask://127.0.0.1:{port}")
        answering.join()


def moving(folder, how):
    def refit(key, model, batch):
        if key.seed == 1:
            how(folder)
        return model

    loop = Loop(generate=lambda key, model, n: key.numpy().random(n), refit=refit)
    return vl.Study(arms={"a": loop}, start=lambda key: State(0), sizes=[5], seeds=range(3))


MOVES = {
    "moved": lambda folder: shutil.move(folder, f"{folder}-elsewhere"),
    "deleted": shutil.rmtree,
    "another in its place": lambda folder: (shutil.rmtree(folder), os.mkdir(folder)),
}


@pytest.mark.parametrize("how", MOVES)
def test_a_folder_that_is_moved_or_deleted_is_said(how, tmp_path):
    """No second one is made in its place."""
    folder = tmp_path / "run"
    with pytest.raises(RunStopped, match="run was moved or deleted while the run wrote to it"):
        moving(folder, MOVES[how]).run(folder)
    assert not list(folder.glob("*"))


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    """What is committed before it stays; the rest is done later."""
    from veriloop.store import files

    def full(path):
        if "seed1" in str(path):
            raise OSError(28, "No space left on device")
        synced(path)

    synced = files.sync
    study = moving(tmp_path, lambda folder: None)
    with monkeypatch.context() as patch:
        patch.setattr(files, "sync", full)
        with pytest.raises(RunStopped, match=r"cannot write to .*run \(No space left on device\)"):
            study.run(tmp_path / "run")
    assert len(list((tmp_path / "run").glob("round_*/[!.]*"))) == 1
    assert study.run(tmp_path / "run") == study.run()
