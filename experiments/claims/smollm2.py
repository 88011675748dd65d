"""The tables of docs/results/smollm2.md. The independent units are the starts.

A start is a seed: other articles, and other first pairs. One start has no interval over starts. The
ranges over its articles say what other articles would give for the same models.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from claims.tables import (
    Quantity,
    Table,
    Tables,
    arms,
    over,
    plain,
    quantities,
    sample,
)
from claims.xsum import COMPARED, by_corpus
from veriloop import advise
from veriloop.records import Records

TOLD = (0, 4, 8, 15)
ADVISED = 4
NORMAL = 1.96  # standard errors in half of a 95 % interval
METRICS = ("rouge1", "rouge2", "rougeL", "words", "types", "copying", "repetition", "truncated")
METRICS += ("perplexity", "perplexity_own")


def to_fifteen(name: str) -> list[Table]:
    """Both arms of the one start that went on to round 15, and what the articles to test on say."""
    rows = by_corpus(name)
    found = []
    for arm in COMPARED:
        for k in TOLD:
            found.append(over(f"{arm}, rouge1: round {k}", sample(rows, arm, "rouge1", k)))
            found.append(_of_articles(rows, arm, k))
        found.append(over(f"{arm}, kept_rouge1: the end", sample(rows, arm, "kept_rouge1", -1)))
        found.append(_advised(rows, arm))
    return [arms(rows, COMPARED, METRICS), quantities([*found, *_tested(rows)])]


def _of_articles(rows: Records, arm: str, k: int) -> Quantity:
    """Return the 95 % range of ROUGE-1 over the articles of one start, as its rows have it."""
    (row,) = rows.select(arm=arm, round=k)
    text = f"{plain(row['rouge1_low'])} to {plain(row['rouge1_high'])}"
    return Quantity(f"{arm}, rouge1: round {k}, range over articles", n=1, text=text)


def _advised(rows: Records, arm: str) -> Quantity:
    """Return what `advise` says of an arm's ROUGE-1 after four rounds.

    One start has no interval over starts. Its standard error is then that over articles, as the
    bootstrap in its rows has it.
    """
    seen = []
    for row in rows.select(arm=arm):
        if row["round"] <= ADVISED:
            spread = row["rouge1_high"] - row["rouge1_low"]
            seen.append({**row, "rouge1_se": spread / (2 * NORMAL)})
    advice = advise(Records(seen), "rouge1", pool="replace")
    text = f"{advice.conclusion} ({advice.support:.0%} of resamples)"
    return Quantity(f"{arm}, rouge1: advice after round 4", n=len(rows.seeds), text=text)


def _tested(rows: Records) -> list[Quantity]:
    """Return ROUGE-1 on the articles to test on, which a start is measured on in its last round."""
    ends = [row for row in rows if "test_rouge1" in row]
    values: dict[str, np.ndarray] = {}
    for arm in COMPARED:
        by_seed = {row["seed"]: row["test_rouge1"] for row in ends if row["arm"] == arm}
        values[arm] = np.array([by_seed[seed] for seed in sorted(by_seed)])
    found = [over(f"{arm}, test_rouge1: the end", sampled) for arm, sampled in values.items()]
    gap = values["filtered"] - values["unfiltered"]
    return [*found, over("filtered - unfiltered, test_rouge1: the end", gap)]


RUNS: Mapping[str, Tables] = {"xsum_rouge-smollm2": to_fifteen}
