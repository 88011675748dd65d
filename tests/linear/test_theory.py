"""The linear theory against mpmath, against its own identities, and against every number known of the paper."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from veriloop.linear import theory

SLACK = np.sqrt(2 / np.pi)
INF = np.inf


def paper_problem():
    """Singular values and bias direction, v_j . u, of the paper's one-round figure."""
    design = np.random.default_rng(12345).normal(size=(100, 8))
    direction = np.random.default_rng(777).normal(size=8)
    _, mu, basis = np.linalg.svd(design, full_matrices=False)
    return mu, basis @ (direction / np.linalg.norm(direction))


MU, UNIT = paper_problem()


def printed(value, text):
    """Whether `value` rounds to the printed number: half a unit in its last digit."""
    decimals = len(text.partition(".")[2])
    return abs(value - float(text)) <= 0.5 * 10.0**-decimals * (1 + 1e-9)


def misprints(values, text):
    """The pairs (value, printed number) that do not agree."""
    return [
        (v, number)
        for v, number in zip(values, text.split(), strict=True)
        if not printed(v, number)
    ]


# The map


@pytest.mark.parametrize("center, width", [(0.0, 0.8), (0.5, 1.3), (-2.0, 3.0), (1.0, 0.1)])
def test_derivatives_of_the_map_are_the_moments(center, width):
    """T' = V and T'' = V' = third central moment, by central differences."""
    a, h = np.linspace(-6, 6, 49), 1e-3

    def moments(x):
        return theory.truncated_moments(x, 1.0, center - width, center + width)

    up, down, here = moments(a + h), moments(a - h), moments(a)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * h), here[1], atol=1e-6)
    np.testing.assert_allclose((up[1] - down[1]) / (2 * h), here[2], atol=1e-6)
    np.testing.assert_allclose(theory.mean_map(a, center, width), here[0], rtol=1e-13)


# The contraction


def test_contraction_factor_table_of_the_paper():
    radius = np.array([0.01, 0.1, 0.2, 0.3, 0.5, 1, 1.5, 2, 2.5, 3, 4])
    table = ".1992 .2410 .2901 .3412 .4464 .6929 .8663 .9552 .98855 .99776 .99996"
    assert misprints(theory.contraction_factor(radius + SLACK), table) == []


def test_acceptance_at_the_centre_of_the_paper():
    width = np.array([0.01, 0.1, 0.5, 1, 2, 3]) + SLACK
    assert (
        misprints(theory.acceptance(0.0, 1.0, -width, width), ".581 .631 .806 .928 .9949 .99985")
        == []
    )


def test_contraction_factor_limits():
    """w^2 / 3 - 2 w^4 / 45 for small w; 1 at infinity; between 0 and 1 and increasing."""
    small = np.array([1e-8, 1e-4, 1e-2])
    np.testing.assert_allclose(
        theory.contraction_factor(small), small**2 / 3 - 2 * small**4 / 45, rtol=1e-10
    )
    assert theory.contraction_factor(INF) == 1
    rho = theory.contraction_factor(np.geomspace(1e-6, 8, 200))
    assert (np.diff(rho) > 0).all() and 0 < rho[0] and rho[-1] < 1


@pytest.mark.parametrize("width", [0.3, 1.0, 1.8, 4.0])
def test_contraction_factor_is_the_largest_slope(width):
    """The variance over a peaks at the centre, with the value of the closed form 1 - 2 w phi / (2 Phi - 1)."""
    variance = theory.truncated_moments(np.linspace(-5, 5, 201), 1.0, -width, width)[1]
    assert variance.argmax() == 100
    with mp.workdps(40):
        closed = 1 - 2 * width * mp.npdf(width) / mp.erf(width / mp.sqrt(2))
    np.testing.assert_allclose(
        [theory.contraction_factor(width), variance.max()], float(closed), rtol=1e-12
    )


numbers = st.floats(-20, 20)


@settings(max_examples=100, deadline=None)
@given(offset=numbers, center=numbers, width=st.floats(1e-3, 10))
def test_path_contracts_to_the_centre(offset, center, width):
    """|T(a) - c| <= rho |a - c|, hence rho^k after k rounds; the sides never swap."""
    gaps = theory.mean_path(offset, center, width, 5) - center
    rho, rounding = theory.contraction_factor(width), 1e-13 * (1 + abs(center) + abs(offset))
    assert (abs(gaps[1:]) <= rho * abs(gaps[:-1]) + rounding).all()
    assert abs(gaps[-1]) <= rho**5 * abs(gaps[0]) + 5 * rounding
    assert (gaps * gaps[0] >= -rounding * abs(gaps[0])).all()


