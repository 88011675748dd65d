"""The code of docs/trackers.md, with a tracker that is made up: each round once, and plain numbers."""

import re
from pathlib import Path

import pytest

import veriloop as vl
from veriloop import Key, Loop, RunDir, State

PAGE = Path(__file__).parents[1] / "docs" / "trackers.md"
LOOP = Loop(
    generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    refit=lambda key, model, batch: float(batch.mean()),
    measure=lambda key, model: {"mean": model, "unknown": float("nan")},
)


class Tracker:
    """What accelerate's trackers have in common."""

    def __init__(self):
        self.logged = {}

    def log(self, values, step):
        self.logged[step] = values


@pytest.fixture(scope="module")
def code():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec("\n".join(blocks), names)
    return names


def test_each_round_is_logged_with_its_numbers(code):
    tracker = Tracker()
    rounds = vl.run(LOOP, Key(0), State(0.0), [5, 6])
    states = [state for state, _ in code["tracked"](rounds, tracker)]
    assert list(tracker.logged) == [0, 1, 2] and len(states) == 3
    assert tracker.logged[2]["mean"] == states[2].model and tracker.logged[2]["candidates"] == 6
    assert "unknown" not in tracker.logged[2]


def test_a_run_that_goes_on_logs_the_rounds_before_it_too(code, tmp_path):
    list(RunDir(tmp_path).run(LOOP, Key(0), State(0.0), [5]))
    tracker = Tracker()
    list(code["tracked"](RunDir(tmp_path).run(LOOP, Key(0), State(0.0), [5, 6]), tracker))
    assert list(tracker.logged) == [0, 1, 2]


def test_the_records_of_a_study_are_logged_by_arm_and_seed(code):
    study = vl.Study(arms={"a": LOOP}, start=lambda key: State(0.0), sizes=[5], seeds=[3, 4])
    trackers = {}

    def tracker_of(arm, seed):
        return trackers.setdefault((arm, seed), Tracker())

    code["track_records"](study.run(), tracker_of)
    assert set(trackers) == {("a", 3), ("a", 4)}
    assert list(trackers["a", 3].logged) == [0, 1] and "mean" in trackers["a", 3].logged[1]
