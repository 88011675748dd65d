"""The checks that any verifier, filter or backend must pass, ours or yours: call them in your own tests."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from veriloop.core import Key, Loop, Quota, State, Verdict, run
from veriloop.core.verdict import rowwise as says_rowwise


def check_verifier(
    verify: Callable[[Key, Any], Any], batch: Any, *, stochastic: bool = False, rowwise: bool = True
) -> None:
    """Assert what the loop relies on: one real number a row, repeatable, and blind to the other rows.

    stochastic: the scores depend on the key, so picking rows may change them; only repeatability is asked.
    rowwise: pass False for a verifier that selects rows together, and says so itself by `rowwise = False`.

    >>> check_verifier(lambda key, batch: -abs(batch), np.arange(6.0))

    Raises:
        AssertionError: naming the rule that is broken.
    """
    assert says_rowwise(verify) == rowwise, (
        "the verifier says that its scores depend on other rows; pass rowwise=False if they may"
        if rowwise
        else "the verifier does not say rowwise = False, so the loop would let it judge a round in blocks"
    )
    key, n = Key(0).fold("check"), len(batch)
    answer = _named(verify(key, batch))
    for what, scores in answer.items():
        assert scores.shape == (n,), f"expected one score a row, shape ({n},), got {scores.shape}{what}"
        assert scores.dtype.kind in "fiu", (
            f"scores must be numbers, got dtype {scores.dtype}{what}; a score of 0 or more accepts, and False is 0"
        )
        assert not np.isinf(scores).any(), (
            f"a score is infinite{what}; return NaN for no verdict, or a large finite number"
        )
    scores = answer[""]
    np.testing.assert_array_equal(_scores(verify, key, batch), scores, err_msg="same key, other scores")
    if stochastic:
        return
    np.testing.assert_array_equal(_scores(verify, key.fold(1), batch), scores, err_msg="the key changes the scores")
    if not rowwise:
        return
    odd = np.arange(n) % 2 == 1
    for rows, what in ((odd, "other rows"), (np.arange(n)[::-1], "the order of rows")):
        part = _scores(verify, key, batch[rows])
        np.testing.assert_allclose(part, scores[rows], rtol=1e-5, err_msg=f"a score depends on {what}")


def check_filter(
    filter: Callable[..., np.ndarray], scores: np.ndarray | None = None, groups: np.ndarray | None = None
) -> None:
    """Assert what the loop relies on: a repeatable boolean mask that keeps no NaN and treats groups apart.

    scores: shape (n,), an example the filter accepts; default: 60 values in (0, 1), a tie and two NaN among them.
    groups: their groups, two or more, for a filter that knows its own; default: one group, then 0, 1, 2 in turn.

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
    key, n = Key(0), len(scores)
    before = scores.copy()
    examples = [np.zeros(n, dtype=int), np.arange(n) % 3] if groups is None else [np.asarray(groups)]
    for groups in examples:
        mask = np.asarray(filter(key, scores, groups))
        assert mask.shape == (n,), f"expected a mask of shape ({n},), got {mask.shape}"
        assert mask.dtype == bool, f"expected a boolean mask, got dtype {mask.dtype}"
        assert not mask[np.isnan(scores)].any(), "a row without a verdict (NaN) is kept"
        np.testing.assert_array_equal(filter(key, scores, groups), mask, err_msg="same key, other mask")
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


def check_backend(loop: Loop, state: State, n: int | Quota, *, rounds: int = 3) -> None:
    """Assert that a loop is a backend to build on: repeatable, resumable, and never changing its arguments.

    Runs `rounds` rounds of `n` from `state` twice, and once more resumed after the first round; generates a batch
    and checks its length, indexing and score; copies the model and compares it after a refit.

    Raises:
        AssertionError: naming the rule that is broken.
    """
    key, sizes = Key(0).fold("check"), [n] * rounds
    before = copy.deepcopy(state)
    straight = list(run(loop, key, state, sizes))
    _assert_same(state, before, "a round changed the state it was given")
    again = list(run(loop, key, state, sizes))
    rest = list(run(loop, key, straight[0][0], sizes))
    for got, what in ((again, "the same key gives another run"), (straight[:1] + rest, "resuming changes the run")):
        _assert_same([record for _, record in got], [record for _, record in straight], what)
        _assert_same(got[-1][0], straight[-1][0], what)
    batch = loop.generate(key, state.model, 7)
    assert len(batch) == 7, f"generate was asked for 7 rows and returned {len(batch)}"
    mask = np.arange(7) % 2 == 0
    assert len(batch[mask]) == 4 and len(batch[np.array([2, 0])]) == 2, (
        "a batch must be indexed by mask and integers"
    )
    _assert_same(batch[mask][np.array([1])], batch[np.array([2])], "indexing by mask and by integers disagree")
    _assert_same(loop.generate(key, state.model, 7), batch, "generate depends on more than its arguments")


def _scores(verify: Callable[[Key, Any], Any], key: Key, batch: Any) -> np.ndarray:
    scores = verify(key, batch)
    return scores.scores if isinstance(scores, Verdict) else np.asarray(scores)


def _named(verdict: Any) -> dict[str, np.ndarray]:
    """All scores that an answer holds, by what to say of them in an error."""
    if not isinstance(verdict, Verdict):
        return {"": np.asarray(verdict)}
    oracles = {f", of the oracle of part {name!r}": scores for name, scores in verdict.oracles.items()}
    parts = {f", of part {name!r}": scores for name, scores in verdict.parts.items()}
    oracle = {} if verdict.oracle is None else {", of the oracle": verdict.oracle}
    return {"": verdict.scores, **parts, **oracle, **oracles}


def _check_rowwise(filter: Callable[..., np.ndarray], key: Key, scores: np.ndarray, groups: np.ndarray) -> None:
    """A filter that says `rowwise` keeps a row whatever the scores of the rows after it."""
    half = len(scores) // 2
    head = filter(key, scores[:half], groups[:half])
    whole = filter(key, scores, groups)
    np.testing.assert_array_equal(whole[:half], head, err_msg="rowwise = True, but other rows change the mask")


def _assert_same(got: Any, wanted: Any, message: str) -> None:
    """Compare nested states, records and arrays exactly."""
    np.testing.assert_equal(_parts(got), _parts(wanted), err_msg=message)


def _parts(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_parts(item) for item in value]
    if isinstance(value, dict):
        return {key: _parts(item) for key, item in value.items()}
    if hasattr(value, "state_dict"):  # a torch module, known by its weights
        return {key: _array(item) for key, item in value.state_dict().items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _parts(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def _array(value: Any) -> np.ndarray:
    """Bring a tensor of any device and precision, bfloat16 among them, to NumPy."""
    return np.asarray(value.detach().cpu().double() if hasattr(value, "detach") else value)
