"""One holder at a time: refused with its name while it lives, taken over when it is dead."""

import os
import platform
import threading

import pytest

from veriloop.store.lock import InUse, locked


def test_who_holds_it_is_named_and_its_end_frees_it(tmp_path, holding):
    file = tmp_path / ".lock"
    with holding(file) as other:
        told = f"the folder is in use by process {other.pid} on {platform.node()}; wait until"
        with pytest.raises(InUse, match=told), locked(file, "the folder"):
            pass
        other.kill()
        other.wait()
        assert file.exists()
        with locked(file, "the folder"):
            assert str(os.getpid()) in file.read_text()
    assert not file.exists()


def test_one_waits_as_long_as_it_may(tmp_path, holding):
    file = tmp_path / ".lock"
    with holding(file) as other:
        threading.Timer(0.2, other.kill).start()
        with locked(file, "the folder", wait=60):
            pass


def test_of_many_started_together_one_holds_it(tmp_path, start_holder):
    file = tmp_path / ".lock"
    for _ in range(2):
        started = [start_holder(file) for _ in range(5)]
        told = [process.stdout.readline() for process in started]
        assert told.count("held\n") == 1
        assert sum("the folder is in use by" in line for line in told) == 4
        for process in started:
            process.communicate()
        assert not file.exists()


def test_a_holder_that_lets_go_frees_it_for_one_of_those_who_wait(tmp_path):
    """Also where the file is deleted and made anew between the two."""
    file = tmp_path / ".lock"
    for _ in range(50):
        with locked(file, "the folder"), locked(file, "the folder"):
            assert file.exists()
        assert not file.exists()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError), locked(tmp_path / ".lock", "the folder"):
        pass
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_text_that_cannot_be_read_holds_nobody_up(tmp_path):
    """What a killed process has left, cut or of something else."""
    for text in ("", "[", '{"process": 1}', "\x00" * 99):
        (tmp_path / ".lock").write_text(text)
        with locked(tmp_path / ".lock", "the folder"):
            assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_where_the_file_system_has_no_locks_nothing_is_held(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("veriloop.store.lock._lock", refuse)
    with locked(tmp_path / ".lock", "the folder"):
        pass
