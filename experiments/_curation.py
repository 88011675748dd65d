"""What the figure of curation compares: rounds of the loop, the law of each, the map iterated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from veriloop import Alternatives, BestOf, FreshReal, Key, Loop, Luce, Replace, State
from veriloop.exact.reward_levels import (
    CurationLaw,
    LevelReward,
    draw_levels,
    frequencies,
    picked_as_best,
    picked_by_luce,
    reward_moments,
)
from veriloop.study import Rows, follow, same, spread

CHOICES = {"luce": Luce(), "best": BestOf()}
LAWS = {"luce": picked_by_luce, "best": picked_as_best}
TOLD = {"candidates": same, "kept": same, "reward": spread, "variance": spread}


def law_of(choice: str, k: int, rewards: np.ndarray, size: int, fresh: int) -> CurationLaw:
    """Return the law of a round with one choice; real data have all levels equally often."""
    chosen = LAWS[choice]
    real = np.full(len(rewards), 1 / len(rewards))
    return CurationLaw(rewards, real, partial(chosen, rewards=rewards, k=k), size, fresh)


def run_curated(law: CurationLaw, choice: str, k: int, rounds: int, key: Key) -> Rows:
    """Run the loop of one choice, from a model fitted to real samples."""
    pool: Any = Replace()
    if law.fresh:
        pool = FreshReal(lambda key, n: draw_levels(key, law.real, n), law.fresh)
    loop = Loop(
        generate=draw_levels,
        verify=LevelReward(law.rewards),
        filter=Alternatives(k, CHOICES[choice]),
        refit=frequencies,
        measure=law,
        pool=pool,
    )
    first = draw_levels(key.fold("real"), law.real, law.size)
    start = State(frequencies(key, law.real, first))
    return follow(loop, key, start, [k * law.size] * rounds)


def gaps(runs: list[Rows]) -> Rows:
    """Return by round the z-score of the summed rewards, given the models of the round before."""
    rows: Rows = [{}]
    for k in range(1, len(runs[0])):
        measured = np.array([run[k]["reward"] for run in runs]).sum()
        expected = sum(run[k - 1]["reward_next"] for run in runs)
        error = sum(run[k - 1]["variance_next"] for run in runs) ** 0.5
        z = float((measured - expected) / error) if error else None
        rows.append({"gap_z": z})
    return rows


def iterated(law: CurationLaw, rounds: int) -> Rows:
    """Return the moments of the map iterated from round 0, at this K and as K goes to infinity."""
    of_all = replace(law, picked=partial(picked_by_luce, rewards=law.rewards, k=np.inf))
    rows: Rows = []
    for model, of_many in zip(law.path(rounds), of_all.path(rounds), strict=True):
        exact, variance = reward_moments(model, law.rewards)
        mean_of_many, _ = reward_moments(of_many, law.rewards)
        rows.append({"exact": exact, "exact_variance": variance, "all": mean_of_many})
    return rows
