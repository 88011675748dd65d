"""The bench of noisy labels: every closed form against brute force, and against the generic loop."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from veriloop import Key, Loop, Quota, State, Threshold
from veriloop.exact.noisy_labels import (
    Accuracy,
    DrawMislabelled,
    DrawSelfLabelled,
    accuracy_moments,
    classifier_with_errors,
    is_right,
    limit_path,
    mean_classifier,
    mean_of_kept,
    noisy_oracle,
    threshold,
    wrong_when_kept,
)


@pytest.mark.parametrize(
    ("wrong", "n", "dim", "separation"),
    [(0.3, 7, 3, 1.0), (0.55, 4, 2, 1.5), (0.0, 3, 6, 0.7), (1.0, 1, 2, 2.0)],
)
def test_the_expected_accuracy_is_that_of_classifiers_drawn(wrong, n, dim, separation):
    """100,000 classifiers fitted to labels drawn point by point, at sizes where no limit holds."""
    draws = Key(0).numpy()
    x = draws.standard_normal((100_000, n, dim))
    x[..., 0] += separation
    label = np.where(draws.random((100_000, n)) < wrong, -1.0, 1.0)
    w = np.einsum("rn,rnd->rd", label, x)
    accuracy = ndtr(separation * w[:, 0] / np.linalg.norm(w, axis=1))
    mean, variance = accuracy_moments(wrong, n, dim, separation)
    gap = accuracy - mean
    for sample, expected in ((gap, 0.0), (gap**2, variance)):
        assert abs(sample.mean() - expected) / sample.std() * np.sqrt(len(sample)) < 4


@pytest.mark.parametrize("dim", [2, 3, 50])
@pytest.mark.parametrize("n", [1, 30, 3000])
def test_accuracy_is_a_half_where_half_of_the_labels_are_wrong_at_every_size(dim, n):
    """And the accuracies at q and 1 - q add up to 1: the curves of all sizes cross at the threshold."""
    assert accuracy_moments(0.5, n, dim, 2.0)[0] == pytest.approx(0.5, abs=1e-9)
    both = sum(accuracy_moments(q, n, dim, 2.0)[0] for q in (0.42, 0.58))
    assert both == pytest.approx(1.0, abs=2e-6)


def test_the_transition_sharpens_with_size():
    """Just below the threshold accuracy rises to that of the best classifier, Phi(separation)."""
    below = [accuracy_moments(0.49, 10**k, 20, 2.0)[0] for k in range(1, 7)]
    assert np.all(np.diff(below) > 0) and 0.5 < below[0] < 0.55
    assert ndtr(2.0) - below[-1] == pytest.approx(0, abs=0.01)


def test_the_verifier_keeps_right_and_wrong_labels_at_the_stated_rates():
    """phi and psi, and the share of wrong labels among the kept, p psi / (p psi + (1 - p) phi)."""
    mean, n = np.array([1.0, 0.0]), 100_000
    batch = DrawMislabelled(mean, 0.3)(Key(0).fold("generate"), mean, n)
    right = is_right(batch)
    kept = noisy_oracle(0.8, 0.3)(Key(0), batch).scores >= 0
    for share, expected, of in (
        (~right, 0.3, np.ones(n, bool)),
        (kept, 0.8, right),
        (kept, 0.3, ~right),
        (~right, wrong_when_kept(0.3, 0.8, 0.3), kept),
    ):
        z = (share[of].mean() - expected) / np.sqrt(expected * (1 - expected) / of.sum())
        assert abs(z) < 4


@pytest.mark.parametrize(
    ("phi", "psi", "angle"), [(0.9, 0.6, 0.4), (0.3, 0.8, 1.4), (1.0, 0.2, 2.2)]
)
def test_the_mean_of_kept_labels_that_a_classifier_gave_itself(phi, psi, angle):
    """The loop's own refit, component by component, and its acceptance; also the measured `signal_next`."""
    mean = 1.3 * np.array([1.0, 0.0, 0.0])
    w = 2.0 * np.array([np.cos(angle), np.sin(angle), 0.0])
    measure = Accuracy(mean, phi, psi)
    loop = Loop(
        generate=DrawSelfLabelled(mean),
        verify=noisy_oracle(phi, psi),
        filter=Threshold(0.0),
        refit=mean_classifier,
        measure=measure,
    )
    steps = [loop.step(Key(1).fold(i), State(w), 500) for i in range(400)]
    kept_mean = mean_of_kept(np.cos(angle), 1.3, phi, psi)
    kept = np.array([record.kept for _, record in steps])
    assert abs(kept.mean() - 500 * kept_mean.accepted) / (kept.std() / 20) < 4
    # A sum over the rows kept of 500, unlike a mean, is unbiased whatever their number.
    sums = np.array([state.model * record.kept for state, record in steps])
    z = (sums.mean(axis=0) - 500 * (kept_mean.along * mean / 1.3 + kept_mean.own * w / 2)) / (
        sums.std(axis=0, ddof=1) / 20
    )
    assert np.all(np.abs(z) < 4), z
    told = measure(Key(0), w)
    signal = kept_mean.along + kept_mean.own * np.cos(angle)
    assert told["accuracy"] == pytest.approx(ndtr(1.3 * np.cos(angle)))
    assert told["signal_next"] == pytest.approx(signal / kept_mean.accepted)


