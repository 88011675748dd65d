"""Whatever reads or writes where a user says refuses a name that no file can have, in a sentence."""

import pytest

from veriloop import Records, RunDir
from veriloop.refilter import find
from veriloop.status import status

DOORS = {
    "RunDir": RunDir,
    "Records.read": Records.read,
    "refilter": find,
    "status": status,
}


def doors_of_backends():
    found = dict(DOORS)
    try:
        from veriloop.mnist import Inception, load

        found["mnist.load"] = load
        found["Inception"] = lambda name: Inception(load("digits").test, name)
    except ImportError:
        pass
    try:
        from veriloop import text, xsum

        found["text.load_base"] = text.load_base
        found["text.load_reward"] = text.load_reward
        found["xsum.load"] = xsum.load
    except ImportError:
        pass
    return found


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"], ids=["long", "null"])
@pytest.mark.parametrize("door", doors_of_backends().items(), ids=lambda door: door[0])
def test_a_name_that_no_file_can_have_is_refused(door, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no file can be called|no such folder") as told:
        door[1](name)
    assert "\n" not in str(told.value) and len(str(told.value)) < 500
