"""The noisy verifier's closed forms, each against brute force, and its three parts against them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import settings
from scipy.special import ndtr, ndtri

from veriloop import Key, Loop, Quota, State, Threshold
from veriloop.linear import Problem, theory

SMALL = ("ball_error=[0]", "ball_sizes=[1]", "bias=[0]", "starts=[0.5]", "loop_size=1", "rounds=1")


@pytest.fixture(scope="module")
def exact():
    """The module of the closed forms; the path to it is there once the scripts' fixtures are."""
    import _labels

    return _labels


@pytest.fixture
def script(load):
    return load("noisy_verifier")


def rows_of(run, part):
    return [row for row in run.rows if row["part"] == part]


def assert_fits(z):
    """The z-scores of independent cells are standard normal in mean square."""
    assert len(z) >= 20 and abs(np.sum(z**2) - len(z)) < 4 * np.sqrt(2 * len(z)), np.sort(z)


@pytest.mark.parametrize(
    ("wrong", "n", "dim", "separation"), [(0.3, 7, 3, 1.0), (0.55, 4, 2, 1.5), (0.0, 3, 6, 0.7), (1.0, 1, 2, 2.0)]
)
def test_the_expected_accuracy_is_that_of_classifiers_drawn(exact, wrong, n, dim, separation):
    """100,000 classifiers fitted to labels drawn point by point, at sizes where no limit holds."""
    draws = Key(0).numpy()
    x = draws.standard_normal((100_000, n, dim))
    x[..., 0] += separation
    label = np.where(draws.random((100_000, n)) < wrong, -1.0, 1.0)
    w = np.einsum("rn,rnd->rd", label, x)
    accuracy = ndtr(separation * w[:, 0] / np.linalg.norm(w, axis=1))
    mean, variance = exact.accuracy_moments(wrong, n, dim, separation)
    gap = accuracy - mean
    for sample, exact in ((gap, 0.0), (gap**2, variance)):
        assert abs(sample.mean() - exact) / sample.std() * np.sqrt(len(sample)) < 4


@pytest.mark.parametrize("dim", [2, 3, 50])
@pytest.mark.parametrize("n", [1, 30, 3000])
def test_accuracy_is_a_half_where_half_of_the_labels_are_wrong_at_every_size(exact, dim, n):
    """And the accuracies at q and 1 - q add up to 1: the curves of all sizes cross at the threshold."""
    assert exact.accuracy_moments(0.5, n, dim, 2.0)[0] == pytest.approx(0.5, abs=1e-9)
    both = sum(exact.accuracy_moments(q, n, dim, 2.0)[0] for q in (0.42, 0.58))
    assert both == pytest.approx(1.0, abs=2e-6)


def test_the_transition_sharpens_with_size(exact):
    """Just below the threshold accuracy rises to that of the best classifier, Phi(separation)."""
    below = [exact.accuracy_moments(0.49, 10**k, 20, 2.0)[0] for k in range(1, 7)]
    assert np.all(np.diff(below) > 0) and 0.5 < below[0] < 0.55
    assert ndtr(2.0) - below[-1] == pytest.approx(0, abs=0.01)


def test_the_verifier_keeps_right_and_wrong_labels_at_the_stated_rates(exact):
    """phi and psi, and the share of wrong labels among the kept, p psi / (p psi + (1 - p) phi)."""
    mean, n = np.array([1.0, 0.0]), 100_000
    batch = exact.Flip(mean, 0.3)(Key(0).fold("generate"), mean, n)
    right = exact.is_right(batch)
    kept = exact.noisy_oracle(0.8, 0.3)(Key(0), batch).scores >= 0
    for share, expected, of in (
        (~right, 0.3, np.ones(n, bool)),
        (kept, 0.8, right),
        (kept, 0.3, ~right),
        (~right, 0.09 / 0.65, kept),
    ):
        z = (share[of].mean() - expected) / np.sqrt(expected * (1 - expected) / of.sum())
        assert abs(z) < 4


@pytest.mark.parametrize(("phi", "psi", "angle"), [(0.9, 0.6, 0.4), (0.3, 0.8, 1.4), (1.0, 0.2, 2.2)])
def test_the_mean_of_kept_labels_that_a_classifier_gave_itself(exact, phi, psi, angle):
    """The loop's own refit, component by component, and its acceptance; also the measured `signal_next`."""
    mean = 1.3 * np.array([1.0, 0.0, 0.0])
    w = 2.0 * np.array([np.cos(angle), np.sin(angle), 0.0])
    measure = exact.Accuracy(mean, phi, psi)
    loop = Loop(
        generate=exact.Classify(mean),
        verify=exact.noisy_oracle(phi, psi),
        filter=Threshold(0.0),
        refit=exact.averaging,
        measure=measure,
    )
    steps = [loop.step(Key(1).fold(i), State(w), 500) for i in range(400)]
    along, own, accepted = exact.kept_mean(np.cos(angle), 1.3, phi, psi)
    kept = np.array([record.kept for _, record in steps])
    assert abs(kept.mean() - 500 * accepted) / (kept.std() / 20) < 4
    # A sum over the rows kept of 500, unlike a mean, is unbiased whatever their number.
    sums = np.array([state.model * record.kept for state, record in steps])
    z = (sums.mean(axis=0) - 500 * (along * mean / 1.3 + own * w / 2)) / (sums.std(axis=0, ddof=1) / 20)
    assert np.all(np.abs(z) < 4), z
    told = measure(Key(0), w)
    assert told["accuracy"] == pytest.approx(ndtr(1.3 * np.cos(angle)))
    assert told["signal_next"] == pytest.approx((along + own * np.cos(angle)) / accepted)


