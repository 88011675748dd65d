"""The fast simulation: reproducible to the byte, and exact in distribution against everything known of the loop."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, kstest, truncnorm

from veriloop import Key, run
from veriloop.linear import Problem, simulate, theory, truncated_means

INF = np.inf
SLACK = np.sqrt(2 / np.pi)
MU, CENTER, WIDTH = (
    [3.0, 10.0, 0.5],
    [0.3, -8.0, 9.0],
    [1.0, 0.5, INF],
)  # a usual, a far, and an open window


def z_mean(sample, want, axis=0):
    """How many of its own standard errors the mean of a sample is away from `want`."""
    return (sample.mean(axis) - want) / (sample.std(axis, ddof=1) / np.sqrt(sample.shape[axis]))


def z_difference(first, second, axis=0):
    """How many standard errors the means of two independent samples are apart."""
    errors = [part.var(axis, ddof=1) / part.shape[axis] for part in (first, second)]
    return (first.mean(axis) - second.mean(axis)) / np.sqrt(sum(errors))


def squared(errors, center=0.0):
    """Squared distance by round and replicate."""
    return ((errors - center) ** 2).sum(-1)


# The same numbers, however they are computed


def small(seed=3, sizes=(3, 70, 1, 500), **options):
    return simulate(MU, CENTER, WIDTH, list(sizes), 5, Key(seed), **options)


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 131_072])
def test_chunk_does_not_change_a_byte(chunk):
    assert small(chunk=chunk).tobytes() == small().tobytes()


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000, 131_072])
def test_chunk_does_not_change_a_byte_beyond_one_segment(chunk):
    """Sizes at, just above and two segments above the 65,536 draws that are summed at once."""
    sizes = [65_536, 65_537, 140_000]
    want = simulate(MU, CENTER, WIDTH, sizes, 2, Key(4))
    assert simulate(MU, CENTER, WIDTH, sizes, 2, Key(4), chunk=chunk).tobytes() == want.tobytes()


def test_fewer_sizes_are_the_first_rounds():
    """A round's draws depend on its number alone, so adding rounds changes none before."""
    for rounds in (1, 2, 3):
        assert small(sizes=(3, 70, 1, 500)[:rounds]).tobytes() == small()[: rounds + 1].tobytes()
    assert small(sizes=[1000])[0].tobytes() == small()[0].tobytes()


def test_the_key_decides_every_draw():
    assert small().tobytes() == small().tobytes()
    assert (small() != small(seed=4)).all()


def test_shape_is_rounds_by_replicates_by_directions():
    errors = small()
    assert errors.shape == (5, 5, 3) and np.isfinite(errors).all()
    assert simulate([2.0], [0.0], 1.0, [1], 1, Key(0)).shape == (2, 1, 1)


def test_one_half_width_is_the_same_as_one_a_direction():
    one = simulate(MU, CENTER, 0.7, [9, 9], 4, Key(0))
    assert one.tobytes() == simulate(MU, CENTER, [0.7] * 3, [9, 9], 4, Key(0)).tobytes()


# Arms that share a key


def test_arms_share_the_real_estimate_and_then_part():
    verified, open_ = (simulate(MU, CENTER, width, [20], 200, Key(1)) for width in (0.8, INF))
    assert verified[0].tobytes() == open_[0].tobytes()
    assert (verified[1] != open_[1]).all()


def test_arms_are_coupled_monotonically():
    """With the same key, moving the verifier's centre up moves every estimate up, in every round, tail to tail.

    In steps so small that windows overlap: from the left tail to the middle, and on to the right tail.
    """
    centers = [-30.0, -29.9, *np.linspace(-8, 8, 161), 29.9, 30.0]
    arms = np.array([simulate([4.0, 4.0], [c, c], 0.8, [1, 5, 40], 100, Key(2)) for c in centers])
    steps = np.diff(arms, axis=0)
    assert (steps[:, 0] == 0).all()
    assert (steps[:, 1:] > 0).all()


@pytest.mark.parametrize("center", [-0.5, 0.5])
def test_verified_and_open_arms_move_together(center):
    """Which side the verifier pulls to does not turn the coupling round: the product of the noises is positive."""
    verified, open_ = (
        simulate([1e6] * 4, [center] * 4, width, [20], 500, Key(3))[1] for width in (1.5, INF)
    )
    product = ((verified - verified.mean()) * (open_ - open_.mean())).ravel()
    assert z_mean(product, 0) > 4


