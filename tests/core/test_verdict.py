"""Verdicts: what is no verdict is refused by name; rates are measured against the right oracle, counted by hand."""

from dataclasses import dataclass

import numpy as np
import pytest

from veriloop import (
    Audited,
    Batched,
    Key,
    Loop,
    Noisy,
    Quota,
    Retry,
    Shifted,
    State,
    Threshold,
    Verdict,
    all_of,
)
from veriloop.core.verdict import inner_verifiers, judged, rowwise

TABLE = np.array([[1.0, -1.0, 2.0], [-1.0, 3.0, -2.0], [0.0, 0.0, 0.0], [2.0, 1.0, np.nan]])


@dataclass(frozen=True)
class Column:
    j: int

    def __call__(self, key, batch):
        return batch[:, self.j]


def of(value):
    """A verifier that gives this answer whatever it is asked."""

    def answer(key, batch):
        return value

    return answer


NOT_SCORES = [
    (np.zeros((4, 1)), r"verify must return one value a row, shape \(4,\), got shape \(4, 1\)"),
    (np.zeros(3), r"shape \(4,\), got shape \(3,\)"),
    (0.5, r"shape \(4,\), got shape \(\)"),
    (None, "verify must return one score a row, got None"),
    ([1.0, 2.0, "3", 4.0], "verify must return numbers, got str '3' in row 2"),
    (np.zeros(4, dtype=complex), "verify must return numbers, got dtype complex128"),
    ([0.0, np.inf, 1.0, 2.0], "verify must return finite numbers, or NaN for no verdict, got inf"),
    (
        [0.0, -np.inf, np.nan, 2.0],
        "verify must return finite numbers, or NaN for no verdict, got -inf",
    ),
    (np.ones(4, dtype=bool), "verify returned booleans, of which False would count as the score 0"),
    (
        Verdict(np.zeros(4), {"length": np.zeros(3)}),
        r"part 'length' must return one value a row, shape \(4,\), got shape \(3,\)",
    ),
    (
        Verdict(np.zeros(4), {"length": np.full(4, np.inf)}),
        "part 'length' must return finite numbers",
    ),
    (
        Verdict(np.zeros(4), oracle=np.array(list("abcd"))),
        "oracle must return numbers, got dtype <U1",
    ),
    (
        Verdict(np.zeros(4), oracles={"length": np.zeros(5)}),
        r"oracle of part 'length' must return one value a row",
    ),
]


