"""The windows of every shape of verifier: against verdicts one by one, the simulation, and the generic loop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, special

from veriloop import Bernoulli, Constant, Key, Random, run
from veriloop.linear import (
    FixedDesign,
    Generate,
    Knowledge,
    KnowledgeBall,
    KnowledgeBox,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    KnowledgeL1,
    Problem,
    Soft,
    Windows,
    expected_path,
    simulate,
    simulate_windows,
    theory,
    windows_of,
)

PROBLEM = Problem.gaussian(bias=0.7, radius=1.0, dim=4, rows=40, noise=1.5)
CENTER = PROBLEM.center
SLACK = PROBLEM.slack
AXES = PROBLEM.basis.T * np.array([0.3, 0.6, 1.2, 2.4])
VERIFIERS = {
    "none": Constant(),
    "ball": PROBLEM.verifier,
    "l1 ball": KnowledgeL1(CENTER, 1.4, SLACK),
    "box": KnowledgeBox(CENTER, 0.6, SLACK),
    "ellipsoid": KnowledgeEllipsoid(CENTER, AXES, SLACK),
    "half-space": KnowledgeHalfSpace(CENTER, CENTER - PROBLEM.truth, 0.8, SLACK),
    "soft ball": Soft(KnowledgeBall(CENTER, 0.9, SLACK), 0.4),
}
WINDOWS = {name: windows_of(verifier, PROBLEM) for name, verifier in VERIFIERS.items()}
SHAPES = list(VERIFIERS)
HARD = SHAPES[:-1]


def z(sample, expected):
    """How many of its own standard errors a sample's mean is from what is expected."""
    return (np.mean(sample) - expected) / (np.std(sample, ddof=1) / np.sqrt(len(sample)))


@pytest.mark.parametrize("shape", HARD)
def test_windows_hold_exactly_the_labels_that_the_verifier_accepts(shape):
    """Every candidate on the singular directions, and not only those near the bounds."""
    problem = PROBLEM
    data = Generate(FixedDesign(problem.basis), 3.0)(Key(1), problem.truth, 4000)
    accepted = np.asarray(VERIFIERS[shape](Key(2), data)) >= 0
    j = np.argmax(data.x @ problem.basis.T, axis=1)
    label = (data.y - problem.basis[j] @ problem.truth) / problem.noise
    bounds = WINDOWS[shape]
    assert np.array_equal(accepted, (label >= bounds.lower[j]) & (label <= bounds.upper[j]))
    assert accepted.all() == (shape == "none")


@pytest.mark.parametrize("shape", ["ball", "half-space", "soft ball"])
def test_the_map_is_what_accepted_labels_do(shape):
    """Acceptance, mean and variance of labels filtered one by one, by the verifier and its filter."""
    problem, n = PROBLEM, 200_000
    offset = np.array([0.3, -0.5, 1.2, 0.0])
    model = problem.truth + problem.noise * problem.basis.T @ offset
    data = Generate(FixedDesign(problem.basis), problem.noise)(Key(3), model, n)
    scores = np.asarray(getattr(found := VERIFIERS[shape](Key(4), data), "scores", found))
    kept = Bernoulli()(Key(5), scores) if shape == "soft ball" else scores >= 0
    j = np.argmax(data.x @ problem.basis.T, axis=1)
    label = (data.y - problem.basis[j] @ problem.truth) / problem.noise
    for direction, (share, mean, variance) in enumerate(
        zip(*WINDOWS[shape].moments(offset), strict=True)
    ):
        mine = j == direction
        own = label[mine & kept]
        assert abs(z(kept[mine], share)) < 4
        assert abs(z(own, mean)) < 4
        assert abs(z((own - mean) ** 2, variance)) < 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_slope_of_the_map_is_the_variance_of_what_passes(shape):
    """T' = V for every rule, and V is at most 1: no shape here drives estimates apart."""
    bounds, step = WINDOWS[shape], 1e-4
    for offset in np.linspace(-3, 3, 13):
        place = np.full(4, offset)
        slope = (bounds.moments(place + step)[1] - bounds.moments(place - step)[1]) / (2 * step)
        variance = bounds.moments(place)[2]
        assert slope == pytest.approx(variance, abs=1e-6) and np.all(variance <= 1 + 1e-12)


