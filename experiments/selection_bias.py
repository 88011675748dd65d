"""Selection by a verifier with a biased centre narrows a Gaussian, under three data policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from _selection_bias import TOLD, Setting, expected, limit_trace, run_policy
from figures.selection_bias import POLICIES, draw, summarise
from veriloop import Key, study
from veriloop.study import NotNegatives, Positive, Rows, Unit, Whole


class Selection(study.Config):
    """Round 0 is the truth; every round adds n rows, all drawn ones or the best of n / fraction."""

    dim: Annotated[int, Field(ge=2)]
    n: Whole  # rows added a round, with and without selection
    fraction: Annotated[float, Field(gt=0, le=1)]  # kept by selection
    rounds: Whole
    replicates: Whole
    ridge: Positive  # on the diagonal of every refit
    truth: Literal["standard", "drawn"]  # drawn: with the centre, for each replicate, as published
    bias: NotNegatives  # of the centre, in standard deviations; drawn: of half its coordinates


def arm(config: Selection, policy: str, bias: float | None) -> Rows:
    """Run one policy, with selection unless the bias is None; arms share their draws."""
    verified = bias is not None
    size: dict[str, Any] = config.model_dump(include={"fraction", "rounds", "ridge"})
    runs = []
    for key in [Key(config.seed).fold(i) for i in range(config.replicates)]:
        setting = Setting.of(config.truth, config.dim, bias or 0.0, key.fold("truth"))
        rows = run_policy(setting, policy, verified, config.n, key=key, **size)
        known = expected(setting, policy, verified, config.n, **size)
        runs.append([row | exact for row, exact in zip(rows, known, strict=True)])
    name = f"{policy}-verified-bias{bias:g}" if verified else f"{policy}-unverified"
    about = {"arm": name, "policy": policy, "verified": verified, "bias": bias}
    about |= config.model_dump(include={"truth", "n", "fraction", "seed", "replicates"})
    limit = limit_trace(policy, config.truth, config.dim, bias, **size)
    rows = zip(study.over_replicates(runs, TOLD), limit, strict=True)
    return [about | row | {"limit_trace": trace} for row, trace in rows]


def units(config: Selection) -> list[Unit]:
    """One unit a policy without selection, then one a policy and bias of the verifier's centre."""
    if config.n <= config.dim:
        raise study.BadInput(f"n: got {config.n}, must be at least dim + 1 = {config.dim + 1}")
    work = [Unit(policy, config.rounds, arm, (policy, None)) for policy in POLICIES]
    for bias in config.bias:
        for policy in POLICIES:
            work.append(Unit(f"{policy}-bias{bias:g}", config.rounds, arm, (policy, bias)))
    return work


if __name__ == "__main__":
    study.main(Selection, units, draw, summarise)
