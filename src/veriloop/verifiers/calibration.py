"""Calibration: scores as probabilities that a row is good, learnt from a labelled sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from veriloop.core.checks import need
from veriloop.core.key import Key
from veriloop.core.verdict import Verdict, Verifier, judged


@dataclass(frozen=True)
class Calibrated:
    r"""Score by the probability that a row is good, :math:`P(\text{good} \mid s) - 1/2`, given the inner score s.

    So 0 or more is "at least as likely good as not"; finite whatever the method. `Shifted(calibrated, 0.5)` is the
    probability itself, which `Bernoulli` keeps rows with. NaN stays NaN.

    curve: scores, shape (n,) -> probabilities, shape (n,); fitted by `calibrated`.
    """

    verifier: Verifier
    curve: Callable[[np.ndarray], np.ndarray]

    def __call__(self, key: Key, batch: Any) -> Verdict:
        verdict = judged(self.verifier, key, batch)
        return replace(verdict, scores=self.curve(verdict.scores) - 0.5)


def calibrated(
    verifier: Verifier,
    key: Key,
    batch: Any,
    labels: np.ndarray,
    method: Literal["isotonic", "platt"] = "isotonic",
) -> Calibrated:
    r"""Fit the scores of `verifier` to a labelled sample, and return it on the scale of `Calibrated`.

    batch: n rows that neither the verifier nor the model was fitted to; those without a verdict are left out.
    labels: shape (n,), true where a row is good.
    method: "isotonic", the rising function nearest to the labels, for a thousand rows or more; or "platt",
        :math:`P = 1/(1 + e^{-(a s + b)})`, for few: fitted to :math:`(n_+ + 1)/(n_+ + 2)` and :math:`1/(n_- + 2)`
        in place of 1 and 0 (Platt, 1999). Only the latter can say that a higher score is worse.

    >>> rows = np.array([-2.0, -1.0, 1.0, 2.0])
    >>> calibrated(lambda key, batch: batch - 5, Key(0), rows, rows > 0)(Key(0), rows).scores
    array([-0.5, -0.5,  0.5,  0.5])

    Raises:
        ImportError: where scikit-learn is not installed.
        ValueError: if the labels are not one boolean a row, or those of the rows with a verdict are all alike.
    """
    if method not in ("isotonic", "platt"):
        raise ValueError(f"calibrated: method must be isotonic or platt, got {method!r}")
    need("sklearn", "scikit-learn", "calibrated")
    good = np.asarray(labels)
    if good.shape != (len(batch),) or not np.isin(good, (0, 1)).all():
        raise ValueError(
            f"calibrated: labels must be true or false for each row, shape ({len(batch)},), got {good.dtype} "
            f"of shape {good.shape}"
        )
    scores = judged(verifier, key, batch).scores.astype(float)
    scores, good = scores[~np.isnan(scores)], good[~np.isnan(scores)].astype(bool)
    if good.all() or not good.any():
        raise ValueError(
            f"calibrated: there must be good rows and bad ones that have a verdict, got {good.sum()} good of "
            f"{len(good)}"
        )
    return Calibrated(
        verifier, _steps(scores, good) if method == "isotonic" else _sigmoid(scores, good)
    )


@dataclass(frozen=True)
class _Steps:
    scores: np.ndarray
    probabilities: np.ndarray

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return np.interp(scores, self.scores, self.probabilities)


@dataclass(frozen=True)
class _Sigmoid:
    slope: float
    offset: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        return 0.5 + 0.5 * np.tanh((self.slope * scores + self.offset) / 2)


def _steps(scores: np.ndarray, good: np.ndarray) -> _Steps:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1).fit(scores, good)
    return _Steps(fitted.X_thresholds_, fitted.y_thresholds_)


def _sigmoid(scores: np.ndarray, good: np.ndarray) -> _Sigmoid:
    from sklearn.linear_model import LogisticRegression

    # Platt's soft targets, as rows that count as good by one weight and as bad by the rest.
    target = np.where(good, (good.sum() + 1) / (good.sum() + 2), 1 / ((~good).sum() + 2))
    center, scale = scores.mean(), scores.std() or 1.0
    rows = np.tile((scores - center) / scale, 2)[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        rows, np.repeat([True, False], len(scores)), np.concatenate([target, 1 - target])
    )
    slope = float(fitted.coef_[0, 0] / scale)
    return _Sigmoid(slope, float(fitted.intercept_[0] - slope * center))