def test_mean_map_fixed_point_and_identity():
    center = np.array([-3.0, 0.0, 0.2, 7.0])
    np.testing.assert_allclose(theory.mean_map(center, center, [0.1, 1, 2, 5]), center, rtol=1e-14)
    np.testing.assert_array_equal(theory.mean_path(center, 0.3, INF, 3), np.tile(center, (4, 1)))


def test_mean_path_shapes():
    assert theory.mean_path(0.0, np.zeros(3), np.ones((2, 1)), 4).shape == (5, 2, 3)
    assert theory.mean_path(0.0, 0.0, 1.0, 0).shape == (1,)


# One round


CELLS = np.array(
    [(0, 0.01), (0, 0.25), (0, 0.5), (0.2, 0.1), (0.35, 0.25), (0.5, 0.1), (0.7, 0.01), (0.7, 0.5)]
)


def paper_cells(function, bias, radius, method):
    return function(MU, np.multiply.outer(bias, UNIT), np.asarray(radius) + SLACK, 100, method)


def test_baseline_of_the_paper():
    assert theory.unfiltered_mse(MU, [100])[0] == pytest.approx(0.08373871826678209, rel=1e-14)


def test_expansion_is_the_paper_theory_column():
    """The paper's theoretical heat map is the expansion, to every printed digit."""
    got = paper_cells(theory.one_round_mse, *CELLS.T, "expansion")
    assert misprints(got, ".01926 .03356 .05239 .04720 .09108 .16851 .33444 .20505") == []


def test_exact_matches_the_reference_simulation():
    """4,000 repetitions of an error with 8 degrees of freedom or more: a standard error of 0.8 % at most."""
    simulated = [0.01951, 0.03374, 0.05210, 0.04707, 0.09106, 0.16732, 0.33362, 0.20490]
    np.testing.assert_allclose(
        paper_cells(theory.one_round_mse, *CELLS.T, "exact"), simulated, rtol=4 * 0.008
    )


@pytest.mark.parametrize(
    "radius, bias, row",
    [
        (0.01, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7], ".735 .591 .311 .042 -.188 -.382 -.692"),
        (0.5, [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7], ".2345 .206 .129 .023 -.097 -.218 -.448"),
    ],
)
def test_log_improvement_rows_of_the_paper(radius, bias, row):
    """By the expansion to every printed digit; the exact theory is within 0.002 of it."""
    expansion = paper_cells(theory.log_improvement, bias, radius, "expansion")
    assert misprints(expansion, row) == []
    np.testing.assert_allclose(
        paper_cells(theory.log_improvement, bias, radius, "exact"), expansion, atol=2e-3
    )


def test_zero_crossings_of_the_paper():
    """The expansion changes sign within half a unit of the printed bias; the exact root lies within 0.001 of it."""
    for radius, text in [(0.01, ".317"), (0.2, ".3255"), (0.3, ".3277"), (0.5, ".3195")]:
        half = 0.5 * 10.0 ** -len(text[1:])
        low, high = paper_cells(
            theory.log_improvement, [float(text) - half, float(text) + half], radius, "expansion"
        )
        assert low > 0 > high
        assert abs(theory.break_even_bias(MU, UNIT, radius + SLACK, 100) - float(text)) < 1e-3


def dense_mse(mu, center, width, kept):
    """The exact error by the trapezoidal rule, which converges geometrically on the line."""
    z = np.linspace(-12, 12, 8001)[:, None]
    weight = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    mean, variance, _ = theory.truncated_moments(z / mu, 1.0, center - width, center + width)
    return np.sum(weight * (mean**2 + variance / kept))


@pytest.mark.parametrize("mu", [0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 100.0])
@pytest.mark.parametrize(
    "center, width", [(0.0, 0.8), (0.4, 0.1), (3.0, 1.3), (1.0, 4.0), (0.3, 8.0)]
)
def test_exact_quadrature_has_converged(mu, center, width):
    for kept in (1, INF):
        want = dense_mse(np.array([mu, 2 * mu]), center, width, kept)
        assert theory.one_round_mse([mu, 2 * mu], center, width, kept) == pytest.approx(
            want, rel=1e-10
        )


