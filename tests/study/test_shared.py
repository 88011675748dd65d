"""What several figures share is computed once, under an address of all that decides it."""

import subprocess
import sys

import pytest

from veriloop.study.shared import Shared, source_digest

PROGRAM = """
import time
from veriloop.study.shared import Shared

one = Shared({folder!r}, {{"seed": 1}})
with one.held() as rows:
    if rows is None:
        time.sleep(0.3)
        open({log!r}, "a").write("computed\\n")
        rows = [{{"round": 0}}]
        one.write(rows)
print(rows)
"""


def test_what_is_damaged_is_named_and_computed_again(tmp_path):
    """A byte of the shared rows is flipped: they are not used."""
    shared = Shared(tmp_path, {"seed": 1})
    shared.write([{"round": 0}])
    with shared.held() as rows:
        assert rows == [{"round": 0}]
    file = shared.folder / "rows.jsonl"
    file.write_text(file.read_text().replace("0", "9"))
    with pytest.warns(UserWarning, match="is damaged"), shared.held() as rows:
        assert rows is None


def test_two_processes_compute_one_address_once(tmp_path):
    """The second waits until the first has written, and then reads."""
    program = PROGRAM.format(folder=str(tmp_path / "shared"), log=str(tmp_path / "log"))
    command = [sys.executable, "-c", program]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [each.communicate(timeout=60)[0] for each in started]
    assert printed == ["[{'round': 0}]\n"] * 3
    assert (tmp_path / "log").read_text() == "computed\n"


def test_the_address_holds_the_settings():
    one = Shared(None, {"seed": 1}).address
    assert Shared(None, {"seed": 1}).address == one != Shared(None, {"seed": 2}).address


def test_the_address_holds_the_source_beside_its_functions(tmp_path, monkeypatch):
    """Another version of the code in that folder is another address, whatever function it is in."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "shared_source.py").write_text("def arm(): return 1")
    import shared_source

    addresses = []
    for text in ("x = 1", "x = 2"):
        (tmp_path / "other.py").write_text(text)
        source_digest.cache_clear()
        addresses.append(Shared(None, {"arm": shared_source.arm}).address)
    source_digest.cache_clear()
    assert len(set(addresses)) == 2


def test_what_cannot_be_told_apart_is_refused():
    """Of some objects only the type is known: two of them would share rows that are not theirs."""
    with pytest.raises(TypeError, match="got an object of object; leave it out"):
        Shared(None, {"model": object()})
