"""Two classes whose labels may be wrong, a verifier that errs about them, and what is exact of a mean classifier.

Classes +1 and -1 have means +-m and unit covariance; a linear classifier w answers the sign of w . x.
Source: Feng et al. (2025), arXiv:2406.07515; the expectations at finite size are our derivation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from veriloop import Columns, Key, Noisy, Oracle


@dataclass(frozen=True)
class Examples(Columns):
    """Labelled points. x: shape (n, d); y: the class, +1 or -1, shape (n,); label: what the generator says."""

    x: np.ndarray
    y: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Flip:
    """Draw points of both classes and label them wrongly with probability `wrong`, whatever the model."""

    mean: np.ndarray
    wrong: float

    def __call__(self, key: Key, model: np.ndarray, n: int) -> Examples:
        y = key.fold("class").numpy().choice([-1.0, 1.0], n)
        x = y[:, None] * self.mean + key.fold("x").numpy().standard_normal((n, len(self.mean)))
        return Examples(x, y, np.where(key.fold("flip").numpy().random(n) < self.wrong, -y, y))


@dataclass(frozen=True)
class Classify:
    """Draw points of both classes and let the model, a linear classifier w of shape (d,), label them."""

    mean: np.ndarray

    def __call__(self, key: Key, model: np.ndarray, n: int) -> Examples:
        points = Flip(self.mean, 0.0)(key, model, n)
        return replace(points, label=np.where(points.x @ model >= 0, 1.0, -1.0))


def is_right(batch: Examples) -> np.ndarray:
    """Tell which labels are the class, shape (n,)."""
    return batch.label == batch.y


def noisy_oracle(phi: float, psi: float) -> Noisy:
    """Accept a right label with probability phi and a wrong one with psi."""
    return Noisy(Oracle(is_right), false_accept=psi, false_reject=1 - phi)


def averaging(key: Key, model: np.ndarray, batch: Examples) -> np.ndarray:
    """Refit from scratch: w = mean(label x), shape (d,)."""
    return batch.label @ batch.x / len(batch)


@dataclass(frozen=True)
class Accuracy:
    r"""Measure a classifier w against the class means +-m, exactly: with c = w . m / (\|w\| \|m\|),

    accuracy :math:`\Phi(c \|m\|)`; signal :math:`w \cdot m / \|m\|`; `signal_next`, what the next refit's signal is
    to be in expectation, at any size: its kept labels are w's own, right with probability :math:`\Phi(c \|m\|)`.
    """

    mean: np.ndarray
    phi: float
    psi: float

    def __call__(self, key: Key, model: np.ndarray) -> dict[str, float]:
        length = float(np.linalg.norm(self.mean))
        signal = float(model @ self.mean) / length
        cosine = signal / float(np.linalg.norm(model))
        along, own, accepted = kept_mean(cosine, length, self.phi, self.psi)
        return {
            "accuracy": float(special.ndtr(cosine * length)),
            "signal": signal,
            "signal_next": (along + own * cosine) / accepted,
        }


def kept_mean(cosine: float, separation: float, phi: float, psi: float) -> tuple[float, float, float]:
    r"""Return (A, B, Z): E[label x | kept] is (A m / \|m\| + B w / \|w\|) / Z for labels by a classifier w.

    With :math:`a = \|m\| \cos(w, m)`: :math:`A = \|m\| (\varphi \Phi(a) - \psi \Phi(-a))`, which is 0 at p*,
    :math:`B = (\varphi + \psi) \phi(a)` and :math:`Z = \varphi \Phi(a) + \psi \Phi(-a)`, the share accepted.
    """
    a = separation * cosine
    right, wrong = phi * special.ndtr(a), psi * special.ndtr(-a)
    density = np.exp(-0.5 * a * a) / np.sqrt(2 * np.pi)
    return float(separation * (right - wrong)), float((phi + psi) * density), float(right + wrong)


def accuracy_path(wrong: float, separation: float, phi: float, psi: float, rounds: int) -> list[float]:
    """Return the accuracy by round in the limit of infinite size, from a classifier with `wrong` wrong labels."""
    cosine, path = float(special.ndtri(1 - wrong)) / separation, [1 - wrong]
    for _ in range(rounds):
        along, own, _ = kept_mean(cosine, separation, phi, psi)
        cosine = (along + own * cosine) / float(np.hypot(along + own * cosine, own * np.sqrt(1 - cosine**2)))
        path.append(float(special.ndtr(separation * cosine)))
    return path


def accuracy_moments(wrong: float, n: int, dim: int, separation: float) -> tuple[float, float]:
    r"""Return mean and variance of the accuracy of w = mean(label x), n labels wrong with probability q = `wrong`:

    .. math:: \Phi\Big(\frac{\|m\|\, t}{\sqrt{t^2 + \chi^2_{d-1}}}\Big), \qquad
        t \sim N\big(\sqrt n\, (1 - 2B/n) \|m\|,\, 1\big), \quad B \sim \mathrm{Binomial}(n, q)

    as sqrt(n) w has the coordinate t along m and independent N(0, 1) across it, exactly: a flip changes the sign of
    the noise, and that is noise alike. The mean is 1/2 at q = 1/2, for every n. By the trapezoidal rule in t and
    log chi: absolute error below 1e-6 for d = 2, below 1e-9 from d = 4 on.
    """
    flips = np.arange(n + 1)
    log = (
        special.gammaln(n + 1)
        - special.gammaln(flips + 1)
        - special.gammaln(n - flips + 1)
        + special.xlogy(flips, wrong)
    )
    weight = np.exp(log + special.xlog1py(n - flips, -wrong))
    flips, weight = flips[weight > 1e-18], weight[weight > 1e-18]
    centers = np.sqrt(n) * (1 - 2 * flips / n) * separation
    t = 0.05 * np.arange(np.floor(20 * (centers.min() - 9)), np.ceil(20 * (centers.max() + 9)) + 1)
    law = weight @ np.exp(-0.5 * (t - centers[:, None]) ** 2)
    s = np.arange(-40 / (dim - 1), 3, 0.02)  # log chi, from its mode on
    s, chi = s + 0.5 * np.log(dim - 1), np.exp((dim - 1) * (s - 0.5 * np.expm1(2 * s)))
    s, chi = s[chi > 1e-18], chi[chi > 1e-18]
    value = special.ndtr(separation * t[:, None] / np.hypot(t[:, None], np.exp(s)))
    law, chi = law / law.sum(), chi / chi.sum()
    mean = float(law @ value @ chi)
    return mean, float(law @ (value - mean) ** 2 @ chi)
