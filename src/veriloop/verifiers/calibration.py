"""Calibration: scores as probabilities that a row is good, learnt from a labelled sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from veriloop.core.arrays import AnyBatch, Mask, Scores
from veriloop.core.checks import need
from veriloop.core.key import Key
from veriloop.core.verdict import Verdict, Verifier, judged

_WITHIN_A_STEP = 1e-9  # the most that rows on one step of an isotonic curve differ by
_BELOW_HALF = np.nextafter(0.5, 0)


@dataclass(frozen=True)
class Calibrated:
    r"""Score by the probability that a row is good, minus one half.

    .. math:: P(\text{good} \mid s) - 1/2

    So a score of 0 or more means "at least as likely good as not". Scores are finite, and NaN stays
    NaN. `Shifted(calibrated, 0.5)` is the probability itself, by which `Bernoulli` keeps rows.

    verifier: (key, batch) -> scores s.
    curve: scores, shape (n,) -> probabilities, shape (n,); `calibrated` fits it.

    >>> certain = Calibrated(lambda key, batch: batch, curve=lambda scores: 1.0 * (scores > 5))
    >>> certain(Key(0), np.array([3.0, 7.0])).scores
    array([-0.5,  0.5])
    """

    verifier: Verifier
    curve: Callable[[Scores], Scores]

    def __call__(self, key: Key, batch: AnyBatch) -> Verdict:
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=self.curve(verdict.scores) - 0.5)


def calibrated(
    verifier: Verifier,
    key: Key,
    batch: AnyBatch,
    labels: npt.ArrayLike,
    method: Literal["isotonic", "platt"] = "isotonic",
) -> Calibrated:
    r"""Fit the scores of a verifier to a labelled sample; return a `Calibrated` verifier.

    verifier: (key, batch) -> scores.
    key: what the verifier is asked under.
    batch: n rows that neither the verifier nor the model was fitted to. Rows without a verdict are
        left out.
    labels: shape (n,), true where a row is good.
    method: "isotonic" fits the rising function nearest to the labels, and needs a thousand rows or
        more. It has steps, of one probability each. Rows on one step differ by less than 1e-9, in
        the order of their raw scores, so that a filter that ranks does not draw lots among them.
        "platt" fits :math:`P = 1/(1 + e^{-(a s + b)})`, for fewer rows, to
        :math:`(n_+ + 1)/(n_+ + 2)` and :math:`1/(n_- + 2)` in place of 1 and 0 (Platt, 1999). Only
        "platt" can find that a higher score is worse.

    >>> rows = np.array([-2.0, -1.0, 1.0, 2.0])
    >>> calibrated(lambda key, batch: batch - 5, Key(0), rows, rows > 0)(Key(0), rows).scores
    array([-0.5, -0.5,  0.5,  0.5])

    Raises:
        ImportError: if scikit-learn is not installed. ValueError: if the labels are not one boolean
        a row, or all rows with a verdict have one label.
    """
    if method not in ("isotonic", "platt"):
        raise ValueError(f"calibrated: method must be isotonic or platt, got {method!r}")
    need("sklearn", "scikit-learn", "calibrated")
    given: object = labels
    if isinstance(given, np.ma.MaskedArray):
        raise ValueError(
            "calibrated: labels must be true or false for each row, got a masked array; leave out "
            "the rows without a label"
        )
    good = np.asarray(labels)
    if good.shape != (len(batch),) or not np.isin(good, (0, 1)).all():
        raise ValueError(
            "calibrated: labels must be true or false for each row, "
            f"shape ({len(batch)},), got {good.dtype} of shape {good.shape}"
        )
    scores = judged(verifier, key, batch).scores.astype(float)
    known = ~np.isnan(scores)
    scores = scores[known]
    good = good[known].astype(bool)
    if good.all() or not good.any():
        raise ValueError(
            "calibrated: there must be good rows and bad ones that have a verdict, "
            f"got {good.sum()} good of {len(good)}"
        )
    if method == "isotonic":
        return Calibrated(verifier, _steps(scores, good))
    return Calibrated(verifier, _sigmoid(scores, good))


@dataclass(frozen=True)
class _Steps:
    """A rising function of steps, on each of which rows keep the order of their scores.

    center, scale: of the sample, in the units of the scores.
    """

    scores: Scores
    probabilities: Scores
    center: float
    scale: float

    def __call__(self, scores: Scores) -> Scores:
        steps = np.interp(scores, self.scores, self.probabilities)
        away = (scores - self.center) / self.scale
        place = 0.5 + 0.5 * away / (1 + np.abs(away))  # in (0, 1), and rises with the score
        # Towards one half, so that no row leaves [0, 1], and not past it, so that none is accepted
        # that was rejected.
        within = np.where(steps > 0.5, place - 1, place)
        moved = steps + _WITHIN_A_STEP * within
        return np.where(steps < 0.5, np.minimum(moved, _BELOW_HALF), np.maximum(moved, 0.5))


@dataclass(frozen=True)
class _Sigmoid:
    slope: float
    offset: float

    def __call__(self, scores: Scores) -> Scores:
        return 0.5 + 0.5 * np.tanh((self.slope * scores + self.offset) / 2)


def _steps(scores: Scores, good: Mask) -> _Steps:
    from sklearn.isotonic import IsotonicRegression  # pyright: ignore[reportMissingTypeStubs]

    model: Any = IsotonicRegression(y_min=0, y_max=1)
    fitted = model.fit(scores, good)
    scale = float(scores.std()) or 1.0
    return _Steps(fitted.X_thresholds_, fitted.y_thresholds_, float(scores.mean()), scale)


def _sigmoid(scores: Scores, good: Mask) -> _Sigmoid:
    from sklearn.linear_model import LogisticRegression  # pyright: ignore[reportMissingTypeStubs]

    # Platt's soft targets, as rows that count as good by one weight and as bad by the rest.
    count = int(good.sum())
    right = (count + 1) / (count + 2)
    wrong = 1 / (len(good) - count + 2)
    target: Scores = np.where(good, right, wrong)
    center = scores.mean()
    scale = scores.std() or 1.0
    rows = np.tile((scores - center) / scale, 2)[:, None]
    labels = np.repeat([True, False], len(scores))
    weights: Scores = np.concatenate([target, 1 - target])
    model: Any = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    fitted = model.fit(rows, labels, weights)
    slope = float(fitted.coef_[0, 0] / scale)
    return _Sigmoid(slope, float(fitted.intercept_[0] - slope * center))
