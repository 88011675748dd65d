"""What the curves of summaries are compared with: no fit, all real pairs, the lead sentence."""

from itertools import product
from typing import Annotated

from pydantic import Field

from _xsum import Texts, check, prepare
from _xsum_references import POINTS
from figures.xsum_references import draw, summarise
from veriloop.study import Seed, Unit, main


class XsumReferences(Texts):
    """One point each: the base, the base fitted to all pairs, every article's first sentence."""

    # Seeds of the pre-training; one, where nothing is pre-trained.
    bases: Annotated[list[Seed], Field(min_length=1)]
    # Not used here: the configuration is that of the curves.
    growth: list[float]


def units(config: XsumReferences) -> list[Unit]:
    """One unit a point, base and seed."""
    check(config)
    seeds = range(config.seed, config.seed + config.replicates)
    found = []
    for base, seed, (name, work) in product(config.bases, seeds, POINTS.items()):
        unit = f"{name.replace(' ', '-')}-base{base}-seed{seed}"
        found.append(Unit(unit, 0, work, (name, base, seed), saves=True))
    return found


if __name__ == "__main__":
    main(XsumReferences, units, draw, summarise, prepare)
