"""Weighting rows by e^(score / T) against filtering: the same labels, five ways to use scores."""

from __future__ import annotations

from itertools import product

from _reward_weighting import OneDesign, rule_arms
from figures.reward_weighting import draw, summarise
from veriloop.study import BadInput, NotNegatives, Shares, Unit, main


class RewardWeighting(OneDesign):
    """Every rule at every acceptance and bias, on one real design."""

    bias: NotNegatives
    fractions: Shares  # acceptance, or effective size of the weights over the number of rows


def units(config: RewardWeighting) -> list[Unit]:
    """One unit for all rules at one bias and acceptance."""
    least = min(config.fractions)
    if least * config.candidates < 2:
        got = f"{config.candidates} of which {least:g} are kept"
        raise BadInput(f"candidates: got {got}, must leave 2 rows or more in each direction")
    pairs = product(config.bias, config.fractions)
    return [Unit(f"bias{b:g}-fraction{f:g}", config.rounds, rule_arms, (b, f)) for b, f in pairs]


if __name__ == "__main__":
    main(RewardWeighting, units, draw, summarise)
