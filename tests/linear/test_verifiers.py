"""Every shape of knowledge against its definition: accept iff some theta in the set explains the row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from veriloop import Audited, Bernoulli, Key, Loop, State, Threshold, all_of, run
from veriloop.linear import (
    Errors,
    GaussianDesign,
    Generate,
    KnowledgeBall,
    KnowledgeBox,
    KnowledgeEllipsoid,
    KnowledgeHalfSpace,
    KnowledgeL1,
    Samples,
    Soft,
    least_squares,
)
from veriloop.testing import check_verifier

AXES = np.array([[1.5, 0.2], [-0.7, 0.3]])


def verifiers(center, radius, slack, scale=1.0):
    """One of every shape; in two dimensions an ellipsoid that is no ball, else a stretched one."""
    d = len(center)
    axes = AXES if d == 2 else np.diag(np.arange(1.0, d + 1)) + np.eye(d, k=1)
    return {
        "ball": KnowledgeBall(center, radius, slack),
        "l1": KnowledgeL1(center, radius, slack),
        "box": KnowledgeBox(center, radius, slack),
        "ellipsoid": KnowledgeEllipsoid(center, scale * axes, slack),
        "half-space": KnowledgeHalfSpace(center, np.arange(1.0, d + 1), radius, slack),
    }


CENTER = np.array([0.4, -1.0])
NAMES = list(verifiers(CENTER, 1.0, 0.0))
SETS = [name for name in NAMES if name != "half-space"]


def rows(n, d, key=0):
    """Rows of all lengths with labels that spread well beyond the slack."""
    rng = Key(key).numpy()
    x = rng.standard_normal((n, d)) * rng.exponential(size=(n, 1))
    return Samples(x, 3 * np.linalg.norm(x, axis=1) * rng.standard_normal(n))


# The contract


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_of_verifiers(name):
    """One number a row, repeatable, blind to key and other rows; softened, the same and a probability."""
    verify, data = verifiers(CENTER, 0.7, 0.3)[name], rows(60, 2)
    check_verifier(verify, data)
    check_verifier(Soft(verify, 0.5), data)
    soft = Soft(verify, 0.5)(Key(0), data).scores
    assert ((soft >= 0) & (soft <= 1)).all()


# The definition


def polygon(name, corners):
    """Points whose hull is the set; for round sets it falls short by the share 1 - cos(pi / corners)."""
    angle = 2 * np.pi * np.arange(corners) / corners
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (
        CENTER
        + {
            "ball": 0.7 * circle,
            "l1": 0.7 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]),
            "box": 0.7 * np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]),
            "ellipsoid": circle @ AXES.T,
        }[name]
    )


@pytest.mark.parametrize("slack", [0.0, 0.5])
@pytest.mark.parametrize("name", SETS)
def test_a_row_is_accepted_iff_some_theta_explains_it(name, slack):
    """By brute force in the plane: x . theta takes every value between its least and greatest over the set.

    A refused row's score is how far beyond the slack the nearest theta leaves it.
    """
    data, corners = rows(1500, 2), 4000
    values = data.x @ polygon(name, corners).T
    beyond = np.maximum(np.maximum(values.min(1) - data.y, data.y - values.max(1)) - slack, -slack)
    score = verifiers(CENTER, 0.7, slack)[name](Key(0), data)
    short = (1 - np.cos(np.pi / corners)) * np.linalg.norm(data.x, axis=1) * np.linalg.norm(AXES, 2)
    assert (abs(score) > short).all()  # no row is so near the edge that the corners could miss it
    np.testing.assert_array_equal(score >= 0, beyond <= 0)
    assert 100 < (score >= 0).sum() < 1400
    refused = score < 0
    assert (
        abs(-score - beyond)[refused] <= short[refused] + 1e-14 * abs(data.y[refused]) + 1e-14
    ).all()


@pytest.mark.parametrize("name", SETS)
def test_no_row_that_the_set_explains_is_refused(name):
    """In five dimensions: any theta drawn in the set may write any row, off by as much as the slack."""
    rng, center, n, slack = Key(1).numpy(), np.array([1.0, 0.0, -2.0, 0.5, 3.0]), 20_000, 0.2
    sphere = rng.standard_normal((n, 5))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    verify = verifiers(center, 0.7, slack)[name]
    theta = (
        center
        + {
            "ball": 0.7 * sphere,
            "l1": 0.7 * sphere / abs(sphere).sum(1, keepdims=True),
            "box": rng.uniform(-0.7, 0.7, (n, 5)),
            "ellipsoid": sphere @ getattr(verify, "axes", np.eye(5)).T,
        }[name]
    )
    x = rows(n, 5, key=2).x
    data = Samples(x, (x * theta).sum(1) + rng.uniform(-slack, slack, n))
    assert (verify(Key(0), data) >= 0).all()


def furthest(name, x, center, radius, axes):
    """For every row the theta of the set with the greatest x . theta."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    corner = np.sign(x) * (abs(x) == abs(x).max(1, keepdims=True))
    pulled = x @ axes
    return (
        center
        + {
            "ball": radius * unit,
            "l1": radius * corner,
            "box": radius * np.sign(x),
            "ellipsoid": pulled / np.linalg.norm(pulled, axis=1, keepdims=True) @ axes.T,
        }[name]
    )


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("name", SETS)
def test_the_edge_lies_at_the_furthest_theta_and_the_slack(name, side):
    """In five dimensions a label there is accepted just inside and refused just outside, above and below alike."""
    center, slack, x = np.array([1.0, 0.0, -2.0, 0.5, 3.0]), 0.2, rows(2000, 5, key=3).x
    verify = verifiers(center, 0.7, slack)[name]
    reach = (x * (furthest(name, x, center, 0.7, getattr(verify, "axes", np.eye(5))) - center)).sum(
        1
    ) + slack
    for factor, accepted in ((1 - 1e-9, True), (1 + 1e-9, False)):
        score = verify(Key(0), Samples(x, x @ center + side * factor * reach))
        assert ((score >= 0) == accepted).all()


