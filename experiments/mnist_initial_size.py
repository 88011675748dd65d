"""First models of few and of many real images: what verified retraining adds to each."""

from typing import Annotated

from pydantic import Field

from _mnist import Digits, both, per_seed, prepare, schedules
from figures.mnist_initial_size import draw, summarise
from veriloop.study import Unit, Whole, main


class InitialSize(Digits):
    """Arms are all sizes of the first model's data, each verified and unverified."""

    initial_sizes: Annotated[list[Whole], Field(min_length=1)]


def units(config: InitialSize) -> list[Unit]:
    """One unit an arm and seed."""
    work = []
    for size, counts in schedules(config).items():
        for n in config.initial_sizes:
            own = config.model_copy(update={"initial": n})
            work += both(f"{size}-initial{n}", own, counts, size=size, initial=n)
    return per_seed(config, work)


if __name__ == "__main__":
    main(InitialSize, units, draw, summarise, prepare)
