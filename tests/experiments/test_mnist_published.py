"""The published digits experiment: its settings, the published numbers as data, and how ours are compared."""

import csv
from collections import Counter
from itertools import product

import numpy as np
import pytest
from helpers import EXPERIMENTS, ROOT, settings
from safetensors.torch import save_file
from scipy.stats import t as student

import _published_models
from _mnist import Fit, Judged, PerDraw, _problem, _quirks
from claims.mnist import beside
from figures._mnist import LABELS
from figures.mnist_published import METRICS, Compared, compared, summarise, theirs
from veriloop import EachRound, Key, State
from veriloop.core.fingerprints import fingerprint
from veriloop.mnist import ConvCVAE, Data, Images, TopPerDraw, balanced, new_network
from veriloop.mnist import load as load_data
from veriloop.study import read_config

PUBLISHED = EXPERIMENTS / "published" / "mnist.csv"
CONFIG = ROOT / "configs" / "mnist_published.yaml"


@pytest.fixture(scope="module")
def numbers():
    """The published numbers, a row each."""
    with open(PUBLISHED) as stream:
        return list(csv.DictReader(stream))


def curve(numbers, experiment, line, metric):
    """A published curve of a verified arm as round -> value."""
    wanted = (experiment, line, "true", metric)
    names = ("experiment", "line", "verified", "metric")
    found = [row for row in numbers if tuple(row[name] for name in names) == wanted]
    return {int(row["round"]): float(row["value"]) for row in found}


def test_every_published_number_is_one_number_of_a_metric_we_know(numbers):
    """Nothing twice, nothing that is not finite, and no distance of our own network."""
    at = Counter(tuple(row[name] for name in list(row)[:5]) for row in numbers)
    assert len(numbers) > 2000 and max(at.values()) == 1
    for row in numbers:
        assert row["metric"] in LABELS and row["metric"] != "mnist_fid"
        assert row["source"] in ("table", "figure") and row["verified"] in ("true", "false")
        assert int(row["round"]) >= 0 and np.isfinite(float(row["value"]))


@pytest.mark.parametrize(
    ("experiment", "line", "rounds"),
    [
        ("mnist_elbo", "5k more each", range(51)),
        ("mnist_elbo", "30k more each", range(51)),
        ("mnist_elbo", "50k more each", range(51)),
        ("mnist_elbo", "30k and 50k more each", range(1, 21)),
        ("mnist_schedules", "10k to 256k", range(41)),
    ],
)
def test_whole_published_runs_have_the_elbo_as_the_sum_of_its_parts(
    experiment, line, rounds, numbers
):
    """Round by round, to the rounding of six digits."""
    total, reconstruction, kl = (
        curve(numbers, experiment, line, name) for name in ("nelbo", "reconstruction", "kl")
    )
    assert list(total) == list(reconstruction) == list(kl) == list(rounds)
    for k in rounds:
        assert total[k] == pytest.approx(reconstruction[k] + kl[k], abs=2e-3)
    assert set(curve(numbers, experiment, line, "fid")) == set(rounds)


def test_some_published_numbers_that_are_known_by_heart(numbers):
    assert curve(numbers, "mnist_elbo", "5k more each", "nelbo")[50] == 112.28
    assert curve(numbers, "mnist_elbo", "5k more each", "verifier_accuracy")[1] == 0.987
    assert curve(numbers, "mnist_schedules", "10k to 256k", "fid")[40] == 21.1725
    assert curve(numbers, "mnist_schedules", "10k to 256k", "mnist_fid_v2")[36] == 4.3369


def test_their_curve_is_found_by_schedule_and_first_model():
    first = {
        row["round"]: row["value"] for row in theirs("20k", 60_000, verified=True, metric="kl")
    }
    assert first == {0: 20.5912}
    rows = theirs("10k to 256k", 500, verified=True, metric="nelbo")
    assert [row["round"] for row in rows] == list(range(41))
    assert theirs("5k more each", 500, verified=False, metric="nelbo") == []
    assert theirs("5k more each", 1000, verified=True, metric="nelbo") == []
    assert theirs("100 more each", 500, verified=True, metric="nelbo") == []


# How a number is compared.


def one(sample, theirs=0.0):
    return Compared("a", "nelbo", 1, np.array(sample), theirs, "table")


def test_a_draw_of_the_same_spread_is_within_seed_noise_as_often_as_it_should_be():
    """A number of one seed more is in the 95 % prediction interval 95 % of the time, and z is Student's t."""
    draws = Key(0).numpy().standard_normal((4000, 4))
    each = [one(row[:3], row[3]) for row in draws]
    within = np.mean([every.within for every in each])
    assert abs(within - 0.95) / np.sqrt(0.95 * 0.05 / 4000) < 4
    edge = student.ppf(0.975, 2)
    assert all(every.within == (abs(every.z) <= edge) for every in each)


def test_one_seed_alone_has_no_interval_and_no_verdict():
    assert one([3.0]).z is None and one([3.0]).within is None


