"""What the committed records hold, by corpora: the claims of docs/results/xsum.md can fail."""

import json

import numpy as np
import pytest
from helpers import RESULTS, interval, rows_of

from figures import xsum_rouge
from figures.style import select, values

pytestmark = pytest.mark.claims
FOLDERS = sorted(path.parent for path in RESULTS.glob("xsum_*/records.jsonl"))
GROWING = "growing by 0.1"
# Hours a start: these runs have fewer than three, and their page makes no claim of one alone.
LEAST = {"xsum_rouge-smollm2": 1, "xsum_rouge-smollm2-2": 2}


def at(rows, name, arm, k, rule="constant"):
    """A metric in round k (-1: the last), one value a corpus, the mean over its models."""
    rows = select(rows, rule=rule, filtering=arm)
    if k == -1:
        k = max(row["round"] for row in rows)
    found = []
    for corpus in values(rows, "seed"):
        found.append(np.mean([row[name] for row in select(rows, seed=corpus, round=k)]))
    return np.array(found)


def gained(rows, name, arm, k=-1, rule="constant"):
    """How far an arm has moved from round 0, corpus by corpus."""
    return at(rows, name, arm, k, rule) - at(rows, name, arm, 0, rule)


def apart(rows, name, one, other, k=-1, rule="constant"):
    """How far two arms are apart, corpus by corpus."""
    return at(rows, name, one, k, rule) - at(rows, name, other, k, rule)


def surely_above(samples):
    """The rounds in which the interval lies above zero."""
    return [k for k, sample in samples.items() if interval(sample)[0] > 0]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_what_a_run_prints_has_corpora_for_units(folder):
    """Ten starts of five corpora are five units: two models share a corpus."""
    rows = rows_of(folder)
    told = xsum_rouge.summarise(rows)
    committed = json.loads((folder / "run.json").read_text())["summary"]
    for rule in dict.fromkeys(row["rule"] for row in rows):
        moved = gained(rows, "rouge1", "filtered", rule=rule)
        if len(moved) < 2:
            continue
        what = f"{rule}, rouge1: filtered - round 0"
        error = np.std(moved, ddof=1) / np.sqrt(len(moved))
        assert told[what].value == pytest.approx(moved.mean())
        assert told[what].standard_error == pytest.approx(error)
        assert committed[what]["standard_error"] == pytest.approx(error)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_committed_run_is_finished_and_says_where_it_ran(folder):
    """At a clean commit, every arm to its last round, not on seed 0, with enough starts."""
    about = json.loads((folder / "run.json").read_text())
    rows = rows_of(folder)
    assert about["finished"] and about["commit"] and not about["dirty"]
    assert about["device"]["processor"] and about["versions"]["torch"]
    assert (folder / "figure.png").exists()
    config = about["config"]
    starts = config["replicates"] * len(config["bases"])
    least = LEAST.get(folder.name, 3)
    assert 0 not in values(rows, "seed") and starts >= least
    for arm in {row["arm"] for row in rows}:
        rounds = [row["round"] for row in select(rows, arm=arm)]
        assert rounds == list(range(config["rounds"] + 1))


@pytest.fixture(scope="module")
def evidence():
    rows = rows_of(RESULTS / "xsum_rouge")
    assert values(rows, "seed") == [11, 12, 13, 14, 15] and values(rows, "base") == [1, 2]
    assert max(row["round"] for row in rows) == 15
    return rows


@pytest.fixture(scope="module")
def growing():
    return rows_of(RESULTS / "xsum_rouge-growing")


def test_filtered_ends_above_unfiltered(evidence):
    """On the articles that are looked at between rounds, and on those that are not."""
    for name in ("rouge1", "test_rouge1"):
        assert interval(apart(evidence, name, "filtered", "unfiltered"))[0] > 0, name


def test_the_gain_turns_back(evidence):
    """Surely above round 0 in rounds 2 to 9 only; in round 15 below round 4."""
    samples = {k: gained(evidence, "rouge1", "filtered", k) for k in range(1, 16)}
    assert surely_above(samples) == list(range(2, 10))
    assert interval(samples[15] - samples[4])[1] < 0


def test_filtering_escapes_nothing_in_likelihood(evidence):
    """The references' perplexity rises under both, and no difference is shown."""
    for arm in ("filtered", "unfiltered"):
        assert interval(gained(evidence, "perplexity", arm))[0] > 10
    low, high = interval(apart(evidence, "perplexity", "filtered", "unfiltered"))
    assert low < 0 < high


def test_the_growing_rule_keeps_the_gain(evidence, growing):
    """Above round 0 and unfiltered in every round; above the constant rule in three."""
    gains = {k: gained(growing, "rouge1", "filtered", k, GROWING) for k in range(1, 16)}
    assert surely_above(gains) == list(gains)
    gaps = {k: apart(growing, "rouge1", "filtered", "unfiltered", k, GROWING) for k in gains}
    assert surely_above(gaps) == list(gaps)
    over_constant = {k: gains[k] - gained(evidence, "rouge1", "filtered", k) for k in gains}
    assert surely_above(over_constant) == [12, 14, 15]
    tested = apart(growing, "test_rouge1", "filtered", "unfiltered", rule=GROWING)
    assert interval(tested)[0] > 0


