"""Observers: numbers as by hand, the same whatever is held in memory, and none of one name twice."""

import pickle
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from veriloop import (
    AcceptanceByGroup,
    Columns,
    FromStart,
    Key,
    Loop,
    Quota,
    Random,
    RandomFraction,
    SelectionBias,
    Spread,
    State,
    Threshold,
    TopFraction,
    all_of,
    observe_all,
    vote,
)
from veriloop.core.verdict import disagreement
from veriloop.linear import Problem


@dataclass(frozen=True)
class Points(Columns):
    x: np.ndarray
    kind: np.ndarray


def generate(key, model, n):
    return Points(key.numpy().standard_normal(n), key.fold("kind").numpy().integers(0, 3, n))


def features(batch):
    return {"x": batch.x, "square": batch.x**2}


OBSERVERS = observe_all(AcceptanceByGroup(attrgetter("kind")), SelectionBias(features))
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

    loop = replace(LOOP, **settings, observe=observe_all(OBSERVERS, watch))
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
            r"group must return one value a row, shape \(50,\), got shape \(2,\)",
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


def test_features_without_names_are_refused():
    observe = SelectionBias(lambda batch: batch)
    with pytest.raises(TypeError, match="features must return numbers by name, got ndarray"):
        observe(Key(0), np.arange(2.0), np.zeros(2), np.ones(2, bool))


def test_a_class_in_place_of_an_observer_is_refused():
    with pytest.raises(TypeError, match="observe_all: observer 0 is the class SelectionBias"):
        observe_all(SelectionBias)


def test_numbers_of_one_name_are_refused():
    bias = SelectionBias(features)
    with pytest.raises(
        ValueError, match="two numbers of one record are called 'shift_x'; rename the metric"
    ):
        report(replace(LOOP, observe=observe_all(bias, bias)))


def test_observers_together_draw_from_different_streams_and_pickle():
    def draw(name):
        return lambda key, *_: {name: key.numpy().random()}

    seen = observe_all(draw("a"), draw("b"))(Key(0), None, np.zeros(1), np.zeros(1))
    assert seen["a"] != seen["b"]
    assert report(replace(LOOP, observe=pickle.loads(pickle.dumps(OBSERVERS)))) == report(LOOP)


# Disagreement of verifiers, distance to the start, and spread.

SCORES = arrays(float, 12, elements=st.one_of(st.floats(-2, 2), st.just(np.nan)))


def low(key, batch):
    return 1 - batch


def high(key, batch):
    return batch + 1


@given(SCORES, SCORES)
def test_disagreement_is_symmetric_and_nothing_with_oneself(a, b):
    one, other = disagreement({"a": a, "b": b}), disagreement({"b": b, "a": a})
    assert list(one.values()) == list(other.values()) and 0 <= one["disagreement_a_b"] <= 1
    assert disagreement({"a": a, "b": a}) == {"disagreement_a_b": 0.0}


def test_every_pair_is_there_once_and_parts_of_parts_are_not():
    ones = np.ones(2)
    assert list(disagreement({"a": ones, "a.x": -ones, "b": ones, "c": ones})) == [
        "disagreement_a_b",
        "disagreement_a_c",
        "disagreement_b_c",
    ]
    assert disagreement({}) == disagreement({"a": ones}) == {}


def test_the_loop_records_it_over_all_candidates():
    """Rows outside -1 ... 1 are accepted by one of the two, over several blocks."""
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal(n),
        refit=lambda key, model, batch: batch.mean(),
        verify=all_of(low=low, high=high),
        filter=Threshold(0.0),
        block=30,
    )
    _, record = loop.step(Key(1), State(0.0), 100)
    key, sizes = Key(1).fold(1, "generate"), (30, 30, 30, 10)
    rows = np.concatenate([key.fold(i).numpy().standard_normal(n) for i, n in enumerate(sizes)])
    assert record.metrics["disagreement_low_high"] == np.mean(np.abs(rows) > 1)
    _, three = replace(loop, verify=vote(2, low, high, low=high)).step(Key(1), State(0.0), 100)
    assert sum(name.startswith("disagreement") for name in three.metrics) == 3


def test_the_distance_to_the_start_beside_the_errors_of_linear_regression():
    problem = Problem.gaussian(bias=0.5, radius=1.0)
    start, loop = problem.start(Key(0)), problem.loop(verify=problem.verifier)
    measure = FromStart(loop.measure, start.model)
    assert measure(Key(0), start.model) == {
        **loop.measure(Key(0), start.model),
        "distance_start": 0.0,
    }
    _, record = replace(loop, measure=measure).step(Key(0), start, problem.size(50))
    assert record.metrics["distance_start"] > 0
    apart = FromStart(lambda key, model: {}, "ab", lambda model, start: len(model) - len(start))
    assert apart(Key(0), "abcde") == {"distance_start": 3.0}


def test_the_spread_of_kept_labels_is_narrower_than_that_of_candidates():
    """A window of half width w = 1.3 about the centre: its truncated variance, 0.446, against 1."""
    problem = Problem.gaussian(bias=0.0, radius=0.5)
    labels = Spread(lambda data: data.y - data.x @ problem.truth)
    _, record = replace(problem.loop(verify=problem.verifier), observe=labels).step(
        Key(2), State(problem.truth), 20_000
    )
    errors = np.array([np.sqrt(2 / 20_000), np.sqrt(2 / record.kept)])
    z = (
        np.array([record.metrics["spread"], record.metrics["spread_kept"]]) - [1.0, 0.4464]
    ) / errors
    assert np.abs(z).max() < 4


def test_the_spread_is_the_trace_of_the_covariance_whatever_holds_the_rows():
    """The same where candidates are drawn again in place of held."""
    loop = Loop(
        generate=lambda key, model, n: key.numpy().standard_normal((n, 3)),
        refit=lambda key, model, batch: batch.mean(axis=0),
        observe=Spread(lambda batch: batch),
        block=20,
    )
    _, held = loop.step(Key(3), State(None), 60)
    _, lazy = replace(loop, chunk=25).step(Key(3), State(None), 60)
    rows = np.concatenate(
        [Key(3).fold(1, "generate", i).numpy().standard_normal((20, 3)) for i in range(3)]
    )
    assert held.metrics["spread"] == pytest.approx(np.trace(np.cov(rows, rowvar=False, ddof=0)))
    assert held == lazy


def test_features_that_are_no_numbers_are_refused_by_name():
    rows = np.array(["a", "b"])
    mask = np.array([True, False])
    with pytest.raises(ValueError, match="feature 'text' must be numbers, got dtype <U1"):
        SelectionBias(lambda batch: {"text": batch})(Key(0), rows, np.zeros(2), mask)
    with pytest.raises(ValueError, match="Spread.features must be numbers, got dtype <U1"):
        Spread(lambda batch: batch)(Key(0), rows, np.zeros(2), mask)


@pytest.mark.parametrize(
    "observe",
    [
        SelectionBias(lambda batch: {"x": batch}),
        Spread(lambda batch: batch),
        AcceptanceByGroup(lambda batch: batch),
    ],
)
def test_masked_features_are_refused_as_their_values_would_count(observe):
    rows = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
    with pytest.raises(ValueError, match="must (be|return) a plain array, got a masked one"):
        observe(Key(0), rows, np.zeros(3), np.array([True, True, False]))
