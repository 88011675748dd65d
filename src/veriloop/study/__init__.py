"""Studies: arms by seeds, run folders, engines, configuration, the command line of a script."""

from veriloop.core.checks import check_installed

check_installed("veriloop.study", "pydantic", "yaml", "tqdm", "joblib", "cloudpickle", "filelock")

from veriloop.study.command import main
from veriloop.study.config import (
    Config,
    NotNegative,
    NotNegatives,
    Positive,
    Positives,
    Seed,
    Shares,
    Sizes,
    Whole,
    per_round,
    read_config,
)
from veriloop.study.engine import BadInput, Failure, Rows, RunStopped, Unit, UnitsFailed
from veriloop.study.progress import say, tell
from veriloop.study.study import Study, follow
from veriloop.study.summary import Measured, mean, over_replicates, same, spread

__all__ = [
    "BadInput",
    "Config",
    "Failure",
    "Measured",
    "NotNegative",
    "NotNegatives",
    "Positive",
    "Positives",
    "Rows",
    "RunStopped",
    "Seed",
    "Shares",
    "Sizes",
    "Study",
    "Unit",
    "UnitsFailed",
    "Whole",
    "follow",
    "main",
    "mean",
    "over_replicates",
    "per_round",
    "read_config",
    "same",
    "say",
    "spread",
    "tell",
]
