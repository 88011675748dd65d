"""What no public function of linear regression takes: each bad value is refused in one sentence, before any work."""

from __future__ import annotations

import numpy as np
import pytest

from veriloop import Key
from veriloop.linear import (
    FixedDesign,
    GaussianDesign,
    KnowledgeBall,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    Problem,
    RandomDirections,
    Windows,
    expected_path,
    noisy_one_round_mse,
    policies,
    simulate,
    simulate_windows,
    theory,
    truncated_means,
)

NAN, INF = float("nan"), float("inf")
NO_NUMBER = (NAN, "one", None, True, [1.0, "two"], [[1.0], [1.0, 2.0]])
POSITIVE = (*NO_NUMBER, 0.0, -1.0)
MANY = (*POSITIVE, [])
COUNT = (NAN, 0, -1, 1.5, "two", None, True)
SIZES = (*NO_NUMBER, [], [0], [2, -1], [1.5], [NAN], [[1, 2], [3, 4]])
SHARE = (*NO_NUMBER, -0.1, 1.5)
WINDOWS = Windows([-1.0], [1.0])

# function -> what it takes, and what it does not, argument by argument
FUNCTIONS = {
    theory.contraction_factor: {"half_width": (1.0, POSITIVE)},
    theory.mean_map: {
        "offset": (0.0, NO_NUMBER),
        "center_offset": (0.0, NO_NUMBER),
        "half_width": (1.0, POSITIVE),
    },
    theory.mean_path: {
        "offset": (0.0, NO_NUMBER),
        "center_offset": (0.0, NO_NUMBER),
        "half_width": (1.0, POSITIVE),
        "rounds": (2, (-1, 1.5, NAN, "two")),
    },
    theory.one_round_mse: {
        "singular_values": ([2.0], (*MANY, INF)),
        "center_offset": (0.0, (*NO_NUMBER, INF)),
        "half_width": (1.0, POSITIVE),
        "kept": (5, POSITIVE),
        "method": ("exact", ("best", None)),
    },
    theory.log_improvement: {
        "singular_values": ([2.0], (*MANY, INF)),
        "center_offset": (0.0, (*NO_NUMBER, INF)),
        "half_width": (1.0, POSITIVE),
        "kept": (5, POSITIVE),
    },
    theory.smallest_size: {
        "singular_values": ([2.0], (*MANY, INF)),
        "center_offset": (0.0, (*NO_NUMBER, INF)),
        "half_width": (1.0, POSITIVE),
    },
    theory.break_even_bias: {
        "singular_values": ([2.0], (*MANY, INF)),
        "direction": ([1.0], (*MANY[:-3], [], [2.0])),
        "half_width": (1.0, (*POSITIVE, 1e6)),
        "kept": (5, POSITIVE),
    },
    theory.error_bound: {
        "initial": (1.0, (*NO_NUMBER, -1.0, INF)),
        "half_width": (1.0, POSITIVE),
        "sizes": ([5], (*MANY, [0])),
        "dim": (2, COUNT),
    },
    theory.plateau: {
        "half_width": (1.0, POSITIVE),
        "size": (5, (*POSITIVE, INF)),
        "dim": (2, COUNT),
    },
    theory.unfiltered_mse: {"singular_values": ([2.0], (*MANY, INF)), "sizes": ([5], MANY)},
    theory.truncated_moments: {
        "mean": (0.0, NO_NUMBER),
        "scale": (1.0, POSITIVE),
        "lower": (-1.0, (*NO_NUMBER, 1.0, 2.0)),
        "upper": (1.0, (*NO_NUMBER, -1.0)),
    },
    theory.acceptance: {
        "mean": (0.0, NO_NUMBER),
        "scale": (1.0, POSITIVE),
        "lower": (-1.0, (*NO_NUMBER, 1.0, 2.0)),
        "upper": (1.0, (*NO_NUMBER, -1.0)),
    },
    simulate: {
        "singular_values": ([2.0], MANY),
        "center_offset": ([0.0], (*NO_NUMBER, [], [INF])),
        "half_width": (1.0, POSITIVE),
        "sizes": ([2], SIZES),
        "replicates": (2, COUNT),
        "key": (Key(0), ()),
    },
    truncated_means: {
        "key": (Key(0), ()),
        "mean": (0.0, NO_NUMBER),
        "lower": (-1.0, (*NO_NUMBER, 1.0)),
        "upper": (1.0, NO_NUMBER),
        "n": (2, COUNT),
    },
    simulate_windows: {
        "singular_values": ([2.0], (*MANY, [1.0, 2.0])),
        "windows": (WINDOWS, (Windows([-1.0], [1.0], 0.5),)),
        "sizes": ([2], SIZES),
        "replicates": (2, COUNT),
        "key": (Key(0), ()),
    },
    expected_path: {
        "singular_values": ([2.0], (*MANY, INF, [1e-9], [1.0, 2.0])),
        "windows": (WINDOWS, ()),
        "sizes": ([2], SIZES),
    },
    noisy_one_round_mse: {
        "singular_values": ([2.0], (*MANY, INF, [1e-9])),
        "center_offset": ([0.0], (*NO_NUMBER, [0.0, 1.0])),
        "half_width": (1.0, POSITIVE),
        "kept": (5, POSITIVE),
        "false_accept": (0.1, (NAN, -0.1, 1.5)),
        "false_reject": (0.1, (NAN, -0.1, 1.5)),
    },
    policies.one_fit: {"rows": (10, (*COUNT, 3)), "dim": (2, COUNT)},
    policies.replaced: {"rounds": (2, (-1, 1.5, NAN, "two"))},
    policies.accumulated: {"rounds": (2, (-1, 1.5, NAN, "two"))},
    policies.fixed_real: {"rounds": (2, (-1, 1.5, NAN)), "share": (0.5, SHARE)},
    policies.fresh_real: {"rounds": (2, (-1, 1.5, NAN)), "share": (0.5, SHARE)},
    policies.fresh_real_limit: {"share": (0.5, (*SHARE, 0.0, [0.5, 0.0]))},
    policies.pooled_mean: {
        "rounds": (2, (-1, 1.5, NAN)),
        "rows": (2, COUNT),
        "window": (1, COUNT[:5]),
        "sample": (1, COUNT[:5]),
    },
    policies.gaussian_variance: {"rounds": (2, (-1, 1.5)), "sample": (2, (*COUNT, 1))},
    policies.gaussian_log_variance: {"rounds": (2, (-1, 1.5)), "sample": (2, (*COUNT, 1))},
    Windows: {
        "lower": ([-1.0], (*NO_NUMBER, 1.0, [], [1.0], [[-1.0]])),
        "upper": ([1.0], (*NO_NUMBER, 1.0, [], [1.0, 2.0])),
        "temperature": (0.0, (NAN, INF, -1.0)),
    },
    WINDOWS.moments: {"offset": (0.0, (*NO_NUMBER, INF, [1.0, 2.0]))},
    GaussianDesign: {"dim": (2, COUNT)},
    RandomDirections: {"dim": (2, COUNT)},
    FixedDesign: {"rows": ([[1.0]], (*NO_NUMBER, 1.0, [], [1.0], [[0.0]], [[NAN]]))},
    KnowledgeBall: {
        "center": ([0.0], (*NO_NUMBER, 0.0, [], [INF])),
        "radius": (1.0, (*NO_NUMBER, -1.0, [1.0])),
        "slack": (1.0, (*NO_NUMBER, -1.0)),
    },
    KnowledgeEllipsoid: {
        "center": ([0.0], (*NO_NUMBER, [])),
        "axes": ([[1.0]], (*NO_NUMBER, [1.0], [])),
    },
    KnowledgeHalfSpace: {
        "center": ([0.0], (*NO_NUMBER, [])),
        "normal": ([1.0], (*NO_NUMBER, [])),
        "radius": (1.0, (*NO_NUMBER, -1.0)),
    },
    Problem.gaussian: {
        "bias": (0.5, (NAN, INF, -1.0)),
        "radius": (0.5, (*NO_NUMBER, -1.0)),
        "dim": (2, COUNT),
        "rows": (5, COUNT),
        "noise": (1.0, (NAN, INF, 0.0, -1.0)),
    },
}
GOOD = {
    function: {name: good for name, (good, _) in arguments.items()}
    for function, arguments in FUNCTIONS.items()
}
CASES = [
    pytest.param(function, name, value, id=f"{function.__qualname__}-{name}-{value!r}")
    for function, arguments in FUNCTIONS.items()
    for name, (_, bad) in arguments.items()
    for value in bad
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__qualname__)
def test_what_the_cases_start_from_is_taken(function):
    assert function(**GOOD[function]) is not None


