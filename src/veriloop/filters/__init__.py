"""Filters: `(key, scores, groups) -> mask`, which rows of a round are kept."""

from veriloop.filters.choices import Alternatives, BestOf, Chain, Luce, NearBest
from veriloop.filters.ranking import (
    Bernoulli,
    KeepAll,
    RandomFraction,
    Threshold,
    TopCount,
    TopFraction,
)
from veriloop.filters.weighting import Boltzmann

__all__ = [
    "Alternatives",
    "Bernoulli",
    "BestOf",
    "Boltzmann",
    "Chain",
    "KeepAll",
    "Luce",
    "NearBest",
    "RandomFraction",
    "Threshold",
    "TopCount",
    "TopFraction",
]
