"""Components by name: what a config file says is what is built, and a wrong name is answered with a near one."""

import importlib.metadata
import json
import re
import sys
import textwrap
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    Alternatives,
    Audited,
    Constant,
    Key,
    Loop,
    Luce,
    MixReal,
    Noisy,
    Oracle,
    Random,
    Retry,
    Shifted,
    State,
    Threshold,
    TopCount,
    all_of,
    build,
    components,
)
from veriloop.components import describe
from veriloop.testing import check_filter, check_verifier


def test_a_component_itself_passes_through():
    check = Noisy(Random(), 0.1)
    assert build(check) is check and build(len) is len


def test_module_and_attribute():
    assert build({"call": "veriloop:Threshold", "cut": 0.5}) == Threshold(0.5)
    assert build({"call": "veriloop.verifiers.algebra:Random"}) == Random()


def test_nested_components_are_built_first_and_plain_mappings_left_alone():
    spec = {
        "call": "veriloop:Audited",
        "verifier": {
            "call": "veriloop:Shifted",
            "verifier": {"call": "veriloop:Random"},
            "by": 0.5,
        },
        "oracle": {"call": "veriloop:all_of", "one": {"call": "veriloop:Random"}},
    }
    assert build(spec) == Audited(Shifted(Random(), 0.5), all_of(one=Random()))
    assert build({"call": f"{__name__}:settled", "settings": {"depth": 3}})() == {"depth": 3}


def settled(settings):
    return lambda: settings


def test_the_spec_is_not_used_up():
    spec = {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}}
    assert build(spec) == build(spec) == Noisy(Random())
    assert spec == {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Random"}}


def test_context_is_given_beside_the_arguments_of_the_spec():
    assert build({"call": "veriloop:Noisy", "false_accept": 0.2}, verifier=Random()) == Noisy(
        Random(), 0.2
    )


def test_every_core_component_can_be_built_and_used_by_name():
    vote = build({"call": "veriloop:vote", "needed": 1, "a": {"call": "veriloop:Random"}})
    np.testing.assert_array_equal(
        vote(Key(0), np.zeros(3)).scores, Random()(Key(0).fold("a"), np.zeros(3))
    )


@pytest.mark.parametrize(
    "spec, message",
    [
        ({"call": "veriloop:Nosy"}, "module 'veriloop' has no 'Nosy'; did you mean 'Noisy'?"),
        ({"call": "veriloop:Qqqqqq"}, "module 'veriloop' has no 'Qqqqqq'; known: .*Cached.* more"),
        ({"call": "json:Qqqqqq"}, "module 'json' has no 'Qqqqqq'; known: JSONDecodeError, .*loads"),
        ({"call": "veriloop:"}, "module 'veriloop' has no ''"),
        (
            {"call": "no_such_package.part:Thing"},
            "needs the module 'no_such_package', which is not there",
        ),
        ({"call": "veriloop.coree:Noisy"}, "needs the module 'veriloop.coree', which is not there"),
        (
            {"call": "veriloop:Noisy", "verifier": {"call": "veriloop:Randon"}},
            "did you mean 'Random'?",
        ),
        (
            {"call": "veriloop:Noisy", "false_acept": 0.1},
            "veriloop:Noisy does not take the arguments given: .*false_acept",
        ),
        (
            {"call": "veriloop:Noisy"},
            "veriloop:Noisy does not take the arguments given: .*verifier",
        ),
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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"call": "veriloop:Threshold", "cut": "0.1"}, "cut must be a number, got '0.1'"),
        ({"call": "veriloop:Threshold", "cut": True}, "cut must be a number, got True"),
        ({"call": "veriloop:TopCount", "count": "9"}, "count must be a whole number or a mapping"),
        ({"call": "veriloop:Constant", "score": None}, "score must be a number, got None"),
        ({"call": "veriloop:all_of", "a": 3}, "a must be a component, {call: NAME, argument"),
        (
            {"call": "veriloop:Noisy", "verifier": "veriloop:Random"},
            "verifier must be a component, {call: NAME, argument: value}, got 'veriloop:Random'",
        ),
        (
            {"call": "veriloop:weighted", "weights": ["a"], "b": {"call": "veriloop:Random"}},
            "weights must be a list, each entry a number, got ['a']",
        ),
    ],
)
def test_an_argument_of_another_type_is_refused_at_the_door(spec, message):
    """By the annotations: not in the first round, with a traceback."""
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        build(spec)
    assert str(caught.value).startswith(spec["call"])


@dataclass(frozen=True)
class Far:
    """A verifier of one's own whose annotations cannot be read."""

    limit: "Unknown"  # noqa: F821

    def __call__(self, key, batch):
        return self.limit - batch


