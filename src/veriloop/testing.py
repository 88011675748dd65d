"""Checks that every verifier, filter or backend must pass: call them in your own tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from veriloop.core import EachRound, Key, Loop, Quota, Record, State, Verdict, run
from veriloop.core.arrays import AnyBatch, Scores
from veriloop.core.batch import check_batch
from veriloop.core.checks import check_count
from veriloop.core.fingerprints import fingerprint
from veriloop.core.parts import Generate, Part
from veriloop.core.positions import (
    REMEDY,
    ROWS,
    First,
    InTurn,
    first_rows,
    in_turn,
    starting_at,
)
from veriloop.core.verdict import Verifier, called
from veriloop.core.verdict import rowwise as says_rowwise

Rounds = Sequence[tuple[State[Any], Record]]  # what a run yields


def check_verifier(
    verify: Verifier, batch: AnyBatch, *, stochastic: bool = False, rowwise: bool = True
) -> None:
    """Assert what the loop relies on: one number a row, repeatable, and blind to the other rows.

    The batch must be as it was, as others share it.

    verify: (key, batch) -> scores.
    batch: an example, of a few rows.
    stochastic: the scores depend on the key. Then only repeatability is asked.
    rowwise: pass False for a verifier that selects rows together, and says `rowwise = False`.

    >>> check_verifier(lambda key, batch: -abs(batch), np.arange(6.0))

    Raises:
        AssertionError: naming the rule that is broken.
        TypeError: if the example is no batch, such as a list.
    """
    if rowwise:
        assert says_rowwise(verify), (
            "the verifier says that its scores depend on other rows; pass rowwise=False if they may"
        )
    else:
        assert not says_rowwise(verify), (
            "the verifier does not say rowwise = False, so the loop would let it judge a round in "
            "blocks"
        )
    key = Key(0).fold("check")
    check_batch(batch, "the example")
    n = len(batch)
    assert n > 1, f"the example must have a few rows, got {n}; give at least 2"
    before = fingerprint(batch)
    answer = _named(_verdict(verify, key, batch))
    assert fingerprint(batch) == before, (
        "the verifier changed the batch it was given, which others share; let it work on a copy"
    )
    for what, scores in answer.items():
        assert scores.shape == (n,), (
            f"expected one score a row, shape ({n},), got {scores.shape}{what}"
        )
        assert not np.isinf(scores).any(), (
            f"a score is infinite{what}; return NaN for no verdict, or a large finite number"
        )
    scores = answer[""]
    assert not np.isnan(scores).all(), (
        "no row of the example has a verdict, so nothing can be checked; give rows that it judges"
    )
    flags = scores.dtype.kind in "iu" and set(scores.tolist()) == {0, 1}
    assert not flags, (
        "the scores are 0 and 1 alone, and a score of 0 accepts; "
        "return 1 to accept and -1 to reject"
    )
    np.testing.assert_array_equal(
        _scores(verify, key, batch), scores, err_msg="same key, other scores"
    )
    if stochastic:
        return
    np.testing.assert_array_equal(
        _scores(verify, key.fold(1), batch), scores, err_msg="the key changes the scores"
    )
    if not rowwise:
        return
    odd = np.arange(n) % 2 == 1
    for rows, what in ((odd, "other rows"), (np.arange(n)[::-1], "the order of rows")):
        part = _scores(verify, key, batch[rows])
        np.testing.assert_allclose(
            part, scores[rows], rtol=1e-5, err_msg=f"a score depends on {what}"
        )


def check_filter(
    filter: Callable[..., np.ndarray],
    scores: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> None:
    """Assert what the loop relies on: a repeatable mask that keeps no NaN and treats groups apart.

    filter: (key, scores, groups) -> mask.
    scores: shape (n,), an example that the filter accepts. Default: 60 values in (0, 1), a tie and
        two NaN among them.
    groups: shape (n,), two or more, for a filter that names its groups. Default: one group, then 0,
        1 and 2 in turn.

    >>> from veriloop import TopCount, TopFraction
    >>> check_filter(TopFraction(0.25))
    >>> check_filter(TopCount({7: 3, 8: 0}), groups=np.repeat([7, 8], 30))

    Raises:
        AssertionError: naming the rule that is broken.
    """
    if scores is None:
        scores = Key(0).fold("check").numpy().random(60)
        scores[1] = scores[0]
        scores[[7, 11]] = np.nan
    key = Key(0)
    n = len(scores)
    assert not np.isnan(scores).all(), (
        "no row of the example has a verdict, so nothing can be checked; give scores"
    )
    before = scores.copy()
    examples = [np.zeros(n, dtype=int), np.arange(n) % 3]
    if groups is not None:
        examples = [np.asarray(groups)]
    for groups in examples:
        groups_before = groups.copy()
        answer = filter(key, scores, groups)
        np.testing.assert_array_equal(
            groups, groups_before, err_msg="the groups were changed in place"
        )
        assert not isinstance(answer, np.ma.MaskedArray), "the mask is a masked array; fill it"
        mask = np.asarray(answer)
        assert mask.shape == (n,), f"expected a mask of shape ({n},), got {mask.shape}"
        assert mask.dtype == bool, f"expected a boolean mask, got dtype {mask.dtype}"
        assert not mask[np.isnan(scores)].any(), "a row without a verdict (NaN) is kept"
        np.testing.assert_array_equal(
            filter(key, scores, groups), mask, err_msg="same key, other mask"
        )
        np.testing.assert_array_equal(scores, before, err_msg="the scores were changed in place")
    # From here on there are several groups, of which one gets the best score there is.
    groups = examples[-1]
    others = groups != groups[0]
    raised = np.where(others | np.isnan(scores), scores, np.nanmax(scores))
    np.testing.assert_array_equal(
        filter(key, raised, groups)[others],
        filter(key, scores, groups)[others],
        err_msg="the scores of one group change the mask of another",
    )
    if getattr(filter, "rowwise", False):
        _check_rowwise(filter, key, scores, groups)


def check_backend(
    loop: Loop[Any, Any], state: State[Any], n: int | Quota, *, rounds: int = 3
) -> None:
    """Assert that a loop is repeatable and resumable, and never changes its arguments.

    It runs from `state` twice, and once more resumed after the first round. It generates a batch
    and checks its length and indexing. If the rows come in turn, whatever the key, the generator
    must have a method `starting_at(row)` that goes on with them, see `Loop`. Models and batches may
    be of any type that Python can look into; where it cannot, a warning says so.

    loop: of the backend.
    state: where to begin.
    n: candidates of each round, or a quota.
    rounds: how many.

    >>> from veriloop import Loop, State
    >>> loop = Loop(
    ...     generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    ...     refit=lambda key, model, batch: batch.mean(),
    ... )
    >>> check_backend(loop, State(np.float64(0)), 10)

    Raises:
        AssertionError: naming the rule that is broken, and the part that broke it.
    """
    check_count("check_backend: rounds", rounds)
    key = Key(0).fold("check")
    generate = _made(loop.generate, key, state)
    _check_in_turn(loop, generate, key, state, n)
    sizes = [n] * (state.round + rounds)
    unseen: set[str] = set()
    before = fingerprint(state, unseen)
    straight = list(run(loop, key, state, sizes, debug=True))
    assert fingerprint(state) == before, (
        "a round changed the state it was given; build a new one in pool"
    )
    again = list(run(loop, key, state, sizes))
    _assert_same_run(again, straight, "the same key gives another run")
    last = next(later for later, record in straight if record.round == state.round + 1)
    done = [pair for pair in straight if pair[1].round <= last.round]
    rest = list(run(loop, key, last, sizes))
    _assert_same_run([*done, *rest], straight, "resuming changes the run")
    _check_batch(generate, key, state)
    if unseen:
        warnings.warn(
            f"check_backend cannot look into {', '.join(sorted(unseen))}: "
            "a change inside would not be noticed",
            stacklevel=2,
        )


def _assert_same_run(got: Rounds, wanted: Rounds, message: str) -> None:
    """Compare the records, and the last states."""
    for (_, one), (_, other) in zip(got, wanted, strict=True):
        np.testing.assert_equal(one.row(), other.row(), err_msg=f"{message}: round {other.round}")
    assert fingerprint(got[-1][0]) == fingerprint(wanted[-1][0]), (
        f"{message}: the last state differs"
    )


def _made(part: Part | EachRound[Part], key: Key, state: State[Any]) -> Part:
    """Return the part of a round."""
    if isinstance(part, EachRound):
        return part.make(key, state)
    return part


def _check_in_turn(
    loop: Loop[Any, Any],
    generate: Generate[Any, Any],
    key: Key,
    state: State[Any],
    n: int | Quota,
) -> None:
    """Check that rows that come in turn, whatever the key, go on from block to block."""
    rows = n.n * n.groups if isinstance(n, Quota) else n
    rows = max(min(rows, ROWS), 7)

    def begun(i: int, start: int = 0) -> First:
        moved = starting_at(generate, start)
        batch = moved(key.fold("in turn", i), state.model, rows - start)
        groups = None if loop.group is None else loop.group(batch)
        return first_rows(batch, groups)

    first = begun(-1)
    in_turns = [name for name in first if in_turn(first, name, begun)]
    if not in_turns:
        return
    name = in_turns[0]
    assert isinstance(generate, InTurn), (
        f"generate returns the same {name!r} under every key, so each block of a round "
        f"would begin again at the first row; {REMEDY}"
    )
    half = rows // 2
    for name in in_turns:
        later = begun(0, start=half)
        assert later[name] == first[name][half:], (
            f"generate.starting_at({half}) must go on with the round's row {half}, and does not in "
            f"{name!r}; see help(veriloop.Loop)"
        )


def _check_batch(generate: Generate[Any, Any], key: Key, state: State[Any]) -> None:
    """Check what every batch promises: a length, and rows picked by mask and by integers."""
    batch = generate(key, state.model, 7)
    assert len(batch) == 7, f"generate was asked for 7 rows and returned {len(batch)}"
    mask = np.arange(7) % 2 == 0
    by_mask = batch[mask]
    by_integers = batch[np.array([2, 0])]
    assert len(by_mask) == 4 and len(by_integers) == 2, (
        "a batch must be indexed by mask and by integers"
    )
    second = fingerprint(by_mask[np.array([1])])
    assert second == fingerprint(batch[np.array([2])]), "indexing by mask and by integers disagree"
    repeated = fingerprint(generate(key, state.model, 7))
    assert repeated == fingerprint(batch), "generate depends on more than its arguments"


def _scores(verify: Verifier, key: Key, batch: AnyBatch) -> Scores:
    return _verdict(verify, key, batch).scores


def _verdict(verify: Verifier, key: Key, batch: AnyBatch) -> Verdict:
    """Ask a verifier; what it returns must be numbers, or something that can be converted."""
    try:
        return Verdict.of(verify(key, batch), called(verify))
    except ValueError as error:
        raise AssertionError(str(error)) from error


def _named(verdict: Verdict) -> dict[str, Scores]:
    """Return all scores of a verdict, by what an error calls them."""
    named: dict[str, Scores] = {"": verdict.scores}
    for name, scores in verdict.parts.items():
        named[f", of part {name!r}"] = scores
    if verdict.oracle is not None:
        named[", of the oracle"] = verdict.oracle
    for name, scores in verdict.oracles.items():
        named[f", of the oracle of part {name!r}"] = scores
    return named


def _check_rowwise(
    filter: Callable[..., np.ndarray], key: Key, scores: np.ndarray, groups: np.ndarray
) -> None:
    """A filter that says `rowwise` keeps a row whatever the scores of the rows after it."""
    half = len(scores) // 2
    head = filter(key, scores[:half], groups[:half])
    whole = filter(key, scores, groups)
    np.testing.assert_array_equal(
        whole[:half], head, err_msg="rowwise = True, but other rows change the mask"
    )
