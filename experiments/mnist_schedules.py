"""Kept images by round, fixed or growing: Frechet distances and ELBO, verified and unverified."""

from _mnist import Digits, both, full, per_seed, prepare, schedules
from figures.mnist_schedules import draw, summarise
from veriloop.study import Unit, main


class Schedules(Digits):
    """Arms are all schedules, each verified and unverified, and a model of all real images."""


def units(config: Schedules) -> list[Unit]:
    """One unit an arm and seed."""
    arms = [full(config)]
    for name, counts in schedules(config).items():
        arms += both(name, config, counts, size=name)
    return per_seed(config, arms)


if __name__ == "__main__":
    main(Schedules, units, draw, summarise, prepare)
