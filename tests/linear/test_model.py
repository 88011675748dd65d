"""Rows, designs, the labels a model writes, the refit, and the weighted mixture with real rows."""

import numpy as np
import pytest

from veriloop import Key, Loop, State, run
from veriloop.linear import (
    Errors,
    FixedDesign,
    GaussianDesign,
    Generate,
    RandomDirections,
    Samples,
    WeightedReal,
    least_squares,
    right_singular,
)


def z_mean(sample, want, axis=0):
    """How many of its own standard errors the mean of a sample is away from `want`."""
    return (sample.mean(axis) - want) / (sample.std(axis, ddof=1) / np.sqrt(sample.shape[axis]))


def some_data(n, d, key=0):
    rng = Key(key).numpy()
    return Samples(rng.standard_normal((n, d)), rng.standard_normal(n))


# Designs


def test_gaussian_design_is_standard_normal():
    """Mean, covariance and fourth moment of every coordinate."""
    x = GaussianDesign(3)(Key(0), 50_000)
    assert x.shape == (50_000, 3)
    products = np.einsum("ni,nj->nij", x, x)
    assert abs(z_mean(x, 0)).max() < 4
    assert abs(z_mean(products, np.eye(3))).max() < 4
    assert abs(z_mean(x**4, 3)).max() < 4


@pytest.mark.parametrize("d", [2, 3, 8])
def test_random_directions_are_uniform_on_the_sphere(d):
    """Unit norm to rounding; mean 0, covariance I / d, and fourth moment 3 / (d (d + 2)), by z."""
    x = RandomDirections(d)(Key(1), 50_000)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-14)
    i, j = np.triu_indices(d, 1)
    assert abs(z_mean(x, 0)).max() < 4
    assert abs(z_mean(x[:, i] * x[:, j], 0)).max() < 4
    # The squares sum to 1, so any d - 1 of them say it all.
    assert abs(z_mean(x[:, 1:] ** 2, 1 / d)).max() < 4
    assert abs(z_mean(x**4, 3 / (d * (d + 2)))).max() < 4


ROWS = np.array([[3.0, 0.0, 0.0], [0.0, 0.5, 0.0], [1.0, 1.0, 100.0], [-2.0, 0.0, 0.1]])


def test_fixed_design_copies_its_rows_in_turn():
    """From the start on, row after row, round and round; every stretch of p rows holds each once."""
    x = FixedDesign(ROWS)(Key(5), 14)
    start = np.flatnonzero((ROWS == x[0]).all(1)).item()
    np.testing.assert_array_equal(x, ROWS[(start + np.arange(14)) % 4])


def test_fixed_design_starts_anywhere_alike():
    """The share of keys that start at each row is 1 / p, so that a short batch favours none."""
    design, keys = FixedDesign(np.eye(4)), 4000
    starts = np.array([design(Key(i), 1)[0] for i in range(keys)])
    assert abs(z_mean(starts, 0.25)).max() < 4


@pytest.mark.parametrize("rows", [np.eye(3), right_singular(some_data(9, 5).x)[1], ROWS], ids=str)
def test_group_tells_which_row_was_copied(rows):
    """Also for rows of any length, and for a part of the data in any order."""
    design, p = FixedDesign(rows), len(rows)
    data = Generate(design)(Key(7), np.zeros(rows.shape[1]), 5 * p)
    np.testing.assert_array_equal(rows[design.group(data)], data.x)
    assert np.bincount(design.group(data)).tolist() == [5] * p
    some = np.array([4, 0, 2])
    np.testing.assert_array_equal(design.group(data[some]), design.group(data)[some])


def test_group_goes_by_angle_not_by_length():
    """Scaled copies stay in their group, where the largest inner product would put them with the longest row."""
    x = np.concatenate([1e-3 * ROWS, 1e3 * ROWS])
    assert FixedDesign(ROWS).group(Samples(x, np.zeros(8))).tolist() == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("n, d", [(20, 4), (4, 4), (3, 7)])
