"""Verifiers: `(key, batch) -> scores`, higher is better; for any backend."""

from veriloop.verifiers.algebra import (
    Audited,
    Constant,
    Noisy,
    Oracle,
    Random,
    Shifted,
    all_of,
    any_of,
    vote,
    weighted,
)
from veriloop.verifiers.calibration import Calibrated, calibrated
from veriloop.verifiers.endpoint import Endpoint
from veriloop.verifiers.matching import CovarianceMatch
from veriloop.verifiers.time_limit import TimeLimit
from veriloop.verifiers.wrappers import Batched, Cached, Retry

__all__ = [
    "Audited",
    "Batched",
    "Cached",
    "Calibrated",
    "Constant",
    "CovarianceMatch",
    "Endpoint",
    "Noisy",
    "Oracle",
    "Random",
    "Retry",
    "Shifted",
    "TimeLimit",
    "all_of",
    "any_of",
    "calibrated",
    "vote",
    "weighted",
]
