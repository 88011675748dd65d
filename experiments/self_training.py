"""Self-training on sums in words: K answers a sum are drawn, what passes is kept, then refitted.

Verifiers: an exact one, one that errs at stated rates, a majority vote in place of one, and none.
Every round goes on from the last model, or fits the base again (ReST-EM: Singh et al., 2023,
arXiv:2312.06585).
"""

from itertools import product
from typing import Annotated, Literal

from pydantic import Field

from _self_training import Arm, Loops, follow, prepare
from figures.self_training import draw, summarise
from veriloop.study import BadInput, Unit, main
from veriloop.text import sums

Verifiers = list[Literal["verified", "noisy", "majority", "unverified"]]
Refits = list[Literal["continued", "base"]]


class SelfTraining(Loops):
    """Arms: every verifier with every way to refit, for every seed."""

    verifiers: Annotated[Verifiers, Field(min_length=1)]
    refits: Annotated[Refits, Field(min_length=1)]


def units(config: SelfTraining) -> list[Unit]:
    """One unit an arm and seed."""
    for name, least in (("tried", config.train), ("tried", config.held)):
        if config.tried > least:
            raise BadInput(
                f"{name}: got {config.tried}, must be at most {least}, the sums there are"
            )
    asked = config.initial + config.train + config.held
    if asked > sums.NUMBERS**2:
        raise BadInput(
            f"train: got {asked} sums with initial and held, must be at most {sums.NUMBERS**2}"
        )
    seeds = range(config.seed, config.seed + config.replicates)
    arms = [Arm(*way) for way in product(seeds, config.verifiers, config.refits)]
    return [
        Unit(f"{arm.name}-seed{arm.seed}", config.rounds, follow, (arm,), saves=True)
        for arm in arms
    ]


if __name__ == "__main__":
    main(SelfTraining, units, draw, summarise, prepare)
