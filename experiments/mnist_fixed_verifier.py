"""A verifier trained once, against one model or many, beside one retrained every round."""

from typing import Annotated

from pydantic import Field

from _mnist import Arm, Digits, both, per_seed, prepare, real_images, schedules
from figures.mnist_fixed_verifier import TRAINED, draw, summarise
from veriloop.study import Unit, Whole, main


class FixedVerifier(Digits):
    """Arms are the three ways to train a verifier, and no verifier."""

    # How many real images each model had that the one verifier is trained against.
    mixed: Annotated[list[Whole], Field(min_length=1)]


def units(config: FixedVerifier) -> list[Unit]:
    """One unit an arm and seed."""
    work, everything = [], real_images(config)
    for size, counts in schedules(config).items():
        about = {"size": size, "verified": True}
        for way, models in zip(TRAINED, (None, [everything], config.mixed), strict=True):
            work.append(
                Arm(f"{size}-{way}", config, counts, about | {"trained": way}, against=models)
            )
        work.append(both(size, config, counts, size=size, trained=None)[1])
    return per_seed(config, work)


if __name__ == "__main__":
    main(FixedVerifier, units, draw, summarise, prepare)
