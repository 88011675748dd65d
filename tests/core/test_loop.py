"""The loop: one result whatever is held in memory, resumed or in one go; errors that say what was got."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from veriloop import (
    Accumulate,
    AccumulateSubsample,
    BestOf,
    Columns,
    EachRound,
    KeepAll,
    Key,
    Loop,
    MixReal,
    Noisy,
    Quota,
    Random,
    RandomFraction,
    Record,
    Replace,
    RoundError,
    State,
    Threshold,
    TopFraction,
    Window,
    all_of,
    run,
)


@dataclass(frozen=True)
class Points(Columns):
    """A second column repeats the first, so rows that come apart are noticed."""

    x: np.ndarray
    y: np.ndarray


def generate(key, model, n):
    x = model + key.numpy().standard_normal(n)
    return Points(x=x, y=10 * x)


def refit(key, model, batch):
    np.testing.assert_array_equal(batch.y, 10 * batch.x)
    return np.array([batch.x.mean() + 1e-3 * key.numpy().standard_normal()])


def sign(batch):
    return (batch.x > 0).astype(int)


def score(key, batch):
    """Few values, for ties, and here and there no verdict."""
    rounded = np.round(batch.x * 2)
    return np.where(rounded == 3, np.nan, rounded)


def observe(key, batch, scores, mask):
    """Use all that batches promise: length, masks (an empty one too), integers, and the key."""
    return {
        "rows": len(batch),
        "kept_mean": batch[mask].x.mean(),
        "dropped": len(batch[~mask]),
        "none": len(batch[np.zeros(len(mask), dtype=bool)]),
        "ends": float(batch[np.array([-1, 0, 0])].y.sum()),
        "score": float(np.nansum(scores)),
        "draw": key.numpy().random(),
    }


def loop(**settings):
    return Loop(
        **{
            "generate": generate,
            "verify": Noisy(all_of(value=score, lot=Random()), 0.2, 0.1),
            "filter": TopFraction(0.4),
            "refit": refit,
            "group": sign,
            "observe": observe,
            "measure": lambda key, model: {
                "error": abs(float(model[0])),
                "lot": key.numpy().random(),
            },
        }
        | settings
    )


START = State(np.zeros(1))


def history(*args):
    """All rounds of a run as plain data that compare exactly, NaN equal to NaN."""
    return [(plain(state), asdict(record)) for state, record in run(*args)]


def plain(state):
    past = (
        None
        if state.past is None
        else [(batch.x.tobytes(), batch.y.tobytes()) for batch in state.past]
    )
    return state.round, np.asarray(state.model).tobytes(), past


# Chunks.


@pytest.mark.slow
@given(
    st.integers(1, 250),
    st.integers(1, 90),
    st.integers(0, 10**6),
    st.sampled_from(["ints", "quota"]),
)
def test_chunk_never_changes_a_result(n, block, seed, kind):
    """The record (with all that `observe` saw), the model and the past; also with random verifiers."""
    settings = {"block": block, "pool": Accumulate()}
    if kind == "quota":
        settings["filter"], n = Threshold(-2.0), Quota(1 + n // 10, groups=2)
    histories = []
    for chunk in (None, 1, 7, 64, 1000):
        try:
            histories.append(history(loop(chunk=chunk, **settings), Key(seed), START, [n, n]))
        except RoundError as error:  # a small group without enough verdicts: refused alike
            histories.append(str(error))
    for other in histories[1:]:
        np.testing.assert_equal(other, histories[0])


def test_chunked_rounds_draw_twice_and_whole_ones_once():
    calls = []

    def counted(key, model, n):
        calls.append(n)
        return generate(key, model, n)

    observed = {"observe": lambda *_: {}, "block": 10, "verify": score, "filter": Threshold(-9.0)}
    loop(generate=counted, chunk=None, **observed).step(Key(0), START, 25)
    assert calls == [10, 10, 5]
    calls.clear()
    loop(generate=counted, chunk=24, **observed).step(Key(0), START, 25)
    assert calls == [10, 10, 5] * 2


def test_block_is_part_of_the_stream_and_every_block_has_its_own_key():
    seen = []

    def watched(key, model, n):
        seen.append((key, n))
        return generate(key, model, n)

    loop(generate=watched, block=40).step(Key(5), START, 100)
    assert seen == [(Key(5).fold(1, "generate", i), n) for i, n in enumerate((40, 40, 20))]


@pytest.mark.parametrize("n", [100, Quota(30, groups=2)], ids=["count", "quota"])
def test_random_verifiers_and_quota_filters_draw_anew_for_every_block(n):
    """No two blocks are judged under one key, as equal random verdicts in each of them would be."""
    judged, filtered = [], []

    def verify(key, batch):
        judged.append(key)
        return batch.x

    @dataclass(frozen=True)
    class Watched:
        rowwise = True

        def __call__(self, key, scores, groups):
            filtered.append(key)
            return scores > -1

    loop(verify=verify, filter=Watched(), block=20).step(Key(5), START, n)
    assert len(judged) > 2 and judged == [Key(5).fold(1, "verify", i) for i in range(len(judged))]
    blocks = [Key(5).fold(1, "filter", i) for i in range(len(judged))]
    assert filtered == (blocks if isinstance(n, Quota) else [Key(5).fold(1, "filter")])


# Streams.


def test_verified_and_unverified_arms_judge_the_same_candidates():
    """Whatever verifier and filter, round 1 generates the same rows: the arms are paired."""
    drawn = []

    def watched(key, model, n):
        drawn.append(generate(key, model, n).x)
        return generate(key, model, n)

    for settings in (
        {},
        {"verify": score, "filter": RandomFraction(0.4)},
        {"verify": Random(), "filter": Threshold(-9.0)},
        {"pool": Window(2), "group": None},
    ):
        loop(generate=watched, **settings).step(Key(2), START, 50)
    for other in drawn[1:]:
        np.testing.assert_array_equal(other, drawn[0])


def test_measuring_and_observing_change_nothing():
    plot = loop(
        measure=lambda key, model: {"lot": key.numpy().random(1000).sum()}, observe=lambda *_: {}
    )
    with_plot, without = run(plot, Key(0), START, [40] * 3), run(loop(), Key(0), START, [40] * 3)
    assert [plain(state) for state, _ in with_plot] == [plain(state) for state, _ in without]


def test_every_part_of_a_round_gets_its_own_key():
    keys = {}

    def note(name, value):
        def part(key, *_):
            keys[name] = key
            return value(*_)

        return part

    made = Loop(
        generate=note("generate", lambda model, n: np.zeros(n)),
        verify=note("verify", lambda batch: np.zeros(len(batch))),
        filter=note("filter", lambda scores, groups: scores == 0),
        pool=note("pool", lambda past, kept: (kept, ())),
        refit=note("refit", lambda model, batch: model),
        observe=note("observe", lambda *_: {}),
        measure=note("measure", lambda *_: {}),
    )
    made.step(Key(0), State(0.0, round=6), 5)
    assert set(keys) == {"generate", "verify", "filter", "pool", "refit", "observe", "measure"}
    assert len(set(keys.values())) == 7
    assert all(key.path[0] == 7 for key in keys.values())


def test_rounds_and_seeds_draw_different_candidates():
    _, one = loop().step(Key(0), START, 50)
    _, two = loop().step(Key(0), replace(START, round=1), 50)
    _, three = loop().step(Key(1), START, 50)
    assert len({one.metrics["ends"], two.metrics["ends"], three.metrics["ends"]}) == 3


# Rounds and runs.


def test_the_defaults_verify_nothing_and_keep_everything():
    made = Loop(generate=lambda key, model, n: np.arange(n), refit=lambda key, model, batch: batch)
    state, record = made.step(Key(0), State(None), 5)
    np.testing.assert_array_equal(state.model, np.arange(5))
    assert record == Record(1, 5, 5, {"no_verdict": 0}) and record.acceptance == 1.0
    assert state.round == 1 and state.past == ()


def test_the_record_counts_candidates_kept_and_missing_verdicts():
    made = loop(verify=score, filter=Threshold(0.0), group=None)
    state, record = made.step(Key(0), START, 300)
    x = generate(Key(0).fold(1, "generate", 0), START.model, 300).x
    assert record.candidates == 300 and record.round == state.round == 1
    assert record.metrics["no_verdict"] == (np.round(2 * x) == 3).sum() > 0
    assert record.kept == ((np.round(2 * x) >= 0) & (np.round(2 * x) != 3)).sum()
    assert record.acceptance == record.kept / 300


def test_filters_rank_within_the_groups_of_the_batch():
    made = loop(
        verify=lambda key, batch: batch.x,
        observe=lambda key, b, s, mask: {"low": (mask & (b.x <= 0)).sum()},
    )
    _, record = made.step(Key(0), START, 100)
    low = (generate(Key(0).fold(1, "generate", 0), START.model, 100).x <= 0).sum()
    assert record.metrics["low"] == np.floor(0.4 * low + 0.5)


def test_run_uses_the_size_of_its_round_and_leaves_the_state_given():
    records = [record for _, record in run(loop(), Key(0), START, [10, 20, 30])]
    assert [(record.round, record.candidates) for record in records] == [
        (0, 0),
        (1, 10),
        (2, 20),
        (3, 30),
    ]
    assert START.round == 0 and START.model == 0.0
    assert list(run(loop(), Key(0), replace(START, round=3), [10, 20, 30])) == []


def test_run_is_lazy():
    """Stopping the `for` stops the work: the next round is not begun; the start needs no candidates."""
    calls = []

    def counted(key, model, n):
        calls.append(n)
        return generate(key, model, n)

    rounds = run(loop(generate=counted), Key(0), START, [10, 20, 30])
    next(rounds)
    assert calls == []
    next(rounds)
    assert calls == [10]


def test_the_first_record_of_a_new_run_is_the_start_under_the_key_of_round_0():
    """It has no candidates and no acceptance; a run that goes on has none."""
    made = loop()
    state, record = next(run(made, Key(3), START, [10]))
    assert state is START
    assert record == Record(0, 0, 0, made.measure(Key(3).fold(0), START.model))
    assert np.isnan(record.acceptance) and record.row()["round"] == 0
    _, record = next(run(made, Key(3), replace(START, round=2), [10] * 3))
    assert record.round == 3


def test_a_part_is_made_anew_for_each_round_from_the_state_before_it():
    """It gets a key of its own, also after resuming; the loop given stays as it is."""
    seen = []

    def stricter(key, state):
        seen.append((key, state.round))
        return Threshold(state.round - 3.0)

    made = loop(verify=score, filter=EachRound(stricter))
    full = list(run(made, Key(4), START, [80] * 3))
    assert seen == [(Key(4).fold(i + 1, "loop", "filter"), i) for i in range(3)]
    by_hand = START
    for i, (state, record) in enumerate(full[1:]):
        by_hand, wanted = loop(verify=score, filter=Threshold(i - 3.0)).step(Key(4), by_hand, 80)
        assert record == wanted and plain(state) == plain(by_hand)
    rest = list(run(made, Key(4), full[1][0], [80] * 3))
    assert [record for _, record in rest] == [record for _, record in full[2:]]


def test_a_verifier_made_anew_is_asked_whether_it_judges_rows_together():
    """The rule that such a verifier needs one block holds for what is made, not for what makes it."""

    class Together:
        rowwise = False

        def __call__(self, key, batch):
            return batch.x - batch.x.mean()

    made = loop(verify=EachRound(lambda key, state: Together()), block=10)
    with pytest.raises(
        ValueError, match="needs all candidates in one block, got 20 in blocks of 10"
    ):
        made.step(Key(0), START, 20)


def test_the_verifier_of_a_round_is_assessed_before_it_judges():
    """Under a key of its own, with the model that writes the candidates; unverified there is nothing to assess."""
    seen = []

    def assess(key, model, verify):
        seen.append((key, float(model[0]), verify))
        return {"accuracy": 0.5}

    _, record = loop(verify=score, filter=Threshold(-9.0), assess=assess).step(Key(2), START, 20)
    assert seen == [(Key(2).fold(1, "loop"), 0.0, score)] and record.metrics["accuracy"] == 0.5
    _, record = loop(verify=None, filter=Threshold(), assess=assess).step(Key(2), START, 20)
    assert len(seen) == 1 and "accuracy" not in record.metrics


def test_a_part_that_is_made_as_none_is_refused():
    """A maker that forgets to return would be no verifier, in silence."""
    made = loop(verify=EachRound(lambda key, state: None), filter=Threshold())
    with pytest.raises(TypeError, match="the EachRound of Loop.verify made None; return the part"):
        made.step(Key(0), START, 20)


def test_a_verifier_without_a_filter_is_refused():
    """It kept every row in silence, so that the arm was the unverified one to every digit."""
    with pytest.raises(
        ValueError, match=r"Loop has a verifier and no filter, .* give filter=Threshold\(\)"
    ):
        Loop(generate=generate, refit=refit, verify=score)
    Loop(generate=generate, refit=refit, verify=score, filter=KeepAll())


@pytest.mark.parametrize("method", ["step", "first_record"])
@pytest.mark.parametrize(
    ("key", "state", "message"),
    [
        (0, START, r"key must be a Key, got int 0; write veriloop\.Key\(0\)"),
        (START, Key(0), "key must be a Key, got State"),
        (Key(0), 0.5, r"state must be a State, got float 0\.5; write veriloop\.State\(model\)"),
    ],
)
def test_a_step_refuses_a_seed_and_a_bare_model(method, key, state, message):
    given = (5,) if method == "step" else ()
    with pytest.raises(TypeError, match=rf"Loop\.{method}: {message}"):
        getattr(loop(), method)(key, state, *given)


WRONG = [
    ((Key(0), loop(), START, [5]), "run: loop must be a Loop, got Key"),
    (
        (lambda key, state: loop(), Key(0), START, [5]),
        "run: loop must be a Loop, .* is an EachRound",
    ),
    ((loop(), 0, START, [5]), r"run: key must be a Key, got int 0; write veriloop.Key\(0\)"),
    ((loop(), START, Key(0), [5]), "run: key must be a Key, got State"),
    (
        (loop(), Key(0), 0.5, [5]),
        r"run: state must be a State, got float 0.5; write veriloop.State\(model\)",
    ),
    (
        (loop(), Key(0), START, 5),
        r"run: sizes must have one entry a round, got int 5; write \[n\] \* rounds",
    ),
    ((loop(), Key(0), START, Quota(5)), "run: sizes must have one entry a round, got Quota"),
]


@pytest.mark.parametrize("arguments, message", WRONG)
def test_run_refuses_arguments_of_another_kind_at_once(arguments, message):
    """Where they are given, not in the middle of a round."""
    with pytest.raises(TypeError, match=message):
        run(*arguments)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"filter": Threshold},
            r"Loop.filter is the class Threshold; make a value of it: Threshold\(...\)",
        ),
        ({"pool": Accumulate}, "Loop.pool is the class Accumulate"),
        (
            {"filter": BestOf},
            r"Loop.filter must be a function of \(key, scores, groups\), got BestOf, which takes",
        ),
        (
            {"verify": lambda batch: batch},
            r"Loop.verify must be a function of \(key, batch\), got <lambda>, which takes \(batch\)",
        ),
        ({"verify": 3.0}, r"Loop.verify must be a function of \(key, batch\), got float 3.0"),
        (
            {"generate": None},
            r"Loop.generate must be a function of \(key, model, n\), got NoneType None",
        ),
    ],
)
def test_a_part_that_cannot_be_called_is_refused_with_what_to_write(settings, message):
    with pytest.raises(TypeError, match=message):
        loop(**settings)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"generate": lambda key, model, n: [0.0] * n},
            "what generate returns must be rows .* got a list; return a",
        ),
        (
            {"generate": lambda key, model, n: (np.zeros(n), np.ones(n))},
            "got a tuple; return a NumPy array",
        ),
        (
            {"generate": lambda key, model, n: {"x": np.zeros(n)}},
            "got a dict; return a NumPy array",
        ),
        ({"measure": lambda key, model: 0.5}, r"need names, as in \{'error': 0.5\}, got float 0.5"),
        (
            {"measure": lambda key, model: {"error": [1.0]}},
            "the metric 'error' must be one number, got list",
        ),
        (
            {"measure": lambda key, model: {"error": "low"}},
            "the metric 'error' must be one number, got str 'low'",
        ),
        (
            {"measure": lambda key, model: {"error": np.zeros(2)}},
            "the metric 'error' must be one number, got ndarray",
        ),
    ],
)
def test_what_a_part_returns_is_refused_where_it_is_of_another_kind(settings, message):
    with pytest.raises(TypeError, match=message):
        loop(verify=None, filter=None, observe=None, group=None, **settings).step(Key(0), START, 5)


def test_a_refit_that_returns_nothing_is_refused():
    with pytest.raises(ValueError, match="round 1: refit returned None; return the new model"):
        loop(refit=lambda key, model, batch: None).step(Key(0), START, 20)


def test_a_metric_of_one_entry_is_a_number():
    """An array, or a tensor, without axes is one."""
    _, record = loop(measure=lambda key, model: {"error": np.array(0.5)}).step(Key(0), START, 20)
    assert type(record.metrics["error"]) is float


POOLS = {
    "replace": Replace(),
    "accumulate": Accumulate(),
    "subsample": AccumulateSubsample(25),
    "window": Window(2),
    "mix": MixReal(generate(Key(99), np.zeros(1), 7), 0.3),
}


@st.composite
def experiments(draw):
    """A loop and its sizes: candidates counted or quotas, any pool, filter, block and chunk."""
    filter = draw(st.sampled_from([Threshold(-1.0), TopFraction(0.4), RandomFraction(0.5)]))
    size = st.integers(20, 90)
    if filter == Threshold(-1.0):
        size = st.one_of(size, st.builds(Quota, st.integers(1, 15), st.just(2)))
    made = loop(
        verify=Noisy(score, 0.3, 0.1),
        filter=filter,
        pool=POOLS[draw(st.sampled_from(sorted(POOLS)))],
        block=draw(st.integers(5, 100)),
        chunk=draw(st.sampled_from([None, 1, 40])),
    )
    return made, draw(st.lists(size, min_size=2, max_size=6))


@given(experiments(), st.integers(0, 10**6), st.data())
def test_resumed_equals_uninterrupted(experiment, seed, data):
    """From the state after any round: the same records, models and pasts to the last bit."""
    made, sizes = experiment
    try:
        straight = history(made, Key(seed), START, sizes)
    except RoundError:  # too few verdicts in a small group
        assume(False)
    stop = data.draw(st.integers(1, len(sizes)))
    *_, (state, _) = run(made, Key(seed), START, sizes[:stop])
    np.testing.assert_equal(history(made, Key(seed), state, sizes), straight[stop + 1 :])


# The classic known answer.


@pytest.mark.parametrize("m", [10, 40])
def test_gaussian_model_collapse(m):
    r"""Replace loop, 1-D Gaussian refitted to `m` rows with the unbiased variance (Shumailov et al., 2024).

    Then :math:`E[\mu_n] = 0`, :math:`E[\sigma_n^2] = \sigma^2` and :math:`E[\mu_n^2] = n \sigma^2/m`, hence
    :math:`Var(X_n) = \sigma^2 (1 + n/m)`; checked after every round over 4,000 replicates, one a column.
    """
    replicates, rounds, sigma = 4000, 8, 1.5
    gaussian = Loop(
        generate=lambda key, model, n: (
            model[0] + np.sqrt(model[1]) * key.numpy().standard_normal((n, replicates))
        ),
        refit=lambda key, model, batch: np.stack([batch.mean(axis=0), batch.var(axis=0, ddof=1)]),
    )
    start = State(np.stack([np.zeros(replicates), np.full(replicates, sigma**2)]))
    for state, record in list(run(gaussian, Key(11).fold(m), start, [m] * rounds))[1:]:
        mean, variance = state.model
        draw = mean + np.sqrt(variance) * Key(12).fold(m, state.round).numpy().standard_normal(
            replicates
        )
        for sample, truth in (
            (mean, 0.0),
            (variance, sigma**2),
            (mean**2, sigma**2 * state.round / m),
            (mean**2 + variance, sigma**2 * (1 + state.round / m)),
            (draw**2, sigma**2 * (1 + state.round / m)),
        ):
            assert abs((sample.mean() - truth) / (sample.std(ddof=1) / np.sqrt(replicates))) < 4
        assert record.kept == m


def test_accumulating_stops_the_collapse():
    r"""On top of `m` real rows, unit variance known: :math:`E[\mu_n^2] = (1/m) \sum_{i=1}^{n+1} 1/i^2`, bounded.

    The mean of all rows so far moves by 1/i of a fresh mean's error as set i is added (Gerstgrasser et al., 2024).
    """
    replicates, m, rounds = 4000, 10, 8
    real = Key(13).numpy().standard_normal((m, replicates))
    gaussian = Loop(
        generate=lambda key, model, n: model + key.numpy().standard_normal((n, replicates)),
        refit=lambda key, model, batch: batch.mean(axis=0),
        pool=Accumulate(),
    )
    start = State(real.mean(axis=0), past=(real,))
    for state, _ in list(run(gaussian, Key(14), start, [m] * rounds))[1:]:
        truth = sum(1 / i**2 for i in range(1, state.round + 2)) / m
        square = state.model**2
        assert abs((square.mean() - truth) / (square.std(ddof=1) / np.sqrt(replicates))) < 4


# Errors.


@pytest.mark.parametrize(
    "settings, n, message",
    [
        (
            {"verify": lambda key, batch: np.zeros((len(batch), 1))},
            20,
            r"verify must return one value a row, shape \(20,\), got shape \(20, 1\)",
        ),
        ({"verify": lambda key, batch: 0.0}, 20, r"verify must .* shape \(20,\), got shape \(\)"),
        (
            {"verify": lambda key, batch: np.zeros(20) > 0},
            20,
            "verify returned booleans, of which False would count as the score 0",
        ),
        ({"verify": lambda key, batch: np.zeros(19)}, 20, r"verify must .* got shape \(19,\)"),
        (
            {"group": lambda batch: np.zeros(3)},
            20,
            r"group must .* shape \(20,\), got shape \(3,\)",
        ),
        (
            {"filter": lambda key, scores, groups: scores[1:] > 0},
            20,
            r"filter must .* got shape \(19,\)",
        ),
        (
            {"filter": lambda key, scores, groups: (scores > 0).astype(int)},
            20,
            "filter must return a boolean mask, got dtype int64; check <function",
        ),
        ({"filter": lambda key, scores, groups: scores}, 20, "boolean mask, got dtype float64"),
        (
            {
                "verify": lambda key, batch: np.where(np.arange(20) < 3, np.nan, 1.0),
                "filter": lambda key, scores, groups: ~(scores < 0),
            },
            20,
            r"filter must keep no row without a verdict \(NaN\), got 3; check <function",
        ),
        (
            {"generate": lambda key, model, n: generate(key, model, n + 1)},
            20,
            "generate was asked for 20 candidates and returned 21",
        ),
        ({}, 0, "round 1: the number of candidates must be an integer of at least 1, got 0"),
        ({}, -5, "the number of candidates must be an integer of at least 1, got -5"),
        ({}, 20.0, "the number of candidates must be an integer of at least 1, got 20.0"),
        ({"measure": lambda key, model: {"rows": 1}}, 20, "called 'rows'; rename the metric"),
        (
            {"measure": lambda key, model: {"no_verdict": 1}},
            20,
            "called 'no_verdict'; rename the metric",
        ),
        ({"measure": lambda key, model: {"round": 1}}, 20, "called 'round'; rename the metric"),
        ({"observe": lambda *_: {"kept": 1}}, 20, "called 'kept'; rename the metric"),
        ({"observe": lambda *_: {"candidates": 1}}, 20, "called 'candidates'; rename the metric"),
        (
            {"observe": lambda *_: {"acceptance_lot": 1}},
            20,
            "called 'acceptance_lot'; rename the metric",
        ),
    ],
)
def test_a_part_that_breaks_its_promise_is_named_with_what_was_got(settings, n, message):
    with pytest.raises(ValueError, match=message):
        loop(
            **{"verify": all_of(value=score, lot=Random()), "filter": Threshold(-9.0)} | settings
        ).step(Key(0), START, n)


@pytest.mark.parametrize("name", ["block", "chunk"])
@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_blocks_and_chunks_that_are_no_positive_integers_are_refused(name, size):
    with pytest.raises(
        ValueError, match=rf"Loop\.{name} must be an integer of at least 1, got {size}"
    ):
        loop(**{name: size})


def test_a_round_that_keeps_nothing_stops_with_acceptance_and_best_score():
    """And with the number of the round; nothing is refitted."""
    fits = []

    def fit(key, model, batch):
        fits.append(batch)
        return model

    made = loop(verify=lambda key, batch: batch.x, filter=Threshold(50.0), refit=fit, block=30)
    best = max(
        generate(Key(0).fold(4, "generate", i), START.model, n).x.max()
        for i, n in enumerate((30, 30, 20))
    )
    with pytest.raises(
        RoundError,
        match=rf"^round 4: acceptance 0, none of 80 candidates kept; best score {best:.4g}; "
        "give more candidates, a lower cut, or a filter that ranks, such as TopFraction$",
    ):
        made.step(Key(0), replace(START, round=3), 80)
    assert not fits


@pytest.mark.parametrize("dtype", [int, np.float32])
def test_a_round_that_keeps_nothing_stops_alike_whatever_the_type_of_score(dtype):
    made = loop(verify=lambda key, batch: np.zeros(len(batch), dtype=dtype), filter=Threshold(0.5))
    with pytest.raises(RoundError, match="none of 80 candidates kept; best score 0"):
        made.step(Key(0), START, 80)


def test_a_round_without_any_verdict_says_so():
    made = loop(verify=lambda key, batch: np.full(len(batch), np.nan), filter=Threshold(0.0))
    with pytest.raises(
        RoundError,
        match="round 1: acceptance 0, none of 80 candidates kept; no row has a verdict; "
        "check the verifier",
    ):
        made.step(Key(0), START, 80)


def test_a_filter_that_cannot_keep_enough_stops_the_round_by_number():
    def one(key, batch):
        return np.where(np.arange(len(batch)) == 0, 1.0, np.nan)

    made = loop(verify=one, group=None)
    with pytest.raises(
        RoundError, match="round 1: group 0 has 1 rows with a verdict, 32 are to be kept"
    ):
        made.step(Key(0), START, 80)


def test_the_record_counts_groups_of_which_a_filter_that_ranks_keeps_nothing():
    """One whose rows are all without a verdict, and one too small for the fraction."""
    groups = np.repeat([0, 1, 2], [40, 40, 2])

    def verify(key, batch):
        return np.where(groups == 1, np.nan, 1.0)

    made = loop(verify=verify, group=lambda batch: groups[: len(batch)], filter=TopFraction(0.2))
    assert made.step(Key(0), START, 82)[1].metrics["groups_left_out"] == 2
    whole = replace(made, verify=lambda key, batch: np.ones(len(batch)), filter=TopFraction(0.5))
    assert "groups_left_out" not in whole.step(Key(0), START, 82)[1].metrics
    rejecting = replace(made, verify=lambda key, batch: 0.5 - groups, filter=Threshold())
    assert "groups_left_out" not in rejecting.step(Key(0), START, 82)[1].metrics


# What is known before the refit is checked before it, and what was judged is stored.


def fit_that_must_not_run(key, model, batch):
    raise AssertionError("refitted though it was known that the round fails")


@pytest.mark.parametrize("name", ["observe", "assess"])
@pytest.mark.parametrize(
    "value, error, message",
    [
        ([0.5], TypeError, "the metric 'mine' must be one number, got list"),
        ("low", TypeError, "the metric 'mine' must be one number, got str 'low'"),
    ],
)
def test_a_number_that_is_none_is_refused_before_the_refit(name, value, error, message):
    made = loop(**{name: lambda *_: {"mine": value}}, refit=fit_that_must_not_run)
    with pytest.raises(error, match=message):
        made.step(Key(0), START, 20)


@pytest.mark.parametrize("name", ["arm", "seed", "kept", "no_verdict"])
def test_a_metric_called_as_a_column_of_the_records_is_refused_before_the_refit(name):
    made = loop(observe=lambda *_: {name: 1.0}, refit=fit_that_must_not_run)
    with pytest.raises(ValueError, match=f"called '{name}'.*rename the metric"):
        made.step(Key(0), START, 20)


def test_a_metric_of_the_model_is_refused_at_the_start():
    made = loop(measure=lambda key, model: {"mine": [1.0]}, refit=fit_that_must_not_run)
    with pytest.raises(TypeError, match="the metric 'mine' must be one number"):
        next(run(made, Key(0), START, [20]))


def test_an_infinite_metric_is_named_with_its_round():
    made = loop(measure=lambda key, model: {"mine": np.inf})
    with pytest.warns(UserWarning, match="round 3: the metric 'mine' is inf"):
        _, record = made.step(Key(0), replace(START, round=2), 20)
    assert record.metrics["mine"] == np.inf


def test_an_error_of_a_part_says_in_which_round_it_was():
    def broken(key, model, batch):
        raise OSError("no space left")

    with pytest.raises(OSError) as caught:
        loop(refit=broken).step(Key(0), replace(START, round=6), 20)
    assert caught.value.__notes__ == ["in round 7"]


def broken(key, scores, groups):
    raise OSError("the filter is broken")


@pytest.mark.parametrize("settings, n", [({}, 20), ({"block": 6}, 20), ({"block": 6}, Quota(4, 2))])
def test_what_was_judged_is_stored_though_the_filter_fails(settings, n):
    broken.rowwise = True
    stored = []
    made = loop(filter=broken, refit=fit_that_must_not_run, **settings)
    with pytest.raises(OSError, match="the filter is broken"):
        made.step(Key(0), START, n, stored.append)
    (drawn,) = stored
    assert not drawn.mask.any()
    assert len(drawn.candidates) == len(drawn.verdict.scores) == len(drawn.mask) > 0


def test_the_blocks_that_were_judged_are_stored_though_the_verifier_fails_in_a_later_one():
    asked = []

    def judge(key, batch):
        asked.append(len(batch))
        if len(asked) == 3:
            raise OSError("the judge is gone")
        return batch.x

    stored = []
    made = loop(verify=judge, block=6)
    with pytest.raises(OSError, match="the judge is gone"):
        made.step(Key(0), START, 20, stored.append)
    (drawn,) = stored
    assert len(drawn.candidates) == 12
    np.testing.assert_array_equal(drawn.verdict.scores, drawn.candidates[np.arange(12)].x)


def test_a_store_that_fails_too_leaves_the_first_error_and_says_so():
    def store(drawn):
        raise ValueError("the disk is full")

    with pytest.raises(OSError, match="the filter is broken") as caught:
        loop(filter=broken).step(Key(0), START, 20, store)
    assert "the candidates could not be stored: the disk is full" in caught.value.__notes__


def test_a_part_made_for_each_round_must_be_made_by_a_function():
    with pytest.raises(
        TypeError, match=r"EachRound.make must be a function of \(key, state\), got"
    ):
        EachRound(5)
    with pytest.raises(TypeError, match="EachRound.make is the class Threshold; make a value"):
        EachRound(Threshold)
