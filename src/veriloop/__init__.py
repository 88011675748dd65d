"""Train on synthetic data that a verifier has checked: one loop, and backends for it."""

import sys

if sys.argv[:1] == ["-m"]:  # a command of ours imports nothing from the current folder
    from veriloop._path import leave_out_current_folder

    leave_out_current_folder()

from types import ModuleType
from typing import TYPE_CHECKING

from veriloop import schedules
from veriloop.components import build
from veriloop.core import (
    Batch,
    Candidates,
    Columns,
    EachRound,
    Key,
    Loop,
    Quota,
    Record,
    RoundError,
    State,
    Verdict,
    concatenate,
    run,
)
from veriloop.core.checks import need
from veriloop.diagnose import Advice, Alarm, Estimate, advise, alarm
from veriloop.filters import (
    Alternatives,
    Bernoulli,
    BestOf,
    Boltzmann,
    Chain,
    KeepAll,
    Luce,
    NearBest,
    RandomFraction,
    Threshold,
    TopCount,
    TopFraction,
)
from veriloop.observe import AcceptanceByGroup, FromStart, SelectionBias, Spread, observe_all
from veriloop.pools import Accumulate, AccumulateSubsample, FreshReal, MixReal, Replace, Window
from veriloop.records import Records
from veriloop.store import RunDir, load_state, save_state
from veriloop.verifiers import (
    Audited,
    Batched,
    Cached,
    Calibrated,
    Constant,
    CovarianceMatch,
    Endpoint,
    Noisy,
    Oracle,
    Random,
    Retry,
    Shifted,
    TimeLimit,
    all_of,
    any_of,
    calibrated,
    vote,
    weighted,
)

if TYPE_CHECKING:
    from veriloop import exact as exact
    from veriloop import linear as linear
    from veriloop import mnist as mnist
    from veriloop import study as study
    from veriloop import testing as testing
    from veriloop import text as text
    from veriloop import xsum as xsum
    from veriloop.plotting import plot as plot
    from veriloop.study import Study as Study

__version__ = "0.2.0"

# Each loads on first touch; one that needs more than NumPy and SciPy has an extra.
_BACKENDS = ("linear", "mnist", "text", "xsum")
_LAZY = (*_BACKENDS, "exact", "study", "testing")
# Names of modules that load on first touch: where each is defined.
_NAMES = {"Study": "study", "plot": "plotting"}

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
    "Boltzmann",
    "Cached",
    "Calibrated",
    "Candidates",
    "Chain",
    "Columns",
    "Constant",
    "CovarianceMatch",
    "EachRound",
    "Endpoint",
    "Estimate",
    "FreshReal",
    "FromStart",
    "KeepAll",
    "Key",
    "Loop",
    "Luce",
    "MixReal",
    "NearBest",
    "Noisy",
    "Oracle",
    "Quota",
    "Random",
    "RandomFraction",
    "Record",
    "Records",
    "Replace",
    "Retry",
    "RoundError",
    "RunDir",
    "SelectionBias",
    "Shifted",
    "Spread",
    "State",
    "Threshold",
    "TimeLimit",
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
    "load_state",
    "observe_all",
    "run",
    "save_state",
    "schedules",
    "vote",
    "weighted",
]


def __dir__() -> list[str]:
    return sorted([*__all__, *_LAZY, *_NAMES, "__version__"])


def __getattr__(name: str) -> object:
    if name in _NAMES:
        return getattr(_loaded(_NAMES[name]), name)
    if name in _LAZY:
        return _loaded(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _loaded(name: str) -> ModuleType:
    return need(f"veriloop.{name}", f"veriloop[{name}]", f"veriloop.{name}")
