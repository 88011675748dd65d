"""The exact maps of verifiers of every shape, and the script that measures beside them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import settings, z
from scipy.special import ndtr

from veriloop import Bernoulli, Key, run
from veriloop.linear import FixedDesign, Generate, Problem, simulate, theory

NAME = "verifier_shape"
HELD = ["ball", "l1 ball", "box", "ellipsoid"]
HARD = ["none", *HELD, "half-space"]
SHAPES = [*HARD, "soft ball"]
BIAS = 0.7


@pytest.fixture(scope="module")
def maps():
    """The module of the shapes; the path to it is there once the scripts' fixtures are."""
    import _shapes

    return _shapes


@pytest.fixture(scope="module")
def setting(maps):
    """One biased problem and all its verifiers, with their windows."""
    problem = Problem.gaussian(bias=BIAS, radius=1.0, dim=4, rows=40, noise=1.5)
    normal = problem.center - problem.truth
    verifiers = {name: maps.matched_verifier(name, problem, normal, 9.0, 0.4) for name in SHAPES}
    return SimpleNamespace(
        problem=problem,
        verifiers=verifiers,
        windows={name: maps.windows(verifier, problem) for name, verifier in verifiers.items()},
    )


def test_all_shapes_are_right_about_the_truth_as_often_as_the_ball(maps):
    """The match is of unbiased verifiers, whatever the bias of the problem they are then centred by."""
    for bias in (0.0, 2.0):
        problem = Problem.gaussian(bias=bias, radius=0.6)
        unbiased = replace(problem, center=problem.truth)
        made = {name: maps.matched_verifier(name, problem, np.eye(8)[0], 5.0, 0.2) for name in SHAPES}
        shares = {}
        for name, verifier in made.items():
            assert getattr(verifier, "center", problem.center) is problem.center
            centred = verifier
            if name == "soft ball":
                centred = replace(verifier, verifier=replace(verifier.verifier, center=problem.truth))
            elif name != "none":
                centred = replace(verifier, center=problem.truth)
            shares[name] = maps.right(centred, unbiased)
        assert shares.pop("none") == 1
        assert list(shares.values()) == pytest.approx([2 * ndtr(problem.half_width) - 1] * 6, abs=1e-10)


@pytest.mark.parametrize("shape", HARD)
def test_windows_hold_exactly_the_labels_that_the_verifier_accepts(shape, setting):
    """Every candidate on the singular directions, and not only those near the bounds."""
    problem = setting.problem
    data = Generate(FixedDesign(problem.basis), 3.0)(Key(1), problem.truth, 4000)
    accepted = np.asarray(setting.verifiers[shape](Key(2), data)) >= 0
    j = np.argmax(data.x @ problem.basis.T, axis=1)
    label = (data.y - problem.basis[j] @ problem.truth) / problem.noise
    bounds = setting.windows[shape]
    assert np.array_equal(accepted, (label >= bounds.lower[j]) & (label <= bounds.upper[j]))
    assert accepted.all() == (shape == "none")


@pytest.mark.parametrize("shape", ["ball", "half-space", "soft ball"])
def test_the_map_is_what_accepted_labels_do(shape, setting):
    """Acceptance, mean and variance of labels filtered one by one, by the verifier and its filter."""
    problem, n = setting.problem, 200_000
    offset = np.array([0.3, -0.5, 1.2, 0.0])
    model = problem.truth + problem.noise * problem.basis.T @ offset
    data = Generate(FixedDesign(problem.basis), problem.noise)(Key(3), model, n)
    scores = np.asarray(getattr(found := setting.verifiers[shape](Key(4), data), "scores", found))
    kept = Bernoulli()(Key(5), scores) if shape == "soft ball" else scores >= 0
    j = np.argmax(data.x @ problem.basis.T, axis=1)
    label = (data.y - problem.basis[j] @ problem.truth) / problem.noise
    for direction, (share, mean, variance) in enumerate(zip(*setting.windows[shape].moments(offset), strict=True)):
        mine = j == direction
        own = label[mine & kept]
        assert abs(z(kept[mine], share)) < 4
        assert abs(z(own, mean)) < 4
        assert abs(z((own - mean) ** 2, variance)) < 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_of_the_map_is_the_variance_of_what_passes(shape, setting):
    """T' = V for every rule, and V is at most 1: no shape here drives estimates apart."""
    bounds, step = setting.windows[shape], 1e-4
    for offset in np.linspace(-3, 3, 13):
        place = np.full(4, offset)
        slope = (bounds.moments(place + step)[1] - bounds.moments(place - step)[1]) / (2 * step)
        variance = bounds.moments(place)[2]
        assert slope == pytest.approx(variance, abs=1e-6) and np.all(variance <= 1 + 1e-12)


def test_a_cold_soft_ball_is_hard(maps, setting):
    """Towards temperature 0 the quadrature meets the closed form, to first order in the temperature squared."""
    ball = setting.windows["ball"]
    offset = np.array([0.5, 0.0, -0.5, 1.0])
    gaps = []
    for temperature in (0.1, 0.05):
        soft = replace(ball, temperature=temperature).moments(offset)
        gaps.append(np.array([np.abs(a - b).max() for a, b in zip(soft, ball.moments(offset), strict=True)]))
    assert np.all(gaps[0] < 0.02) and gaps[0] / gaps[1] == pytest.approx(np.full(3, 4.0), rel=0.05)


