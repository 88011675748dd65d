"""What the committed records of summaries show, as intervals over starts: the claims of docs/results/xsum.md."""

import json

import numpy as np
import pytest
from helpers import RESULTS, interval, rows_of

from figures.style import select, values

pytestmark = pytest.mark.claims
FOLDERS = sorted(path.parent for path in RESULTS.glob("xsum_*/records.jsonl"))


def paired(rows, name, filtering, k, rule="constant"):
    """A metric at round k (-1: the last), start by start."""
    rows = select(rows, rule=rule, filtering=filtering)
    if k == -1:
        k = max(row["round"] for row in rows)
    starts = dict.fromkeys((row["base"], row["seed"]) for row in rows)
    return np.array([select(rows, base=base, seed=seed, round=k)[0][name] for base, seed in starts])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_committed_run_is_finished_and_says_where_it_ran(folder):
    """At a clean commit, with at least three starts, every arm to its last round, without the seed of tuning."""
    about, rows = json.loads((folder / "run.json").read_text()), rows_of(folder)
    assert about["finished"] and about["commit"] and not about["dirty"]
    assert (
        about["device"]["processor"]
        and about["versions"]["torch"]
        and (folder / "figure.png").exists()
    )
    config = about["config"]
    assert 0 not in values(rows, "seed") and config["replicates"] * len(config["bases"]) >= 3
    for arm in {row["arm"] for row in rows}:
        assert [row["round"] for row in select(rows, arm=arm)] == list(range(config["rounds"] + 1))


@pytest.fixture(scope="module")
def evidence():
    rows = rows_of(RESULTS / "xsum_rouge")
    assert values(rows, "seed") == [11, 12, 13, 14, 15] and values(rows, "base") == [1, 2]
    assert max(row["round"] for row in rows) == 15
    return rows


def test_filtered_ends_above_unfiltered(evidence):
    """On the articles that are looked at between rounds, and on those that are not."""
    for name in ("rouge1", "test_rouge1"):
        filtered, unfiltered = (
            paired(evidence, name, arm, -1) for arm in ("filtered", "unfiltered")
        )
        assert interval(filtered - unfiltered)[0] > 0, name


def test_the_gain_is_there_from_the_first_round_and_turns_back(evidence):
    """Above round 0 from round 1 to 11; in round 15 lower than half way, and no longer surely above round 0."""
    first = paired(evidence, "rouge1", "filtered", 0)
    for k in range(1, 12):
        assert interval(paired(evidence, "rouge1", "filtered", k) - first)[0] > 0, k
    last = paired(evidence, "rouge1", "filtered", 15)
    assert interval(last - paired(evidence, "rouge1", "filtered", 8))[1] < 0
    assert interval(last - first)[0] < 0 < interval(last - first)[1]


def test_under_the_growing_rule_filtered_stays_above_round_0_and_above_unfiltered(evidence):
    """In every round; in the last also above the constant rule, from the same ten starts."""
    rows, rule = rows_of(RESULTS / "xsum_rouge-growing"), "growing by 0.1"
    first = paired(rows, "rouge1", "filtered", 0, rule)
    np.testing.assert_array_equal(first, paired(evidence, "rouge1", "filtered", 0))
    for k in range(1, 16):
        filtered, unfiltered = (
            paired(rows, "rouge1", arm, k, rule) for arm in ("filtered", "unfiltered")
        )
        assert interval(filtered - first)[0] > 0 and interval(filtered - unfiltered)[0] > 0, k
    last = paired(rows, "rouge1", "filtered", 15, rule)
    assert interval(last - paired(evidence, "rouge1", "filtered", 15))[0] > 0
    tested = [paired(rows, "test_rouge1", arm, -1, rule) for arm in ("filtered", "unfiltered")]
    assert interval(tested[0] - tested[1])[0] > 0
    for name in ("event", "number", "wording"):
        assert (
            interval(
                paired(rows, name, "filtered", -1, rule) - paired(rows, name, "filtered", 0, rule)
            )[0]
            > 0
        )


