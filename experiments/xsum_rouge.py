"""Summaries filtered by ROUGE against references, and as many unfiltered; two rules how many."""

from itertools import product
from typing import Annotated

from pydantic import Field

from _xsum import UNFILTERED, Arm, Texts, check, follow_arm, prepare
from figures.xsum_rouge import draw, summarise
from veriloop.study import BadInput, Seed, Unit, main


class XsumRouge(Texts):
    """Arms, a base and seed: each rule, filtered and not; other verifiers under the first rule."""

    # Seeds of the pre-training; one, where nothing is pre-trained.
    bases: Annotated[list[Seed], Field(min_length=1)]
    # Round k keeps the share keep (1 + growth k).
    growth: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


def units(config: XsumRouge) -> list[Unit]:
    """One unit an arm, base and seed."""
    if config.model != "pretrained" and len(config.bases) > 1:
        raise BadInput(
            f"bases: got {len(config.bases)} seeds, must be one: "
            f"{config.model} is not pre-trained here"
        )
    if config.keep * (1 + max(config.growth) * config.rounds) > 1:
        raise BadInput(
            f"growth: got {max(config.growth):g}, which keeps more than all "
            f"by round {config.rounds}"
        )
    if config.filter is not None and config.growth != [0]:
        raise BadInput(
            f"growth: got {config.growth}, must be [0]: "
            "the filter says how many are kept, not a share"
        )
    check(config)
    seeds = range(config.seed, config.seed + config.replicates)
    ways = [
        *product(config.growth, ("filtered", UNFILTERED)),
        *product(config.growth[:1], config.others or ()),
    ]
    arms = [Arm(base, seed, *way) for base, seed, way in product(config.bases, seeds, ways)]
    return [Unit(arm.name, config.rounds, follow_arm, (arm,), saves=True) for arm in arms]


if __name__ == "__main__":
    main(XsumRouge, units, draw, summarise, prepare)