def test_the_infinite_loop_turns_back_at_the_threshold_alone():
    """Below p* accuracy rises to the best, above it falls to the worst, and at p* it stays."""
    star = threshold(0.9, 0.6)
    ends = {p: limit_path(p, 2.0, 0.9, 0.6, 60) for p in (0.1, star - 0.01, star, star + 0.01, 0.9)}
    for p, path in ends.items():
        assert path[0] == pytest.approx(1 - p)
        if p == star:
            assert path[5] == pytest.approx(1 - p)
        else:
            assert path[-1] == pytest.approx(ndtr(2.0 if p < star else -2.0), abs=1e-6)


def test_a_large_loop_follows_the_infinite_one():
    """One run of 400,000 kept rows a round, within a few times its own error of some 1e-3."""
    mean = np.array([2.0, 0.0, 0.0])
    loop = Loop(
        generate=DrawSelfLabelled(mean),
        verify=noisy_oracle(0.9, 0.6),
        filter=Threshold(0.0),
        refit=mean_classifier,
    )
    state = State(classifier_with_errors(mean, 0.55))
    state, _ = loop.step(Key(3), state, Quota(400_000))
    accuracy = Accuracy(mean, 0.9, 0.6)(Key(0), state.model)["accuracy"]
    # The direction of a mean of n rows has an error of about 1 / (sqrt(n) |w|), here |w| > 0.2.
    error = 1 / np.sqrt(2 * np.pi) * 2.0 * np.sqrt(1 + 4) / np.sqrt(400_000) / 0.2
    assert abs(accuracy - limit_path(0.55, 2.0, 0.9, 0.6, 1)[1]) < 4 * error


@pytest.mark.parametrize(("phi", "psi"), [(0.9, 0.6), (0.3, 0.3), (0.2, 1.0)])
def test_at_the_threshold_half_of_the_kept_labels_are_wrong(phi, psi):
    """And the mean of kept labels has no part along the class mean, from a classifier that errs as often."""
    star = threshold(phi, psi)
    assert wrong_when_kept(star, phi, psi) == pytest.approx(0.5)
    w = classifier_with_errors(np.array([2.0, 0.0]), star)
    assert mean_of_kept(w[0], 2.0, phi, psi).along == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("mean", [[2.0, 0.0], [0.0, 0.0, 1.5], [0.5, -1.0, 0.3, 0.0]])
def test_a_classifier_errs_as_often_as_asked(mean):
    """Of 200,000 points, within 4 standard errors; it has length 1."""
    mean = np.array(mean)
    w = classifier_with_errors(mean, 0.3)
    assert np.linalg.norm(w) == pytest.approx(1)
    points = DrawSelfLabelled(mean)(Key(5), w, 200_000)
    share = np.mean(~is_right(points))
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 200_000)


def test_what_no_linear_classifier_can_do_is_refused():
    with pytest.raises(ValueError, match=r"wrong must be between 0\.159 and 0\.841, .* got 0\.1$"):
        classifier_with_errors(np.array([1.0, 0.0]), 0.1)
    with pytest.raises(ValueError, match="dim must be an integer of at least 2, got 1"):
        accuracy_moments(0.3, 10, 1, 1.0)


@pytest.mark.parametrize(
    "call, told",
    [
        (lambda: limit_path(1.0, 40.0, 0.9, 0.0, 3), "some label must be accepted, got cosine -1"),
        (lambda: mean_of_kept(0.3, 2.0, 0.0, 0.0), "some label .* phi 0 and psi 0"),
        (lambda: Accuracy([1.0, 0.0], 1.0, 0.5)(Key(0), np.full(2, 1e-200)), "that a float holds"),
    ],
)
def test_what_cannot_be_told_is_refused(call, told):
    """In place of a division by zero, or an accuracy of one half."""
    with pytest.raises(ValueError, match=told):
        call()