def test_the_best_of_every_kind_is_better_than_the_best_of_all(evidence):
    """From the same starts, as many kept: above the start and the other, and not surely lower than in round 4."""
    rows = rows_of(RESULTS / "xsum_rouge-kinds")
    overall = select(evidence, base=1)
    first, last = (paired(rows, "rouge1", "filtered", k) for k in (0, 15))
    np.testing.assert_array_equal(first, paired(overall, "rouge1", "filtered", 0))
    kept = [
        [row["kept"] for row in select(which, filtering="filtered")] for which in (rows, overall)
    ]
    assert (
        abs(np.mean(kept[0]) - np.mean(kept[1])) <= 14 / 2
    )  # half a row of each of 14 kinds is rounded
    assert interval(last - first)[0] > 0
    assert interval(last - paired(overall, "rouge1", "filtered", 15))[0] > 0
    assert interval(last - paired(rows, "rouge1", "unfiltered", 15))[0] > 0
    assert interval(last - paired(rows, "rouge1", "filtered", 4))[1] > 0


def test_unfiltered_falls_below_round_0(evidence):
    change = paired(evidence, "rouge1", "unfiltered", -1) - paired(
        evidence, "rouge1", "unfiltered", 0
    )
    assert interval(change)[1] < 0


def test_wording_and_numbers_improve_and_variety_narrows(evidence):
    """Sentences come whole and numbers right; words and kinds of event are lost, fewer than without a filter."""
    for name in ("wording", "number"):
        change = paired(evidence, name, "filtered", -1) - paired(evidence, name, "filtered", 0)
        assert interval(change)[0] > 0, name
    for name in ("types", "kinds", "perplexity_own"):
        filtered, unfiltered = (
            paired(evidence, name, arm, -1) for arm in ("filtered", "unfiltered")
        )
        assert interval(filtered - paired(evidence, name, "filtered", 0))[1] < 0, name
        assert interval(filtered - unfiltered)[0] > 0, name


def test_the_starts_that_forget_kinds_are_those_that_lose(evidence):
    """Correlation over starts, by Fisher's interval."""
    changes = [
        paired(evidence, name, "filtered", -1) - paired(evidence, name, "filtered", 0)
        for name in ("rouge1", "kinds")
    ]
    correlation = np.corrcoef(changes)[0, 1]
    assert np.tanh(np.arctanh(correlation) - 1.96 / np.sqrt(len(changes[0]) - 3)) > 0


def test_a_noisy_verifier_helps_less_and_a_biased_one_takes_the_model_along():
    """Noisy ends between clean and none; what pays for brevity shortens summaries, and loses ROUGE and events."""
    rows = [
        row
        for name in ("verifiers", "verifiers-2")
        for row in rows_of(RESULTS / f"xsum_rouge-{name}")
    ]
    assert values(rows, "base") == [1, 2]
    last = {
        arm: paired(rows, "rouge1", arm, -1) for arm in ("filtered", "noisy", "brief", "unfiltered")
    }
    assert len(last["noisy"]) == 10
    assert interval(last["filtered"] - last["noisy"])[0] > 0
    assert interval(last["noisy"] - last["unfiltered"])[0] > 0
    assert interval(last["filtered"] - last["brief"])[0] > 0
    for name in ("rouge1", "event", "words"):
        assert interval(paired(rows, name, "brief", -1) - paired(rows, name, "brief", 0))[1] < 0, (
            name
        )


def test_filtered_ends_above_unfiltered_when_ever_more_is_kept():
    """At laptop scale."""
    rows = rows_of(RESULTS / "xsum_rouge-laptop")
    arms = (
        paired(rows, "rouge1", arm, -1, rule="growing by 0.1") for arm in ("filtered", "unfiltered")
    )
    filtered, unfiltered = arms
    assert interval(filtered - unfiltered)[0] > 0
