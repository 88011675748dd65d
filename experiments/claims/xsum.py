"""The tables of docs/results/xsum.md. The independent units are the corpora.

Both pre-trained models start from the same five corpora and the same articles, so ten starts are
not ten units. Every number of a corpus is the mean over its models, before any interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from scipy.special import ndtri

from claims.tables import (
    Quantity,
    Table,
    Tables,
    apart,
    arms,
    last_round,
    moved,
    over,
    quantities,
    records,
    rounds,
    sample,
    since_best,
)
from veriloop.records import Records

METRICS = ("rouge1", "event", "place", "number", "wording", "kinds", "types", "words")
METRICS += ("perplexity", "perplexity_own")


@cache
def by_corpus(*names: str, base: int | None = None) -> Records:
    """Return rows of corpora: arms named by their filtering alone, means over the models.

    base: take only the starts of this pre-trained model.
    """
    samples: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    for name in names:
        rows = records(name)
        if base is not None:
            rows = rows.select(base=base)
        for row in rows:
            arm = row["filtering"]
            if name == "xsum_rouge-laptop":
                arm = f"{arm}, {row['rule']}"
            samples.setdefault((arm, row["seed"], row["round"]), []).append(row)
    found = []
    for (arm, corpus, k), rows_of_models in samples.items():
        means = _means(rows_of_models)
        found.append({**means, "arm": arm, "seed": corpus, "round": k})
    return Records(found)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean over rows of every column that holds numbers."""
    found = {}
    for name, value in rows[0].items():
        if isinstance(value, int | float):
            found[name] = float(np.mean([row[name] for row in rows]))
    return found


def constant(name: str) -> list[Table]:
    """Both arms, the rounds above the start, and both models apart."""
    rows = by_corpus(name)
    found = [
        moved(rows, "filtered, rouge1: round 4 (picked, the highest) - round 0", *FILTERED, to=4),
        over("filtered, rouge1: round 4", sample(rows, *FILTERED, 4)),
        moved(rows, "filtered, rouge1: the end - round 4", *FILTERED, since=4),
        _above(rows, "filtered"),
        _below(rows, "unfiltered"),
    ]
    found += _tested(rows)
    for base in (1, 2):
        own = by_corpus(name, base=base)
        found.append(moved(own, f"filtered, rouge1, model {base}: the end - round 0", *FILTERED))
        gap = f"filtered - unfiltered, rouge1, model {base}: the end"
        found.append(apart(own, gap, "filtered", "unfiltered", "rouge1"))
        found.append(_together(own, f"model {base}, correlation of change in rouge1 and kinds"))
    found.append(_together(rows, BOTH))
    found.append(since_best(rows, *FILTERED, lowest=False))
    return [arms(rows, COMPARED, METRICS), quantities(found)]


def growing(name: str) -> list[Table]:
    """Both arms, the rounds above the start, and the constant rule on the same starts."""
    rows = by_corpus(name)
    found = [_above(rows, "filtered"), _beyond(rows), _over_constant(rows, by_corpus("xsum_rouge"))]
    for k in (5, 15):
        found.append(over(f"filtered, rouge1: round {k}", sample(rows, *FILTERED, k)))
    gap = sample(rows, *FILTERED, -1) - sample(by_corpus("xsum_rouge"), *FILTERED, -1)
    found.append(over("filtered, growing - constant, rouge1: the end", gap))
    constant_rule = by_corpus("xsum_rouge")
    for metric in ("kinds", "perplexity"):
        gap = sample(rows, "filtered", metric, -1) - sample(constant_rule, "filtered", metric, -1)
        found.append(over(f"filtered, growing - constant, {metric}: the end", gap))
    found.append(moved(rows, "filtered, rouge1: the end - round 4", *FILTERED, since=4))
    turned = _since_fourth(rows) - _since_fourth(constant_rule)
    found.append(over("filtered, growing - constant, rouge1: the end - round 4", turned))
    found += _tested(rows)
    for base in (1, 2):
        own = by_corpus(name, base=base)
        found.append(_together(own, f"model {base}, correlation of change in rouge1 and kinds"))
        found.append(over(f"filtered, rouge1, model {base}: the end", sample(own, *FILTERED, -1)))
        unfiltered = sample(own, "unfiltered", "rouge1", -1)
        found.append(over(f"unfiltered, rouge1, model {base}: the end", unfiltered))
    found.append(_together(rows, BOTH))
    return [arms(rows, COMPARED, METRICS), quantities(found)]