# One draw


WINDOWS = {
    "central": (0.0, -1.0, 1.0),
    "off centre": (0.4, -0.1, 2.1),
    "off centre, left": (0.4, -2.1, 0.3),
    "6 sd up": (0.0, 6.0, INF),
    "12 sd up": (0.0, 12.0, INF),
    "38 sd up": (0.0, 38.0, INF),
    "6 sd down": (0.0, -INF, -6.0),
    "12 sd down": (0.0, -INF, -12.0),
    "38 sd down": (0.0, -INF, -38.0),
    "6 sd up, closed": (0.0, 6.0, 6.1),
    "38 sd down, closed": (0.0, -38.01, -38.0),
    "where logarithms begin": (0.0, -5.3, -4.99),
    "just inside the logarithms": (0.0, -5.3, -5.01),
    "from the left tail across": (0.0, -30.0, 0.7),
    "from across to the right tail": (0.0, -0.7, 30.0),
    "wide": (-1.0, -30.0, 30.0),
    "infinite": (2.0, -INF, INF),
    "half": (0.0, 0.0, INF),
    "narrow": (0.0, 0.3, 0.3 + 1e-6),
    "narrow in the tail": (0.0, -9.0 - 1e-6, -9.0),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_draws_follow_the_truncated_normal(name):
    """Kolmogorov-Smirnov on 20,000 means of one draw."""
    mean, lower, upper = WINDOWS[name]
    draws = truncated_means(Key(5).fold(name), np.full(20_000, mean), lower, upper, n=1)
    assert kstest(draws, truncnorm(lower - mean, upper - mean, loc=mean).cdf).pvalue > 1e-4


def test_draws_of_a_round_start_from_the_last_estimate():
    """The first round's single label, through its distribution given the real-data estimate, is uniform."""
    center, width = np.array([0.0, 1.0, -7.0, 12.0]), np.array([1.0, 0.6, 1.0, 2.0])
    start, end = simulate([1.0, 2.0, 1.0, 3.0], center, width, [1], 5000, Key(6))
    uniform = truncnorm.cdf(end, center - width - start, center + width - start, loc=start)
    for j in range(4):
        assert kstest(uniform[:, j], "uniform").pvalue > 1e-4


def test_the_real_estimate_is_normal_with_the_right_spread():
    start = simulate(MU, CENTER, WIDTH, [1], 5000, Key(7))[0] * MU
    for j in range(3):
        assert kstest(start[:, j], "norm").pvalue > 1e-4
    np.testing.assert_array_less(
        abs(np.corrcoef(start.T)[np.triu_indices(3, 1)]) * np.sqrt(5000), 4
    )


class Extreme:
    """A key whose uniforms are all the same number."""

    def __init__(self, uniform):
        self.uniform = uniform

    def numpy(self):
        return self

    def random(self, shape):
        return np.full(shape, self.uniform)


@pytest.mark.parametrize("uniform", [0.0, 2.0**-53, 1 - 2.0**-53])
def test_no_draw_is_infinite(uniform):
    """At the least and the greatest number that a generator can return, in every window and its mirror image."""
    mean, lower, upper = np.array(list(WINDOWS.values())).T
    for window in ((mean, lower, upper), (-mean, -upper, -lower)):
        assert np.isfinite(truncated_means(Extreme(uniform), *window, n=1)).all()


# Means


def test_truncated_means_broadcast():
    means = truncated_means(Key(0), [[0.0], [3.0]], [-1.0, 2.0, 9.0], 11.0, n=4)
    assert means.shape == (2, 3)
    assert np.shape(truncated_means(Key(0), 0.0, -1.0, 1.0, n=4)) == ()
    full = np.broadcast_arrays([[0.0], [3.0]], [-1.0, 2.0, 9.0], 11.0)
    assert truncated_means(Key(0), *full, n=4).tobytes() == means.tobytes()


def test_truncated_means_stay_inside_the_window():
    """Single draws, 40 sd out to one side to 40 sd out to the other, to within two roundings of mean + draw."""
    lower, width = (
        np.linspace(-40, 40, 161)[:, None, None],
        np.array([1e-3, 0.1, 1.0, 10.0])[:, None],
    )
    draws = truncated_means(Key(1), np.full((161, 4, 200), 0.25), lower, lower + width, n=1)
    rounding = 2 * np.spacing(np.maximum(abs(lower), abs(lower + width)))
    assert (draws >= lower - rounding).all() and (draws <= lower + width + rounding).all()
    assert np.isfinite(draws).all()


def standardised(n, lanes):
    """Means of n draws less their mean in theory, over their standard deviation in theory: (lane, window)."""
    window = np.array(list(WINDOWS.values()))
    mean, variance, _ = theory.truncated_moments(window[:, 0], 1.0, window[:, 1], window[:, 2])
    means = truncated_means(Key(8), *np.repeat(window[None], lanes, axis=0).transpose(2, 0, 1), n)
    return (means - mean) / np.sqrt(variance / n)


@pytest.mark.parametrize("n, lanes", [(1, 4000), (10, 2000), (1000, 400)])
def test_truncated_means_have_the_mean_and_variance_of_theory(n, lanes):
    """By z, in every window from tail to tail."""
    standard = standardised(n, lanes)
    assert abs(z_mean(standard, 0)).max() < 4
    assert abs(z_mean(standard**2, 1)).max() < 4


@pytest.mark.parametrize("n, lanes", [(65_536, 10), (65_537, 10), (140_000, 6)])
def test_truncated_means_of_many_draws_are_normal(n, lanes):
    """At and above one segment of 65,536; windows pooled, as few lanes say little of one's variance."""
    standard = standardised(n, lanes).ravel()
    assert abs(standard.mean()) * np.sqrt(standard.size) < 4
    assert abs(z_mean(standard**2, 1)) < 4
    assert kstest(standard, "norm").pvalue > 1e-4


def test_a_round_has_the_moments_of_theory_given_the_last():
    """Rounds 1 and 2, by direction: (a_k - T(a_{k-1})) / sqrt(V(a_{k-1}) / n) has mean 0 and variance 1."""
    mu, center, width = (
        [2.0, 5.0, 1.0, 9.0],
        np.array([0.0, 0.7, -6.0, 14.0]),
        np.array([0.8, 1.8, 1.0, 3.0]),
    )
    errors = simulate(mu, center, width, [7, 30], 4000, Key(9))
    for k, n in ((1, 7), (2, 30)):
        mean, variance, _ = theory.truncated_moments(
            errors[k - 1], 1.0, center - width, center + width
        )
        standard = (errors[k] - mean) / np.sqrt(variance / n)
        assert abs(z_mean(standard, 0)).max() < 4
        assert abs(z_mean(standard**2, 1)).max() < 4


# One round and many, against theory and the paper


CELLS = [
    (0, 0.01),
    (0, 0.25),
    (0, 0.5),
    (0.2, 0.1),
    (0.35, 0.25),
    (0.5, 0.1),
    (0.7, 0.01),
    (0.7, 0.5),
]


@pytest.mark.parametrize("bias, radius", CELLS)
def test_one_round_error_is_the_exact_theory(bias, radius):
    """Cells of the paper's one-round figure, 4,000 replicates."""
    problem = Problem.gaussian(bias=bias, radius=radius)
    mu, center, width = problem.singular_values, problem.center_offset, problem.half_width
    errors = squared(simulate(mu, center, width, [100], 4000, Key(10).fold(f"{bias}, {radius}")))
    assert abs(z_mean(errors[0], np.sum(mu**-2.0))) < 4
    assert abs(z_mean(errors[1], theory.one_round_mse(mu, center, width, 100))) < 4


def test_unverified_error_is_the_random_walk():
    sizes = [10, 100, 1, 400, 7]
    errors = squared(simulate(MU, CENTER, INF, sizes, 4000, Key(11)))
    assert abs(z_mean(errors, theory.unfiltered_mse(MU, sizes), axis=1)).max() < 4


ROUNDS = [0, 1, 2, 5, 10, 20, 40, 60]
REFERENCE = [
    (1.0, 1.0, "center", "1.097 .551 .309 .126 .104 .108 .108 .104"),
    (1.0, 1.5, "center", "1.079 .831 .667 .395 .289 .272 .266 .265"),
    (1.0, 2.0, "center", "1.100 1.043 .998 .914 .823 .755 .708 .741"),
    (1.0, 1.0, "truth", ".090 .201 .384 .830 1.051 1.107 1.108 1.098"),
    (0.0, 0.5, "truth", ".085 .052 .046 .044 .045 .042 .045 .044"),
    (0.0, 1.0, "truth", ".085 .097 .101 .102 .107 .106 .108 .104"),
    (0.0, INF, "truth", ".083 .166 .257 .499 .871 1.64 3.30 4.94"),
]


@pytest.mark.parametrize("bias, radius, target, printed", REFERENCE)
def test_sixty_rounds_match_the_reference_runs(bias, radius, target, printed):
    """Eight directions, 100 kept; both sides have Monte Carlo error, the reference that of 400 replicates."""
    problem = Problem.gaussian(bias=bias, radius=radius)
    center = problem.center_offset
    errors = simulate(problem.singular_values, center, problem.half_width, [100] * 60, 400, Key(12))
    ours = squared(errors[ROUNDS], center if target == "center" else 0.0)
    rounding = np.array(
        [10.0 ** -len(text.partition(".")[2]) for text in printed.split()]
    ) / np.sqrt(12)
    error = np.sqrt(ours.var(1, ddof=1) * (1 / 400 + 1 / 400) + rounding**2)
    z = (ours.mean(1) - np.array(printed.split(), dtype=float)) / error
    assert abs(z).max() < 4, z


@pytest.mark.parametrize(
    "bias, radius", [(0.0, 0.1), (0.0, 1.0), (1.0, 0.3), (1.0, 1.0), (3.0, 0.5)]
)
def test_error_stays_below_the_bound(bias, radius):
    """Theorem 4.1, every round, sizes that fall and grow; only excess beyond 4 standard errors counts."""
    problem = Problem.gaussian(bias=bias, radius=radius)
    center, sizes = problem.center_offset, [30, 5, 100, 20, 300, 1000, 40, 40]
    errors = squared(
        simulate(problem.singular_values, center, problem.half_width, sizes, 1000, Key(13)), center
    )
    initial = np.sum(problem.singular_values**-2.0) + bias**2
    bound = theory.error_bound(initial, problem.half_width, sizes, 8)
    assert z_mean(errors, bound, axis=1).max() < 4


@pytest.mark.parametrize("width", [0.3, 0.9, 1.8])
def test_plateau_is_exact_for_small_noise(width):
    """Started at the level it predicts, a loop that keeps 2,000 rows stays there, round after round."""
    level = theory.plateau(width, 2000, 1)
    errors = simulate([level**-0.5] * 4, [0.2] * 4, width, [2000] * 3, 400, Key(14))
    mean_path = theory.mean_path(0.0, 0.2, width, 3)
    assert abs(z_mean(errors.reshape(4, -1), mean_path, axis=1)).max() < 4
    unbiased = simulate([level**-0.5] * 4, [0.0] * 4, width, [2000] * 3, 400, Key(15))
    assert abs(z_mean(unbiased.reshape(4, -1) ** 2, level, axis=1)).max() < 4


@pytest.mark.parametrize("width", [0.9, 1.8])
def test_plateau_is_an_upper_bound_where_noise_is_large(width):
    """With one row kept the variance is below its largest value most rounds, and the loop levels off lower."""
    errors = simulate([1.0] * 8, [0.0] * 8, width, [1] * 30, 10_000, Key(16))
    assert z_mean(squared(errors)[-1], theory.plateau(width, 1, 8)) < -4


# The generic loop, by rejection


@pytest.fixture(scope="module", params=[True, False], ids=["verified", "unverified"])
def both_ways(request):
    """Errors after rounds 0 to 3, (round, replicate, direction), by the generic loop and by the simulation.

    Also the problem, and what the records say: (replicate, round) pairs of error_truth, error_center.
    """
    problem, replicates = Problem.gaussian(bias=0.6, radius=0.2, dim=3, rows=12, noise=0.5), 600
    loop, key = problem.loop(verify=problem.verifier if request.param else None), Key(17)
    paths, measured = [], []
    for i in range(replicates):
        start = problem.start(key.fold(i, "real"))
        rounds = list(run(loop, key.fold(i), start, [problem.size(n) for n in (8, 4, 15)]))
        paths.append([state.model for state, _ in rounds])
        measured.append(
            [[record.metrics[f"error_{to}"] for to in ("truth", "center")] for _, record in rounds]
        )
    generic = (np.array(paths) - problem.truth) @ problem.basis.T / problem.noise
    width = problem.half_width if request.param else INF
    fast = simulate(
        problem.singular_values, problem.center_offset, width, [8, 4, 15], 4000, Key(18)
    )
    return problem, generic.transpose(1, 0, 2), fast, np.array(measured)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_the_generic_loop_has_the_simulated_error(both_ways, k):
    """Mean squared distance to the truth and to the verifier's centre."""
    problem, generic, fast, _ = both_ways
    for center in (0.0, problem.center_offset):
        assert abs(z_difference(squared(generic[k], center), squared(fast[k], center))) < 4


@pytest.mark.parametrize("k", [0, 1, 3])
def test_the_generic_loop_has_the_simulated_distribution(both_ways, k):
    """Each direction's mean and variance by z, and its distribution by Kolmogorov-Smirnov on two samples."""
    _, generic, fast, _ = both_ways
    assert abs(z_difference(generic[k], fast[k])).max() < 4
    spread = [(part[k] - part[k].mean(0)) ** 2 for part in (generic, fast)]
    assert abs(z_difference(*spread)).max() < 4
    for j in range(3):
        assert ks_2samp(generic[k, :, j], fast[k, :, j]).pvalue > 1e-4


def test_the_generic_loop_measures_the_same_errors(both_ways):
    """What its records say is the distance of the models it hands on, the start among them."""
    problem, generic, _, measured = both_ways
    for column, center in ((0, 0.0), (1, problem.center_offset)):
        np.testing.assert_allclose(measured[..., column].T, squared(generic, center), rtol=1e-9)


# Bad input


GOOD = {
    "singular_values": [1.0, 2.0],
    "center_offset": [0.0, 0.1],
    "half_width": 1.0,
    "sizes": [3],
    "replicates": 2,
}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"singular_values": [1.0, 0.0]}, "singular_values must be positive, got 0.0"),
        ({"singular_values": [-1.5, 1.0]}, "singular_values must be positive, got -1.5"),
        ({"singular_values": [1.0, np.nan]}, "singular_values must be positive, got nan"),
        ({"singular_values": 1.0, "center_offset": 0.0}, r"of one shape, got \(\) and \(\)"),
        ({"center_offset": [0.0]}, r"got \(2,\) and \(1,\)"),
        ({"center_offset": [0.0, np.nan]}, "center_offset must be finite, got nan"),
        ({"center_offset": [INF, 0.0]}, "center_offset must be finite, got inf"),
        ({"half_width": 0.0}, "half_width must be positive, got 0.0"),
        ({"half_width": [1.0, -2.0]}, "half_width must be positive, got -2.0"),
        ({"half_width": np.nan}, "half_width must be positive, got nan"),
        ({"half_width": [1.0, 1.0, 1.0]}, r"\(3,\)"),
        ({"sizes": []}, "sizes must be a list of at least one number"),
        ({"sizes": [3, 0]}, "sizes must be whole numbers of at least 1, got 0 in round 2"),
        ({"replicates": 0}, "replicates must be an integer of at least 1, got 0"),
        ({"chunk": 0}, "chunk must be an integer of at least 1, got 0"),
    ],
)
def test_simulate_refuses_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        simulate(**(GOOD | {"key": Key(0)} | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "args, message",
    [
        ((0.0, -1.0, 1.0, 0), "n must be an integer of at least 1, got 0"),
        ((0.0, 1.0, -1.0, 5), "lower must be below upper, got 1.0 and -1.0"),
        ((0.0, [0.0, 2.0], 2.0, 5), "lower must be below upper, got 2.0 and 2.0"),
        ((0.0, np.nan, 1.0, 5), "lower must be below upper, got nan and 1.0"),
        ((np.nan, -1.0, 1.0, 5), "mean must be finite, got nan"),
        (([0.0, INF], -1.0, 1.0, 5), "mean must be finite, got inf"),
    ],
)
def test_truncated_means_refuse_in_one_sentence(args, message):
    with pytest.raises(ValueError, match=message) as caught:
        truncated_means(Key(0), *args)
    assert "\n" not in str(caught.value)
