"""Weighting rows by e^(score / T) against filtering them: the same labels, five ways to use scores."""

from __future__ import annotations

from _reward_weighting import RULES, Rule, measured, run_rule
from figures.reward_weighting import draw, summarise
from veriloop import Key
from veriloop.linear import Problem
from veriloop.study import (
    BadInput,
    Config,
    NotNegatives,
    Positive,
    Rows,
    Seed,
    Shares,
    Unit,
    Whole,
    main,
)

DESIGN = {"rows", "dim", "noise", "design_seed", "direction_seed"}


class RewardWeighting(Config):
    """Every rule at every acceptance and bias, on one real design."""

    rows: Whole  # real rows
    dim: Whole
    noise: Positive
    bias: NotNegatives
    fractions: Shares  # acceptance, or effective size of the weights over the number of rows
    candidates: Whole  # a round, in each direction
    rounds: Whole
    replicates: Whole
    design_seed: Seed
    direction_seed: Seed


def arms(config: RewardWeighting, bias: float, fraction: float) -> Rows:
    """Run all rules on the same keys, so that differences are paired."""
    problem = Problem.gaussian(bias=bias, radius=0.0, **config.model_dump(include=DESIGN))
    keys = [Key(config.seed).fold(i) for i in range(config.replicates)]
    rules = [Rule(name, fraction, config.candidates) for name in RULES]
    runs = [run_rule(rule, problem, config.rounds, keys) for rule in rules]
    rows = []
    for rule, (errors, kept) in zip(rules, runs, strict=True):
        about = {"arm": f"{rule.name}-fraction{fraction:g}-bias{bias:g}".replace(" ", "-")}
        about |= {"rule": rule.name, "fraction": fraction, "bias": bias, "seed": config.seed}
        about |= {"replicates": config.replicates, "temperature": rule.temperature}
        found = measured(rule, problem, errors, kept, runs[0][0])
        rows += [about | row for row in found]
    return rows


def units(config: RewardWeighting) -> list[Unit]:
    """One unit for all rules at one bias and acceptance."""
    least = min(config.fractions)
    if least * config.candidates < 2:
        got = f"{config.candidates} of which {least:g} are kept"
        raise BadInput(f"candidates: got {got}, must leave 2 rows or more in each direction")
    pairs = [(bias, fraction) for bias in config.bias for fraction in config.fractions]
    return [Unit(f"bias{b:g}-fraction{f:g}", config.rounds, arms, (b, f)) for b, f in pairs]


if __name__ == "__main__":
    main(RewardWeighting, units, draw, summarise)
