"""The digit scripts: metrics are there, arms are paired, stops change nothing, bad input is refused."""

import gzip

import numpy as np
import pytest
from helpers import DIGITS, settings

from veriloop import Key
from veriloop.mnist import balanced, load

METRICS = {
    "nelbo",
    "reconstruction",
    "kl",
    "mnist_fid",
    "agreement",
    "recall",
    "coverage",
    "entropy",
}
ONE_SEED = settings("replicates=1")  # the first of a smoke run's two


def rows_of_one_seed(run):
    """Return those of a smoke run's rows that a run of one seed has too."""
    return [row for row in run.rows if row["seed"] == run.about["config"]["seed"]]


def records_of_one_seed(run):
    """Return those of a smoke run's bytes that a run of one seed has too."""
    lines = run.records.splitlines(keepends=True)
    first = lines[: len(rows_of_one_seed(run))]
    assert len(lines) == 2 * len(first)
    return b"".join(first)


@pytest.mark.parametrize(
    "name", DIGITS[::-1]
)  # from the other end: another worker may be at the first
def test_every_script_measures_every_metric(name, smoke):
    """Rows hold every metric, but no `fid` without weights; whoever waits sees some of every round."""
    run = smoke(name)
    rows = run.rows
    assert "fid          not measured: no Inception weights" in run.stdout
    assert f"-seed{rows[0]['seed']}: round 0 of " in run.stderr and ", nelbo " in run.stderr
    for row in rows:
        assert set(row) >= METRICS | {"arm", "seed", "round", "candidates", "kept", "model", "data"}
        assert "fid" not in row
    arms = {(row["arm"], row["seed"]) for row in rows}
    assert (
        len(rows) == len({(row["arm"], row["seed"], row["round"]) for row in rows})
        and len(arms) >= 4
    )
    assert "accuracy" in run.about["measures"]["mnist_fid"]
    assert run.about["config"]["data"] == "digits"


def test_arms_start_alike_and_verified_ones_keep_a_tenth(smoke):
    """Paired by seed: the same round 0, to the last digit."""
    run = smoke("mnist_schedules")
    rows = run.rows
    (size,) = run.about["config"]["sizes"].values()
    for seed in {row["seed"] for row in rows}:
        start = [row for row in rows if row["seed"] == seed and row["round"] == 0 and row["size"]]
        assert len(start) == 2
        one, other = (
            {name: row[name] for name in METRICS} | {"samples": row.get("samples")} for row in start
        )
        assert one == other and (one["samples"] is not None) == (seed == rows[0]["seed"])
    for row in rows:
        if row["round"]:
            drawn = 10 * size if row["verified"] else size
            assert row["kept"] == size and row["candidates"] == drawn


@pytest.mark.parametrize(
    ("name", "arms"),
    [
        ("mnist_elbo", ["unverified"]),
        # Policies look at the real images and at those of earlier rounds.
        ("policies_vae", ["accumulate-verified", "subsample-verified", "mix 0.5-verified"]),
        ("same_data_verifier", ["initial100-verifier100"]),
        # Round 3 goes on from round 2's verifier, as that from round 1's, or needs all models.
        ("evolving_verifier", ["once", "continued", "cumulative", "grown"]),
    ],
)
def test_stopped_in_the_last_round_of_arms_it_resumes_to_the_same_bytes(
    name, arms, stopped, here, smoke
):
    """Images, models and verifiers of the past are there again; no arm that has ended is run."""
    whole = smoke(name)
    config = whole.about["config"]
    (size,) = config["sizes"]
    before = None
    resume = []
    for arm in arms:
        unit = f"{size}-{arm}-seed{config['seed']}"
        part = stopped(name, *ONE_SEED, *resume, at=f"round_{config['rounds']:04d}/{unit}-model")
        if before is not None:
            assert part.stderr.startswith(f"{before}: round 0")
        before = unit
        resume = ["--resume"]
    resumed = here(name, *ONE_SEED, "--resume")
    assert resumed.code == 0 and resumed.stderr.startswith(f"{before}: round 0")
    assert resumed.records == records_of_one_seed(whole)