def test_the_infinite_loop_turns_back_at_the_threshold_alone(exact):
    """Below p* accuracy rises to the best, above it falls to the worst, and at p* it stays."""
    star = 1 / (1 + 0.6 / 0.9)
    ends = {p: exact.accuracy_path(p, 2.0, 0.9, 0.6, 60) for p in (0.1, star - 0.01, star, star + 0.01, 0.9)}
    for p, path in ends.items():
        assert path[0] == pytest.approx(1 - p)
        if p == star:
            assert path[5] == pytest.approx(1 - p)
        else:
            assert path[-1] == pytest.approx(ndtr(2.0 if p < star else -2.0), abs=1e-6)


def test_a_large_loop_follows_the_infinite_one(exact):
    """One run of 400,000 kept rows a round, within a few times its own error of some 1e-3."""
    mean = np.array([2.0, 0.0, 0.0])
    cosine = float(ndtri(0.45)) / 2
    loop = Loop(
        generate=exact.Classify(mean),
        verify=exact.noisy_oracle(0.9, 0.6),
        filter=Threshold(0.0),
        refit=exact.averaging,
    )
    state = State(np.array([cosine, np.sqrt(1 - cosine**2), 0.0]))
    state, _ = loop.step(Key(3), state, Quota(400_000))
    accuracy = exact.Accuracy(mean, 0.9, 0.6)(Key(0), state.model)["accuracy"]
    # The direction of a mean of n rows has an error of about 1 / (sqrt(n) |w|), here |w| > 0.2.
    error = np.exp(-0.5 * 0) / np.sqrt(2 * np.pi) * 2.0 * np.sqrt(1 + 4) / np.sqrt(400_000) / 0.2
    assert abs(accuracy - exact.accuracy_path(0.55, 2.0, 0.9, 0.6, 1)[1]) < 4 * error


def test_the_noisy_ball_has_the_known_ends(script):
    """Without noise it is the exact theory; where both kinds of label pass alike, no verifier at all."""
    problem = Problem.gaussian(bias=0.4, radius=0.6)
    mu, c, width = problem.singular_values, problem.center_offset, problem.half_width
    exact = theory.one_round_mse(mu, c, width, 30)
    assert script.one_round_mse(problem, 30, 1.0, 0.0) == pytest.approx(exact, rel=1e-9)
    unfiltered = theory.unfiltered_mse(mu, [30])[1]
    assert script.one_round_mse(problem, 30, 0.7, 0.7) == pytest.approx(unfiltered, rel=1e-9)
    every = script.one_round_mse(problem, 30, 0.5, 0.1)
    assert script.one_round_mse(problem, 30, 1.0, 0.2) == pytest.approx(every, rel=1e-12)  # the ratio alone counts


@pytest.mark.slow
def test_every_cell_agrees_with_its_closed_form(here):
    """Accuracy at all shares, verifiers and sizes, and the ball at all error rates: z-scores of unit size."""
    run = here(
        "noisy_verifier",
        *settings("replicates=60", "sizes=[20, 100]", "near=[0, 0.02, 0.1]", "wrong=[0.2, 0.9]", "loop_size=50"),
        *settings("ball_error={first: 0, last: 1, count: 5}", "ball_sizes=[5, 20]", "starts=[0.5]", "rounds=1"),
    )
    for part, name, error in (("transition", "accuracy", "exact_se"), ("ball", "mse", "mse_se")):
        assert_fits(np.array([(row[name] - row["exact"]) / row[error] for row in rows_of(run, part)]))
    crossings = [number for name, number in run.about["summary"].items() if name.endswith("accuracy 1/2")]
    assert len(crossings) == 4
    for each in crossings:
        assert abs(each["value"] - each["expected"]) < 4 * each["standard_error"]


def test_the_loop_ends_high_below_the_threshold_and_low_above_it(here):
    """And each refit's signal is what the classifier before it lets expect, in every round."""
    few = ("ball_error=[0]", "ball_sizes=[1]", "bias=[0]", "sizes=[1]", "near=[0]", "wrong=[0.5]")
    own = ("starts=[0.3, 0.5, 0.7, 0.9]", "loop_size=1000", "rounds=6", "replicates=50")
    run = here("noisy_verifier", *settings(*few, *own))
    rows = rows_of(run, "rounds")
    assert all(row["star"] == pytest.approx(0.6) for row in rows)
    for row in rows:
        if row["round"] == 6:
            assert row["risen"] == (row["start"] < 0.6)
        if row["round"] == 0:
            assert row["accuracy"] == pytest.approx(1 - row["start"]) == pytest.approx(row["path"])
    assert_fits(np.array([row["gap"] / row["gap_se"] for row in rows if row["round"]]))


@pytest.mark.parametrize(
    "own", [("wrong=[0.5]", "near=[0]"), ("wrong=[0.1]", "near=[0.9]"), ("dim=2", "separation=0.1", "starts=[0.5]")]
)
def test_the_ends_of_the_ranges_run_and_draw(own, here):
    """One share of wrong labels, no distance that stays within (0, 1), two dimensions."""
    run = here("noisy_verifier", *settings("sizes=[1]", *SMALL, *own), figure="laid out")
    assert (run.code, run.stderr) == (0, "")


def test_one_replicate_runs(here):
    """No standard error can be had from one value: it is null, and neither figure nor summary minds."""
    run = here("noisy_verifier", *settings("replicates=1"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["accuracy_se"] is None for row in rows_of(run, "transition"))
    assert "NaN" not in (run.out / "run.json").read_text() and "nan" not in run.stdout
