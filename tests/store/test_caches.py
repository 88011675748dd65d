"""A cache is used where it is as it was written, and made again with a word where it is not."""

import os
import stat
import time
import warnings

import pytest

from veriloop.store.caches import sound, write_sums
from veriloop.store.files import replaced

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from safetensors.torch import save_file  # noqa: E402

from veriloop.store.caches import _digest, one_thread, read_tensors, write_tensors  # noqa: E402

TENSORS = {
    "weights": torch.arange(6, dtype=torch.float32).reshape(2, 3).T,
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "accuracy": torch.tensor(0.5, dtype=torch.float64),
    "none": torch.zeros(0, 3),
}


@pytest.fixture
def kept(tmp_path):
    file = tmp_path / "deep" / "net.safetensors"
    write_tensors(TENSORS, file)
    return file


def test_tensors_come_back_and_only_their_file_is_there(kept):
    back = read_tensors(kept)
    assert back is not None and set(back) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert back[name].dtype == tensor.dtype and torch.equal(back[name], tensor)
    assert list(kept.parent.iterdir()) == [kept]
    assert read_tensors(kept.with_name("other.safetensors")) is None


def test_no_changed_byte_is_used(kept):
    """Every one of them: of the header, of the digest and of the weights."""
    whole = kept.read_bytes()
    for place in range(len(whole)):
        kept.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert read_tensors(kept) is None
        near = whole[max(place - 14, 0) : place + 14]
        # Where the digest has no name, it looks like a file of an earlier version.
        assert told or b"__metadata__" in near or b'"sha256"' in near


@pytest.mark.parametrize("rest", [b"", b"{", b"\xff" * 100])
def test_a_file_that_is_cut_or_another_is_named(kept, rest):
    kept.write_bytes(rest)
    with pytest.warns(UserWarning, match="net.safetensors is damaged .* and is made again"):
        assert read_tensors(kept) is None


def test_a_file_of_an_earlier_version_is_made_again_without_a_word(kept):
    """It holds no digest, so nobody knows whether it is whole."""
    save_file({"weights": torch.zeros(2)}, kept)
    assert read_tensors(kept) is None


def test_a_file_under_the_name_of_another_is_not_used(kept):
    """Each is sound in itself, so only the name tells."""
    other = kept.rename(kept.with_name("other.safetensors"))
    with pytest.warns(UserWarning, match="other.safetensors is damaged .its sha256 differs"):
        assert read_tensors(other) is None


def test_a_file_of_a_version_whose_digest_left_the_name_out_is_used(kept):
    tensors = {"weights": torch.arange(3)}
    save_file(tensors, kept, {"sha256": _digest(tensors)})
    assert torch.equal(read_tensors(kept)["weights"], tensors["weights"])


def test_a_folder_under_the_name_of_another_is_not_used(tmp_path):
    (tmp_path / "other").mkdir()
    write_sums(tmp_path / "other", "kept")
    with pytest.warns(
        UserWarning, match="other is damaged .it was made as kept. and is made again"
    ):
        assert not sound(tmp_path / "other")


def test_what_a_killed_process_left_half_written_is_deleted_after_an_hour(kept):
    """A younger one may be that of a process that writes at the moment."""
    for name, age in (("old", 3700), ("new", 10)):
        left = kept.with_name(f".{kept.name}.{name}")
        left.write_text("")
        os.utime(left, (time.time() - age,) * 2)
    folder = kept.with_name(".folder.old")
    folder.mkdir()
    os.utime(folder, (0, 0))
    write_tensors(TENSORS, kept)
    with replaced(kept.with_name("folder")):
        pass
    names = {path.name for path in kept.parent.iterdir()}
    assert names == {kept.name, f".{kept.name}.new", "folder"}


def test_others_may_read_what_the_umask_lets_them_read(tmp_path):
    before = os.umask(0o022)
    try:
        write_tensors(TENSORS, tmp_path / "net.safetensors")
        with replaced(tmp_path / "folder") as folder:
            (folder / "file").write_text("one")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"net.safetensors": 0o644, "folder": 0o755}


def test_a_cache_that_cannot_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written .* another folder in VERILOOP_CACHE"):
        write_tensors(TENSORS, tmp_path / "file" / "net.safetensors")


def test_a_folder_is_used_where_all_its_files_are_whole(tmp_path):
    kept = tmp_path / "kept"

    def make():
        (kept / "inner").mkdir(parents=True)
        (kept / "one").write_text("1")
        (kept / "inner" / "two").write_text("2")
        write_sums(kept, "kept")

    for damage, told in (
        (lambda: (kept / "one").write_text("0"), "the sha256 of one differs"),
        (lambda: (kept / "inner" / "two").unlink(), "inner/two is missing"),
        (lambda: (kept / "sha256.json").write_text("{"), "sha256.json is unreadable"),
        (lambda: (kept / "sha256.json").write_text("{}"), "sha256.json does not know inner/two"),
    ):
        make()
        assert sound(kept)
        damage()
        with pytest.warns(UserWarning, match=f"kept is damaged .{told}. and is made again"):
            assert not sound(kept)
        assert not kept.exists()
    make()
    (kept / "sha256.json").unlink()
    assert not sound(kept) and not kept.exists()  # of an earlier version


def test_one_thread_and_then_as_many_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
