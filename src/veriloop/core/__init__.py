"""The contract: the loop, and what flows round it. Standard library and NumPy only."""

from veriloop.core.batch import Batch, Columns, concatenate
from veriloop.core.candidates import Candidates, Quota, RoundError
from veriloop.core.key import Key
from veriloop.core.loop import Loop, run
from veriloop.core.parts import EachRound
from veriloop.core.state import Record, State
from veriloop.core.verdict import Verdict

__all__ = [
    "Batch",
    "Candidates",
    "Columns",
    "EachRound",
    "Key",
    "Loop",
    "Quota",
    "Record",
    "RoundError",
    "State",
    "Verdict",
    "concatenate",
    "run",
]
