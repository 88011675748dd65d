"""What the real design's singular values do to verification: spread out, and with few rows."""

from __future__ import annotations

from _linear_spectrum import FewRows, SpreadDesigns, few_rows_arms, spread_arms
from figures.linear_spectrum import draw, summarise
from veriloop.study import Unit, main


class Spectrum(SpreadDesigns, FewRows):
    """Two parts: designs with a spread of singular values, and designs of few real rows."""


def units(config: Spectrum) -> list[Unit]:
    """One unit a design of given spread and bias, and one a number of real rows."""
    work = []
    for bias in config.bias:
        for ratio in config.spreads:
            name = f"spread{ratio:g}-bias{bias:g}"
            work.append(Unit(name, config.rounds, spread_arms, (ratio, bias)))
    for rows in config.few_rows:
        work.append(Unit(f"rows{rows}", config.rounds, few_rows_arms, (rows,)))
    return work


if __name__ == "__main__":
    main(Spectrum, units, draw, summarise)
