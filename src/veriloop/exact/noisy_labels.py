r"""Two classes whose labels may be wrong, a verifier that errs about them, and a mean classifier.

Classes +1 and -1 have means +m and -m and unit covariance. A linear classifier w, shape (d,),
answers the sign of :math:`w \cdot x`. The verifier accepts a right label with probability phi and a
wrong one with probability psi. Below the share of wrong labels :math:`p^* = 1/(1 + \psi/\varphi)`
the accepted labels are mostly right, above it mostly wrong.

===============  ==============================================================================
``mean``         m, shape (d,), the mean of class +1
``separation``   :math:`\|m\|`; the best accuracy of a linear classifier is Phi of it
``wrong``        share of wrong labels among the candidates, or of a classifier's answers
``phi, psi``     how often the verifier accepts a right label, and a wrong one; in (0, 1]
===============  ==============================================================================

Source: Feng et al. (2025), arXiv:2406.07515. The expectations at finite size are our derivation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.special import (  # pyright: ignore[reportMissingTypeStubs]
    gammaln,
    ndtr,
    ndtri,
    xlog1py,
    xlogy,
)

from veriloop.core import Columns, Key
from veriloop.core.checks import check_count
from veriloop.exact._arguments import Array, at_least, numbers, probability
from veriloop.verifiers import Noisy, Oracle

_NEGLIGIBLE = 1e-18  # a weight below this does not change a sum in double precision


@dataclass(frozen=True)
class LabelledPoints(Columns):
    """Points with the class they belong to and the label they carry.

    x: shape (n, d).
    truth: the class, +1 or -1, shape (n,).
    label: what the generator says, the same two values, shape (n,).
    """

    x: Array
    truth: Array
    label: Array


@dataclass(frozen=True)
class DrawMislabelled:
    """Draw points of both classes and label them wrongly with a fixed probability.

    The model has no say in it. mean: shape (d,). wrong: the probability of a wrong label.

    >>> points = DrawMislabelled(np.array([1.0, 0.0]), wrong=0.0)(Key(0), np.zeros(2), 100)
    >>> points.x.shape, bool(is_right(points).all())
    ((100, 2), True)
    """

    mean: Array
    wrong: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", numbers("DrawMislabelled.mean", self.mean, ndim=1))
        probability("DrawMislabelled.wrong", self.wrong)

    def __call__(self, key: Key, model: Array, n: int) -> LabelledPoints:
        truth = key.fold("class").numpy().choice([-1.0, 1.0], n)
        noise = key.fold("x").numpy().standard_normal((n, len(self.mean)))
        flipped = key.fold("flip").numpy().random(n) < self.wrong
        x = truth[:, None] * self.mean + noise
        return LabelledPoints(x, truth, np.where(flipped, -truth, truth))


@dataclass(frozen=True)
class DrawSelfLabelled:
    """Draw points of both classes and let the model, a classifier of shape (d,), label them.

    mean: shape (d,).

    >>> draw = DrawSelfLabelled(np.array([1.0, 0.0]))
    >>> points = draw(Key(0), np.array([1.0, 0.0]), 100)
    >>> bool(np.all(points.label == np.sign(points.x[:, 0])))
    True
    """

    mean: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", numbers("DrawSelfLabelled.mean", self.mean, ndim=1))

    def __call__(self, key: Key, model: Array, n: int) -> LabelledPoints:
        points = DrawMislabelled(self.mean, 0.0)(key, model, n)
        return replace(points, label=np.where(points.x @ model >= 0, 1.0, -1.0))


def is_right(batch: LabelledPoints) -> Array:
    """Tell which labels are the class of their point, booleans of shape (n,).

    batch: the points.

    >>> is_right(LabelledPoints(np.zeros((2, 1)), np.array([1.0, -1.0]), np.array([1.0, 1.0])))
    array([ True, False])
    """
    return batch.label == batch.truth


def noisy_oracle(phi: float, psi: float) -> Noisy:
    """Return the verifier that accepts a right label with probability phi, a wrong one with psi.

    >>> noisy_oracle(0.75, 0.25)
    Noisy(verifier=Oracle(truth=<function is_right at ...>), false_accept=0.25, false_reject=0.25)
    """
    probability("noisy_oracle: phi", phi)
    probability("noisy_oracle: psi", psi)
    return Noisy(Oracle(is_right), false_accept=psi, false_reject=1 - phi)


def threshold(phi: float, psi: float) -> float:
    r"""Return the share of wrong labels at which half of the accepted ones are wrong.

    .. math:: p^* = 1/(1 + \psi/\varphi)

    phi: how often a right label is accepted, not 0.
    psi: how often a wrong one is.

    >>> threshold(0.5, 0.5), threshold(0.75, 0.25)
    (0.5, 0.75)
    """
    probability("threshold: phi", phi, zero=False)
    probability("threshold: psi", psi)
    return 1 / (1 + psi / phi)


def wrong_when_kept(wrong: float, phi: float, psi: float) -> float:
    """Return the share of wrong labels among the accepted ones, by Bayes' rule.

    >>> round(wrong_when_kept(0.6, phi=0.9, psi=0.6), 9)
    0.5
    """
    probability("wrong_when_kept: wrong", wrong)
    probability("wrong_when_kept: phi", phi)
    probability("wrong_when_kept: psi", psi)
    accepted = wrong * psi + (1 - wrong) * phi
    if not accepted:
        raise ValueError(
            "wrong_when_kept: some label must be accepted, got "
            f"wrong {wrong:g}, phi {phi:g}, psi {psi:g}"
        )
    return wrong * psi / accepted


def mean_classifier(key: Key, model: Array, batch: LabelledPoints) -> Array:
    """Refit from scratch: the mean of label times point, shape (d,).

    key, model: not used.
    batch: the points.

    >>> x = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> points = LabelledPoints(x, truth=np.ones(2), label=np.array([1.0, -1.0]))
    >>> mean_classifier(Key(0), np.zeros(2), points)
    array([ 0.5, -1. ])
    """
    return batch.label @ batch.x / len(batch)


def classifier_with_errors(mean: Array, wrong: float) -> Array:
    """Return a classifier of length 1, shape (d,), that labels the share `wrong` wrongly.

    mean: shape (d,), d at least 2.

    Raises:
        ValueError: if no linear classifier errs as seldom, or as often.

    >>> w = classifier_with_errors(np.array([2.0, 0.0]), 0.3)
    >>> round(Accuracy(np.array([2.0, 0.0]), 1.0, 1.0)(Key(0), w)["accuracy"], 9)
    0.7
    """
    mean = numbers("classifier_with_errors: mean", mean, ndim=1)
    probability("classifier_with_errors: wrong", wrong)
    if len(mean) < 2:
        raise ValueError("classifier_with_errors: mean must have 2 numbers or more, got 1")
    separation = float(np.linalg.norm(mean))
    fewest, most = _least_and_most_errors(separation)
    if not fewest < wrong < most:
        raise ValueError(
            f"classifier_with_errors: wrong must be between {fewest:.3g} and {most:.3g}, "
            f"what a linear classifier can do, got {wrong:g}"
        )
    along = mean / separation
    axis = np.eye(len(mean))[np.argmin(np.abs(along))]
    rest = axis - (axis @ along) * along
    across = rest / np.linalg.norm(rest)
    cosine = float(ndtri(1 - wrong)) / separation
    return cosine * along + np.sqrt(1 - cosine**2) * across


@dataclass(frozen=True)
class Accuracy:
    r"""Measure a classifier w exactly, by the angle between it and the mean m of class +1.

    With :math:`c = w \cdot m / (\|w\| \|m\|)` it reports `accuracy`, :math:`\Phi(c \|m\|)`;
    `signal`, :math:`w \cdot m / \|m\|`; and `signal_next`, the expected signal of the next
    classifier, which is fitted to the accepted ones of this classifier's own labels. That
    expectation is exact at every size.

    mean: m, shape (d,).
    phi, psi: how often the verifier accepts a right label, and a wrong one.

    >>> Accuracy(np.array([2.0, 0.0]), 1.0, 1.0)(Key(0), np.array([0.0, 1.0]))
    {'accuracy': 0.5, 'signal': 0.0, 'signal_next': 0.0}
    """

    mean: Array
    phi: float
    psi: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", numbers("Accuracy.mean", self.mean, ndim=1))
        probability("Accuracy.phi", self.phi)
        probability("Accuracy.psi", self.psi)
        if not self.mean.any():
            raise ValueError("Accuracy.mean must not be 0, where no classifier is better")

    def __call__(self, key: Key, model: Array) -> dict[str, float]:
        if not np.any(model):
            raise ValueError("Accuracy: the classifier must not be 0, which answers nothing")
        separation = float(np.linalg.norm(self.mean))
        length = float(np.linalg.norm(model))
        if not np.finfo(float).tiny < length < np.inf:
            raise ValueError(
                f"Accuracy: the classifier must have a length that a float holds, got {length:g}"
            )
        signal = float(model @ self.mean) / separation
        cosine = signal / length
        kept = mean_of_kept(cosine, separation, self.phi, self.psi)
        return {
            "accuracy": float(ndtr(cosine * separation)),
            "signal": signal,
            "signal_next": (kept.along + kept.own * cosine) / kept.accepted,
        }


class KeptMean(NamedTuple):
    r"""The mean of label times point over the accepted labels of a classifier w, in parts.

    The mean is (along m / |m| + own w / |w|) / accepted.

    along: the part in the direction of the class mean.
    own: the part in the direction of the classifier that gave the labels.
    accepted: the share of labels that the verifier accepts.
    """

    along: float
    own: float
    accepted: float


def mean_of_kept(cosine: float, separation: float, phi: float, psi: float) -> KeptMean:
    r"""Return the mean of label times point over the accepted labels that a classifier w gave.

    With :math:`a = \|m\| \cos(w, m)` the mean is :math:`(A\,m/\|m\| + B\,w/\|w\|)/Z`, where

    .. math:: A = \|m\| (\varphi \Phi(a) - \psi \Phi(-a)), \qquad B = (\varphi + \psi) \phi(a),
        \qquad Z = \varphi \Phi(a) + \psi \Phi(-a).

    A is 0 at the threshold p*; Z is the share of labels that is accepted.

    cosine: of the angle between w and m.
    separation: |m|.

    >>> mean_of_kept(0.0, 2.0, 0.75, 0.25).along, mean_of_kept(0.0, 2.0, 0.75, 0.25).accepted
    (0.5, 0.5)
    """
    if abs(numbers("mean_of_kept: cosine", cosine, ndim=0)) > 1 + 1e-12:
        raise ValueError(f"mean_of_kept: cosine must be in [-1, 1], got {cosine:g}")
    at_least("mean_of_kept: separation", separation)
    probability("mean_of_kept: phi", phi)
    probability("mean_of_kept: psi", psi)
    a = separation * cosine
    right = phi * ndtr(a)
    wrong = psi * ndtr(-a)
    density = np.exp(-0.5 * a * a) / np.sqrt(2 * np.pi)
    along = float(separation * (right - wrong))
    own = float((phi + psi) * density)
    accepted = float(right + wrong)
    if accepted < np.finfo(float).tiny:
        raise ValueError(
            "mean_of_kept: some label must be accepted, got "
            f"cosine {cosine:g}, separation {separation:g}, phi {phi:g} and psi {psi:g}"
        )
    return KeptMean(along, own, accepted)


def limit_path(wrong: float, separation: float, phi: float, psi: float, rounds: int) -> Array:
    """Return the accuracy by round as the kept rows go to infinity, shape (rounds + 1,).

    Each classifier labels the data of the next one.

    wrong: share of wrong labels that the first classifier gives.

    >>> limit_path(0.5, separation=2.0, phi=0.9, psi=0.6, rounds=3).round(3)
    array([0.5  , 0.815, 0.974, 0.977])
    """
    at_least("limit_path: separation", separation, above=True)
    probability("limit_path: wrong", wrong)
    check_count("limit_path: rounds", rounds, least=0)
    fewest, most = _least_and_most_errors(separation)
    if not fewest <= wrong <= most:
        raise ValueError(
            f"limit_path: wrong must be from {fewest:.3g} to {most:.3g}, "
            f"what a linear classifier can do, got {wrong:g}"
        )
    cosine = float(np.clip(float(ndtri(1 - wrong)) / separation, -1.0, 1.0))
    path = [1 - wrong]
    for _ in range(rounds):
        kept = mean_of_kept(cosine, separation, phi, psi)
        signal = kept.along + kept.own * cosine
        across = kept.own * np.sqrt(1 - cosine**2)
        cosine = signal / float(np.hypot(signal, across))
        path.append(float(ndtr(separation * cosine)))
    return np.array(path)


def accuracy_moments(wrong: float, n: int, dim: int, separation: float) -> tuple[float, float]:
    r"""Return mean and variance of the accuracy of a classifier fitted to n labels, exactly.

    The classifier is w = mean(label x), and each label is wrong with probability q. The accuracy is

    .. math:: \Phi\Big(\frac{\|m\|\, t}{\sqrt{t^2 + \chi^2_{d-1}}}\Big), \qquad
        t \sim N\big(\sqrt n\, (1 - 2B/n) \|m\|,\, 1\big), \quad B \sim \mathrm{Binomial}(n, q)

    because :math:`\sqrt n\, w` has the coordinate t along m and independent N(0, 1) across it. A
    flipped label changes the sign of the noise, and noise of either sign has the same law. The mean
    is 1/2 at q = 1/2 for every n.

    wrong: q.
    n: labels that w is fitted to.
    dim: d, at least 2.
    separation: |m|.

    Accuracy: the absolute error is below 1e-6 for d = 2 and below 1e-9 for d of 4 or more.

    >>> [round(float(number), 4) for number in accuracy_moments(0.3, 20, dim=5, separation=1.0)]
    [0.7068, 0.0179]
    """
    probability("accuracy_moments: wrong", wrong)
    check_count("accuracy_moments: n", n)
    check_count("accuracy_moments: dim", dim, least=2)
    at_least("accuracy_moments: separation", separation)
    flips, weight = _binomial(n, wrong)
    centers = np.sqrt(n) * (1 - 2 * flips / n) * separation
    first = int(np.floor(20 * (centers.min() - 9)))
    last = int(np.ceil(20 * (centers.max() + 9)))
    t = np.arange(first, last + 1) * np.float64(0.05)  # the trapezoidal rule, with step 1 / 20
    law = weight @ np.exp(-0.5 * (t - centers[:, None]) ** 2)
    law = law / law.sum()
    log_chi, chi = _log_chi(dim)
    accuracy = ndtr(separation * t[:, None] / np.hypot(t[:, None], np.exp(log_chi)))
    mean = float(law @ accuracy @ chi)
    return mean, float(law @ (accuracy - mean) ** 2 @ chi)


def _least_and_most_errors(separation: float) -> tuple[float, float]:
    """Return the smallest and the largest share of wrong answers of a linear classifier."""
    return float(ndtr(-separation)), float(ndtr(separation))


def _binomial(n: int, wrong: float) -> tuple[Array, Array]:
    """Return the counts of wrong labels that matter, and their probabilities."""
    flips = np.arange(n + 1.0)
    log = gammaln(n + 1) - gammaln(flips + 1) - gammaln(n - flips + 1) + xlogy(flips, wrong)
    weight = np.exp(log + xlog1py(n - flips, -wrong))
    matters = weight > _NEGLIGIBLE
    return flips[matters], weight[matters]


def _log_chi(dim: int) -> tuple[Array, Array]:
    """Return places of log chi with d - 1 degrees of freedom, and their weights in a sum."""
    from_mode = np.arange(-40 / (dim - 1), 3, 0.02)
    place = from_mode + 0.5 * np.log(dim - 1)
    weight = np.exp((dim - 1) * (from_mode - 0.5 * np.expm1(2 * from_mode)))
    matters = weight > _NEGLIGIBLE
    weight = weight[matters]
    return place[matters], weight / weight.sum()
