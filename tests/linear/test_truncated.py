"""Moments of the truncated normal distribution: against 150 digits, in both tails, in any shape."""

import mpmath as mp
import numpy as np
import pytest

from veriloop.linear.truncated import acceptance, moments, truncated_moments

INF = np.inf


def reference(mean, scale, lower, upper):
    """Mean, variance, third central moment and mass in 150 digits, from the closed form."""
    with mp.workdps(150):
        m, s, low, high = map(mp.mpf, (mean, scale, lower, upper))
        a, b = (low - m) / s, (high - m) / s
        powers = [
            [z**k * mp.npdf(z) if mp.isfinite(z) else mp.mpf(0) for k in range(3)] for z in (a, b)
        ]
        (a0, a1, a2), (b0, b1, b2) = powers
        mass = mp.ncdf(b) - mp.ncdf(a) if a + b <= 0 or mp.isinf(a) else mp.ncdf(-a) - mp.ncdf(-b)
        c, g = (b0 - a0) / mass, (b1 - a1) / mass
        third = (a2 - a0 - b2 + b0) / mass - 3 * c * g - 2 * c**3
        return m - s * c, s**2 * (1 - g - c**2), s**3 * third, mass


def intervals():
    """Bounds up to 38 scales out in both tails; from 1e-6 scales wide to one-sided; some off-centre and scaled."""
    nears = [0.0, 0.1, 0.24, 0.26, 0.7, 1.6, 1.65, 1.7, 2.5, 5.0, 8.3, 13.0, 21.0, 30.0, 37.9, 38.0]
    widths = [1e-6, 1e-4, 1e-2, 0.1, 0.49, 0.51, 1.0, 2.0, 4.0, 9.0, 40.0, INF]
    rows = [(0.0, 1.0, near, near + width) for near in nears for width in widths]
    rows += [(0.0, 1.0, -0.3 * width, 0.7 * width) for width in widths[:-1]]
    rows += [
        (3.7, 250.0, 3.7 + 250 * near, 3.7 + 250 * (near + width))
        for near, width in zip(nears, widths, strict=False)
    ]
    rows += [(0.0, 1.0, -high, -low) for _, _, low, high in rows]
    return [*rows, (-1.5, 2.0, -INF, INF), (0.0, 1.0, -38.0, 38.0), (1e3, 1.0, -INF, 2.0)]


@pytest.fixture(scope="module")
def against_mpmath():
    rows = intervals()
    got = np.array([*truncated_moments(*np.transpose(rows)), acceptance(*np.transpose(rows))])
    return rows, got.T, [reference(*row) for row in rows]


@pytest.mark.parametrize("index, name", [(0, "mean"), (1, "variance"), (2, "third"), (3, "mass")])
def test_moments_match_150_digits(against_mpmath, index, name):
    """Relative error below 1e-9; where mean or third moment cross zero, relative to sd / 1000 or sd^3 / 1000."""
    compared = 0
    for row, got, want in zip(*against_mpmath, strict=True):
        size = abs(want[index])
        if name == "third":
            size = max(size, want[1] ** 1.5 / 1000)
        if name == "mean":
            size = max(size, mp.sqrt(want[1]) / 1000)
        if size > 1e-300:  # where double precision has digits left
            assert abs(got[index] - want[index]) <= 1e-9 * size, (row, got[index], want[index])
            compared += 1
    assert compared > 0.8 * len(against_mpmath[0])


def test_reflection_flips_odd_moments():
    args = np.array(
        [
            (0.3, 1.2, low, low + width)
            for low in np.linspace(-50, 50, 41)
            for width in (0.01, 1, INF)
        ]
    ).T
    mean, variance, third = truncated_moments(*args)
    mirrored = truncated_moments(-args[0], args[1], -args[3], -args[2])
    np.testing.assert_allclose(mirrored, (-mean, variance, -third), rtol=1e-13, atol=0)


def test_moments_broadcast_and_accept_scalars():
    moments = truncated_moments([[0.0], [40.0]], 1.0, [-1.0, 0.0, 0.1], [1.0, INF, 0.2])
    assert [m.shape for m in moments] == [(2, 3)] * 3
    assert all(np.ndim(m) == 0 and isinstance(m, float) for m in truncated_moments(0, 1, 5, 6))
    assert isinstance(acceptance(0, 1, 5, 6), float)


def test_quadrature_in_slices_equals_one_by_one():
    means = np.linspace(5, 30, 2500)  # more than two slices, every element by quadrature
    together = truncated_moments(means, 1.0, -1.0, 1.0)
    alone = [truncated_moments(m, 1.0, -1.0, 1.0) for m in means[::100]]
    np.testing.assert_allclose(np.transpose(together)[::100], alone, rtol=1e-13)


def test_two_moments_of_three_are_the_same_two():
    """Asked for fewer, it gives those that it gives of more."""
    rows = np.array([(0.0, 1.0, -1.0, 1.5), (0.0, 2.0, 5.0, 7.0), (3.0, 0.5, -INF, 2.0)])
    two, three = (np.array(moments(*rows.T, order=order)) for order in (2, 3))
    assert two.shape == (2, 3) and three.tobytes().startswith(two.tobytes())


@pytest.mark.parametrize(
    "function, args, message",
    [
        (truncated_moments, (0, 0, -1, 1), "truncated_moments: scale must be positive .* got 0.0"),
        (truncated_moments, (0, -1, -1, 1), "scale must be positive"),
        (truncated_moments, (0, [1, INF], -1, 1), "scale must be positive and finite, got inf"),
        (truncated_moments, (0, 1, 1, 1), "lower must be below upper"),
        (truncated_moments, (0, 1, np.nan, 1), "lower must be below upper"),
        (truncated_moments, (np.nan, 1, 0, 1), "mean must be finite, got nan"),
        (acceptance, (0, 1, 2, 1), "acceptance: lower must be below upper, got 2.0 and 1.0"),
    ],
)
def test_bad_input_stops_with_one_sentence(function, args, message):
    with pytest.raises(ValueError, match=message) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