def test_right_singular_takes_the_design_apart(n, d):
    """Orthonormal rows, values in order, and X^T X put together again."""
    x = some_data(n, d).x
    values, basis = right_singular(x)
    assert values.shape == (min(n, d),) and basis.shape == (min(n, d), d)
    assert (np.diff(values) <= 0).all() and (values > 0).all()
    np.testing.assert_allclose(basis @ basis.T, np.eye(min(n, d)), atol=1e-14)
    np.testing.assert_allclose(basis.T * values**2 @ basis, x.T @ x, rtol=0, atol=1e-12)


# Labels


@pytest.mark.parametrize("d", [1, 3])
def test_labels_follow_their_law(d):
    """y - x . theta has mean 0, variance sigma^2, normal kurtosis, and no relation to the row."""
    theta, noise = np.array([1.0, -2.0, 0.5])[:d], 0.3
    data = Generate(GaussianDesign(d), noise)(Key(2), theta, 50_000)
    residual = (data.y - data.x @ theta) / noise
    assert data.x.shape == (50_000, d) and data.y.shape == (50_000,)
    assert abs(z_mean(residual, 0)) < 4
    assert abs(z_mean(residual**2, 1)) < 4
    assert abs(z_mean(residual**4, 3)) < 4
    assert abs(z_mean(data.x * residual[:, None], 0)).max() < 4


def test_models_that_share_a_key_share_rows_and_noise():
    """Labels of two models differ by x . theta and nothing else, to the last bit."""
    generate, theta = Generate(GaussianDesign(2), 0.7), np.array([3.0, -1.0])
    zero, other = (generate(Key(3), model, 50) for model in (np.zeros(2), theta))
    assert zero.x.tobytes() == other.x.tobytes()
    np.testing.assert_array_equal(other.y, other.x @ theta + zero.y)
    np.testing.assert_array_equal(
        Generate(GaussianDesign(2), 1.4)(Key(3), np.zeros(2), 50).y, 2 * zero.y
    )
    assert (generate(Key(4), np.zeros(2), 50).y != zero.y).all()


# The refit


def test_least_squares_solves_the_normal_equations():
    data = some_data(40, 5)
    theta = least_squares(Key(0), np.zeros(5), data)
    np.testing.assert_allclose(data.x.T @ (data.y - data.x @ theta), 0, atol=1e-13)
    np.testing.assert_allclose(theta, np.linalg.lstsq(data.x, data.y, rcond=None)[0], rtol=1e-12)


def test_least_squares_forgets_the_model_and_leaves_it_alone():
    data, model = some_data(10, 3), np.array([5.0, 6.0, 7.0])
    theta = least_squares(Key(0), model, data)
    np.testing.assert_array_equal(theta, least_squares(Key(1), np.zeros(3), data))
    assert model.tolist() == [5.0, 6.0, 7.0]


def test_least_squares_on_the_block_design_is_one_mean_a_direction():
    """With unequal numbers of copies, and in rotated coordinates."""
    basis = right_singular(some_data(9, 4).x)[1]
    group = np.repeat(np.arange(4), [1, 2, 7, 30])
    data = Samples(basis[group], some_data(40, 4, key=1).y)
    means = [data.y[group == j].mean() for j in range(4)]
    np.testing.assert_allclose(basis @ least_squares(Key(0), np.zeros(4), data), means, rtol=1e-12)


def test_least_squares_with_too_few_rows_is_the_shortest_that_fits():
    """It fits exactly and lies in the span of the rows: nothing can be taken off it."""
    data = some_data(3, 7)
    theta = least_squares(Key(0), np.ones(7), data)
    np.testing.assert_allclose(data.x @ theta, data.y, atol=1e-13)
    basis = right_singular(data.x)[1]
    np.testing.assert_allclose(basis.T @ (basis @ theta), theta, atol=1e-13)


def test_errors_are_squared_distances_in_units_of_noise():
    errors = Errors(truth=np.array([1.0, 1.0]), center=np.array([1.0, 0.0]), noise=0.5)
    assert errors(Key(0), np.array([4.0, 5.0])) == {"error_truth": 100.0, "error_center": 136.0}
    assert Errors(np.zeros(2), np.ones(2))(Key(0), np.zeros(2)) == {
        "error_truth": 0.0,
        "error_center": 2.0,
    }


