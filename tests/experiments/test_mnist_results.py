"""What the committed digit records show, as intervals over seeds: the claims of docs/results/mnist.md can fail."""

import json
from itertools import pairwise

import numpy as np
import pytest
from helpers import RESULTS, interval, rows_of

from figures._seeds import ends
from figures.style import select, values

pytestmark = pytest.mark.claims
REVIEWED = (
    "evolving_verifier",
    "policies_vae",
    "same_data_verifier",
)  # tested as soon as there are records
FOLDERS = sorted(
    path.parent
    for name in ("mnist_*", *(f"{each}*" for each in REVIEWED))
    for path in RESULTS.glob(f"{name}/records.jsonl")
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_a_committed_run_is_finished_and_says_where_it_ran(folder):
    """On real MNIST, at a clean commit, with at least three seeds, every arm and seed to its last round."""
    about, rows = json.loads((folder / "run.json").read_text()), rows_of(folder)
    assert about["finished"] and about["commit"] and not about["dirty"]
    assert (
        about["config"]["data"] == "mnist"
        and about["device"]["processor"]
        and about["versions"]["torch"]
    )
    assert (folder / "figure.png").exists()
    seeds = values(rows, "seed")
    assert len(seeds) == about["config"]["replicates"] >= 3 and 0 not in seeds
    for arm in {row["arm"] for row in rows}:
        rounds = {
            seed: [row["round"] for row in select(rows, arm=arm, seed=seed)] for seed in seeds
        }
        assert len({tuple(each) for each in rounds.values()}) == 1, arm
        assert rounds[seeds[0]] == list(range(len(rounds[seeds[0]])))


@pytest.mark.parametrize("name", ["mnist_schedules", "mnist_schedules-laptop"])
def test_verified_improves_on_round_0_and_unverified_degrades(name):
    """By distance and by label agreement at the last round; the gain in NELBO is against the unverified arm."""
    rows = rows_of(RESULTS / name)
    for metric, better in (("mnist_fid", -1), ("agreement", 1)):
        first, last = ends(rows, metric, size="20k", verified=True)
        assert interval(better * (last - first))[0] > 0, metric
        first, last = ends(rows, metric, size="20k", verified=False)
        assert interval(better * (last - first))[1] < 0, metric
    last = max(row["round"] for row in rows)
    for metric, k, better in (
        ("nelbo", 1, -1),
        ("nelbo", last, -1),
        ("mnist_fid", 1, -1),
        ("mnist_fid", last, -1),
        ("diversity", last, 1),
    ):
        arms = [
            [
                select(rows, size="20k", verified=kind, round=k, seed=seed)[0][metric]
                for seed in values(rows, "seed")
            ]
            for kind in (True, False)
        ]
        assert (
            interval([better * (one - other) for one, other in zip(*arms, strict=True)])[0] > 0
        ), (metric, k)


def test_the_evidence_has_ten_seeds_and_ten_rounds():
    rows = rows_of(RESULTS / "mnist_schedules")
    assert values(rows, "seed") == list(range(11, 21)) and max(row["round"] for row in rows) == 10


def test_nelbo_turns_back_after_its_first_gain():
    """Verified: below its start after round 1, and from there up to round 10."""
    rows = rows_of(RESULTS / "mnist_schedules")
    nelbo = np.array(
        [[row["nelbo"] for row in select(rows, verified=True, seed=seed)] for seed in range(11, 21)]
    )
    assert nelbo.shape == (10, 11)
    assert interval(nelbo[:, 1] - nelbo[:, 0])[1] < 0 < interval(nelbo[:, 10] - nelbo[:, 1])[0]


def test_a_short_refit_loses_more_than_a_verifier_gives():
    """500 steps lose to round 0 even on real images; verified beats unverified, but for conv's shortest refit."""
    rows = rows_of(RESULTS / "mnist_refit_length")
    for model in ("conv", "mlp"):
        first, _ = ends(rows, "mnist_fid", model=model, steps=500, verified=True)
        real, _ = ends(rows, "mnist_fid", model=model, steps=500, verified=None)
        assert interval(real - first)[0] > 0, model
        for steps in (500, 1500, 4000):
            arms = (
                ends(rows, "mnist_fid", model=model, steps=steps, verified=kind)[1]
                for kind in (True, False)
            )
            verified, unverified = arms
            assert (interval(verified - unverified)[1] < 0) == ((model, steps) != ("conv", 500)), (
                model,
                steps,
            )


def recorded(name):
    """Give a test every committed run of an experiment; none so far skips it."""
    folders = [folder for folder in FOLDERS if folder.name in (name, f"{name}-laptop")]
    return pytest.mark.parametrize("folder", folders, ids=[folder.name for folder in folders])


def change(folder, metric, **arm):
    """From round 0 (or `start`) to the last round, seed by seed."""
    first, last = ends(rows_of(folder), metric, **arm)
    return last - first


def gap(rows, metric, one, other):
    """How far one arm ends from another, seed by seed."""
    last = max(row["round"] for row in rows)  # not every metric is there at the start
    return ends(rows, metric, start=last, **one)[1] - ends(rows, metric, start=last, **other)[1]


def test_the_more_the_verifier_knows_the_better_the_end():
    """In agreement and NELBO; one that knows 2,000 images makes agreement rise."""
    by_size = {
        size: {
            name: change(RESULTS / "mnist_verifier_size-laptop", name, verifier_size=size)
            for name in ("agreement", "nelbo")
        }
        for size in ("initial", 2000, 20000)
    }
    for less, more in (("initial", 2000), (2000, 20000)):
        assert interval(by_size[more]["agreement"] - by_size[less]["agreement"])[0] > 0
    assert interval(by_size[20000]["nelbo"] - by_size[2000]["nelbo"])[1] < 0
    assert interval(by_size[2000]["agreement"])[0] > 0


def test_a_verifier_needs_to_know_enough_and_then_no_more():
    """NELBO ends lower up to 20,000 images; agreement rises from 5,000 on, and falls at 500."""
    folder = RESULTS / "mnist_verifier_size"
    rows, sizes = rows_of(folder), ("initial", 1000, 5000, 20000, 60000)
    for less, more in pairwise(sizes[:-1]):
        assert (
            interval(gap(rows, "nelbo", {"verifier_size": more}, {"verifier_size": less}))[1] < 0
        ), more
    low, high = interval(gap(rows, "nelbo", {"verifier_size": 60000}, {"verifier_size": 20000}))
    assert low < 0 < high
    for size in sizes[2:]:
        assert interval(change(folder, "agreement", verifier_size=size))[0] > 0, size
    assert interval(change(folder, "agreement", verifier_size="initial"))[1] < 0
    for size in sizes:
        beaten(rows, {"verifier_size": size}, {"verifier_size": None})
        assert (
            interval(gap(rows, "nelbo", {"verifier_size": size}, {"verifier_size": None}))[1] < 0
        ), size


def test_a_better_start_has_less_to_gain():
    """NELBO: two rounds gain on a model of 1,000 images and lose on one of 4,000; unverified loses on both."""
    small, large = (
        change(RESULTS / "mnist_initial_size-laptop", "nelbo", initial=size, verified=True)
        for size in (1000, 4000)
    )
    assert interval(small)[1] < 0 < interval(large)[0]
    for size in (1000, 4000):
        assert (
            interval(
                change(RESULTS / "mnist_initial_size-laptop", "nelbo", initial=size, verified=False)
            )[0]
            > 0
        )


def test_verifying_helps_from_every_start_and_starts_draw_together_in_nelbo():
    """Whatever the first model was fitted to; and the more images it had, the more NELBO it loses."""
    folder = RESULTS / "mnist_initial_size"
    rows, sizes = rows_of(folder), (1000, 2000, 3000, 4000, 60000)
    for size in sizes:
        one, other = {"initial": size, "verified": True}, {"initial": size, "verified": False}
        beaten(rows, one, other)
        assert interval(gap(rows, "nelbo", one, other))[1] < 0, size
        assert interval(change(folder, "agreement", **one))[0] > 0, size
    for verified in (True, False):
        few, all_of_them = ({"initial": size, "verified": verified} for size in (1000, 60000))
        at_first = gap(select(rows, round=0), "nelbo", few, all_of_them)
        assert interval(at_first - gap(rows, "nelbo", few, all_of_them))[0] > 0
        assert (
            interval(change(folder, "nelbo", **few) - change(folder, "nelbo", **all_of_them))[1] < 0
        )


@recorded("mnist_elbo")
def test_verified_nelbo_falls_and_unverified_rises_as_more_is_kept(folder):
    for metric in ("nelbo", "reconstruction", "mnist_fid"):
        assert interval(change(folder, metric, verified=True))[1] < 0, metric
        assert interval(change(folder, metric, verified=False))[0] > 0, metric


def test_nelbo_ends_below_its_first_round_while_the_sizes_grow():
    """Under a constant size it has turned back since then."""
    rows = select(rows_of(RESULTS / "mnist_elbo"), verified=True)
    nelbo = np.array([[row["nelbo"] for row in select(rows, seed=seed)] for seed in range(11, 16)])
    assert nelbo.shape == (5, 11)
    assert interval(nelbo[:, 10] - nelbo[:, 1])[1] < 0


@recorded("mnist_fixed_verifier")
def test_a_verifier_trained_once_is_overtaken(folder):
    """The generator learns what it overlooks: its accuracy falls, and label agreement with it or from the start."""
    rows = rows_of(folder)
    for way in ("once", "on many"):
        first, last = ends(rows, "verifier_accuracy", start=1, trained=way)
        assert interval(last - first)[1] < 0, way
        assert (
            interval(gap(rows, "agreement", {"trained": "each round"}, {"trained": way}))[0] > 0
        ), way


def test_a_verifier_trained_once_ends_worse_than_none():
    """It helps in round 1; after five, NELBO is higher than unverified, and it is right less often than a coin."""
    rows = rows_of(RESULTS / "mnist_fixed_verifier")
    unverified = {"trained": None}
    for way in ("once", "on many"):
        for metric, better in (("mnist_fid", -1), ("agreement", 1), ("nelbo", -1)):
            assert (
                interval(better * gap(select(rows, round=1), metric, {"trained": way}, unverified))[
                    0
                ]
                > 0
            )
        assert interval(gap(rows, "nelbo", {"trained": way}, unverified))[0] > 0
        assert interval(ends(rows, "verifier_accuracy", start=5, trained=way)[1])[1] < 0.5
    assert interval(gap(rows, "mnist_fid", {"trained": "once"}, unverified))[0] > 0


def beaten(rows, one, other):
    """Assert that one arm ends with less MNIST-FID and more label agreement than another."""
    assert interval(gap(rows, "mnist_fid", one, other))[1] < 0, one
    assert interval(gap(rows, "agreement", one, other))[0] > 0, one


@recorded("policies_vae")
def test_accumulating_slows_the_unverified_decline(folder):
    """Replaced, every seed declines; accumulated, subsampled or mixed with real images, it ends less far away."""
    rows = rows_of(folder)
    for metric, worse in (("mnist_fid", 1), ("agreement", -1)):
        first, last = ends(rows, metric, policy="replace", verified=False)
        assert (worse * (last - first) > 0).all(), metric
    replaced = {"policy": "replace", "verified": False}
    for policy in set(values(rows, "policy")) - {"replace"}:
        assert (
            interval(gap(rows, "mnist_fid", {"policy": policy, "verified": False}, replaced))[1] < 0
        ), policy


@recorded("policies_vae")
def test_verifying_helps_under_every_policy(folder):
    rows = rows_of(folder)
    policies = values(rows, "policy")
    assert {"replace", "accumulate", "subsample"} < set(policies)
    for policy in policies:
        beaten(rows, {"policy": policy, "verified": True}, {"policy": policy, "verified": False})


@recorded("same_data_verifier")
def test_a_verifier_of_the_generators_own_images_helps_and_more_images_help_more(folder):
    """Against no verifier, in MNIST-FID; against the same images, in agreement."""
    rows = rows_of(folder)
    fewest = min(values(rows, "initial"))
    same = {"initial": fewest, "verifier_size": fewest}
    assert interval(gap(rows, "mnist_fid", same, {"initial": fewest, "verified": False}))[1] < 0
    for more in set(values(rows, "verifier_size")) - {fewest}:
        assert (
            interval(gap(rows, "agreement", {"initial": fewest, "verifier_size": more}, same))[0]
            > 0
        ), more


@recorded("evolving_verifier")
def test_a_verifier_that_evolves_keeps_up(folder):
    """One trained once loses accuracy, and ends below one trained anew; in round 1 they were the same."""
    rows = rows_of(folder)
    first, last = ends(rows, "verifier_accuracy", start=1, way="once")
    assert interval(last - first)[1] < 0
    assert interval(gap(rows, "verifier_accuracy", {"way": "retrained"}, {"way": "once"}))[0] > 0
    for metric in ("verifier_accuracy", "passed", "mnist_fid", "agreement", "nelbo"):
        seen = [
            ends(select(rows, round=1), metric, start=1, way=way)[0].tolist()
            for way in ("once", "retrained", "continued", "cumulative")
        ]
        assert seen[1:] == seen[:1] * 3, metric


@recorded("evolving_verifier")
def test_every_way_to_train_a_verifier_beats_none(folder):
    rows = rows_of(folder)
    ways = values(rows, "way")
    assert set(ways) == {"once", "retrained", "continued", "cumulative", "grown"}
    for way in ways:
        beaten(rows, {"way": way}, {"verified": False})
