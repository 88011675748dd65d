"""Folders are whole or not there; where caches lie, and which process writes."""

import os
import stat
from pathlib import Path

import pytest

from veriloop.store.files import (
    cache_folder,
    committed,
    first_process,
    replaced,
    sha256,
    sync,
    whole,
    write_whole,
)

NAMES = ["shut", "inner/shut", "program"]


def test_a_committed_folder_takes_the_place_of_the_one_before(tmp_path):
    target = tmp_path / "deep" / "folder"
    for text in ("one", "two"):
        with committed(target) as folder:
            (folder / "file").write_text(text)
        assert (target / "file").read_text() == text
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_what_fails_half_way_leaves_the_folder_before(tmp_path):
    target = tmp_path / "folder"
    with committed(target) as folder:
        (folder / "file").write_text("one")
    with pytest.raises(RuntimeError), committed(target) as folder:
        (folder / "file").write_text("two")
        raise RuntimeError
    assert (target / "file").read_text() == "one"


def test_the_first_to_replace_a_folder_wins(tmp_path):
    target = tmp_path / "folder"
    with replaced(target) as slow:
        with replaced(target) as quick:
            (quick / "file").write_text("quick")
        (slow / "file").write_text("slow")
    assert (target / "file").read_text() == "quick"
    assert list(tmp_path.iterdir()) == [target]


def test_the_cache_lies_where_the_variable_says_or_at_home(monkeypatch, tmp_path):
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VERILOOP_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "veriloop"


@pytest.mark.parametrize(
    ("size", "rank", "first"), [("1", "0", True), ("2", "0", True), ("2", "1", False)]
)
def test_of_launched_processes_the_one_of_rank_0_is_first(monkeypatch, size, rank, first):
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", rank)
    assert first_process() == first


def test_the_digest_is_that_of_the_content(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file").startswith("ba7816bf8f01cfea")


def refuse_folders(monkeypatch):
    """Refuse to open a folder, as Windows does."""
    real = os.open

    def as_on_windows(path, flags, *more):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", as_on_windows)


def test_a_system_that_cannot_open_folders_commits_too(tmp_path, monkeypatch):
    refuse_folders(monkeypatch)
    with committed(tmp_path / "folder") as folder:
        (folder / "file").write_text("one")
    assert (tmp_path / "folder" / "file").read_text() == "one"


def test_a_file_that_cannot_be_opened_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("one")

    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        sync(tmp_path / "file")


@pytest.mark.parametrize("how", [committed, replaced])
def test_a_file_that_its_writer_shut_is_open_to_those_who_may_read_the_folder(tmp_path, how):
    """As safetensors writes one; a program stays a program."""
    before = os.umask(0o027)
    try:
        with how(tmp_path / "folder") as folder:
            (folder / "inner").mkdir()
            for name, mode in (("shut", 0o600), ("inner/shut", 0o600), ("program", 0o700)):
                (folder / name).write_text("one")
                (folder / name).chmod(mode)
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / "folder" / name).stat().st_mode) for name in NAMES}
    assert modes == {"shut": 0o640, "inner/shut": 0o640, "program": 0o740}


def test_a_file_is_replaced_whole_and_a_link_is_not_followed(tmp_path):
    (tmp_path / "outside").write_text("mine")
    for name in ("file", ".file.tmp"):
        (tmp_path / name).symlink_to(tmp_path / "outside")
        write_whole(tmp_path / "file", "new")
        assert (tmp_path / "file").read_text() == "new" and not (tmp_path / "file").is_symlink()
    assert (tmp_path / "outside").read_text() == "mine"
    with pytest.raises(RuntimeError), whole(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "file").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "outside"]
