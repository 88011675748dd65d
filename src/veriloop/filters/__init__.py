"""Filters: `(key, scores, groups) -> mask`, which rows of a round are kept."""

from veriloop.filters.choices import Alternatives, BestOf, Luce, Margin, Then
from veriloop.filters.ranking import (
    Bernoulli,
    KeepAll,
    RandomFraction,
    Threshold,
    TopCount,
    TopFraction,
)

__all__ = [
    "Alternatives",
    "Bernoulli",
    "BestOf",
    "KeepAll",
    "Luce",
    "Margin",
    "RandomFraction",
    "Then",
    "Threshold",
    "TopCount",
    "TopFraction",
]
