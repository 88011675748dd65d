"""What the figure of data policies compares: each policy's loop, and its closed form."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from veriloop import FreshReal, Key, Loop, MixReal, Quota, State, Threshold
from veriloop.linear import (
    Errors,
    FixedDesign,
    Generate,
    KnowledgeBall,
    Samples,
    WeightedReal,
    least_squares,
    policies,
)
from veriloop.pools import POOLS
from veriloop.study import (
    Config,
    NotNegative,
    Positive,
    Rows,
    Whole,
    follow,
    mean,
    over_replicates,
    same,
    spread,
)


class Relabelled(Config):
    """One real design a replicate, relabelled every round."""

    dim: Annotated[int, Field(ge=2)]
    sizes: Whole  # real rows, and kept rows a round
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    noise: Positive
    radius: NotNegative
    bias: NotNegative


def run_policy(
    config: Relabelled,
    policy: str,
    weight: float | None,
    verifier: Any,
    key: Key,
) -> Rows:
    """Run the loop once; arms share the real data and every candidate's random lots.

    weight: the share of fresh real data, of the policy `weight`. verifier: None for the ball.
    """
    truth = np.ones(config.dim)
    direction = key.fold("direction").numpy().standard_normal(config.dim)
    center = truth + config.bias * (direction / np.linalg.norm(direction))
    real_x = key.fold("design").numpy().standard_normal((config.sizes, config.dim))
    write = Generate(FixedDesign(real_x), config.noise)

    def label(key: Key, n: int) -> Samples:
        return write(key, truth, n)

    real = label(key.fold("real"), config.sizes)
    if verifier is None:
        verifier = KnowledgeBall(center, config.radius, config.noise * np.sqrt(2 / np.pi))
    pools = {name: pool(config.sizes) for name, pool in POOLS.items()}
    pools["mix"] = MixReal(real, 0.5)
    pools["fresh"] = FreshReal(label, config.sizes)
    if weight is not None:
        pools["weight"] = WeightedReal(label, config.sizes, weight)
    loop = Loop(
        generate=write,
        verify=verifier,
        filter=Threshold(0.0),
        refit=least_squares,
        measure=Errors(truth, center, config.noise),
        pool=pools[policy],
    )
    start = State(least_squares(key, truth, real), past=(real,))
    return follow(loop, key, start, [Quota(config.sizes, budget=config.budget)] * config.rounds)


def averaged(runs: list[Rows], unverified: list[Rows]) -> Rows:
    """Average replicates, with the gain over the unverified run on the same key."""
    compared = [_with_gain(*pair) for pair in zip(runs, unverified, strict=True)]
    told = dict.fromkeys(compared[0][-1], mean)
    told |= {"round": same, "error_truth": spread, "gain_truth": spread}
    return over_replicates(compared, told)


def _with_gain(run: Rows, unverified: Rows) -> Rows:
    rows = []
    for row, other in zip(run, unverified, strict=True):
        gain = other["error_truth"] - row["error_truth"]
        rows.append(row | {"gain_truth": gain})
    return rows


def closed_form(config: Relabelled, policy: str, weight: float | None) -> list[float | None]:
    """Return the expected error to the truth by round without a verifier, averaged over designs."""
    rounds = config.rounds
    if policy == "subsample":  # a subset of the rows is another design
        return [None] * (rounds + 1)
    paths = {
        "replace": policies.replaced(rounds),
        "accumulate": policies.accumulated(rounds),
        "mix": policies.fixed_real(rounds, 0.5),
        "fresh": policies.fresh_real(rounds, 0.5),
    }
    if weight is not None:
        paths["weight"] = policies.fresh_real(rounds, weight)
    return list(paths[policy] * policies.one_fit(config.sizes, config.dim))