@pytest.mark.parametrize("function, name, value", CASES)
def test_a_bad_value_is_refused_in_one_sentence(function, name, value):
    with pytest.raises(ValueError, match=r"^\w[\w.:]* ") as caught:
        function(**(GOOD[function] | {name: value}))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 240


def test_every_function_of_theory_and_policies_is_walked():
    walked = {function.__name__ for function in FUNCTIONS}
    own = {
        name
        for name, each in vars(policies).items()
        if getattr(each, "__module__", "") == policies.__name__
    }
    assert set(theory.__all__) <= walked
    assert {
        name for name in own if not name.startswith("_") and callable(getattr(policies, name))
    } <= walked


def test_lists_and_whole_floats_are_taken_for_what_they_are():
    """Sizes from an array of floats, integers for reals: the same numbers."""
    plain = simulate([2.0, 3.0], [0.0, 0.5], 1.0, [2, 5], 3, Key(0))
    other = simulate(np.array([2, 3]), (0, 0.5), 1, np.array([2.0, 5.0]), 3, Key(0))
    assert plain.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: theory.mean_map([0.0, 1.0], 0.0, [1.0, 2.0, 3.0]), "mean_map: arguments must bro"),
        (lambda: theory.mean_path([0.0, 1.0], 0.0, [1.0, 2.0, 3.0], 0), "mean_path: arguments"),
        (lambda: theory.mean_path(0.0, NAN, 1.0, 0), "mean_path: center_offset must be finite"),
        (lambda: theory.plateau([1.0, 2.0], [1, 2, 3], 3), "plateau: arguments must broadcast"),
        (
            lambda: theory.one_round_mse([2.0], np.zeros((4, 1)), [1.0, 2.0, 3.0], 5),
            r"one_round_mse: arguments must broadcast, got shapes \(4, 1\), \(3, 1\)",
        ),
        (lambda: theory.one_round_mse([2.0], [0.0], [1.0, 2.0], [5, 6, 7]), "one_round_mse: arg"),
        (lambda: theory.error_bound(1.0, [1.0, 2.0], [5], 1), "half_width must be one number"),
        (lambda: theory.error_bound([1.0, 2.0], 1.0, [5], 1), "initial must be one number"),
        (lambda: policies.fixed_real(3, [0.5, 0.3]), r"fixed_real: share must be in \[0, 1\]"),
        (lambda: policies.fresh_real(3, [0.5, 0.3]), r"fresh_real: share must be in \[0, 1\]"),
        (
            lambda: noisy_one_round_mse([2.0], [0.0], [1.0], 5, false_accept=0.1, false_reject=0.1),
            "half_width must be one number",
        ),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused_by_name(call, told):
    with pytest.raises(ValueError, match=told):
        call()
