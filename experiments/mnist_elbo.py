"""More images every round and a label-smoothed verifier: the ELBO, its two parts, the verifier."""

from _mnist import Digits, both, per_seed, prepare, schedules
from figures.mnist_elbo import draw, summarise
from veriloop.study import Unit, main


class Elbo(Digits):
    """Arms are all schedules, each verified and unverified."""


def units(config: Elbo) -> list[Unit]:
    """One unit an arm and seed."""
    arms = []
    for size, counts in schedules(config).items():
        arms += both(size, config, counts, size=size)
    return per_seed(config, arms)


if __name__ == "__main__":
    main(Elbo, units, draw, summarise, prepare)