def test_a_round_ellipsoid_is_the_ball():
    data = rows(500, 5)
    for radius in (0.0, 0.3, 2.0):
        ball = KnowledgeBall(np.ones(5), radius, 0.1)(Key(0), data)
        ellipsoid = KnowledgeEllipsoid(np.ones(5), radius * np.eye(5), 0.1)(Key(0), data)
        np.testing.assert_allclose(ellipsoid, ball, rtol=1e-12, atol=1e-13)


def test_turning_an_ellipsoid_within_changes_nothing():
    """A and A Q describe the same set, whatever rotation Q the half axes are named in."""
    data, turn = rows(500, 2), np.array([[0.6, -0.8], [0.8, 0.6]])
    first, second = (
        KnowledgeEllipsoid(CENTER, axes, 0.1)(Key(0), data) for axes in (AXES, AXES @ turn)
    )
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-13)


def test_sets_that_contain_each_other_accept_in_that_order():
    """l1 in ball in box, at one radius."""
    known, data = verifiers(CENTER, 0.7, 0.3), rows(1000, 2)
    l1, ball, box = (known[name](Key(0), data) for name in ("l1", "ball", "box"))
    assert (l1 <= ball).all() and (ball <= box).all()
    assert (l1 >= 0).sum() < (ball >= 0).sum() < (box >= 0).sum()


# The half space


def test_half_space_refuses_only_labels_too_far_along_the_normal():
    """Row by row, in plain Python."""
    normal, radius, slack, data = np.array([1.0, 2.0]), 0.7, 0.3, rows(300, 2)
    accepted = KnowledgeHalfSpace(CENTER, normal, radius, slack)(Key(0), data) >= 0
    for x, y, got in zip(data.x, data.y, accepted, strict=True):
        excess = y - x @ CENTER if x @ normal > 0 else x @ CENTER - y
        assert got == (excess <= radius * np.linalg.norm(x) + slack)
    assert 50 < accepted.sum() < 250


