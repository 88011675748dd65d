"""Summaries filtered by ROUGE against references, and as many unfiltered, under two rules of how many to keep."""

from itertools import product
from typing import Annotated

from pydantic import Field

from _config import BadInput, Seed
from _run import Unit, main
from _xsum import Arm, Texts, check, follow_arm, prepare
from plots.xsum_rouge import draw, summarise


class XsumRouge(Texts):
    """Arms are all rules, each filtered and unfiltered, for every base and seed."""

    # Seeds of the pre-training; one, where nothing is pre-trained.
    bases: Annotated[list[Seed], Field(min_length=1)]
    # Round k keeps the share keep (1 + growth k).
    growth: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


def units(config: XsumRouge) -> list[Unit]:
    """One unit an arm, base and seed."""
    if config.model != "pretrained" and len(config.bases) > 1:
        raise BadInput(f"bases: got {len(config.bases)} seeds, must be one: {config.model} is not pre-trained here")
    if config.keep * (1 + max(config.growth) * config.rounds) > 1:
        raise BadInput(f"growth: got {max(config.growth):g}, which keeps more than all by round {config.rounds}")
    check(config)
    seeds = range(config.seed, config.seed + config.replicates)
    arms = [Arm(*each) for each in product(config.bases, seeds, config.growth, (True, False))]
    return [Unit(arm.name, config.rounds, follow_arm, (arm,), saves=True) for arm in arms]


if __name__ == "__main__":
    main(XsumRouge, units, draw, summarise, prepare)
