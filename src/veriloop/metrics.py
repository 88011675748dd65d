"""What is known of the metrics by name: the unit, which way is better, and which way collapse goes.

This is the one table. Figures take axis labels from it, and alarms the direction in which a metric
gets worse.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Direction = Literal["higher", "lower"]


class Known(NamedTuple):
    """One metric.

    unit: of its numbers; empty where they have none.
    better: the direction in which the model gets better; None where neither is.
    worse: the direction in which collapse moves it; None where collapse is not seen in it.
    """

    unit: str = ""
    better: Direction | None = None
    worse: Direction | None = None


ERROR = "squared error / noise variance"
NATS = "nats per image"
RISES = Known("", "lower", "higher")
FALLS = Known("", "higher", "lower")

KNOWN: dict[str, Known] = {
    "error_truth": Known(ERROR, "lower", "higher"),
    "error_center": Known(ERROR),
    "nelbo": Known(NATS, "lower", "higher"),
    "reconstruction": Known(NATS),
    "kl": Known(NATS),
    "mnist_fid": RISES,
    "mnist_fid_v2": RISES,
    "fid": RISES,
    "perplexity": RISES,
    "repetition": RISES,
    "empty": RISES,
    "agreement": FALLS,
    "diversity": FALLS,
    "entropy": Known("nats", "higher", "lower"),
    "precision": FALLS,
    "recall": FALLS,
    "coverage": FALLS,
    "rouge1": FALLS,
    "rouge2": FALLS,
    "rougeL": FALLS,
    "types": Known("different words", "higher", "lower"),
    "distinct1": FALLS,
    "distinct2": FALLS,
    # A model that collapses finds its own output ever more likely, and spreads less. Low is not bad
    # by itself.
    "nelbo_own": Known(NATS, None, "lower"),
    "perplexity_own": Known("", None, "lower"),
    "spread": Known("", None, "lower"),
}