def rows_of(arm, values, **more):
    """Rows of two seeds, whose NELBO by round is given."""
    about = {"arm": arm, "size": "5k more each", "initial": 500, "verified": True, "control": None}
    about |= {"data": "mnist", "protocol": "authors"} | more
    return [
        about | {"seed": seed, "round": k, "nelbo": value + seed}
        for seed in (0, 1)
        for k, value in enumerate(values)
    ]


def test_every_round_and_metric_of_both_is_compared_and_nothing_else():
    """Unverified arms and controls of the same schedule have no published curve here."""
    rows = rows_of("v", [120.0, 125.0]) + rows_of("u", [120.0, 125.0], verified=False)
    rows += rows_of("half", [1.0, 1.0], verified=False, control="half real")
    rows += rows_of("real", [90.0], verified=None, size=None, control="the verifier's images")
    found = compared(rows)
    assert [(each.arm, each.metric, each.round) for each in found] == [
        ("v", "nelbo", 0),
        ("v", "nelbo", 1),
    ]
    assert [each.theirs for each in found] == [121.078, 124.924]
    assert found[1].sample.tolist() == [125.0, 126.0]
    told = summarise(rows)
    assert told["v, nelbo: round 0"].expected == 121.078
    assert told["v, nelbo: round 1"].standard_error == pytest.approx(0.5)
    assert told["real, nelbo: round 0"].value == 90.5
    assert told["half, nelbo: round 1"].expected is None


def test_the_table_says_of_every_number_whether_seeds_explain_the_gap():
    """And nothing of what was run with one seed."""
    rows = rows_of("v", [121.0, 140.0])
    lines = beside(compared(rows))
    assert lines[2:] == [
        "| v | nelbo | 0 | 2 | 121.1 | 121.5 ± 6.4 | +0.5 | within seed noise |",
        "| v | nelbo | 1 | 2 | 124.9 | 140.5 ± 6.4 | +18.0 | differs |",
    ]
    alone = [row for row in rows if row["seed"] == 0]
    assert beside(compared(alone))[2] == "| v | nelbo | 0 | 1 | 121.1 | 121 |  | one seed |"


# The authors' models.


def test_their_models_are_measured_by_every_training_and_beside_real_images(tmp_path, monkeypatch):
    """Untrained weights in their place: a row each, and one of real images, which are nearest."""
    digits = load_data("digits")
    few = Data("few", train=balanced(Key(0), digits.train, 100), test=digits.test[:60])
    monkeypatch.setattr(_published_models, "load", lambda name: few)
    names = ["real-500", "verified-5k-round50"]
    for seed, name in enumerate(names):
        weights = new_network(Key(seed), ConvCVAE).state_dict()
        tensors = {key: value.contiguous() for key, value in weights.items()}
        save_file(tensors, tmp_path / f"{name}.safetensors")
    setting = _published_models.Setting(tmp_path, "few", steps=1, images=50)
    work = _published_models.units(setting, 2)
    assert [unit.name for unit in work] == ["training0", "training1"]
    rows = work[0].work(*work[0].arguments)
    assert [row["arm"] for row in rows] == [*names, "real training images"]
    assert {row["seed"] for row in rows} == {0} and len({row["network"] for row in rows}) == 1
    assert rows[2]["mnist_fid_v2"] < min(row["mnist_fid_v2"] for row in rows[:2])
    assert rows[2]["nelbo"] is None and 500 < rows[0]["nelbo"] < 600


def test_a_folder_without_models_is_refused(tmp_path):
    setting = _published_models.Setting(tmp_path, "digits", steps=1, images=100)
    with pytest.raises(ValueError, match=r"no \.safetensors file in .*; name another folder"):
        _published_models.units(setting, 1)


# The script.


def test_smoke_has_both_arms_and_both_controls(smoke):
    """All start alike but the model of the verifier's images; the control mixes in as many real images."""
    run = smoke("mnist_published")
    rows = [row for row in run.rows if row["seed"] == 1]
    ways = {(row["verified"], row["control"]) for row in rows}
    given = (None, "the verifier's images")
    assert ways == {(True, None), (False, None), (False, "half real"), given}
    first = [row for row in rows if row["round"] == 0 and row["size"]]
    assert len(first) == 3 and len({row["nelbo"] for row in first}) == 1
    (real,) = [row for row in rows if row["size"] is None]
    assert real["initial"] == run.about["config"]["judge"]["real"] and real["round"] == 0
    in_round_1 = [row["nelbo"] for row in rows if row["round"] == 1]
    assert len(set(in_round_1)) == 3