@pytest.mark.parametrize("kept, order", [(INF, 4), (100, 2)])
def test_expansion_error_is_of_the_stated_order(kept, order):
    """Doubling mu divides the remainder by 16 without sampling noise, by 4 with it at fixed kept."""
    args = ([0.3, -0.2], 1.3, kept)
    gap = [
        theory.one_round_mse([m, m], *args)
        - theory.one_round_mse([m, m], *args, method="expansion")
        for m in (40, 80)
    ]
    assert gap[0] / gap[1] == pytest.approx(2**order, rel=0.1)


def test_no_verifier_adds_the_sampling_variance():
    for method in ("exact", "expansion"):
        got = theory.one_round_mse(MU, 0.3 * UNIT, INF, [50, 100, INF], method)
        np.testing.assert_allclose(got, np.sum(MU**-2) + 8 / np.array([50, 100, INF]), rtol=1e-12)


def test_one_round_broadcasts_like_a_loop_over_cells():
    bias, width, kept = np.array([0.0, 0.4, 30.0]), np.array([0.2, 1.3]), np.array([[10.0, INF]])
    grid = theory.one_round_mse(MU, np.multiply.outer(bias, UNIT)[:, None], width, kept)
    cells = [
        [theory.one_round_mse(MU, b * UNIT, w, k) for w, k in zip(width, kept[0], strict=True)]
        for b in bias
    ]
    assert grid.shape == (3, 2)
    np.testing.assert_allclose(grid, cells, rtol=1e-13)
    assert isinstance(cells[0][0], float)


@pytest.mark.parametrize("bias, width, kept", [(0.0, 1.0, 10), (0.5, 0.9, 5), (2.0, 1.8, 20)])
def test_one_round_agrees_with_monte_carlo(bias, width, kept):
    rng, mu, center = np.random.default_rng(5), np.array([3.0, 10.0]), bias * np.array([0.6, 0.8])
    offset = rng.normal(size=(4000, 2, 1)) / mu[:, None]
    low, high = center[:, None] - width - offset, center[:, None] + width - offset
    labels = offset + truncnorm.ppf(rng.random((4000, 2, kept)), low, high)
    error = (labels.mean(-1) ** 2).sum(-1)
    standard_error = error.std(ddof=1) / np.sqrt(error.size)
    assert abs(error.mean() - theory.one_round_mse(mu, center, width, kept)) < 4 * standard_error


# Sizes and biases that pay


def test_smallest_sizes_of_the_paper():
    """One direction, mu^2 = 100, unbiased, by the expansion; it reduces to rho mu^2 / (1 - rho^2)."""
    width = np.array([0.01, 0.25, 0.5, 1, 1.5, 2]) + SLACK
    got = theory.smallest_size([10.0], 0.0, width, "expansion")
    np.testing.assert_array_equal(np.round(got), [21, 35, 56, 133, 347, 1091])
    rho = theory.contraction_factor(width)
    np.testing.assert_allclose(got, 100 * rho / (1 - rho**2), rtol=1e-12)


@pytest.mark.parametrize("method", ["exact", "expansion"])
def test_smallest_size_just_breaks_even(method):
    width = np.array([0.81, 1.3, 2.5])
    size = theory.smallest_size(MU, 0.1 * UNIT, width, method)
    np.testing.assert_allclose(
        theory.log_improvement(MU, 0.1 * UNIT, width, size, method), 0, atol=1e-11
    )
    assert (theory.log_improvement(MU, 0.1 * UNIT, width, 1.01 * size, method) > 0).all()


@pytest.mark.parametrize("method", ["exact", "expansion"])
def test_smallest_size_is_infinite_where_none_pays(method):
    """Too biased a verifier, or none."""
    assert theory.smallest_size(MU, 0.7 * UNIT, 1.0, method) == INF
    assert theory.smallest_size(MU, 0.0, INF, method) == INF
    assert np.isfinite(theory.smallest_size(MU, 0.0, [1.0, 5.0], method)).all()


