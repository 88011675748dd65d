"""The loop and its parts; standard library and NumPy only; knows no backend."""

from veriloop.core import schedules
from veriloop.core.advice import Advice, Estimate, advise
from veriloop.core.alarm import Alarm, alarm
from veriloop.core.batch import Batch, Columns, concatenate
from veriloop.core.candidates import Candidates, Quota
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
from veriloop.core.panel import FromStart, Spread, disagreement
from veriloop.core.pools import Accumulate, AccumulateSubsample, FreshReal, MixReal, Replace, Window
from veriloop.core.store import RunDir
from veriloop.core.verifiers import (
    Audited,
    Constant,
    Noisy,
    Oracle,
    Random,
    Shifted,
    Verdict,
    all_of,
    any_of,
    vote,
    weighted,
)

__all__ = [
    "Accumulate",
    "AccumulateSubsample",
    "Advice",
    "Alarm",
    "Audited",
    "Batch",
    "Bernoulli",
    "Candidates",
    "Columns",
    "Constant",
    "Estimate",
    "FreshReal",
    "FromStart",
    "KeepAll",
    "Key",
    "Loop",
    "MixReal",
    "Noisy",
    "Oracle",
    "Quota",
    "Random",
    "RandomFraction",
    "Record",
    "Replace",
    "RoundError",
    "RunDir",
    "Shifted",
    "Spread",
    "State",
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
    "concatenate",
    "disagreement",
    "run",
    "schedules",
    "vote",
    "weighted",
]