def test_ways_of_one_beginning_differ_from_round_2_on(smoke):
    """One verifier in round 1, whatever becomes of it; grown knows less by then; then all go their own ways."""
    ways = {}
    for row in rows_of_one_seed(smoke("evolving_verifier")):
        ways.setdefault(row["way"], []).append(
            {name: row[name] for name in row if name not in ("arm", "way")}
        )
    once = ways["once"]
    assert all(ways[way][:2] == once[:2] for way in ("retrained", "continued", "cumulative"))
    assert ways["grown"][0] == once[0] and ways["grown"][1] != once[1]
    for k in (2, 3):
        assert len({rows[k]["lowest_kept"] for way, rows in ways.items() if way}) == 5, k
    assert "verifier_accuracy" not in ways[None][1]


def test_verifiers_of_the_same_images_and_of_more(smoke):
    """Round 0 is shared by all arms of one first model; sets nest: the larger holds the smaller."""
    first = [row for row in rows_of_one_seed(smoke("same_data_verifier")) if row["round"] == 0]
    arms = {(row["initial"], row["verifier_size"]): row["nelbo"] for row in first}
    assert (
        set(arms) == {(100, None), (100, 100), (100, 500), (500, None), (500, 500)}
        and len(first) == 5
    )
    assert len({arms[100, knows] for knows in (None, 100, 500)}) == 1
    assert arms[500, None] == arms[500, 500] != arms[100, 100]
    few, many = (balanced(Key(1).fold("initial"), load().train, n) for n in (100, 500))
    assert {image.tobytes() for image in few.pixels} <= {image.tobytes() for image in many.pixels}


def test_policies_share_round_1_of_what_they_generate(smoke):
    """Candidates of round 1 are one model's under every policy, so the verified arms keep the same ones."""
    rows = rows_of_one_seed(smoke("policies_vae"))
    kept = [row for row in rows if row["round"] == 1 and row["verified"]]
    assert len(kept) == 4 and len({row["lowest_kept"] for row in kept}) == 1
    # Fitted to the kept, to those and the real, to a draw, to a mix.
    assert len({row["nelbo"] for row in kept}) == 4


def by_arm(rows):
    """Return rows by whether they are verified and by round, without the last round's images."""
    rounds = [row for row in rows if row["size"]]
    return {
        (row["verified"], row["round"]): {name: row[name] for name in row if name != "samples"}
        for row in rounds
    }


@pytest.mark.parametrize(
    "setting", ["protocol=authors", "filter=threshold", "warm=true", "judge.real=initial"]
)
def test_options_change_the_verified_arm_alone(smoke, here, setting):
    """Round 0 and the unverified arm stay as they were, but for warm refits, which are both arms'."""
    own = settings("rounds=1", setting)
    if (
        setting == "filter=threshold"
    ):  # a verifier that has learnt nothing accepts enough of so early a model
        own += settings("judge={real: 200, fit: {steps: 1, rate: 1.0e-9}}")
    changed = by_arm(here("mnist_schedules", *ONE_SEED, *own).rows)
    plain = by_arm(rows_of_one_seed(smoke("mnist_schedules")))
    assert len(changed) == 4
    assert plain[True, 0] == changed[True, 0] and plain[False, 0] == changed[False, 0]
    assert plain[True, 1] != changed[True, 1]
    assert (plain[False, 1] != changed[False, 1]) == (setting == "warm=true")


def folder(path, labels=12):
    for part in ("train", "t10k"):
        for kind, shape in (("images-idx3", (12, 28, 28)), ("labels-idx1", (labels,))):
            head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4) for size in shape)
            body = np.zeros(shape, np.uint8).tobytes()
            (path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + body))
    return path


