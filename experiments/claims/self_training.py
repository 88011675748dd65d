"""The tables of docs/results/self_training.md. The independent units are the seeds."""

from __future__ import annotations

from collections.abc import Mapping

from claims.tables import Quantity, Table, Tables, arms, moved, over, quantities, records, sample
from veriloop.records import Records

VERIFIERS = ("verified", "noisy", "majority", "unverified")
METRICS = ("exact", "held_pass@1", "held_pass@64", "train_pass@1", "train_pass@64", "held_answers")


def self_training(name: str) -> list[Table]:
    """Every arm at the start and at the end, beside unverified; and what pass@k gains by k."""
    rows = records(name)
    compared: dict[str, str | None] = {}
    for refit in ("continued", "base"):
        for verifier in VERIFIERS:
            compared[f"{verifier}-{refit}"] = f"unverified-{refit}"
        compared[f"unverified-{refit}"] = None
    found: list[Quantity] = []
    for arm in ("verified-continued", "verified-base"):
        found += _by_k(rows, arm)
    for metric in ("exact", "held_pass@64"):
        continued = sample(rows, "verified-continued", metric, -1)
        gap = continued - sample(rows, "verified-base", metric, -1)
        found.append(over(f"verified, continued - base: {metric}, the end", gap))
    for arm in compared:
        kept = sample(rows, arm, "kept_exact", -1)
        found.append(over(f"{arm}: right of the kept, last round", kept))
    return [arms(rows, compared, METRICS), quantities(found)]


def _by_k(rows: Records, arm: str) -> list[Quantity]:
    """Return how far pass@k of the held sums moved, for every k."""
    names = [name for name in rows.select(arm=arm, round=0)[0] if name.startswith("held_pass@")]
    return [moved(rows, f"{arm}: {name}, the end - round 0", arm, name) for name in names]


RUNS: Mapping[str, Tables] = {"self_training": self_training}