def test_with_half_real_pairs_the_gain_lasts_and_the_filter_adds_to_it(evidence):
    """Above round 0 and below its perplexity to the end; real pairs alone beat the filter alone."""
    rows = rows_of(RESULTS / "xsum_rouge-real")
    gains = {k: gained(rows, "rouge1", "filtered", k) for k in range(1, 16)}
    assert surely_above(gains) == list(gains)
    for arm in ("filtered", "unfiltered"):
        assert interval(gained(rows, "rouge1", arm))[0] > 0
        assert interval(gained(rows, "perplexity", arm))[1] < 0
    for name in ("rouge1", "test_rouge1"):
        assert interval(apart(rows, name, "filtered", "unfiltered"))[0] > 0
    alone = at(rows, "rouge1", "unfiltered", -1) - at(evidence, "rouge1", "filtered", -1)
    assert interval(alone)[0] > 0
    low, high = interval(at(rows, "rouge1", "filtered", 0) - at(evidence, "rouge1", "filtered", 0))
    assert low < 0 < high


def test_both_rules_start_from_the_same_models(evidence, growing):
    first = at(growing, "rouge1", "filtered", 0, GROWING)
    np.testing.assert_array_equal(first, at(evidence, "rouge1", "filtered", 0))


def test_the_best_of_every_kind_is_better_than_the_best_of_all(evidence):
    """On the same starts with as many kept: above the start, the other, and random ones."""
    rows = rows_of(RESULTS / "xsum_rouge-kinds")
    overall = select(evidence, base=1)
    first = at(rows, "rouge1", "filtered", 0)
    np.testing.assert_array_equal(first, at(overall, "rouge1", "filtered", 0))
    kept = [row["kept"] for row in select(rows, filtering="filtered")]
    ranked = [row["kept"] for row in select(overall, filtering="filtered")]
    assert abs(np.mean(kept) - np.mean(ranked)) <= 14 / 2  # half a row of each kind is rounded
    last = at(rows, "rouge1", "filtered", -1)
    for other in (
        first,
        at(overall, "rouge1", "filtered", -1),
        at(rows, "rouge1", "unfiltered", -1),
    ):
        assert interval(last - other)[0] > 0


def test_balance_and_ranking_of_kinds_are_not_told_apart(evidence):
    """Filtered gains over unfiltered as much within kinds as over all, by five corpora."""
    rows = rows_of(RESULTS / "xsum_rouge-kinds")
    within = apart(rows, "rouge1", "filtered", "unfiltered")
    over_all = apart(select(evidence, base=1), "rouge1", "filtered", "unfiltered")
    low, high = interval(within - over_all)
    assert low < 0 < high


def test_unfiltered_falls_below_round_0(evidence):
    assert interval(gained(evidence, "rouge1", "unfiltered"))[1] < 0


def test_wording_and_numbers_improve_and_variety_narrows(evidence):
    """Sentences come whole and numbers right; words and kinds are lost, fewer than unfiltered."""
    for name in ("wording", "number"):
        assert interval(gained(evidence, name, "filtered"))[0] > 0, name
    for name in ("types", "kinds", "perplexity_own"):
        assert interval(gained(evidence, name, "filtered"))[1] < 0, name
        assert interval(apart(evidence, name, "filtered", "unfiltered"))[0] > 0, name


def test_the_models_disagree_on_kinds_and_rouge(evidence):
    """The correlation of their changes is weak in one model and strong in the other."""
    found = []
    for base in (1, 2):
        rows = select(evidence, base=base)
        changes = [gained(rows, name, "filtered") for name in ("rouge1", "kinds")]
        found.append(np.corrcoef(changes)[0, 1])
    assert found[0] < 0.5 and found[1] > 0.9


def test_a_noisy_verifier_helps_less_and_a_biased_one_takes_the_model_along():
    """Noisy ends between clean and none; pay for brevity shortens, and loses ROUGE and events."""
    rows = rows_of(RESULTS / "xsum_rouge-verifiers")
    rows += rows_of(RESULTS / "xsum_rouge-verifiers-2")
    assert values(rows, "base") == [1, 2]
    for better, worse in (("filtered", "noisy"), ("noisy", "unfiltered"), ("filtered", "brief")):
        assert interval(apart(rows, "rouge1", better, worse))[0] > 0, (better, worse)
    for name in ("rouge1", "event", "words"):
        assert interval(gained(rows, name, "brief"))[1] < 0, name


def test_filtered_ends_above_unfiltered_when_ever_more_is_kept():
    """At laptop scale."""
    rows = rows_of(RESULTS / "xsum_rouge-laptop")
    assert interval(apart(rows, "rouge1", "filtered", "unfiltered", rule=GROWING))[0] > 0
