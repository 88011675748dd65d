"""Kept images by round, fixed or growing: Frechet distances and ELBO, verified and unverified."""

from _mnist import Digits, both, full, per_seed, prepare, schedules
from figures.mnist_schedules import draw, summarise
from veriloop.study import Unit, main


class Schedules(Digits):
    """Arms are all schedules, each verified and unverified, and a model of all real images."""


def units(config: Schedules) -> list[Unit]:
    """One unit an arm and seed."""
    named = schedules(config).items()
    return per_seed(
        config,
        [
            full(config),
            *(arm for name, counts in named for arm in both(name, config, counts, size=name)),
        ],
    )


if __name__ == "__main__":
    main(Schedules, units, draw, summarise, prepare)
