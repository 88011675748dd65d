"""The fixtures of all tests of language models stand in tests/text/fixtures.py."""

import sys
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "text"))  # where the fixtures are

from fixtures import (
    model,
    network,
    no_progress_bars,
    offline,
    one_thread,
    pairs,
    prompt,
    tokenizer,
)

__all__ = [
    "model",
    "network",
    "no_progress_bars",
    "offline",
    "one_thread",
    "pairs",
    "prompt",
    "tokenizer",
]

if find_spec("transformers") is None:  # the extra [xsum] is not installed
    collect_ignore_glob = ["test_*.py"]