def test_a_cold_soft_ball_is_hard():
    """Towards temperature 0 the quadrature meets the closed form, to first order in the temperature squared."""
    ball = WINDOWS["ball"]
    offset = np.array([0.5, 0.0, -0.5, 1.0])
    gaps = []
    for temperature in (0.1, 0.05):
        soft = replace(ball, temperature=temperature).moments(offset)
        gaps.append(
            np.array([np.abs(a - b).max() for a, b in zip(soft, ball.moments(offset), strict=True)])
        )
    assert np.all(gaps[0] < 0.02) and gaps[0] / gaps[1] == pytest.approx(np.full(3, 4.0), rel=0.05)


def test_one_round_is_the_librarys():
    """Summed over directions the first round is `theory.one_round_mse`, and simulated errors are `simulate`'s."""
    problem = PROBLEM
    mu, c, width = problem.singular_values, problem.center_offset, problem.half_width
    means, variances, _ = expected_path(mu, WINDOWS["ball"], [50])
    exact = theory.one_round_mse(mu, c, width, 50)
    assert np.sum(variances[1] + means[1] ** 2) == pytest.approx(float(exact), rel=1e-9)
    own = simulate_windows(mu, WINDOWS["ball"], [7, 9], 5, Key(0))
    assert own == pytest.approx(simulate(mu, c, width, [7, 9], 5, Key(0)), abs=1e-12)
    box = WINDOWS["box"]
    half = (box.upper - box.lower) / 2
    assert np.ptp(half) > 0.01
    boxed = simulate(mu, c, half, [7, 9], 5, Key(0))
    assert simulate_windows(mu, box, [7, 9], 5, Key(0)) == pytest.approx(boxed, abs=1e-12)


@pytest.mark.parametrize("shape", HARD)
def test_the_expectation_is_the_simulations(shape):
    """Twelve rounds of 50 labels: mean of every direction and both errors."""
    mu, c = PROBLEM.singular_values, PROBLEM.center_offset
    means, variances, _ = expected_path(mu, WINDOWS[shape], [50] * 12)
    errors = simulate_windows(mu, WINDOWS[shape], [50] * 12, 3000, Key(21))
    for k in (1, 4, 12):
        for j in range(len(mu)):
            assert abs(z(errors[k, :, j], means[k, j])) < 4.5, (k, j)
        assert abs(z(np.sum(errors[k] ** 2, axis=1), np.sum(variances[k] + means[k] ** 2))) < 4
        assert (
            abs(z(np.sum((errors[k] - c) ** 2, axis=1), np.sum(variances[k] + (means[k] - c) ** 2)))
            < 4
        )


def test_the_expectation_does_not_take_the_estimate_for_normal():
    """Drifting from a half-space the estimate is skewed: by round 20 a normal one has 4 % less variance."""
    problem = Problem.gaussian(bias=0.0, radius=1.0)
    normal = Problem.gaussian(bias=1.0, radius=1.0).center - problem.truth
    half_space = KnowledgeHalfSpace(problem.center, normal, 1.0, problem.slack)
    bounds = windows_of(half_space, problem)
    means, variances, _ = expected_path(problem.singular_values, bounds, [100] * 20)
    errors = simulate_windows(problem.singular_values, bounds, [100] * 20, 6000, Key(41))
    assert abs(z(np.sum((errors[20] - means[20]) ** 2, axis=1), np.sum(variances[20]))) < 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_generic_loop_agrees(shape):
    """Two rounds through verifier, filter, quota and least squares: errors, and the candidates that they took."""
    problem, verifier = PROBLEM, VERIFIERS[shape]
    loop = problem.loop(verify=verifier)
    if shape == "soft ball":
        loop = replace(loop, filter=Bernoulli())
    found, drawn = [], []
    for i in range(150):
        key = Key(31).fold(i)
        *_, (state, record) = run(loop, key, problem.start(key), [problem.size(30)] * 2)
        found.append(problem.basis @ (state.model - problem.truth) / problem.noise)
        drawn.append(record.candidates)
    means, variances, accepted = expected_path(problem.singular_values, WINDOWS[shape], [30, 30])
    for j, sample in enumerate(np.transpose(found)):
        assert abs(z(sample, means[2, j])) < 4.5
    assert abs(z(np.sum(np.square(found), axis=1), np.sum(variances[2] + means[2] ** 2))) < 4
    if shape != "none":
        assert abs(z(drawn, np.sum(30 / accepted[1]))) < 4