def kinds(name: str) -> list[Table]:
    """Both arms within kinds, and the same starts ranked over all; one model only."""
    rows = by_corpus(name)
    ranked = by_corpus("xsum_rouge", base=1)
    found = [over("filtered, rouge1: round 4", sample(rows, *FILTERED, 4))]
    for arm in ("filtered", "unfiltered"):
        within = sample(rows, arm, "rouge1", -1)
        overall = sample(ranked, arm, "rouge1", -1)
        found.append(over(f"{arm} over all, rouge1: the end", overall))
        found.append(over(f"{arm}, within kinds - over all, rouge1: the end", within - overall))
    gained = _gap(rows, "rouge1") - _gap(ranked, "rouge1")
    found.append(over("filtered - unfiltered, within kinds - over all, rouge1: the end", gained))
    gap = sample(rows, "filtered", "kinds", -1) - sample(ranked, "filtered", "kinds", -1)
    found.append(over("filtered, within kinds - over all, kinds: the end", gap))
    found.append(moved(rows, "filtered, rouge1: the end - round 4", *FILTERED, since=4))
    return [arms(rows, COMPARED, ("rouge1", "kinds")), quantities(found)]


def real(name: str) -> list[Table]:
    """Both arms with half of the rows real, beside the same starts without real rows."""
    rows = by_corpus(name)
    plain = by_corpus("xsum_rouge")
    found = [_above(rows, "filtered"), _below(rows, "filtered"), _below(rows, "unfiltered")]
    for arm in COMPARED:
        for metric in ("rouge1", "perplexity", "types"):
            gap = sample(rows, arm, metric, -1) - sample(plain, arm, metric, -1)
            found.append(over(f"{arm}, with real rows - without, {metric}: the end", gap))
    start = sample(rows, *FILTERED, 0) - sample(plain, *FILTERED, 0)
    found.append(over("with real rows - without, rouge1: round 0", start))
    for metric in ("rouge1", "perplexity"):
        gap = sample(rows, "unfiltered", metric, -1) - sample(plain, "filtered", metric, -1)
        what = f"unfiltered with real rows - filtered without, {metric}: the end"
        found.append(over(what, gap))
    both = _gap(rows, "rouge1") - _gap(plain, "rouge1")
    found.append(over("filtered - unfiltered, with real rows - without, rouge1: the end", both))
    for arm in COMPARED:
        found.append(since_best(rows, arm, "perplexity", lowest=True))
    return [arms(rows, COMPARED, METRICS), quantities([*found, *_tested(rows)])]


def verifiers(name: str) -> list[Table]:
    """Four arms, over both models."""
    rows = by_corpus(name, "xsum_rouge-verifiers-2")
    compared = {"filtered": "unfiltered", "noisy": "unfiltered", "brief": "unfiltered"}
    found = []
    for arm in ("noisy", "brief"):
        found.append(apart(rows, f"{arm} - filtered, rouge1: the end", arm, "filtered", "rouge1"))
    for base, run in ((1, name), (2, "xsum_rouge-verifiers-2")):
        own = by_corpus(run)
        found.append(
            moved(own, f"brief, rouge1, model {base}: the end - round 0", "brief", "rouge1")
        )
        what = f"noisy - unfiltered, rouge1, model {base}: the end"
        found.append(apart(own, what, "noisy", "unfiltered", "rouge1"))
    return [
        arms(rows, {**compared, "unfiltered": None}, ("rouge1", "event", "words")),
        quantities(found),
    ]


def laptop(name: str) -> list[Table]:
    """Both rules of how many to keep."""
    rows = by_corpus(name)
    compared: dict[str, str | None] = {}
    for rule in ("constant", "growing by 0.1"):
        compared |= {f"filtered, {rule}": f"unfiltered, {rule}", f"unfiltered, {rule}": None}
    return [arms(rows, compared, ("rouge1",))]


