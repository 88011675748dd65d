"""The digit scripts: each runs at smoke scale; arms are paired; a stopped run resumes; bad input is refused."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from veriloop import Key
from veriloop.mnist import balanced, load

ROOT = Path(__file__).parents[2]
REVIEWED = ["evolving_verifier", "policies_vae", "same_data_verifier"]  # what reviewers of the paper asked for
SCRIPTS = [*sorted(path.stem for path in (ROOT / "experiments").glob("mnist_*.py")), *REVIEWED]
FIRST = SCRIPTS[0]
METRICS = {"nelbo", "reconstruction", "kl", "mnist_fid", "agreement", "recall", "coverage", "entropy"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One feature network for all runs, and none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERILOOP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def rows_of(run):
    return [json.loads(text) for text in run.records.splitlines()]


def test_there_are_nine():
    assert len(SCRIPTS) == 9


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_runs_at_smoke_scale(name, here):
    """It ends with 0, a figure, a summary and rows that hold every metric; without weights there is no `fid`."""
    run = here(name)
    assert run.code == 0, run.stderr
    assert (run.out / "figure.png").stat().st_size > 10_000 and (run.out / "figure.pdf").exists()
    assert "fid          not measured: no Inception weights" in run.stdout
    rows = rows_of(run)
    assert f"-seed{rows[0]['seed']}: round 0 of " in run.stderr and ", nelbo " in run.stderr  # who waits sees them
    for row in rows:
        assert set(row) >= METRICS | {"arm", "seed", "round", "candidates", "kept", "model", "data"}
        assert "fid" not in row
    arms = {(row["arm"], row["seed"]) for row in rows}
    assert len(rows) == len({(row["arm"], row["seed"], row["round"]) for row in rows}) and len(arms) >= 4
    about = json.loads((run.out / "run.json").read_text())
    assert about["finished"] and "accuracy" in about["measures"]["mnist_fid"]
    assert about["config"]["data"] == "digits"


def test_arms_start_alike_and_verified_ones_keep_a_tenth(here):
    """Paired by seed: the same round 0, to the last digit."""
    rows = rows_of(here("mnist_schedules", figure=False))
    for seed in {row["seed"] for row in rows}:
        start = [row for row in rows if row["seed"] == seed and row["round"] == 0 and row["size"]]
        assert len(start) == 2
        one, other = ({name: row[name] for name in METRICS} | {"samples": row.get("samples")} for row in start)
        assert one == other and (one["samples"] is not None) == (seed == rows[0]["seed"])
    for row in rows:
        if row["round"]:
            assert row["kept"] == 1000 and row["candidates"] == (10_000 if row["verified"] else 1000)


def test_a_stopped_run_resumes_to_the_same_bytes(stopped_and_resumed):
    """Stopped inside an arm: the rounds committed are read, the others run, and the records are the same."""
    whole, resumed = stopped_and_resumed("mnist_elbo")
    assert resumed.code == 0 and resumed.records == whole.records


@pytest.mark.parametrize(
    ("name", "at", "arm"),
    [
        ("policies_vae", 8, "200-accumulate-verified"),  # past: real images and round 1's
        ("policies_vae", 14, "200-subsample-verified"),
        ("policies_vae", 20, "200-mix 0.5-verified"),
        ("same_data_verifier", 5, "200-initial100-verifier100"),
        ("evolving_verifier", 3, "200-once"),
        (
            "evolving_verifier",
            11,
            "200-continued",
        ),  # round 3 goes on from round 2's verifier, and it from round 1's
        ("evolving_verifier", 15, "200-cumulative"),  # round 3 needs the models of all rounds
        ("evolving_verifier", 19, "200-grown"),
    ],
)
def test_what_looks_back_resumes_to_the_same_bytes(name, at, arm, stopped_and_resumed):
    """Stopped in an arm's last round: images, models and verifiers of the past are found again, or made again."""
    whole, resumed = stopped_and_resumed(name, "--set", "replicates=1", "--set", "seed=1", at=at)
    assert resumed.code == 0 and resumed.records == whole.records
    assert resumed.stderr.startswith(f"{arm}-seed1: round 0")  # the arm that was stopped, the first not yet done


def test_ways_of_one_beginning_differ_from_round_2_on(here):
    """One verifier in round 1, whatever becomes of it; grown knows less by then; then all go their own ways."""
    ways = {}
    for row in rows_of(here("evolving_verifier", "--set", "replicates=1", figure=False)):
        ways.setdefault(row["way"], []).append({name: row[name] for name in row if name not in ("arm", "way")})
    once = ways["once"]
    assert all(ways[way][:2] == once[:2] for way in ("retrained", "continued", "cumulative"))
    assert ways["grown"][0] == once[0] and ways["grown"][1] != once[1]
    for k in (2, 3):
        assert len({rows[k]["lowest_kept"] for way, rows in ways.items() if way}) == 5, k
    assert "verifier_accuracy" not in ways[None][1]


