"""Data policies of the literature, with and without the verifier, against their closed forms."""

from __future__ import annotations

from typing import Any

from _linear_policies import Relabelled, averaged, closed_form, run_policy
from figures.linear_policies import POLICIES, draw, summarise
from veriloop import Constant, Key, build
from veriloop.study import BadInput, Rows, Shares, Unit, Whole, main


class Policies(Relabelled):
    """All policies, with half real data where they mix it, and a sweep over the share of it."""

    replicates: Whole
    weights: Shares  # shares of fresh real data to sweep
    verifier: dict[str, Any] | None = None  # {call: module:name, ...}, not the ball


def arms(config: Policies, policy: str, weight: float | None) -> Rows:
    """Run one policy without and with the verifier, on shared keys."""
    verifier = None if config.verifier is None else build(config.verifier)
    keys = [Key(config.seed).fold(i) for i in range(config.replicates)]
    unverified = [run_policy(config, policy, weight, Constant(), key) for key in keys]
    verified = [run_policy(config, policy, weight, verifier, key) for key in keys]
    about = {"policy": policy, "weight": weight}
    about |= {"seed": config.seed, "replicates": config.replicates}
    name = {"arm": f"{policy}{weight or ''}-unverified", "verified": False} | about
    known = zip(averaged(unverified, unverified), closed_form(config, policy, weight), strict=True)
    rows = [name | row | {"closed_form": form} for row, form in known]
    name = {"arm": f"{policy}{weight or ''}-verified", "verified": True} | about
    return rows + [name | row | {"closed_form": None} for row in averaged(verified, unverified)]


def units(config: Policies) -> list[Unit]:
    """One unit a policy, verified and not; then the sweep over the real share."""
    if config.budget < config.sizes:
        rows = f"the {config.sizes} rows kept a round"
        raise BadInput(f"budget: got {config.budget}, must be at least sizes, {rows}")
    if config.sizes < config.dim + 2:
        raise BadInput(f"sizes: got {config.sizes}, must be at least dim + 2 = {config.dim + 2}")
    try:
        if config.verifier is not None:
            build(config.verifier)
    except ValueError as error:
        raise BadInput(f"verifier: {error}") from None
    work = [Unit(policy, config.rounds, arms, (policy, None)) for policy in POLICIES]
    for weight in config.weights:
        work.append(Unit(f"weight{weight}", config.rounds, arms, ("weight", weight)))
    return work


if __name__ == "__main__":
    main(Policies, units, draw, summarise)