@pytest.mark.parametrize("value, message", NOT_SCORES)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda verify: verify,
        lambda verify: Shifted(verify, 1.0),
        lambda verify: Noisy(verify, 0.5),
        lambda verify: Audited(verify, Column(0)),
        lambda verify: Audited(Column(0), verify),
        lambda verify: all_of(Column(0), verify),
        lambda verify: Retry(verify),
        lambda verify: Batched(verify, 10),
    ],
    ids=["bare", "Shifted", "Noisy", "Audited", "oracle", "all_of", "Retry", "Batched"],
)
def test_what_is_no_score_a_row_is_refused_wherever_it_comes_from(value, message, wrap):
    """In one sentence, which names the verifier that gave it and not what is round it."""
    with pytest.raises(ValueError, match=message.removeprefix("verify ")) as caught:
        judged(wrap(of(value)), Key(0), TABLE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; check answer")


@pytest.mark.parametrize("value, message", NOT_SCORES)
def test_the_loop_refuses_them_before_it_filters_or_fits(value, message):
    done = []
    loop = Loop(
        generate=lambda key, model, n: TABLE,
        verify=of(value),
        filter=lambda *_: done.append("filter"),
        refit=lambda *_: done.append("refit"),
    )
    with pytest.raises(ValueError, match=message):
        loop.step(Key(0), State(None), 4)
    assert not done


@pytest.mark.parametrize(
    "value", [[0, 1, -1, 2], np.arange(4, dtype=np.uint8), np.full(4, np.nan), [1e300] * 4]
)
def test_any_finite_number_or_nan_is_a_score(value):
    np.testing.assert_array_equal(judged(of(value), Key(0), TABLE).scores, value)


# Oracles.


def test_parts_with_oracles_of_their_own_are_measured_against_these():
    """Two noisy parts: each against its own clean verdicts, as by hand, and nothing against the other's."""
    table = Key(1).numpy().standard_normal((500, 2))
    noisy = {"a": Noisy(Column(0), 0.3, 0.1), "b": Noisy(Column(1), 0.05, 0.5)}
    verdict = all_of(**noisy)(Key(2), table)
    rates = verdict.metrics(verdict.scores >= 0)
    wanted = {}
    for j, (name, part) in enumerate(noisy.items()):
        truth, accepted = table[:, j] >= 0, part(Key(2).fold(name), table).scores >= 0
        wanted[f"acceptance_{name}"] = accepted.mean()
        wanted[f"false_accept_{name}"] = accepted[~truth].mean()
        wanted[f"false_reject_{name}"] = (~accepted)[truth].mean()
    assert rates == wanted
    assert len({round(rate, 3) for rate in rates.values()}) == 6


def test_a_part_without_an_oracle_has_an_acceptance_alone():
    verdict = all_of(plain=Column(0), audited=Audited(Column(1), Column(2)))(Key(0), TABLE)
    assert set(verdict.metrics(verdict.scores >= 0)) == {
        "acceptance_plain",
        "acceptance_audited",
        "false_accept_audited",
        "false_reject_audited",
    }


def test_parts_of_an_audited_part_are_measured_against_its_oracle_at_any_depth():
    inner = Audited(all_of(x=Column(0), y=Column(1)), Column(2))
    verdict = all_of(outer=all_of(inner=inner, z=Column(0)))(Key(0), TABLE)
    assert set(verdict.oracles) == {"outer.inner", "outer.inner.x", "outer.inner.y"}
    rates = verdict.metrics(verdict.scores >= 0)
    # Of the three rows with a truth it rejects the second and accepts the others.
    assert rates["false_accept_outer.inner.x"] == 0.0 and rates["false_reject_outer.inner.x"] == 0.0
    assert rates["false_accept_outer.inner.y"] == 1.0 and rates["false_reject_outer.inner.y"] == 0.5


def test_an_audit_of_the_whole_overrules_the_oracles_of_parts():
    verdict = Audited(all_of(a=Noisy(Column(0), 0.5, 0.5)), Column(2))(Key(0), TABLE)
    assert not verdict.oracles
    np.testing.assert_array_equal(verdict.oracle, TABLE[:, 2])
    assert {"false_accept", "false_accept_a"} <= set(verdict.metrics(verdict.scores >= 0))


def test_a_row_without_an_oracles_verdict_counts_in_neither_rate():
    verdict = Verdict(np.array([1.0, 1.0, -1.0, 1.0]), oracle=np.array([1.0, -1.0, 1.0, np.nan]))
    assert verdict.metrics(verdict.scores >= 0) == {"false_accept": 1.0, "false_reject": 0.5}


def test_noise_on_rows_without_a_verdict_does_not_dilute_its_rates():
    """Half of the rows have no verdict: the rates measured are still those stated."""
    n, table = 40_000, Key(3).numpy().standard_normal((40_000, 1))
    table[::2] = np.nan
    noisy = Noisy(Column(0), 0.2, 0.4)(Key(4), table)
    rates = noisy.metrics(noisy.scores >= 0)
    for name, rate in (("false_accept", 0.2), ("false_reject", 0.4)):
        assert abs(rates[name] - rate) < 4 * np.sqrt(rate * (1 - rate) / (n / 4))


# Blocks that lack a part.


def test_blocks_without_a_part_or_an_oracle_have_nan_there():
    whole = all_of(a=Column(0), b=Audited(Column(1), Column(2)))(Key(0), TABLE)
    failed = Verdict(np.full(2, np.nan))
    stacked = Verdict.concatenate([failed, whole, Audited(Column(0), Column(2))(Key(0), TABLE)])
    for name in ("a", "b"):
        np.testing.assert_array_equal(
            stacked.parts[name], [np.nan] * 2 + list(whole.parts[name]) + [np.nan] * 4
        )
    np.testing.assert_array_equal(
        stacked.oracles["b"], [np.nan] * 2 + list(TABLE[:, 2]) + [np.nan] * 4
    )
    np.testing.assert_array_equal(stacked.oracle, [np.nan] * 6 + list(TABLE[:, 2]))
    assert Verdict.concatenate([failed, failed]).oracle is None


def test_part_acceptances_count_a_failed_block_as_rejected():
    """No row of it was accepted by anyone."""
    whole = all_of(a=Column(0))(Key(0), TABLE)
    rates = Verdict.concatenate([whole, Verdict(np.full(4, np.nan))]).metrics(
        np.zeros(8, dtype=bool)
    )
    assert rates == {"acceptance_a": 3 / 8}


# Verifiers that see other rows.


@dataclass(frozen=True)
class Own:
    """A wrapper of a user's own, with a field of a name of its own."""

    inner: object

    def __call__(self, key, batch):
        return batch


class Plain:
    def __init__(self, *judges):
        self._judges = judges

    def __call__(self, key, batch):
        return batch


@dataclass(frozen=True)
class Rank:
    rowwise = False

    def __call__(self, key, batch):
        return np.argsort(np.argsort(batch)).astype(float)


@pytest.mark.parametrize(
    "verify",
    [
        Rank(),
        Shifted(Rank(), 1.0),
        Retry(Noisy(Rank())),
        all_of(Column(0), any=Audited(Rank(), Column(0))),
        Audited(Column(0), oracle=Rank()),
        Own(Rank()),
        Own({"a": Column(0), "b": Own([Rank()])}),
        Plain(Column(0), Rank()),
    ],
    ids=lambda verify: type(verify).__name__,
)
def test_dependence_on_other_rows_shows_through_wrappers_and_parts(verify):
    assert not rowwise(verify)
    with pytest.raises(
        ValueError, match="Batched needs a verifier that judges each row by itself, got"
    ):
        Batched(verify, 3)


def test_a_verifier_that_holds_itself_is_visited_once():
    circle = Plain()
    circle.other = circle
    assert inner_verifiers(circle) == [circle]
    assert rowwise(circle)


def test_other_verifiers_count_as_rowwise_whatever_their_fields_are_called():
    @dataclass(frozen=True)
    class Odd:
        parts: object = 3
        verifier: object = "none"

        def __call__(self, key, batch):
            return batch

    assert (
        rowwise(Odd()) and rowwise(all_of(Odd(), Column(0))) and rowwise(lambda key, batch: batch)
    )


def test_the_loop_refuses_to_let_them_judge_a_round_in_blocks():
    loop = Loop(
        generate=lambda key, model, n: key.numpy().random(n),
        verify=Shifted(Rank(), -3.0),
        filter=Threshold(0.0),
        refit=lambda key, model, batch: len(batch),
        block=10,
    )
    assert loop.step(Key(0), State(0), 10)[0].model == 7
    with pytest.raises(
        ValueError,
        match="needs all candidates in one block, got 11 in blocks of 10; raise Loop.block",
    ):
        loop.step(Key(0), State(0), 11)
    with pytest.raises(ValueError, match=r"in one block, got Quota\(n=3"):
        loop.step(Key(0), State(0), Quota(3))


@pytest.mark.parametrize(
    "verdict, message",
    [
        (Verdict(np.zeros(2), np.ones(2)), r"Verdict\.parts must be scores by name, got ndarray"),
        (Verdict(np.zeros(2), oracles=None), r"Verdict\.oracles must be scores by name, got None"),
        (
            Verdict(np.zeros(2), {"a": np.zeros(2)}, oracles={"b": np.ones(2)}),
            r"Verdict\.oracles must name parts, got 'b', parts: a",
        ),
    ],
)
def test_scores_that_no_number_of_the_record_would_show_are_refused(verdict, message):
    with pytest.raises(ValueError, match=f"{message}.*; check lambda"):
        judged(lambda key, batch: verdict, Key(0), np.zeros(2))
