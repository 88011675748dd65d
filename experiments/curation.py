"""Curated retraining: of K samples one is picked by its reward, and the next model is fitted to the picked ones.

The model is a distribution over reward levels and the refit their frequencies, so each round's law is known exactly
for every K. Source: Ferbach et al. (2024), arXiv:2407.09499; the integral at finite K is our derivation.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from _levels import Reward, Round, frequencies, moments, picked_as_best, picked_by_luce, sample
from figures.curation import draw, summarise
from veriloop import Alternatives, BestOf, FreshReal, Key, Loop, Luce, Replace, State
from veriloop.study import BadInput, Config, NotNegatives, Rows, Unit, Whole, follow, main, spread

Share = Annotated[float, Field(ge=0, lt=1)]
Several = Annotated[int, Field(ge=2)]


class Curation(Config):
    """Every choice with every share of real data; the real distribution gives all levels the same probability."""

    levels: NotNegatives  # rewards, one a level
    luce: Annotated[list[Several], Field(min_length=1)]  # K of the choices by Luce's rule
    best_of: list[Several]  # K of the choices of the best
    shares: Annotated[list[Share], Field(min_length=1)]  # of fresh real data among what a model is fitted to
    size: Whole  # picked samples a round
    rounds: Whole
    replicates: Whole


def arm(config: Curation, choice: str, k: int, share: float) -> Rows:
    """Run one choice with one share, and average its replicates by round beside the exact map; arms share no lots.

    Given the model before, each round is exact in expectation at any size: `gap_z` is the replicates' summed gap
    over its standard deviation, known too. The map iterated from round 0 holds as the size grows; it is not linear,
    so the mean of `reward` differs from `exact` by O(1 / size).
    """
    name, rewards = f"{choice}{k}-real{share:g}", np.array(config.levels)
    real = np.full(len(rewards), 1 / len(rewards))
    fresh = _fresh(config, share)
    picked = partial(picked_by_luce if choice == "luce" else picked_as_best, rewards=rewards, k=k)
    law = Round(rewards, real, picked, config.size, fresh)
    limit = replace(law, picked=partial(picked_by_luce, rewards=rewards, k=np.inf))
    loop = Loop(
        generate=sample,
        verify=Reward(rewards),
        filter=Alternatives(k, Luce() if choice == "luce" else BestOf()),
        refit=frequencies,
        measure=law,
        pool=FreshReal(lambda key, n: sample(key, real, n), fresh) if fresh else Replace(),
    )
    runs = []
    for i in range(config.replicates):
        key = Key(config.seed).fold(name, i)
        start = State(frequencies(key, real, sample(key.fold("real"), real, config.size)))
        runs.append(follow(loop, key, start, [k * config.size] * config.rounds))
    about = {"arm": name, "choice": choice, "k": k, "share": share, "top": rewards.max()}
    about |= {"seed": config.seed, "replicates": config.replicates}
    model, many, rows = real, real, []
    for k_round, each in enumerate(zip(*runs, strict=True)):
        own = {name: np.array([row[name] for row in each]) for name in ("reward", "variance")}
        row = about | {"round": k_round, "candidates": each[0]["candidates"], "kept": each[0]["kept"]}
        row |= spread("reward", own["reward"]) | spread("variance", own["variance"])
        if k_round:
            before = [run[k_round - 1] for run in runs]
            gap = own["reward"].sum() - sum(one["reward_next"] for one in before)
            error = sum(one["variance_next"] for one in before) ** 0.5
            row |= {"gap_z": float(gap / error) if error else None}
            model, many = law.expected(model), limit.expected(many)
        exact, variance = moments(model, rewards)
        row |= {"exact": exact, "exact_variance": variance, "all": moments(many, rewards)[0]}
        rows.append(row)
    return rows


def _fresh(config: Curation, share: float) -> int:
    return round(config.size * share / (1 - share))


def units(config: Curation) -> list[Unit]:
    """One unit a choice and share."""
    for share in config.shares:
        if share and not _fresh(config, share):
            raise BadInput(f"shares: got {share:g}, which is no row beside {config.size} picked ones; raise size")
    choices = [("luce", k) for k in config.luce] + [("best", k) for k in config.best_of]
    return [
        Unit(f"{choice}{k}-real{share:g}", config.rounds, arm, (choice, k, share))
        for share in config.shares
        for choice, k in choices
    ]


if __name__ == "__main__":
    main(Curation, units, draw, summarise)