def test_nothing_holds_the_half_space_from_the_other_side():
    """It drifts away from its bound for ever, by less every round; the other shapes come to rest at the centre."""
    mu, c = PROBLEM.singular_values, PROBLEM.center_offset
    side = np.sign(PROBLEM.basis @ (PROBLEM.center - PROBLEM.truth))
    means, _, _ = expected_path(mu, WINDOWS["half-space"], [100] * 200)
    steps = np.diff(means * side, axis=0)
    assert np.all(steps < 0) and np.all(np.diff(np.abs(steps), axis=0) < 0)
    assert np.all(means[200] * side < means[100] * side - 0.1)
    for shape in ("ball", "l1 ball", "box", "soft ball"):
        means, _, _ = expected_path(mu, WINDOWS[shape], [100] * 60)
        assert np.abs(means[60] - c).max() < 0.02, shape


@pytest.mark.parametrize(
    "mu, sizes",
    [(1.0, [100_000, 100, 100]), (0.3, [10_000, 100]), (0.02, [100, 100, 100]), (10.0, [3, 3])],
)
@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
def test_wide_starts_and_large_rounds_are_followed(mu, sizes, verified):
    """A start of 50 sigma, or a round of 100,000 labels after a wide one: against the simulation, by z."""
    width = 1.8 if verified else np.inf
    bounds = Windows([0.5 - width], [0.5 + width])
    path = expected_path([mu], bounds, sizes)
    replicates = 400 if max(sizes) > 1000 else 4000
    errors = simulate_windows([mu], bounds, sizes, replicates, Key(9))[..., 0]
    for k, own in enumerate(errors):
        assert abs(z(own, path.mean[k, 0])) < 4
        assert abs(z((own - path.mean[k, 0]) ** 2, path.variance[k, 0])) < 4
    assert ((path.acceptance >= 0) & (path.acceptance <= 1 + 1e-12)).all()


def test_what_no_grid_can_hold_is_refused():
    above = Windows([0.0], [np.inf])
    with pytest.raises(ValueError, match="spreads over .* sigma, at most 150 can be followed"):
        expected_path([0.02], above, [100, 100])
    with pytest.raises(ValueError, match="1 numbers of at least 0.01, one for each window"):
        expected_path([0.001], above, [100])
    with pytest.raises(ValueError, match="one for each window"):
        expected_path([1.0, 2.0], above, [100])


SOFT = [(0.0, -1.0, 1.0), (0.5, -1.2, 2.0), (5.0, -1.0, 1.0), (-3.0, 0.0, 0.1)]


@pytest.mark.parametrize("temperature", [1e-4, 0.003, 0.02, 0.3, 5.0])
@pytest.mark.parametrize("offset, lower, upper", SOFT)
def test_soft_windows_are_right_at_every_temperature(offset, lower, upper, temperature):
    """Against adaptive quadrature that is told where the rule bends."""

    def density(y):
        rule = special.expit(min(y - lower, upper - y) / temperature)
        return rule * np.exp(-0.5 * (y - offset) ** 2)

    bends = [(lower + upper) / 2, offset]
    bends += [
        bound + step * temperature for bound in (lower, upper) for step in (-40, -5, 0, 5, 40)
    ]
    edges = np.unique(np.clip([offset - 12, offset + 12, *bends], offset - 12, offset + 12))

    def total(function):
        parts = [
            integrate.quad(function, low, high, epsabs=1e-15, epsrel=1e-10)[0]
            for low, high in pairwise(edges)
        ]
        return sum(parts)

    mass = total(density)
    mean = total(lambda y: y * density(y)) / mass
    variance = total(lambda y: (y - mean) ** 2 * density(y)) / mass
    share, first, second = Windows([lower], [upper], temperature).moments(offset)
    assert share[0] == pytest.approx(mass / np.sqrt(2 * np.pi), rel=1e-9)
    assert first[0] == pytest.approx(mean, rel=1e-9, abs=1e-9)
    assert second[0] == pytest.approx(variance, rel=1e-9)