# Weighted real rows


@pytest.mark.parametrize("weight", [0.05, 0.5, 0.9])
def test_weighted_real_is_weighted_least_squares(weight):
    """The fit to the pooled rows solves the normal equations of w mean_real + (1 - w) mean_kept, at any sizes."""
    kept, truth = some_data(11, 3), np.array([1.0, 2.0, 3.0])
    pool = WeightedReal(
        lambda key, n: Generate(GaussianDesign(3))(key, truth, n), n=30, weight=weight
    )
    batch, past = pool(Key(1), None, kept)
    real = pool.draw(Key(1), 30)
    assert past is None and len(batch) == 41
    shares = [(weight / 30, real), ((1 - weight) / 11, kept)]
    gram = sum(share * data.x.T @ data.x for share, data in shares)
    moment = sum(share * data.x.T @ data.y for share, data in shares)
    np.testing.assert_allclose(
        least_squares(Key(0), truth, batch), np.linalg.solve(gram, moment), rtol=1e-11
    )


@pytest.mark.parametrize("weight", [0.3, 0.618, 0.9])
def test_weighted_real_has_the_stationary_error_of_theory(weight):
    r"""Relabelling one design, the loop's error has variance v0 (w^2 + (1 - w)^2) / (w (2 - w)), by z.

    The estimate is w fresh + (1 - w) (old + fresh), so from the truth on the variance after k rounds is the
    stationary one times 1 - (1 - w)^(2k): exact for every k. It is normal, so the squared length of
    X (theta - theta*) / sigma has d times that variance, over v0, as its mean.
    """
    x, noise, truth, replicates, rounds = (
        some_data(12, 4).x,
        0.6,
        np.array([1.0, -1.0, 2.0, 0.0]),
        300,
        8,
    )
    write = Generate(lambda key, n: x, noise)
    loop = Loop(
        generate=write,
        refit=least_squares,
        pool=WeightedReal(lambda key, n: write(key, truth, n), n=12, weight=weight),
    )
    paths = []
    for i in range(replicates):
        states = run(loop, Key(6).fold(i), State(truth), [12] * rounds)
        paths.append([state.model for state, _ in states][1:])
    paths = np.array(paths)
    squares = (((paths - truth) @ x.T / noise) ** 2).sum(-1)
    stationary = (weight**2 + (1 - weight) ** 2) / (weight * (2 - weight))
    wanted = 4 * stationary * (1 - (1 - weight) ** (2 * np.arange(1, rounds + 1)))
    assert abs(z_mean(squares, wanted)).max() < 4
    assert abs(z_mean(squares[:, -1], 4 * stationary)) < 4


# Bad input


@pytest.mark.parametrize("noise", [0.0, -1.0, np.nan])
def test_generate_refuses_noise_that_is_not_positive(noise):
    with pytest.raises(
        ValueError, match=f"Generate.noise must be positive and finite, got {noise}"
    ):
        Generate(GaussianDesign(2), noise)


@pytest.mark.parametrize(
    "n, weight", [(0, 0.5), (-3, 0.5), (5, 0.0), (5, 1.0), (5, -0.1), (5, np.nan)]
)
def test_weighted_real_refuses_what_is_no_mixture(n, weight):
    with pytest.raises(
        ValueError, match=r"WeightedReal\.(n must be an integer|weight must be in \(0, 1\))"
    ):
        WeightedReal(lambda key, n: some_data(n, 2), n, weight)


@pytest.mark.parametrize("noise", [0.0, -2.0, np.nan])
def test_errors_refuse_a_unit_that_is_not_positive(noise):
    with pytest.raises(ValueError, match=f"Errors.noise must be positive and finite, got {noise}"):
        Errors(np.zeros(2), np.zeros(2), noise)


def test_data_refuses_columns_of_two_lengths():
    with pytest.raises(
        ValueError, match=r"Samples needs columns of one length, got \{'x': 3, 'y': 2\}"
    ):
        Samples(np.eye(3), np.zeros(2))