def test_one_round_is_the_librarys(maps, setting):
    """Summed over directions the first round is `theory.one_round_mse`, and simulated errors are `simulate`'s."""
    problem = setting.problem
    mu, c, width = problem.singular_values, problem.center_offset, problem.half_width
    means, variances, _ = maps.expected(mu, setting.windows["ball"], [50])
    exact = theory.one_round_mse(mu, c, width, 50)
    assert np.sum(variances[1] + means[1] ** 2) == pytest.approx(float(exact), rel=1e-9)
    own = maps.simulated(mu, setting.windows["ball"], [7, 9], 5, Key(0))
    assert own == pytest.approx(simulate(mu, c, width, [7, 9], 5, Key(0)), abs=1e-12)
    box = setting.windows["box"]
    half = (box.upper - box.lower) / 2
    assert np.ptp(half) > 0.01
    boxed = simulate(mu, c, half, [7, 9], 5, Key(0))
    assert maps.simulated(mu, box, [7, 9], 5, Key(0)) == pytest.approx(boxed, abs=1e-12)


@pytest.mark.parametrize("shape", HARD)
def test_the_expectation_is_the_simulations(shape, maps, setting):
    """Twelve rounds of 50 labels: mean of every direction and both errors."""
    mu, c = setting.problem.singular_values, setting.problem.center_offset
    means, variances, _ = maps.expected(mu, setting.windows[shape], [50] * 12)
    errors = maps.simulated(mu, setting.windows[shape], [50] * 12, 3000, Key(21))
    for k in (1, 4, 12):
        for j in range(len(mu)):
            assert abs(z(errors[k, :, j], means[k, j])) < 4.5, (k, j)
        assert abs(z(np.sum(errors[k] ** 2, axis=1), np.sum(variances[k] + means[k] ** 2))) < 4
        assert abs(z(np.sum((errors[k] - c) ** 2, axis=1), np.sum(variances[k] + (means[k] - c) ** 2))) < 4


def test_the_expectation_does_not_take_the_estimate_for_normal(maps):
    """Drifting from a half-space the estimate is skewed: by round 20 a normal one has 4 % less variance."""
    problem = Problem.gaussian(bias=0.0, radius=1.0)
    normal = Problem.gaussian(bias=1.0, radius=1.0).center - problem.truth
    bounds = maps.windows(maps.matched_verifier("half-space", problem, normal, 9.0, 0.3), problem)
    means, variances, _ = maps.expected(problem.singular_values, bounds, [100] * 20)
    errors = maps.simulated(problem.singular_values, bounds, [100] * 20, 6000, Key(41))
    assert abs(z(np.sum((errors[20] - means[20]) ** 2, axis=1), np.sum(variances[20]))) < 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_generic_loop_agrees(shape, maps, setting):
    """Two rounds through verifier, filter, quota and least squares: errors, and the candidates that they took."""
    problem, verifier = setting.problem, setting.verifiers[shape]
    loop = problem.loop(verify=verifier)
    if shape == "soft ball":
        loop = replace(loop, filter=Bernoulli())
    found, drawn = [], []
    for i in range(150):
        key = Key(31).fold(i)
        *_, (state, record) = run(loop, key, problem.start(key), [problem.size(30)] * 2)
        found.append(problem.basis @ (state.model - problem.truth) / problem.noise)
        drawn.append(record.candidates)
    means, variances, accepted = maps.expected(problem.singular_values, setting.windows[shape], [30, 30])
    for j, sample in enumerate(np.transpose(found)):
        assert abs(z(sample, means[2, j])) < 4.5
    assert abs(z(np.sum(np.square(found), axis=1), np.sum(variances[2] + means[2] ** 2))) < 4
    if shape != "none":
        assert abs(z(drawn, np.sum(30 / accepted[1]))) < 4


def test_nothing_holds_the_half_space_from_the_other_side(maps, setting):
    """It drifts away from its bound for ever, by less every round; the other shapes come to rest at the centre."""
    mu, c = setting.problem.singular_values, setting.problem.center_offset
    side = np.sign(setting.problem.basis @ (setting.problem.center - setting.problem.truth))
    means, _, _ = maps.expected(mu, setting.windows["half-space"], [100] * 200)
    steps = np.diff(means * side, axis=0)
    assert np.all(steps < 0) and np.all(np.diff(np.abs(steps), axis=0) < 0)
    assert np.all(means[200] * side < means[100] * side - 0.1)
    for shape in ("ball", "l1 ball", "box", "soft ball"):
        means, _, _ = maps.expected(mu, setting.windows[shape], [100] * 60)
        assert np.abs(means[60] - c).max() < 0.02, shape


@pytest.mark.slow
def test_the_records_follow_what_they_state(here):
    """Every expectation in a run's records, within 4.5 standard errors of the largest of some two hundred."""
    small = ("replicates=60", "simulated=400", "rounds=3", "sizes=40", "dim=3")
    rows = here(NAME, *settings(*small)).rows
    assert len(rows) == 7 * 2 * 2 * 4
    stated = 0
    for row in rows:
        for name in ("error_truth", "error_center", "ahead"):
            if row.get(f"expected_{name}") is not None:
                assert abs(row[name] - row[f"expected_{name}"]) < 4.5 * row[f"{name}_se"], (row["arm"], name)
                stated += 1
        if row["round"] and row["design"] == "block design":
            assert row["kept"] / row["candidates"] == pytest.approx(row["expected_acceptance"], abs=0.02)
            held = row["shape"] not in ("none", "half-space")
            assert (row["plateau_center"] is not None) == held
    assert stated == 7 * 4 * (2 + 3)


@pytest.mark.parametrize("bias", [0, 0.5])
def test_one_replicate_and_one_bias_run_and_draw(bias, here):
    """No standard error can be had from one value: it is null, and neither the figure nor the summary minds."""
    few = ("replicates=1", "simulated=1", "rounds=1", f"bias={bias}")
    run = here(NAME, *settings(*few), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["error_truth_se"] is None for row in run.rows) and "nan" not in run.stdout
