"""Data policies of the literature, each with and without the verifier, against their closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from figures.linear_policies import POLICIES, draw, summarise
from veriloop import (
    Accumulate,
    AccumulateSubsample,
    Constant,
    FreshReal,
    Key,
    Loop,
    MixReal,
    Quota,
    Replace,
    State,
    Threshold,
    build,
)
from veriloop.linear import (
    Data,
    Errors,
    FixedDesign,
    Generate,
    KnowledgeBall,
    WeightedReal,
    least_squares,
    policies,
)
from veriloop.study import BadInput, Config, NotNegative, Positive, Rows, Shares, Unit, Whole, follow, main, spread


class Policies(Config):
    """One real design a replicate, relabelled every round; `sizes` rows are kept each round."""

    dim: Annotated[int, Field(ge=2)]
    sizes: Whole
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole
    noise: Positive
    radius: NotNegative
    bias: NotNegative
    weights: Shares  # shares of fresh real data to sweep
    verifier: dict[str, Any] | None = None  # {call: module:name, ...} in place of the knowledge ball


def arms(config: Policies, policy: str, weight: float | None) -> Rows:
    """Run one policy's replicates without and with the verifier, on shared keys, and average them by round."""
    keys = [Key(config.seed).fold(i) for i in range(config.replicates)]
    runs = {
        verified: [_replicate(config, policy, weight, verified, key) for key in keys] for verified in (False, True)
    }
    about = {"policy": policy, "weight": weight, "seed": config.seed, "replicates": config.replicates}
    forms, rows = _closed_form(policy, weight, config), []
    for verified, own in runs.items():
        kind = "verified" if verified else "unverified"
        name = {"arm": f"{policy}{'' if weight is None else weight}-{kind}", "verified": verified}
        for k in range(config.rounds + 1):
            means = {key: float(np.mean([run[k][key] for run in own])) for key in own[0][k]}
            row = name | about | means | {"round": k}
            error, unverified = (np.array([run[k]["error_truth"] for run in each]) for each in (own, runs[False]))
            row |= spread("error_truth", error) | spread("gain_truth", unverified - error)
            rows.append(row | {"closed_form": None if forms is None or verified else forms[k]})
    return rows


def _replicate(config: Policies, policy: str, weight: float | None, verified: bool, key: Key) -> Rows:
    """One run of the generic loop; arms share the real data and every candidate's random lots."""
    n, noise = config.sizes, config.noise
    truth = np.ones(config.dim)
    center = truth + config.bias * _unit(key.fold("direction").numpy().standard_normal(config.dim))
    real_x = key.fold("design").numpy().standard_normal((n, config.dim))
    write = Generate(FixedDesign(real_x), noise)
    ball = KnowledgeBall(center, config.radius, noise * np.sqrt(2 / np.pi))

    def label(key: Key, n: int) -> Data:
        return write(key, truth, n)

    real = label(key.fold("real"), n)
    loop = Loop(
        generate=write,
        verify=(ball if config.verifier is None else build(config.verifier)) if verified else Constant(),
        filter=Threshold(0.0),
        refit=least_squares,
        measure=Errors(truth, center, noise),
        pool=_pool(policy, weight, real, label, n),
    )
    start = State(least_squares(key, truth, real), past=(real,))
    return follow(loop, key, start, [Quota(n, budget=config.budget)] * config.rounds)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _pool(policy: str, weight: float | None, real: Data, label: Callable[[Key, int], Data], n: int) -> Any:
    if weight is not None:
        return WeightedReal(label, n, weight)
    pools = (Replace(), Accumulate(), AccumulateSubsample(n), MixReal(real, 0.5), FreshReal(label, n))
    return pools[POLICIES.index(policy)]


def _closed_form(policy: str, weight: float | None, config: Policies) -> list[float] | None:
    """The unverified expectation of error_truth by round, for one design relabelled, averaged over designs."""
    rounds = config.rounds
    paths = {
        "replace": policies.replaced(rounds),
        "accumulate": policies.accumulated(rounds),
        "subsample": None,  # a subset of the rows is another design
        "mix": policies.fixed_real(rounds, 0.5),
        "fresh": policies.fresh_real(rounds, 0.5),
    }
    path = paths[policy] if weight is None else policies.fresh_real(rounds, weight)
    return None if path is None else list(path * policies.one_fit(config.sizes, config.dim))


def units(config: Policies) -> list[Unit]:
    """One unit a policy, verified and not; then the sweep over the real share."""
    if config.budget < config.sizes:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes, the {config.sizes} rows kept a round")
    if config.sizes < config.dim + 2:
        raise BadInput(f"sizes: got {config.sizes}, must be at least dim + 2 = {config.dim + 2}")
    try:
        if config.verifier is not None:
            build(config.verifier)
    except ValueError as error:
        raise BadInput(f"verifier: {error}") from None
    work = [(policy, None) for policy in POLICIES] + [("weight", weight) for weight in config.weights]
    return [Unit(f"{policy}{weight or ''}", config.rounds, arms, (policy, weight)) for policy, weight in work]


if __name__ == "__main__":
    main(Policies, units, draw, summarise)
