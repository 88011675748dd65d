"""The loop and its parts; standard library and NumPy only; knows no backend."""

from veriloop.core import schedules
from veriloop.core.advice import Advice, Estimate, advise
from veriloop.core.alarm import Alarm, alarm
from veriloop.core.batch import Batch, Columns, concatenate
from veriloop.core.calibration import Calibrated, calibrated
from veriloop.core.candidates import Candidates, Quota
from veriloop.core.choices import Alternatives, BestOf, Luce, Margin, Then
from veriloop.core.components import build
from veriloop.core.filters import (
    Bernoulli,
    KeepAll,
    RandomFraction,
    RoundError,
    Threshold,
    TopCount,
    TopFraction,
)
from veriloop.core.key import Key
from veriloop.core.loop import Loop, Record, State, run
from veriloop.core.matching import CovarianceMatch
from veriloop.core.observe import AcceptanceByGroup, SelectionBias, together
from veriloop.core.panel import FromStart, Spread, disagreement
from veriloop.core.pools import Accumulate, AccumulateSubsample, FreshReal, MixReal, Replace, Window
from veriloop.core.store import RunDir
from veriloop.core.verdict import Verdict
from veriloop.core.verifiers import (
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
from veriloop.core.wrappers import Batched, Cached, Retry

__all__ = [
    "AcceptanceByGroup",
    "Accumulate",
    "AccumulateSubsample",
    "Advice",
    "Alarm",
    "Alternatives",
    "Audited",
    "Batch",
    "Batched",
    "Bernoulli",
    "BestOf",
    "Cached",
    "Calibrated",
    "Candidates",
    "Columns",
    "Constant",
    "CovarianceMatch",
    "Estimate",
    "FreshReal",
    "FromStart",
    "KeepAll",
    "Key",
    "Loop",
    "Luce",
    "Margin",
    "MixReal",
    "Noisy",
    "Oracle",
    "Quota",
    "Random",
    "RandomFraction",
    "Record",
    "Replace",
    "Retry",
    "RoundError",
    "RunDir",
    "SelectionBias",
    "Shifted",
    "Spread",
    "State",
    "Then",
    "Threshold",
    "TopCount",
    "TopFraction",
    "Verdict",
    "Window",
    "advise",
    "alarm",
    "all_of",
    "any_of",
    "build",
    "calibrated",
    "concatenate",
    "disagreement",
    "run",
    "schedules",
    "together",
    "vote",
    "weighted",
]