def check_refused(run, message):
    assert run.code == 2 and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr
    assert not run.out.exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sizes={odd: 1005}", "odd keeps 1005 images, must be a multiple of 10"),
        ("keep=1.5", "keep: got 1.5, must be less than or equal to 1"),
        ("judge.real=1290", "ask for at most 1200, or for all 1297"),
        ("data=/nowhere", "no train-images-idx3-ubyte.gz in /nowhere; name the folder"),
        ("images=55", "images: got 55"),
        ("refit.stepz=3", "refit.stepz: unknown key; did you mean 'steps'?"),
        ("device=gpu", "device must be one that torch has on this machine, cpu"),
        ("model_settings={latent: 0}", "Refit.settings do not fit"),
        ("shared=''", 'shared: got "", must have at least 1 character'),
        (
            "shared=/dev/null",
            "shared: cannot make the folder /dev/null (File exists); name another",
        ),
        ("threads=5000", "threads: got 5000, must be less than or equal to 1024"),
        ("first.holdout=0.001", "a fit with 0.001 of its rows held out needs rows on both sides"),
        ("inception=/nowhere.pth", "no Inception weights at /nowhere.pth"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_done(setting, message, here):
    """What all digit scripts refuse, as they share it."""
    check_refused(here("mnist_schedules", *settings(setting)), message)


@pytest.mark.parametrize("name", DIGITS)
def test_every_script_looks_at_its_data_and_its_sizes_before_it_starts(name, here):
    """Each makes its own arms of them."""
    check_refused(
        here(name, *settings("data=/nowhere")), "no train-images-idx3-ubyte.gz in /nowhere"
    )
    check_refused(
        here(name, *settings("sizes={odd: 1005}")),
        "odd keeps 1005 images, must be a multiple of 10",
    )


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("mnist_verifier_size", "verifier_sizes=[1290]", "ask for at most 1200, or for all 1297"),
        ("same_data_verifier", "larger=[1290]", "ask for at most 1200, or for all 1297"),
        ("policies_vae", "real_shares=[0.5, 1]", "real_shares.1: got 1, must be less than 1"),
        ("policies_vae", "real_shares=[0]", "real_shares.0: got 0, must be greater than 0"),
        (
            "policies_vae",
            "real_shares=[0.5, 0.5]",
            "real_shares: got [0.5, 0.5], must hold no value twice",
        ),
        ("policies_vae", "sizes={a: 200, b: 400}", "sizes: got a, b, must be one schedule"),
        (
            "same_data_verifier",
            "larger=[100]",
            "larger: got 100, must be more than initial, the 100 images",
        ),
        ("same_data_verifier", "larger=[500, 500]", "twice; give different values"),
        ("same_data_verifier", "larger=[]", "larger: got [], must have at least 1 item"),
        ("same_data_verifier", "judge.real=300", "judge.real: got 300, must be initial"),
        ("evolving_verifier", "rounds=1", "rounds: got 1, must be at least 2"),
        (
            "evolving_verifier",
            "grown_from=200",
            "grown_from: got 200, must be less than judge.real, 200",
        ),
        (
            "evolving_verifier",
            "grown_from=105",
            "so 105 images are not possible; ask for a multiple of 10",
        ),
        (
            "evolving_verifier",
            "verifier={call: 'veriloop:Random'}",
            "verifier: got one, and the arms are",
        ),
    ],
)
def test_what_would_make_no_figure_is_refused(name, setting, message, here):
    """Shares out of range, arms made equal, settings without an effect: one sentence, and nothing is done."""
    check_refused(here(name, *settings(setting)), message)


def test_files_that_do_not_match_or_are_cut_short_are_refused(here, tmp_path):
    wrong = folder(tmp_path, labels=11)
    run = here("mnist_elbo", *settings(f"data={wrong}"))
    assert run.code == 2 and "must hold 12 labels" in run.stderr
    file = folder(tmp_path) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:20])
    run = here("mnist_elbo", *settings(f"data={wrong}"))
    assert run.code == 2 and "cannot read" in run.stderr