def test_half_space_never_refuses_labels_that_fall_short():
    """However far; and turning the normal round turns the verdict round."""
    data = rows(300, 2)
    side = np.sign(data.x @ np.array([1.0, 2.0]))
    for far in (0.0, 1.0, 1e6):
        short = Samples(data.x, data.x @ CENTER - side * far)
        long = Samples(data.x, data.x @ CENTER + side * (far + 1e3))
        verify, turned = (
            KnowledgeHalfSpace(CENTER, g, 0.1, 0.1) for g in ([1.0, 2.0], [-1.0, -2.0])
        )
        assert (verify(Key(0), short) >= 0).all() and (verify(Key(0), long) < 0).all()
        assert (turned(Key(0), long) >= 0).all()


def test_half_space_passes_rows_orthogonal_to_the_normal():
    """Whatever the label, and with nothing to spare."""
    data = Samples(np.array([[2.0, -1.0], [-4.0, 2.0]]), np.array([1e9, -1e9]))
    assert (KnowledgeHalfSpace(CENTER, np.array([1.0, 2.0]), 0.0, 0.0)(Key(0), data) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_label_on_the_edge_is_accepted(name):
    """With nothing known but the centre and no slack, its own labels score 0 and pass."""
    data = rows(50, 2)
    verify = verifiers(CENTER, 0.0, 0.0, scale=0.0)[name]
    scores = verify(Key(0), Samples(data.x, data.x @ CENTER))
    assert (scores == 0).all() and Threshold(0.0)(Key(0), scores).all()


# Units


@pytest.mark.parametrize("factor", [2.0**-20, 4.0, 2.0**30])
@pytest.mark.parametrize("name", NAMES)
def test_scores_are_in_the_units_of_y(name, factor):
    """Labels, centre, radius and slack in other units give scores in those units, to the last bit."""
    data = rows(200, 2)
    plain = verifiers(CENTER, 0.7, 0.3)[name]
    other = verifiers(factor * CENTER, factor * 0.7, factor * 0.3, scale=factor)[name]
    scaled = Samples(data.x, factor * data.y)
    np.testing.assert_array_equal(other(Key(0), scaled), factor * plain(Key(0), data))
    soft = Soft(other, factor * 0.5)(Key(0), scaled).scores
    np.testing.assert_array_equal(soft, Soft(plain, 0.5)(Key(0), data).scores)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_scaled_as_a_whole_scales_its_score(name):
    """Without slack, (x, y) and (4 x, 4 y) say the same and get the same verdict."""
    data, verify = rows(200, 2), verifiers(CENTER, 0.7, 0.0)[name]
    np.testing.assert_array_equal(
        verify(Key(0), Samples(4 * data.x, 4 * data.y)), 4 * verify(Key(0), data)
    )


@pytest.mark.parametrize("name", NAMES)
def test_only_the_distance_to_the_centre_counts(name):
    """Moving the centre and the labels together changes scores by rounding alone."""
    data, shift = rows(200, 2), np.array([2.0, -3.0])
    here = verifiers(CENTER, 0.7, 0.3)[name](Key(0), data)
    there = verifiers(CENTER + shift, 0.7, 0.3)[name](
        Key(0), Samples(data.x, data.y + data.x @ shift)
    )
    size = np.abs(data.x).sum(1) * 10 + np.abs(data.y) + 1
    assert (abs(there - here) <= 8 * np.finfo(float).eps * size).all()


# Soft acceptance


@pytest.mark.parametrize("temperature", [0.05, 1.0, 20.0])
def test_soft_rows_are_kept_as_often_as_stated(temperature):
    """1 / (1 + exp(-score / temperature)), written out; the number kept by z, in all and below and above 0."""
    data, verify = rows(20_000, 2), KnowledgeBall(CENTER, 0.7, 0.3)
    scores = verify(Key(0), data)
    chance = 1 / (1 + np.exp(np.minimum(-scores / temperature, 700.0)))
    soft = Soft(verify, temperature)(Key(0), data).scores
    np.testing.assert_allclose(soft, chance, rtol=1e-12, atol=1e-300)
    kept = Bernoulli()(Key(4), soft)
    for part in (scores < np.inf, scores < 0, scores >= 0):
        variance = np.sum((chance * (1 - chance))[part])
        assert abs(np.sum((kept - chance)[part])) < 4 * np.sqrt(variance)


def test_soft_becomes_hard_as_the_temperature_falls():
    """Ever fewer rows differ from the hard verdict, in the end none."""
    data, verify = rows(5000, 2), KnowledgeBall(CENTER, 0.7, 0.3)
    hard = Threshold(0.0)(Key(0), verify(Key(0), data))
    chances = [Soft(verify, 10.0**-power)(Key(0), data).scores for power in (0, 1, 2, 9)]
    differ = [(Bernoulli()(Key(5), chance) != hard).sum() for chance in chances]
    assert differ[0] > differ[1] > differ[2] > differ[3] == 0


def test_soft_takes_any_verifier_of_the_core():
    """Composed and audited ones too: it softens the score, and parts and oracle still reach the record."""
    ball, l1, data = KnowledgeBall(CENTER, 0.7, 0.3), KnowledgeL1(CENTER, 0.9, 0.1), rows(100, 2)
    verdict = Soft(Audited(all_of(ball=ball, l1=l1), ball), 0.5)(Key(0), data)
    lowest = np.minimum(ball(Key(0), data), l1(Key(0), data))
    np.testing.assert_array_equal(verdict.scores, Soft(lambda *_: lowest, 0.5)(Key(0), data).scores)
    names = set(verdict.metrics(lowest >= 0))
    assert names >= {
        "acceptance_ball",
        "acceptance_l1",
        "false_accept",
        "false_reject",
        "false_reject_l1",
    }


# Bad input


wrong = st.one_of(st.floats(max_value=-1e-300, allow_nan=False), st.just(float("nan")))


OTHERS = {"ellipsoid": {"axes": np.eye(2)}, "half-space": {"normal": np.ones(2)}}
SIZES = [
    (name, size)
    for name in NAMES
    for size in ("radius", "slack")
    if (name, size) != ("ellipsoid", "radius")
]


@pytest.mark.parametrize("name, size", SIZES)
@given(value=wrong)
def test_negative_sizes_and_nan_are_refused(name, size, value):
    """At construction, with the class, the argument and the value."""
    kind = type(verifiers(CENTER, 1.0, 0.0)[name])
    sizes = {"radius": 1.0} if (name, "radius") in SIZES else {}
    with pytest.raises(ValueError) as caught:
        kind(CENTER, **(sizes | OTHERS.get(name, {}) | {size: value}))
    assert str(caught.value) == f"{kind.__name__}.{size} must be at least 0, got {value}"


@given(value=st.one_of(wrong, st.just(0.0)))
def test_soft_refuses_a_temperature_that_is_not_positive(value):
    with pytest.raises(ValueError) as caught:
        Soft(KnowledgeBall(CENTER, 1.0), value)
    assert str(caught.value) == f"Soft.temperature must be positive and finite, got {value}"


# In the loop


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("name", NAMES)
def test_every_shape_runs_in_the_loop(name, soft):
    """Three rounds on Gaussian rows from a model off the centre; what is known from both sides pulls towards it."""
    center, start = np.array([0.4, -1.0, 2.0]), np.array([3.4, 1.0, 0.0])
    verify = verifiers(center, 0.3, 0.5, scale=0.2)[name]
    loop = Loop(
        generate=Generate(GaussianDesign(3)),
        verify=Soft(verify, 0.1) if soft else verify,
        filter=Bernoulli() if soft else Threshold(0.0),
        refit=least_squares,
        measure=Errors(center, center),
    )
    rounds = list(run(loop, Key(6), State(start), [2000] * 3))
    errors = [record.metrics["error_center"] for _, record in rounds]
    assert [record.round for _, record in rounds] == [0, 1, 2, 3]
    assert errors[0] == pytest.approx(np.sum((start - center) ** 2))
    assert all(0 < record.kept < 2000 for _, record in rounds[1:])
    assert (np.diff(errors[:3]) < 0).all() if name != "half-space" else errors[1] < errors[0]
