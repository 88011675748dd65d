"""What a score decides at one acceptance: a cut a digit, one for all, weights, or nothing."""

from typing import Annotated

from pydantic import Field, PositiveFloat

from _mnist import Arm, Digits, both, per_seed, prepare, schedule
from _mnist_selection import OneCut
from figures.mnist_selection import draw, summarise
from veriloop import Boltzmann, TopFraction
from veriloop.study import BadInput, Unit, main


class Selection(Digits):
    """Arms are the filters, which all keep the share `keep` of the candidates, and no verifier."""

    # T of the weights exp(score / T). The score is a log-odds: at 1 the weight is the odds of being
    # real.
    temperatures: Annotated[list[PositiveFloat], Field(min_length=1, max_length=3)]


def units(config: Selection) -> list[Unit]:
    """One unit an arm and seed."""
    size, counts = schedule(config)
    if config.filter != "top":
        raise BadInput(f"filter: got {config.filter}, must be top; the arms are the filters")
    if len(set(config.temperatures)) < len(config.temperatures):
        raise BadInput(f"temperatures: got {config.temperatures}, must be different")
    filters = {"top": TopFraction(config.keep), "threshold": OneCut(config.keep)}
    for temperature in config.temperatures:
        filters[f"weight {temperature:g}"] = Boltzmann(temperature, config.keep)
    work = []
    for name, chosen in filters.items():
        about = {"size": size, "verified": True, "selection": name}
        work.append(Arm(f"{size}-{name}", config, counts, about, filter=chosen))
    return per_seed(config, [*work, both(size, config, counts, size=size, selection=None)[1]])


if __name__ == "__main__":
    main(Selection, units, draw, summarise, prepare)