@pytest.mark.slow
def test_the_published_network_and_the_published_numbers_are_in_a_run(here):
    """Under the published protocol; the figure draws their curve, and the table holds their number."""
    own = ["protocol=authors", "replicates=1", "rounds=1", "sizes={5k more each: [100]}"]
    own += ["initial_sizes=[500]", "controls=false", "published_steps=1"]
    run = here("mnist_published", *settings(*own), figure="laid out")
    assert [row["protocol"] for row in run.rows] == ["authors"] * 4
    assert all(row["mnist_fid_v2"] >= 0 for row in run.rows)
    assert "1 of 2814 steps" in run.about["measures"]["mnist_fid_v2"]
    name = "5k more each-initial500-verified, {}: round {}"
    expected = {("nelbo", 0): 121.078, ("nelbo", 1): 124.924, ("verifier_accuracy", 1): 0.987}
    for (metric, k), value in expected.items():
        assert run.about["summary"][name.format(metric, k)]["expected"] == value
    assert name.format("mnist_fid_v2", 1) in run.about["summary"]


def test_a_control_needs_the_number_of_the_verifiers_images(here):
    run = here("mnist_published", *settings("judge.real=initial"))
    assert run.code == 2 and "got initial, and a control is fitted to the verifier's" in run.stderr
    run = here("mnist_published", *settings("initial_sizes=[100, 100]"))
    assert run.code == 2 and "twice; give different values" in run.stderr


def read(load, preset, *more):
    return read_config(load("mnist_published").Published, CONFIG, preset, list(more))[0]


@pytest.mark.parametrize("preset", ["evidence", "linear", "forty", "first_models"])
def test_evidence_is_of_the_published_settings(preset, load, monkeypatch):
    """Generator, fits, verifier, filter and images measured; one preset has the conditional verifier."""
    monkeypatch.setattr("_mnist.have_mnist", lambda: True)
    config = read(load, preset)
    assert (config.protocol, config.model, config.keep, config.filter) == (
        "authors",
        "conv",
        0.1,
        "top",
    )
    judge, elbo = config.judge, preset == "evidence"
    assert config.images == 6000 and config.data == "mnist"
    assert config.published_steps == (None if elbo else 2814)
    assert config.controls == (preset == "forty")
    for fit in (config.first, config.refit):
        assert (fit.epochs, fit.patience, fit.batch, fit.rate) == (200, 5, 128, 1e-3)
        assert fit.steps is None and not fit.decay and not fit.warmup
    assert judge.real == 60_000 and judge.conditional == elbo
    assert (judge.smoothing, judge.dropout, judge.spectral) == (
        (0.05, 0.1, True) if elbo else (0, 0, False)
    )
    assert (judge.fit.epochs, judge.fit.patience, judge.fit.batch) == (200 if elbo else 80, 5, 128)


def test_the_published_filter_is_the_same_when_more_rounds_follow():
    """So a run of fewer rounds can go on: what its first rounds keep does not change."""
    few = EachRound(PerDraw(0.1, [100]))
    more = EachRound(PerDraw(0.1, [100, 200]))
    stricter = EachRound(PerDraw(0.05, [100]))
    assert fingerprint(few) == fingerprint(more) != fingerprint(stricter)
    second = more.make(Key(0), State(model=None, round=1))
    assert second == TopPerDraw(0.1, 20)


def test_evidence_keeps_as_many_as_published(load, monkeypatch):
    """5,000 i in round i; the first ten of forty from 10,000 to 256,000; 5,000; 20,000."""
    monkeypatch.setattr("_mnist.have_mnist", lambda: True)
    schedules = load("mnist_published").schedules
    kept = {name: schedules(read(load, name)) for name in ("evidence", "linear", "forty")}
    assert kept["evidence"] == {"5k more each": [5000 * i for i in range(1, 11)]}
    forty = np.linspace(10_000, 256_000, 40)[:10]
    assert kept["linear"] == {"10k to 256k": [10 * round(count / 10) for count in forty]}
    assert kept["forty"] == {"5k": [5000] * 40}
    assert read(load, "first_models").initial_sizes == [1000, 60_000]


@pytest.mark.parametrize(
    ("protocol", "view"), [*product(("authors", "corrected"), ("bernoulli", "grey"))]
)
def test_a_verifiers_accuracy_is_of_test_images_as_it_was_shown_real_ones(protocol, view, load):
    """Cut at half brightness under the published protocol, where drawn pixels would all look synthetic."""
    grey = Images(Key(0).numpy().integers(0, 256, (40, 784), dtype=np.uint8), np.arange(40) % 10)
    data = Data("made", train=grey, test=grey)
    own = Judged(real=20, view=view, fit=Fit(steps=1))
    config = read(load, "smoke", f"protocol={protocol}", "initial_sizes=[10]")
    config = config.model_copy(update={"judge": own, "initial": 10})
    (arm, *_) = load("mnist_published").both("a", config, [10])
    test = _problem(arm, data, Key(3), None).test
    wanted = grey if view == "grey" else grey.bernoulli(Key(3).fold("test"))
    if protocol == "authors":
        wanted = grey.threshold()
    assert _quirks(config).judge.view == ("threshold" if protocol == "authors" else view)
    assert test.pixels.tobytes() == wanted.pixels.tobytes()


def test_panels_are_of_metrics_that_have_a_label():
    assert set(METRICS) <= set(LABELS)