def test_verifiers_of_the_same_images_and_of_more(here):
    """Round 0 is shared by all arms of one first model; sets nest: the larger holds the smaller."""
    rows = rows_of(here("same_data_verifier", "--set", "replicates=1", figure=False))
    arms = {(row["initial"], row["verifier_size"]): row["nelbo"] for row in rows if row["round"] == 0}
    assert set(arms) == {(100, None), (100, 100), (100, 500), (500, None), (500, 500)}
    assert len({arms[100, knows] for knows in (None, 100, 500)}) == 1
    assert arms[500, None] == arms[500, 500] != arms[100, 100]
    few, many = (balanced(Key(1).fold("initial"), load().train, n) for n in (100, 500))
    assert {image.tobytes() for image in few.pixels} <= {image.tobytes() for image in many.pixels}


def test_policies_share_round_1_of_what_they_generate(here):
    """Candidates of round 1 are one model's under every policy, so the verified arms keep the same ones."""
    rows = rows_of(here("policies_vae", "--set", "replicates=1", "--set", "rounds=1", figure=False))
    kept = [row for row in rows if row["round"] == 1 and row["verified"]]
    assert len(kept) == 4 and len({row["lowest_kept"] for row in kept}) == 1
    assert (
        len({row["nelbo"] for row in kept}) == 4
    )  # fitted to the kept, to those and the real, to a draw, to a mix


@pytest.mark.parametrize("setting", ["protocol=authors", "filter=threshold", "warm=true", "judge.real=initial"])
def test_options_change_the_verified_arm_alone(here, tmp_path, setting):
    """Round 0 and the unverified arm stay as they were, but for warm refits, which are both arms'."""
    extra = ["--set", "rounds=1", "--set", "replicates=1"]
    plain, changed = (
        rows_of(here("mnist_schedules", *extra, *more, out=tmp_path / f"run{len(more)}", figure=False))
        for more in ([], ["--set", setting])
    )
    pairs = list(zip(plain, changed, strict=True))
    pick = {kind: [pair for pair in pairs if pair[0]["verified"] is kind] for kind in (True, False)}
    assert pick[True][0][0] == pick[True][0][1]
    assert pick[True][1][0] != pick[True][1][1]
    assert (pick[False][1][0] != pick[False][1][1]) == (setting == "warm=true")


def folder(path, labels=12):
    for part in ("train", "t10k"):
        for kind, shape in (("images-idx3", (12, 28, 28)), ("labels-idx1", (labels,))):
            head = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4) for size in shape)
            body = np.zeros(shape, np.uint8).tobytes()
            (path / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + body))
    return path


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sizes={odd: 1005}"], "odd keeps 1005 images, must be a multiple of 10"),
        (["keep=1.5"], "keep: got 1.5, must be less than or equal to 1"),
        (["judge.real=1290"], "ask for at most 1200, or for all 1297"),
        (["data=/nowhere"], "no train-images-idx3-ubyte.gz in /nowhere; name the folder"),
        (["images=55"], "images: got 55"),
        (["refit.stepz=3"], "refit.stepz"),
        (["inception=/nowhere.pth"], "no Inception weights at /nowhere.pth"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_done(name, settings, message, here):
    if settings[0].startswith("judge.real"):
        sets = {"mnist_verifier_size": "verifier_sizes=[1290]", "same_data_verifier": "larger=[1290]"}
        settings = [sets.get(name, settings[0])]
    run = here(name, *(part for setting in settings for part in ("--set", setting)))
    assert run.code == 2 and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr
    assert not run.out.exists()


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("policies_vae", "real_shares=[0.5, 1]", "real_shares.1: got 1, must be less than 1"),
        ("policies_vae", "real_shares=[0]", "real_shares.0: got 0, must be greater than 0"),
        ("policies_vae", "real_shares=[0.5, 0.5]", "real_shares: got [0.5, 0.5], must hold no value twice"),
        ("policies_vae", "sizes={a: 200, b: 400}", "sizes: got a, b, must be one schedule"),
        ("same_data_verifier", "larger=[100]", "larger: got 100, must be more than initial, the 100 images"),
        ("same_data_verifier", "larger=[500, 500]", "twice; give different values"),
        ("same_data_verifier", "larger=[]", "larger: got [], List should have at least 1 item"),
        ("same_data_verifier", "judge.real=300", "judge.real: got 300, must be initial"),
        ("evolving_verifier", "rounds=1", "rounds: got 1, must be at least 2"),
        ("evolving_verifier", "grown_from=200", "grown_from: got 200, must be less than judge.real, 200 images"),
        ("evolving_verifier", "grown_from=105", "a balanced set of 105 images cannot be had"),
        ("evolving_verifier", "verifier={call: 'veriloop:Random'}", "verifier: got one, and the arms are"),
    ],
)
def test_what_would_make_no_figure_is_refused(name, setting, message, here):
    """Shares out of range, arms made equal, settings without an effect: one sentence, and nothing is done."""
    run = here(name, "--set", setting)
    assert run.code == 2 and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1 and not run.out.exists()


def test_files_that_do_not_match_or_are_cut_short_are_refused(here, tmp_path):
    wrong = folder(tmp_path, labels=11)
    run = here(FIRST, "--set", f"data={wrong}")
    assert run.code == 2 and "must hold 12 labels" in run.stderr
    file = folder(tmp_path) / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:20])
    run = here(FIRST, "--set", f"data={wrong}")
    assert run.code == 2 and "cannot read" in run.stderr