def test_a_model_far_outside_a_soft_window_is_drawn_to_its_bound():
    """1,000 sigma away: the mean is that of the hard window to the order of the temperature."""
    soft = Windows([-1.0], [1.0], 1e-6).moments(1000.0)
    hard = Windows([-1.0], [1.0]).moments(1000.0)
    assert soft.mean == pytest.approx(hard.mean, abs=1e-5)
    assert soft.variance == pytest.approx(hard.variance, rel=1e-2)


def test_a_shape_of_ones_own_has_windows_too():
    """A subclass that gives a width; its centre need not be the problem's."""

    @dataclass(frozen=True)
    class Slab(Knowledge):
        center: np.ndarray
        slack: float = 0.3

        def width(self, x):
            return np.abs(x[:, 0])

    slab = Slab(PROBLEM.truth)
    bounds = windows_of(slab, PROBLEM)
    assert bounds.upper == pytest.approx((np.abs(PROBLEM.basis[:, 0]) + 0.3) / PROBLEM.noise)
    assert bounds.lower == pytest.approx(-bounds.upper)


class OneSided(KnowledgeBall):
    """Scores by a rule of its own, so its windows cannot be told from its width."""

    def __call__(self, key, batch):
        return batch.y - batch.x @ self.center


def test_no_verifier_lets_everything_pass():
    for verifier in (None, Constant()):
        bounds = windows_of(verifier, PROBLEM)
        assert np.all(bounds.lower == -np.inf) and np.all(bounds.upper == np.inf)


def test_verifiers_whose_windows_are_unknown_are_refused():
    other = (lambda key, batch: np.ones(len(batch)), OneSided(CENTER, 1.0))
    for verifier in (Random(), Soft(Random(), 1.0), Constant(-1.0), *other):
        with pytest.raises(
            ValueError, match="verifier must be a Knowledge verifier, Soft of one, or Constant, got"
        ):
            windows_of(verifier, PROBLEM)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Windows(np.zeros(2), np.ones(3)), r"one shape \(p,\), got \(2,\) and \(3,\)"),
        (lambda: Windows(np.zeros(2), np.zeros(2)), "lower must be below upper"),
        (lambda: Windows(np.zeros(2), np.array([1.0, np.nan])), "lower must be below upper"),
        (
            lambda: Windows(np.zeros(1), np.ones(1), -0.1),
            "temperature must be at least 0 and finite, got -0.1",
        ),
        (
            lambda: simulate_windows([1.0], Windows(np.zeros(1), np.ones(1), 0.5), [1], 1, Key(0)),
            "must be hard",
        ),
        (
            lambda: simulate_windows([1.0, 2.0], Windows(np.zeros(1), np.ones(1)), [1], 1, Key(0)),
            "of one shape",
        ),
        (
            lambda: expected_path([0.0], Windows(np.zeros(1), np.ones(1)), [1]),
            "singular_values must be positive",
        ),
        (
            lambda: expected_path([1.0], Windows(np.zeros(1), np.ones(1)), [0]),
            "sizes must be whole numbers of at least 1, got 0 in round 1",
        ),
    ],
)
def test_windows_that_cannot_be_are_refused(call, told):
    with pytest.raises(ValueError, match=told):
        call()


@pytest.mark.parametrize("temperature", [1e-13, 1e-50, 1e-300])
def test_a_temperature_close_to_0_is_0(temperature):
    """Where bisection finds no mode, and NaN came out."""
    hard = Windows([-1.0, 0.0], [1.0, np.inf]).moments(-1.5)
    soft = Windows([-1.0, 0.0], [1.0, np.inf], temperature).moments(-1.5)
    assert np.array(soft) == pytest.approx(np.array(hard), rel=1e-12)
