"""What the exact models do not take: each bad value is refused in one sentence that names it."""

from __future__ import annotations

import numpy as np
import pytest

from veriloop import Key
from veriloop.exact import gaussian, noisy_labels, reward_levels

NAN, INF = float("nan"), float("inf")
HALF = [0.5, 0.5]
REAL = (NAN, INF, "one", None, True, [1.0])
SHARE = (*REAL, -0.1, 1.5)
COUNT = (NAN, 0, -1, 1.5, "two", None, True)
FUNCTIONS = {
    gaussian.Gaussian: {
        "mean": ([0.0], (*REAL[:5], [], [0.0, 1.0])),
        "covariance": ([[1.0]], (*REAL, [[NAN]])),
    },
    gaussian.Gaussian.standard: {"dim": (2, COUNT)},
    gaussian.MaximumLikelihood: {"ridge": (0.1, (*REAL, -1.0))},
    gaussian.NearCenter: {
        "center": ([0.0], (*REAL[:5], [], [0.0, 1.0])),
        "root": ([[1.0]], (*REAL, [[0.0]])),
    },
    gaussian.unverified_trace: {
        "policy": ("replace", ("window",)),
        "n": (5, (*COUNT, 1)),
        "rounds": (2, (-1, 1.5, NAN)),
        "ridge": (0.0, (*REAL, -1.0)),
    },
    gaussian.replaced_log_volume: {
        "dim": (2, COUNT),
        "n": (5, (*COUNT, 2)),
        "rounds": (2, (-1, 1.5, NAN)),
    },
    gaussian.selected_round: {
        "dim": (2, COUNT),
        "bias": (0.5, (*REAL, -1.0)),
        "kept": (3, (*COUNT, 11)),
        "candidates": (10, COUNT),
    },
    gaussian.limit_path: {
        "policy": ("replace", ("window",)),
        "dim": (2, (*COUNT, 1)),
        "bias": (0.5, (*REAL, -1.0)),
        "fraction": (0.5, (*SHARE, 0.0)),
        "rounds": (1, (-1, 1.5, NAN)),
    },
    noisy_labels.DrawMislabelled: {"mean": ([1.0], (*REAL[:5], [])), "wrong": (0.1, SHARE)},
    noisy_labels.noisy_oracle: {"phi": (0.5, SHARE), "psi": (0.5, SHARE)},
    noisy_labels.threshold: {"phi": (0.5, (*SHARE, 0.0)), "psi": (0.5, SHARE)},
    noisy_labels.wrong_when_kept: {"wrong": (0.5, SHARE), "phi": (0.5, SHARE), "psi": (0.0, SHARE)},
    noisy_labels.classifier_with_errors: {
        "mean": ([1.0, 0.0], (*REAL, [])),
        "wrong": (0.4, (*SHARE, 0.01)),
    },
    noisy_labels.Accuracy: {
        "mean": ([1.0, 0.0], (*REAL[:5], [], [0.0])),
        "phi": (0.5, SHARE),
        "psi": (0.5, SHARE),
    },
    noisy_labels.mean_of_kept: {
        "cosine": (0.5, (*REAL, 1.5)),
        "separation": (1.0, (*REAL, -1.0)),
        "phi": (0.5, SHARE),
        "psi": (0.5, SHARE),
    },
    noisy_labels.limit_path: {
        "wrong": (0.4, (*SHARE, 0.01)),
        "separation": (1.0, (*REAL, 0.0)),
        "phi": (0.5, SHARE),
        "psi": (0.5, SHARE),
        "rounds": (2, (-1, 1.5, NAN)),
    },
    noisy_labels.accuracy_moments: {
        "wrong": (0.4, SHARE),
        "n": (5, COUNT),
        "dim": (3, (*COUNT, 1)),
        "separation": (1.0, (*REAL, -1.0)),
    },
    reward_levels.LevelReward: {"rewards": ([1.0], (*REAL[:5], []))},
    reward_levels.picked_by_luce: {
        "model": (HALF, (*REAL, [0.5, 0.6], [-0.5, 1.5])),
        "rewards": ([0.0, 1.0], (*REAL, [NAN, 0.0])),
        "k": (2, (NAN, 0, 0.5, "two", None)),
    },
    reward_levels.picked_as_best: {
        "model": (HALF, (*REAL, [0.5, 0.6])),
        "rewards": ([0.0, 1.0], (*REAL, [1.0, 1.0])),
        "k": (2, COUNT),
    },
    reward_levels.reward_moments: {"model": (HALF, REAL), "rewards": ([0.0, 1.0], REAL)},
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
    assert "\n" not in str(caught.value)


def test_a_collapsed_gaussian_says_what_to_do():
    flat = gaussian.Gaussian(np.zeros(2), np.zeros((2, 2)))
    with pytest.raises(
        ValueError, match="must be positive definite, .* give MaximumLikelihood a ridge"
    ):
        gaussian.draw_rows(Key(0), flat, 3)
