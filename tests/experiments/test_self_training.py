"""Self-training on sums: every verifier and refit runs, arms of a seed share their start, pass@k is told at the ends."""

import pytest
from helpers import settings

ALL = settings("replicates=1", "refits=[continued, base]", "verifiers=[majority, unverified]")
ALL += settings("agreement=0.125")  # an untrained model agrees with itself by chance alone


@pytest.fixture(scope="module")
def rows(smoke):
    return smoke("self_training").rows


def of(rows, **wanted):
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_arms_of_a_seed_share_their_start(rows):
    """And their candidates in round 1, of which the noisy arm keeps some of each kind."""
    for seed in (0, 1):
        first, other = of(rows, seed=seed, round=0)
        assert {**first, "arm": 0, "verifier": 0} == {**other, "arm": 0, "verifier": 0}
        one, two = of(rows, seed=seed, round=1)
        assert one["candidates_exact"] == two["candidates_exact"]
    assert rows[0] != of(rows, seed=1)[0]


def test_no_more_than_so_many_of_a_sum_are_kept(rows):
    """Without a verifier exactly so many are; the noisy verifier's errors are told."""
    for row in of(rows, round=1, verifier="unverified"):
        assert (row["candidates"], row["kept"], row["kept_inputs"]) == (24 * 8, 24 * 2, 24)
    for row in of(rows, round=1, verifier="noisy"):
        assert 0 < row["kept"] <= 2 * row["kept_inputs"] and 0 < row["false_accept"] < 0.5


def test_pass_at_k_is_told_of_the_first_and_the_last_model(rows):
    """It never falls with k, on sums held out and on those trained on."""
    for row in rows:
        for name in ("held", "train"):
            passed = [row[f"{name}_pass@{k}"] for k in (1, 2, 4)]
            assert passed == sorted(passed) and 0 <= passed[0] and passed[-1] <= 1
            assert 1 <= row[f"{name}_answers"] <= 4


@pytest.mark.slow
def test_every_other_arm_runs(here):
    """A majority, and every round fitted from the base; prompts fit, and say so."""
    run = here("self_training", *ALL)
    arms = {row["arm"] for row in run.rows}
    ways = ("continued", "base")
    assert arms == {f"{each}-{way}" for each in ("majority", "unverified") for way in ways}
    later = of(run.rows, round=1)
    assert all(row["prompts_cut"] == 0 for row in later)
    continued, base = of(later, verifier="unverified")
    assert continued["candidates_exact"] == base["candidates_exact"]
    assert continued["perplexity"] != base["perplexity"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("fit.warmup=1", "fit.warmup: got 1, must be less than 1"),
        ("fit.clip=-1", "fit.clip: got -1, must be greater than 0"),
        ("pretraining.hidden=12", "pretraining.hidden: got 12, must be a multiple of 8"),
        ("pretraining.vocabulary=2", "pretraining.vocabulary: got 2, must be greater than"),
    ],
)
def test_a_fit_that_cannot_be_is_refused_before_any_work(setting, message, here):
    run = here("self_training", *settings(setting))
    assert run.code == 2 and message in run.stderr and run.stderr.count("\n") == 1, run.stderr
    assert not run.out.exists()


def test_more_sums_than_there_are_are_refused(here):
    run = here("self_training", *settings("train=2900"))
    assert run.code == 2 and "train: got 2940 sums" in run.stderr
    run = here("self_training", *settings("tried=9"))
    assert run.code == 2 and "tried: got 9, must be at most 8" in run.stderr