def test_what_has_no_readable_annotations_takes_any_argument():
    assert components._hints(Far) == {} and components._hints(len) == {}
    assert build({"call": "veriloop:Oracle", "truth": len}) == Oracle(len)


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
        "plain = strangers_of_veriloop:up_to_four\nbroken = strangers_of_veriloop:Shrt\n"
        "gone = strangers_gone:Short\n"
        "[veriloop.others]\nnot_ours = strangers_of_veriloop:Short\n"
    )
    (tmp_path / "strangers_of_veriloop.py").write_text(
        textwrap.dedent("""
            import numpy as np

            class Short:
                def __init__(self, limit=10):
                    self.limit = limit
                def __call__(self, key, batch):
                    return self.limit - batch

            four = Short(4)

            def up_to_four(key, batch):
                return 4 - batch

            def Column(key, batch):
                return batch[:, None]

            def Text(key, batch):
                return batch.astype(str)

            def Infinite(key, batch):
                return np.where(batch > 2, np.inf, 0.0)

            def Accepts(key, batch):
                return batch > 2

            def Flags(key, batch):
                return (batch > 2).astype(int)

            def Place(key, batch):
                return batch + 0.1 * np.arange(len(batch))

            def Reversed(key, batch):
                return batch + (len(batch) > 1 and batch[0] > batch[-1])
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("strangers_of_veriloop", None)


WAYS = {
    "by entry point": "{call: short_text, limit: 4}",
    "by module": "{call: 'strangers_of_veriloop:Short', limit: 4}",
    "ready made": "{call: 'strangers_of_veriloop:four'}",
    "a function": "{call: 'strangers_of_veriloop:up_to_four'}",
    "a function, by entry point": "{call: plain}",
    "inside others": (
        "{call: 'veriloop:Batched', rows: 2, "
        "verifier: {call: 'veriloop:Retry', verifier: {call: short_text, limit: 4}}}"
    ),
}


@pytest.mark.parametrize("written", WAYS.values(), ids=WAYS)
def test_one_verifier_however_it_is_named_in_a_file_does_the_same_in_a_round(installed, written):
    """As YAML has it, and as the object in a notebook."""
    yaml = pytest.importorskip("yaml")
    rows = np.arange(6.0)
    check = build(yaml.safe_load(f"verifier: {written}")["verifier"])
    check_verifier(check, rows)
    loop = Loop(
        generate=lambda key, model, n: rows,
        verify=check,
        filter=Threshold(0.0),
        refit=lambda key, model, batch: batch.tolist(),
    )
    assert loop.step(Key(0), State(None), 6)[0].model == [0, 1, 2, 3, 4]


def test_filters_and_wrappers_are_built_by_name_as_verifiers_are():
    yaml = pytest.importorskip("yaml")
    filter = build(
        yaml.safe_load("{call: 'veriloop:Alternatives', k: 4, filter: {call: 'veriloop:Luce'}}")
    )
    assert filter == Alternatives(4, Luce())
    check_filter(filter)
    assert build(yaml.safe_load("{call: 'veriloop:TopCount', count: {0: 5, 1: 10}}")) == TopCount(
        {0: 5, 1: 10}
    )
    assert build(yaml.safe_load("{call: 'veriloop:BestOf'}")) == TopCount(1)
    spec = "{call: 'veriloop:Retry', times: 5, verifier: {call: 'veriloop:Random'}}"
    assert build(yaml.safe_load(spec)) == Retry(Random(), 5)


def test_verifiers_of_other_packages_are_found_by_entry_point(installed):
    check = build({"call": "short_text", "limit": 4})
    np.testing.assert_array_equal(check(Key(0), np.arange(3)), [4, 3, 2])


def test_a_function_takes_no_settings_of_a_file(installed):
    with pytest.raises(ValueError, match="up_to_four does not take the arguments given"):
        build({"call": "strangers_of_veriloop:up_to_four", "limit": 3})


def test_an_unknown_entry_point_is_answered_with_all_there_are_and_the_nearest(installed):
    known = "broken, gone, long_text, plain, short_text"
    with pytest.raises(
        ValueError,
        match=r"no verifier is called 'short_txt', did you mean 'short_text'\?; or write module:attribute$",
    ):
        build({"call": "short_txt"})
    with pytest.raises(ValueError, match=f"'qqq', known: {known}; or write module:attribute$"):
        build({"call": "qqq"})


def test_an_entry_point_that_leads_nowhere_is_named(installed):
    with pytest.raises(
        ValueError, match="module 'strangers_of_veriloop' has no 'Shrt'; did you mean 'Short'"
    ):
        build({"call": "broken"})
    with pytest.raises(
        ValueError, match="'strangers_gone:Short' needs the module 'strangers_gone', which is not"
    ):
        build({"call": "gone"})


def test_a_name_that_two_packages_offer_is_refused(installed, tmp_path):
    other = tmp_path / "others-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[veriloop.verifiers]\nshort_text = others:Short\n")
    with pytest.raises(
        ValueError,
        match="2 verifiers are called 'short_text'; write one of others:Short, strangers_of_veriloop:Short",
    ):
        build({"call": "short_text"})


@pytest.mark.parametrize(
    "name, checked, at_run_time",
    [
        (
            "Column",
            r"expected one score a row, shape \(6,\), got \(6, 1\)",
            r"one value a row, shape \(6,\), got",
        ),
        (
            "Text",
            "Text must return numbers, got dtype <U",
            "verify must return numbers, got dtype <U",
        ),
        (
            "Infinite",
            "a score is infinite",
            "verify must return finite numbers, or NaN for no verdict, got inf",
        ),
        ("Accepts", "Accepts returned booleans", "verify returned booleans"),
        ("Flags", "the scores are 0 and 1 alone", None),
        ("Place", "a score depends on other rows", None),
        ("Reversed", "a score depends on the order of rows", None),
    ],
)
def test_a_strangers_verifier_that_is_none_is_refused_by_the_check_and_in_the_round(
    installed, name, checked, at_run_time
):
    """What no single round can see, that a score depends on other rows, the check finds."""
    verify, rows = build({"call": f"strangers_of_veriloop:{name}"}), np.arange(6.0)
    with pytest.raises(AssertionError, match=checked):
        check_verifier(verify, rows)
    loop = Loop(
        generate=lambda key, model, n: rows,
        verify=verify,
        filter=Threshold(),
        refit=lambda key, model, batch: len(batch),
    )
    if at_run_time is not None:
        with pytest.raises(ValueError, match=at_run_time):
            loop.step(Key(0), State(None), 6)


def test_without_any_entry_point_the_error_says_none(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    with pytest.raises(
        ValueError, match="no verifier is called 'short', known: none; or write module:attribute"
    ):
        build({"call": "short"})


@given(
    st.recursive(
        st.one_of(
            st.just(Random()),
            st.builds(Constant, st.floats(allow_nan=False, allow_infinity=False)),
            st.builds(Threshold, st.floats(-9, 9)),
        ),
        lambda inner: st.one_of(
            st.builds(Shifted, inner, st.floats(-9, 9)),
            st.builds(Audited, inner, inner),
            st.builds(Noisy, inner),
        ),
        max_leaves=4,
    )
)
def test_a_description_builds_an_equal_component(component):
    """Also after a visit to a JSON file."""
    assert build(json.loads(json.dumps(describe(component)))) == component


def test_what_cannot_be_written_has_a_name_alone():
    for component in (
        Oracle(len),
        Shifted(len, 1.0),
        all_of(Random()),
    ):
        assert describe(component) == f"veriloop.verifiers.algebra:{type(component).__name__}"
    assert describe(MixReal(np.ones(2), 0.5)) == "veriloop.pools:MixReal"
    assert describe(describe) == "veriloop.components:describe"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys; sys.exit(0)", "SystemExit: 0"),
        ("raise OSError('no disk')", "OSError: no disk"),
        ("def", "SyntaxError: invalid syntax"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported_is_said_with_its_reason(
    text, told, tmp_path, monkeypatch
):
    """One that calls sys.exit too: a script ended with 0, and nothing was done."""
    (tmp_path / "faulty_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    wanted = re.escape(f"the module 'faulty_module', which cannot be imported ({told}")
    with pytest.raises(ValueError, match=wanted):
        build({"call": "faulty_module:Verifier"})


def test_what_makes_no_function_is_refused():
    with pytest.raises(
        ValueError, match=r"os:getpid makes \d+, and a component must be a function"
    ):
        build({"call": "os:getpid"})


@dataclass(frozen=True)
class Mean:
    verifiers: list

    def __call__(self, key, batch):
        return np.mean([each(key, batch) for each in self.verifiers], axis=0)


def test_components_in_a_list_are_described_and_built_too():
    mean = Mean([Constant(1.0), Constant(3.0)])
    built = build(describe(mean))
    assert built == mean
    assert built(Key(0), np.zeros(1)).tolist() == [2.0]


def test_the_numbers_of_numpy_are_described_as_plain_ones():
    spec = describe(TopCount(np.int64(5)))
    assert json.loads(json.dumps(spec))["count"] == 5
    assert build(spec) == TopCount(5)


def test_counts_by_group_survive_json_whose_keys_are_texts():
    by_group = TopCount({0: 3, np.int64(1): np.int32(0)})
    spec = json.loads(json.dumps(describe(by_group)))
    assert build(spec) == TopCount({0: 3, 1: 0})
    by_name = {"call": "veriloop:TopCount", "count": {"left": 3, "01": 1}}
    assert build(by_name) == TopCount({"left": 3, "01": 1})
