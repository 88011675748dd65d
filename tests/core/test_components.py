"""Components by name: what a config file says is what is built, and a wrong name is answered with a near one."""

import importlib.metadata
import json
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Audited, Constant, Key, Noisy, Oracle, Random, Shifted, Threshold, all_of, build
from veriloop.core.components import describe


def test_a_component_itself_passes_through():
    check = Noisy(Random(), 0.1)
    assert build(check) is check and build(len) is len


def test_module_and_attribute():
    assert build({"call": "veriloop:Threshold", "cut": 0.5}) == Threshold(0.5)
    assert build({"call": "veriloop.core.verifiers:Random"}) == Random()


def test_nested_components_are_built_first_and_plain_mappings_left_alone():
    spec = {
        "call": "veriloop:Audited",
        "verifier": {"call": "veriloop:Shifted", "verifier": {"call": "veriloop:Random"}, "by": 0.5},
        "oracle": {"call": "veriloop:all_of", "one": {"call": "veriloop:Random"}},
    }
    assert build(spec) == Audited(Shifted(Random(), 0.5), all_of(one=Random()))
    assert build({"call": "builtins:dict", "settings": {"depth": 3}}) == {"settings": {"depth": 3}}


def test_the_spec_is_not_used_up():
    spec = {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}}
    assert build(spec) == build(spec) == Noisy(Random())
    assert spec == {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}}


def test_context_is_given_beside_the_arguments_of_the_spec():
    assert build({"call": "veriloop:Noisy", "false_accept": 0.2}, verifier=Random()) == Noisy(Random(), 0.2)


def test_every_core_component_can_be_built_and_used_by_name():
    vote = build({"call": "veriloop:vote", "needed": 1, "a": {"call": "veriloop:Random"}})
    np.testing.assert_array_equal(vote(Key(0), np.zeros(3)).scores, Random()(Key(0).fold("a"), np.zeros(3)))


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"call": "veriloop:Nosy"}, "module 'veriloop' has no 'Nosy'; did you mean 'Noisy'?"),
        ({"call": "veriloop:Qqqqqq"}, "module 'veriloop' has no 'Qqqqqq'; known: .*Noisy"),
        ({"call": "veriloop:"}, "module 'veriloop' has no ''"),
        ({"call": "no_such_package.part:Thing"}, "needs the module 'no_such_package', which is not there"),
        ({"call": "veriloop.coree:Noisy"}, "needs the module 'veriloop.coree', which is not there"),
        ({"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Randon"}}, "did you mean 'Random'?"),
        (
            {"call": "veriloop:Noisy", "false_acept": 0.1},
            "veriloop:Noisy does not take the arguments given: .*false_acept",
        ),
        ({"call": "veriloop:Noisy"}, "veriloop:Noisy does not take the arguments given: .*verifier"),
        ({"verifier": 3}, "a callable or a mapping with a name under 'call', got {'verifier': 3}"),
        ({"call": Random}, "a mapping with a name under 'call'"),
        ("veriloop:Random", "a mapping with a name under 'call', got 'veriloop:Random'"),
        (None, "a mapping with a name under 'call', got None"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_sentence(spec, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")) as caught:
        build(spec)
    assert "\n" not in str(caught.value)


def test_errors_of_the_component_itself_come_through():
    with pytest.raises(ValueError, match=r"Noisy\.false_accept must be in \[0, 1\], got 2"):
        build({"call": "veriloop:Noisy", "verifier": Random(), "false_accept": 2})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package of somebody else's that offers two verifiers."""
    info = tmp_path / "strangers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[veriloop.verifiers]\nshort_text = strangers_of_veriloop:Short\nlong_text = strangers_of_veriloop:Long\n"
    )
    (tmp_path / "strangers_of_veriloop.py").write_text(
        textwrap.dedent("""
            class Short:
                def __init__(self, limit=10):
                    self.limit = limit
                def __call__(self, key, batch):
                    return self.limit - batch
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)


def test_verifiers_of_other_packages_are_found_by_entry_point(installed):
    check = build({"call": "short_text", "limit": 4})
    np.testing.assert_array_equal(check(Key(0), np.arange(3)), [4, 3, 2])


def test_an_unknown_entry_point_is_answered_with_the_nearest(installed):
    with pytest.raises(
        ValueError, match=r"no verifier is called 'short_txt'; did you mean 'short_text'\?; or write"
    ):
        build({"call": "short_txt"})


def test_without_any_entry_point_the_error_says_none(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    with pytest.raises(ValueError, match="no verifier is called 'short'; known: none; or write module:attribute"):
        build({"call": "short"})


@given(
    st.recursive(
        st.one_of(
            st.just(Random()),
            st.builds(Constant, st.floats(allow_nan=False)),
            st.builds(Threshold, st.floats(-9, 9)),
        ),
        lambda inner: st.one_of(
            st.builds(Shifted, inner, st.floats(-9, 9)), st.builds(Audited, inner, inner), st.builds(Noisy, inner)
        ),
        max_leaves=4,
    )
)
def test_a_description_builds_an_equal_component(component):
    """Also after a visit to a JSON file."""
    assert build(json.loads(json.dumps(describe(component)))) == component


def test_what_cannot_be_written_has_a_name_alone():
    for component in (Oracle(len), Shifted(len, 1.0), Shifted(Random(), np.ones(2)), all_of(Random())):
        assert describe(component) == f"veriloop.core.verifiers:{type(component).__name__}"
    assert describe(describe) == "veriloop.core.components:describe"