def test_break_even_bias_is_a_root():
    width, kept = np.array([[0.3], [0.81], [1.3], [4.0]]), np.array([100.0, 1e6, INF])
    bias = theory.break_even_bias(MU, UNIT, width, kept)
    assert bias.shape == (4, 3)
    at_root = theory.log_improvement(MU, bias[..., None] * UNIT, width, kept)
    np.testing.assert_allclose(at_root[bias > 0], 0, atol=1e-11)
    assert (bias > 0).tolist() == [[True, True, True]] * 3 + [[False, True, True]]


def test_break_even_bias_is_zero_where_filtering_never_pays():
    unpaid = theory.break_even_bias(MU, UNIT, [1.3, INF, INF], [1, 100, INF])
    np.testing.assert_array_equal(unpaid, 0.0)
    assert isinstance(theory.break_even_bias(MU, UNIT, 1.3, 100), float)


def test_a_wide_window_pays_where_it_is_biased_and_not_at_its_centre():
    """One direction, nearly all labels accepted: no gain unbiased, a gain up to some bias near the half width."""
    mu, width, kept = [1.17], 9.77, 135
    bias = theory.break_even_bias(mu, [1.0], width, kept)
    gain = theory.log_improvement(
        mu, [[0.0], [5.0], [bias - 0.01], [bias], [bias + 0.01]], width, kept
    )
    assert (gain[:2] < 0).all() and gain[2] > 1e-4 and gain[4] < -1e-4
    assert gain[3] == pytest.approx(0, abs=1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_beyond_the_break_even_bias_nothing_pays(seed):
    """Random designs and windows, wide ones too: every larger bias of a fine grid harms."""
    lots = np.random.default_rng(seed)
    mu = lots.uniform(0.7, 3.0, 3)
    unit = lots.standard_normal(3)
    unit /= np.linalg.norm(unit)
    width = lots.uniform(0.3, 12.0, 5)
    bias = theory.break_even_bias(mu, unit, width, 150)
    grid = bias[:, None] + np.geomspace(1e-3, 40, 300)
    gains = theory.log_improvement(mu, grid[..., None] * unit, width[:, None], 150)
    assert (gains < 1e-9).all()


# Many rounds


def test_error_bound_is_the_sum_of_theorem_4_1():
    sizes, width, dim = np.array([50, 100, 30, 400, 1000]), 1.8, 8
    rho = theory.contraction_factor(width)
    want = [
        rho ** (2 * k) * 1.5 + dim * sum(rho ** (2 * (k - j) - 1) / sizes[j] for j in range(k))
        for k in range(6)
    ]
    np.testing.assert_allclose(theory.error_bound(1.5, width, sizes, dim), want, rtol=1e-13)


@pytest.mark.parametrize(
    "radius, simulated",
    [
        (1.0, [1.097, 0.551, 0.309, 0.126, 0.104, 0.108, 0.108, 0.104]),
        (1.5, [1.079, 0.831, 0.667, 0.395, 0.289, 0.272, 0.266, 0.265]),
        (2.0, [1.100, 1.043, 0.998, 0.914, 0.823, 0.755, 0.708, 0.741]),
    ],
)
def test_error_bound_covers_the_reference_runs(radius, simulated):
    """Bias 1, 100 kept, 400 repetitions: a standard error of 2.5 % at most."""
    bound = theory.error_bound(np.sum(MU**-2) + 1, radius + SLACK, [100] * 60, 8)[
        [0, 1, 2, 5, 10, 20, 40, 60]
    ]
    assert (np.array(simulated) <= bound * (1 + 4 * 0.025)).all()


def test_plateaus_of_the_paper():
    """Unbiased: r = 0.5 levels off below the initial error of 0.0837, r = 1 above it."""
    levels = theory.plateau(np.array([0.5, 1.0]) + SLACK, 100, 8)
    assert misprints(levels, "0.0446 0.1066") == []
    assert levels[0] < theory.unfiltered_mse(MU, [100])[0] < levels[1]


@pytest.mark.parametrize("width", [0.01, 1.3, 3.0])
def test_plateau_is_where_the_bound_settles(width):
    level = theory.plateau(width, 100, 8)
    assert theory.error_bound(level, width, [100] * 20, 8) == pytest.approx([level] * 21, rel=1e-12)


def test_plateau_keeps_its_digits_when_rho_rounds_to_one():
    with mp.workdps(60):
        width = mp.mpf(12)
        gap = 2 * width * mp.npdf(width) / mp.erf(width / mp.sqrt(2))
        want = float(8 * (1 - gap) / (100 * gap * (2 - gap)))
    assert theory.plateau(12.0, 100, 8) == pytest.approx(want, rel=1e-12)
    assert theory.plateau(INF, 100, 8) == INF


def test_unfiltered_error_of_the_reference_runs():
    """A random walk with steps p / n; 400 repetitions, a standard error of 2.5 %."""
    got = theory.unfiltered_mse(MU, [100] * 60)[[0, 1, 2, 5, 10, 20, 40, 60]]
    np.testing.assert_allclose(
        got, [0.083, 0.166, 0.257, 0.499, 0.871, 1.64, 3.30, 4.94], rtol=4 * 0.025
    )
    np.testing.assert_allclose(theory.unfiltered_mse([1.0, 2.0], [4, 8]), [1.25, 1.75, 2.0])


# Bad input


@pytest.mark.parametrize(
    "function, args, message",
    [
        ("contraction_factor", (0,), "half_width must be positive"),
        ("contraction_factor", (np.nan,), "half_width must be positive, got nan"),
        ("mean_map", (INF, 0, 1), "offset must be finite"),
        ("mean_map", (0, np.nan, 1), "center_offset must be finite"),
        ("mean_map", (0, 0, -1), "half_width must be positive"),
        ("mean_path", (0, 0, 1, -1), "rounds must be an integer of at least 0, got -1"),
        ("mean_path", (0, 0, 1, 1.5), "rounds must be an integer"),
        (
            "one_round_mse",
            ([1, 0], 0, 1, 10),
            "singular_values must be positive and finite, got 0.0",
        ),
        ("one_round_mse", ([], 0, 1, 10), "singular_values must be a list"),
        ("one_round_mse", ([[1.0]], 0, 1, 10), "singular_values must be a list"),
        ("one_round_mse", ([1, 2], [0, 0, 0], 1, 10), r"last axis 2, got shape \(3,\)"),
        ("one_round_mse", ([1, 2], [0, np.nan], 1, 10), "center_offset must be finite"),
        ("one_round_mse", ([1], 0, 0, 10), "half_width must be positive"),
        ("one_round_mse", ([1], 0, 1, 0), "kept must be positive, got 0.0"),
        (
            "one_round_mse",
            ([1], 0, 1, 10, "taylor"),
            "method must be 'exact' or 'expansion', got 'taylor'",
        ),
        ("one_round_mse", ([0.001], 0, 1, 10), "singular_values must be at least 0.01 when exact"),
        ("log_improvement", ([-1], 0, 1, 10), "singular_values must be positive"),
        ("smallest_size", ([1], 0, 1, "Exact"), "method must be"),
        ("break_even_bias", ([1, 1], [1, 1], 1, 10), "direction must be part of a unit vector"),
        ("break_even_bias", ([1, 1], [0, 0], 1, 10), "not 0"),
        ("break_even_bias", ([1, 1], [1], 1, 10), r"unit vector, of shape \(2,\)"),
        ("break_even_bias", ([1], [1], 41, 10), "half_width must be at most 40, or inf, got 41"),
        ("break_even_bias", ([1], [1], -1, 10), "half_width must be positive"),
        ("error_bound", (-1, 1, [10], 8), "initial must be at least 0 and finite, got -1.0"),
        ("error_bound", (1, 0, [10], 8), "half_width must be positive"),
        ("error_bound", (1, 1, [], 8), "sizes must be a list of at least one number"),
        ("error_bound", (1, 1, [10, 0], 8), "sizes must be positive, got 0.0"),
        ("error_bound", (1, 1, [10], 0), "dim must be an integer of at least 1, got 0"),
        ("plateau", (1, 0, 8), "size must be positive"),
        ("plateau", (1, 10, 2.5), "dim must be an integer"),
        ("unfiltered_mse", ([1], []), "sizes must be a list"),
    ],
)
def test_bad_input_stops_with_one_sentence(function, args, message):
    with pytest.raises(ValueError, match=message) as caught:
        getattr(theory, function)(*args)
    assert "\n" not in str(caught.value)
