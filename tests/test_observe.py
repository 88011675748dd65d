"""Observers: numbers as by hand, the same whatever is held in memory, and none of one name twice."""

import pickle
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import (
    AcceptanceByGroup,
    Columns,
    Key,
    Loop,
    Quota,
    Random,
    RandomFraction,
    SelectionBias,
    State,
    Threshold,
    TopFraction,
    together,
)


@dataclass(frozen=True)
class Points(Columns):
    x: np.ndarray
    kind: np.ndarray


def generate(key, model, n):
    return Points(key.numpy().standard_normal(n), key.fold("kind").numpy().integers(0, 3, n))


def features(batch):
    return {"x": batch.x, "square": batch.x**2}


OBSERVERS = together(AcceptanceByGroup(attrgetter("kind")), SelectionBias(features))
LOOP = Loop(
    generate=generate,
    verify=lambda key, batch: batch.x,
    filter=TopFraction(0.2),
    refit=lambda key, model, batch: len(batch),
    group=attrgetter("kind"),
    observe=OBSERVERS,
    block=50,
)


def report(loop, n=330, seed=0):
    return loop.step(Key(seed), State(None), n)[1].metrics


@given(st.integers(20, 300), st.integers(1, 90), st.integers(0, 10**6), st.booleans())
def test_numbers_are_as_by_hand_and_the_same_whatever_is_held(n, block, seed, quota):
    """In rounds of counted candidates and in quotas, where some rows drawn do not count."""
    settings = {"filter": Threshold(-0.5), "block": block}
    size = Quota(1 + n // 30, groups=3) if quota else n
    seen = []

    def watch(key, batch, scores, mask):
        seen.append((batch[np.arange(len(batch))], mask))
        return {}

    loop = replace(LOOP, **settings, observe=together(OBSERVERS, watch))
    metrics = report(loop, size, seed)
    rows, mask = seen[0]
    wanted = {"no_verdict": 0}
    for kind in np.unique(rows.kind):
        wanted[f"acceptance_{kind}"] = mask[rows.kind == kind].mean()
    for name, values in features(rows).items():
        wanted[f"shift_{name}"] = (values[mask].mean() - values.mean()) / np.std(values)
        wanted[f"spread_{name}"] = np.std(values[mask]) / np.std(values)
    assert metrics.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-12)
    for chunk in (1, 64):
        assert report(replace(loop, chunk=chunk), size, seed) == metrics


def test_a_round_larger_than_memory_is_drawn_once_more_for_each_observer():
    drawn = []

    def counted(key, model, n):
        drawn.append(n)
        return generate(key, model, n)

    # To judge, to keep, and once for each of the two observers.
    report(replace(LOOP, generate=counted, chunk=60))
    assert drawn == [50, 50, 50, 50, 50, 50, 30] * 4
    drawn.clear()
    report(replace(LOOP, generate=counted))
    assert drawn == [50, 50, 50, 50, 50, 50, 30]


def test_features_are_asked_for_no_more_than_a_block_at_a_time():
    sizes = []

    def watched(batch):
        sizes.append(len(batch))
        return features(batch)

    report(replace(LOOP, observe=SelectionBias(watched), chunk=60))
    assert max(sizes) == 50 and sum(sizes) == 330


def test_a_filter_that_ignores_the_rows_has_no_bias_and_a_ranking_one_that_of_the_tail():
    """The top fifth of a standard normal: mean 1.3998, variance 1 + 0.8416 m - m^2 = 0.2187; z-scores."""
    n, kept = 50_000, 10_000
    plain = report(
        replace(
            LOOP,
            verify=Random(),
            filter=RandomFraction(0.2),
            group=None,
            observe=SelectionBias(features),
        ),
        n,
    )
    # Of a sample of m out of n without replacement, mean and deviation err by sqrt((1 - m / n) / m), half that.
    error = np.sqrt(0.8 / kept)
    assert (
        abs(plain["shift_x"] / error) < 4
        and abs((plain["spread_x"] - 1) / (error / np.sqrt(2))) < 4
    )
    top = report(replace(LOOP, group=None, observe=SelectionBias(features)), n)
    cut = 0.8416212335729143
    mean = np.exp(-(cut**2) / 2) / np.sqrt(2 * np.pi) / 0.2
    spread = np.sqrt(1 + cut * mean - mean**2)
    # The error of a mean above a quantile, and of a deviation; then that of the candidates' own.
    assert abs(top["shift_x"] - mean) < 4 * np.sqrt(
        (spread**2 + 0.8 * (mean - cut) ** 2) / kept
    ) + 4 / np.sqrt(n)
    assert abs(top["spread_x"] - spread) < 4 * spread / np.sqrt(kept) + 4 / np.sqrt(n)


def test_candidates_that_are_all_alike_have_no_scale():
    """Also where rounding would give them one: 0.1 has no exact mean."""
    batch, mask = np.full(7, 0.1), np.arange(7) < 3
    seen = SelectionBias(lambda batch: {"x": batch})(Key(0), batch, batch, mask)
    assert set(seen) == {"shift_x", "spread_x"} and np.isnan(list(seen.values())).all()


def test_labels_name_the_groups_and_absent_ones_are_left_out():
    batch, mask = np.array(["sport", "news", "sport"]), np.array([True, False, False])
    assert AcceptanceByGroup(lambda batch: batch)(Key(0), batch, np.zeros(3), mask) == {
        "acceptance_news": 0.0,
        "acceptance_sport": 0.5,
    }


@pytest.mark.parametrize(
    "observer, message",
    [
        (
            AcceptanceByGroup(lambda batch: [0, 1]),
            r"group must be one value a row, shape \(50,\), got shape \(2,\)",
        ),
        (
            SelectionBias(lambda batch: {"x": 1.0}),
            r"feature 'x' must be one value a row, shape \(50,\), got shape \(\)",
        ),
        (
            SelectionBias(lambda batch: {"x": np.zeros((len(batch), 2))}),
            r"feature 'x' must be one value a row, shape \(50,\), got shape \(50, 2\)",
        ),
    ],
)
def test_what_is_not_one_value_a_row_is_refused(observer, message):
    with pytest.raises(ValueError, match=message):
        report(replace(LOOP, observe=observer), 50)


def test_numbers_of_one_name_are_refused():
    bias = SelectionBias(features)
    with pytest.raises(
        ValueError, match="two numbers of one record are called 'shift_x'; rename the metric"
    ):
        report(replace(LOOP, observe=together(bias, bias)))


def test_observers_together_draw_from_different_streams_and_pickle():
    def draw(name):
        return lambda key, *_: {name: key.numpy().random()}

    seen = together(draw("a"), draw("b"))(Key(0), None, np.zeros(1), np.zeros(1))
    assert seen["a"] != seen["b"]
    assert report(replace(LOOP, observe=pickle.loads(pickle.dumps(OBSERVERS)))) == report(LOOP)
