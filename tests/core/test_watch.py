"""Under debug, a part that changes what it was given is named; one that does not, changes nothing."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from veriloop import EachRound, Key, Loop, State, Threshold, run
from veriloop.core.watch import watched

BASE = Loop(
    generate=lambda key, model, n: model + key.numpy().standard_normal((n, 2)),
    verify=lambda key, batch: 2.0 - abs(batch[:, 0]),
    filter=Threshold(),
    refit=lambda key, model, batch: batch.mean(axis=0),
    measure=lambda key, model: {"size": float(abs(model).sum())},
    observe=lambda key, batch, scores, mask: {"highest": float(scores.max())},
    group=lambda batch: np.zeros(len(batch), dtype=int),
    pool=lambda key, past, kept: (kept, ()),
    assess=lambda key, model, verify: {"verifiers": 1.0},
)
START = State(np.zeros(2))


def changing(*, answer, place):
    """A part that adds 1 in place to one of its arguments."""

    def part(*arguments):
        arguments[place][...] += 1
        return answer(*arguments)

    return part


def of(name, place):
    return changing(answer=getattr(BASE, name), place=place)


CHANGES = {
    "generate": (
        lambda key, model, n: of("generate", 1)(key, model, n),
        "generate changed the model",
    ),
    "verify": (lambda key, batch: of("verify", 1)(key, batch), "verify changed the batch"),
    "filter": (
        lambda key, scores, groups: of("filter", 1)(key, scores, groups),
        "filter changed the scores",
    ),
    "refit": (
        lambda key, model, batch: of("refit", 2)(key, model, batch),
        "refit changed the batch",
    ),
    "measure": (lambda key, model: of("measure", 1)(key, model), "measure changed the model"),
    "observe": (
        lambda key, batch, scores, mask: of("observe", 2)(key, batch, scores, mask),
        "observe changed the scores",
    ),
    "group": (lambda batch: of("group", 0)(batch), "group changed the batch"),
    "pool": (lambda key, past, kept: of("pool", 2)(key, past, kept), "pool changed the kept"),
    "assess": (
        lambda key, model, verify: of("assess", 1)(key, model, verify),
        "assess changed the model",
    ),
}


def records(loop, **options):
    start = State(START.model.copy())
    return [record.row() for _, record in run(loop, Key(0), start, [20, 20], **options)]


@pytest.mark.parametrize("name", CHANGES)
def test_a_part_that_changes_what_it_was_given_is_named_under_debug_alone(name):
    part, message = CHANGES[name]
    loop = replace(BASE, **{name: part})
    records(loop)
    with pytest.raises(AssertionError, match=message):
        records(loop, debug=True)


@pytest.mark.parametrize("chunk", [None, 7])
def test_debug_changes_no_number(chunk):
    loop = replace(BASE, chunk=chunk)
    assert records(loop, debug=True) == records(loop)


def test_an_each_round_is_watched_as_it_makes_and_as_it_judges():
    def make(key, state):
        return CHANGES["verify"][0]

    with pytest.raises(AssertionError, match="verify changed the batch"):
        records(replace(BASE, verify=EachRound(make)), debug=True)

    def spoil(key, state):
        state.model[...] += 1
        return BASE.verify

    with pytest.raises(AssertionError, match="EachRound of verify changed the state"):
        records(replace(BASE, verify=EachRound(spoil)), debug=True)


@dataclass(frozen=True)
class InTurn:
    """Rows that come in turn, and a trap in the second block."""

    spoils: bool = False
    first: int = 0

    def starting_at(self, row):
        return replace(self, first=row)

    def __call__(self, key, model, n):
        if self.spoils and self.first:
            model[...] += 1
        return self.first + np.arange(n) + model[0]


@pytest.mark.parametrize("spoils", [False, True])
def test_a_generator_in_turn_is_watched_in_every_block(spoils):
    loop = Loop(
        generate=InTurn(spoils),
        refit=lambda key, model, batch: model + len(np.unique(batch)),
        block=4,
    )
    if spoils:
        with pytest.raises(AssertionError, match="generate changed the model"):
            records(loop, debug=True)
    else:
        assert records(loop, debug=True) == records(loop)


def test_a_watched_part_has_the_attributes_of_the_part():
    assert watched(BASE).filter.rowwise is True
    assert "_part" in vars(watched(BASE).filter) and not hasattr(watched(BASE).filter, "_other")