FILTERED = ("filtered", "rouge1")
COMPARED: Mapping[str, str | None] = {"filtered": "unfiltered", "unfiltered": None}
BOTH = "means of both models, correlation of change in rouge1 and kinds"


def _gap(rows: Records, metric: str) -> np.ndarray:
    """Return how far the filtered arm ends from the unfiltered one, corpus by corpus."""
    return sample(rows, "filtered", metric, -1) - sample(rows, "unfiltered", metric, -1)


def _since_fourth(rows: Records) -> np.ndarray:
    """Return how far the filtered arm ends from round 4, where the constant rule is highest."""
    return sample(rows, *FILTERED, -1) - sample(rows, *FILTERED, 4)


def _tested(rows: Records) -> list[Quantity]:
    """Return ROUGE-1 on the articles that are looked at once, at the end."""
    found = []
    for arm in COMPARED:
        found.append(over(f"{arm}, test_rouge1: the end", sample(rows, arm, "test_rouge1", -1)))
    what = "filtered - unfiltered, test_rouge1: the end"
    return [*found, apart(rows, what, "filtered", "unfiltered", "test_rouge1")]


def _rounds(rows: Records, what: str, gaps: Mapping[int, np.ndarray], sign: int) -> Quantity:
    """Return the rounds whose interval lies on one side of zero."""
    chosen = []
    for k, gap in gaps.items():
        each = over("", sign * gap)
        if each.half is not None and each.value - each.half > 0:
            chosen.append(k)
    return Quantity(what, n=len(rows.seeds), text=rounds(chosen))


def _since_start(rows: Records, arm: str) -> dict[int, np.ndarray]:
    first = sample(rows, arm, "rouge1", 0)
    each = range(1, last_round(rows, arm) + 1)
    return {k: sample(rows, arm, "rouge1", k) - first for k in each}


def _above(rows: Records, arm: str) -> Quantity:
    what = f"{arm}, rouge1: rounds surely above round 0"
    return _rounds(rows, what, _since_start(rows, arm), 1)


def _below(rows: Records, arm: str) -> Quantity:
    what = f"{arm}, rouge1: rounds surely below round 0"
    return _rounds(rows, what, _since_start(rows, arm), -1)


def _beyond(rows: Records) -> Quantity:
    """Return the rounds in which filtered is surely above unfiltered."""
    gaps = {}
    for k in range(1, last_round(rows, "filtered") + 1):
        gaps[k] = sample(rows, *FILTERED, k) - sample(rows, "unfiltered", "rouge1", k)
    return _rounds(rows, "filtered - unfiltered, rouge1: rounds surely above zero", gaps, 1)


def _over_constant(rows: Records, other: Records) -> Quantity:
    """Return the rounds in which the growing rule is surely above the constant one."""
    gaps = {}
    for k in range(1, last_round(rows, "filtered") + 1):
        gaps[k] = sample(rows, *FILTERED, k) - sample(other, *FILTERED, k)
    what = "filtered, growing - constant, rouge1: rounds surely above zero"
    return _rounds(rows, what, gaps, 1)


def _together(rows: Records, what: str) -> Quantity:
    """Return the correlation over corpora of the filtered arm's change in ROUGE-1 and in kinds.

    Its 95 % interval is by Fisher's transformation.
    """
    changes = []
    for metric in ("rouge1", "kinds"):
        last = sample(rows, "filtered", metric, -1)
        changes.append(last - sample(rows, "filtered", metric, 0))
    correlation = float(np.corrcoef(changes)[0, 1])
    n = len(changes[0])
    reach = ndtri(0.975) / np.sqrt(n - 3)
    low, high = np.tanh(np.arctanh(correlation) + np.array([-reach, reach]))
    return Quantity(what, n=n, text=f"{correlation:.2f} ({low:.2f} to {high:.2f})")


RUNS: Mapping[str, Tables] = {
    "xsum_rouge": constant,
    "xsum_rouge-growing": growing,
    "xsum_rouge-kinds": kinds,
    "xsum_rouge-verifiers": verifiers,
    "xsum_rouge-real": real,
    "xsum_rouge-laptop": laptop,
}
